"""A model against the classical answers over several clean scenes, with intervals over scenes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sciddiff.evaluation.compare import MEAN, SAMPLE, Comparison
from sciddiff.tasks import LINEAR

DRAWS = 2000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Line:
    """A method over all scenes.

    Attributes
    ----------
    method
        Its name.
    psnr
        dB, the mean over scenes.
    interval
        Of it, 95 %, by bootstrap over scenes; infinite for a single one.
    gain
        dB of the posterior mean over the method.
    gain_interval
        Of it, likewise.
    """

    method: str
    psnr: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]


def over_scenes(comparisons: Sequence[Comparison]) -> list[Line]:
    """Means over scenes of the PSNR and of what the posterior mean gains, with intervals.

    Parameters
    ----------
    comparisons
        One a scene; methods that are not in all of them are left out.

    Notes
    -----
    Scenes are drawn anew, never tiles of them: pixels of one scene are no independent witnesses.
    """
    methods = [name for name in comparisons[0].scores if all(name in each.scores for each in comparisons)]
    lines = []
    for method in methods:
        psnr = np.array([each.scores[method].psnr for each in comparisons])
        gains = np.array([each.gain(MEAN, method) for each in comparisons])
        lines.append(Line(method, float(psnr.mean()), _interval(psnr), float(gains.mean()), _interval(gains)))
    return lines


def best_classical(lines: Sequence[Line]) -> Line | None:
    """The strongest baseline, that of the model itself not counted."""
    rivals = [line for line in lines if line.method not in (MEAN, SAMPLE, LINEAR)]
    return max(rivals, key=lambda line: line.psnr, default=None)


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return -math.inf, math.inf
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
