"""Gaps that stayed, counted from the ends that each core tells."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sciddiff.inference.unfilled import held, unfilled
from sciddiff.model.layout import Layout
from sciddiff.model.windows import span


def between(valid: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Where some pixel has a value on both sides along an axis, at any distance."""
    before = np.maximum.accumulate(valid, axis)
    after = np.flip(np.maximum.accumulate(np.flip(valid, axis), axis), axis)
    inside: NDArray[np.bool_] = before & after
    return inside


@pytest.mark.parametrize("tile", [4, 8, 64])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.9, 1.0])
def test_the_number_is_that_of_the_whole_image_whatever_the_tiles(tile: int, share: float) -> None:
    frames = np.random.default_rng(0).random((2, 21, 34)) < share
    frames[:, 8:16, 8:16] = share > 0  # a core without a gap
    layout = Layout((21, 34), 1, tile, 0, "", {}, frames=(1, 2))
    parts = {number: held(frames[window.frame][span(window)]) for number, window in enumerate(layout.windows)}
    expected = sum(int((between(each, 0) | between(each, 1)).sum() - each.sum()) for each in frames)
    assert unfilled(layout, parts) == expected
    assert unfilled(replace(layout, frames=None), {n: parts[n] for n in range(len(parts) // 2)}) < max(expected, 1)


def test_the_rim_of_a_turned_scene_is_no_gap() -> None:
    y, x = np.mgrid[:60, :60]
    scene = np.abs(y - 30) + np.abs(x - 30) < 25
    scene[28:34, 20:50] = False  # open to the right
    layout = Layout((60, 60), 1, 16, 0, "", {})
    parts = {number: held(scene[span(window)]) for number, window in enumerate(layout.windows)}
    assert unfilled(layout, parts) == 6 * 30
