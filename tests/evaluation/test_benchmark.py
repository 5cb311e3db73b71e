"""A model over several scenes: means, gains, intervals that are of scenes."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sciddiff.evaluation.benchmark import best_classical, over_scenes
from sciddiff.evaluation.compare import MEAN


def scene(**psnr):
    scores = {name: SimpleNamespace(psnr=value) for name, value in psnr.items()}
    return SimpleNamespace(scores=scores, gain=lambda a, b: scores[a].psnr - scores[b].psnr)


def test_means_and_gains_are_over_scenes():
    scenes = [scene(**{MEAN: 31.0 + k, "bicubic": 30.0, "lanczos": 30.5 + k}) for k in range(4)]
    lines = {line.method: line for line in over_scenes(scenes)}
    assert lines[MEAN].psnr == pytest.approx(32.5)
    assert lines["bicubic"].gain == pytest.approx(2.5)
    assert lines["lanczos"].gain == pytest.approx(0.5)
    assert lines["lanczos"].gain_interval == pytest.approx((0.5, 0.5))  # paired: every scene gains as much
    low, high = lines["bicubic"].gain_interval
    assert 1.0 <= low < 2.5 < high <= 4.0
    best = best_classical(list(lines.values()))
    assert best is not None
    assert best.method == "lanczos"


def test_methods_that_lack_a_scene_are_left_out_and_one_scene_has_no_interval():
    lines = over_scenes([scene(**{MEAN: 31.0, "a": 30.0}), scene(**{MEAN: 32.0})])
    assert [line.method for line in lines] == [MEAN]
    (line,) = over_scenes([scene(**{MEAN: 31.0})])
    assert line.interval == (-math.inf, math.inf)


def test_the_interval_of_many_equal_scenes_narrows():
    rng = np.random.default_rng(0)
    widths = []
    for count in (5, 200):
        (line,) = over_scenes([scene(**{MEAN: float(value)}) for value in rng.normal(30, 1, count)])
        widths.append(line.interval[1] - line.interval[0])
    assert widths[1] < 0.8 * widths[0]
