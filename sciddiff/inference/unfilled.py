"""Gaps that stayed: pixels without a value between those that have one, counted from what the ledger says of cores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciddiff.model.layout import Layout
from sciddiff.model.windows import Window, span


class Held(NamedTuple):
    """How many pixels of a core have a value, and between which pixels of each row and each column these lie.

    Attributes
    ----------
    pixels
        Those with a value.
    left, right
        The first of each row, and the one after its last; (width, 0) of a row without any.
    top, bottom
        The same of each column.
    """

    pixels: int
    left: Sequence[int]
    right: Sequence[int]
    top: Sequence[int]
    bottom: Sequence[int]


def held(valid: NDArray[np.bool_]) -> Held | None:
    """What a core holds; None where every pixel has a value, and no ends where none has.

    Parameters
    ----------
    valid
        Where the core has one, (h, w).

    Examples
    --------
    >>> held(np.array([[1, 0, 1, 0], [0, 0, 0, 0]], bool))
    Held(pixels=2, left=[0, 4], right=[3, 0], top=[0, 2, 0, 2], bottom=[1, 0, 1, 0])
    """
    if not valid.any():
        return Held(0, [], [], [], [])
    return None if valid.all() else Held(int(valid.sum()), *_ends(valid), *_ends(valid.T))


def _ends(valid: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    some, width = valid.any(1), valid.shape[1]
    return (
        np.where(some, valid.argmax(1), width).tolist(),
        np.where(some, width - valid[:, ::-1].argmax(1), 0).tolist(),
    )


def unfilled(layout: Layout, parts: Mapping[int, Held | None]) -> int:
    """How many pixels of a result have no value, but some on both sides of them in their row or in their column.

    What lies outside of these is the rim of a scene, which is turned in many rasters, and no gap.

    Parameters
    ----------
    layout
        How it was cut.
    parts
        What each of its cores holds, by number.
    """
    frames: dict[int, dict[Window, Held | None]] = {}
    for number, part in parts.items():
        window = layout.window(number)
        frames.setdefault(window.frame, {})[window] = part
    return sum(_of_frame(layout.shape, cores) for cores in frames.values())


def _of_frame(shape: tuple[int, int], cores: Mapping[Window, Held | None]) -> int:
    height, width = shape
    left, right = np.full(height, width), np.zeros(height, int)
    top, bottom = np.full(width, height), np.zeros(width, int)
    for window, part in cores.items():
        if part is not None and not part.pixels:
            continue
        (rows, cols), ends = span(window), part or _whole(window)
        _widen(left[rows], right[rows], ends.left, ends.right, start=window.col)
        _widen(top[cols], bottom[cols], ends.top, ends.bottom, start=window.row)
    count = 0
    for window, part in cores.items():
        if part is not None:
            (rows, cols), (y, x) = span(window), np.ogrid[span(window)]
            beside = (left[rows, None] <= x) & (x < right[rows, None])
            count += int((beside | ((top[cols] <= y) & (y < bottom[cols]))).sum()) - part.pixels
    return count


def _whole(window: Window) -> Held:
    height, width = window.height, window.width
    return Held(height * width, [0] * height, [width] * height, [0] * width, [height] * width)


def _widen(
    first: NDArray[np.int_], last: NDArray[np.int_], begin: Sequence[int], end: Sequence[int], *, start: int
) -> None:
    """Let the ends of lines, in place, take in those of a part of them, where that has any value."""
    some = np.asarray(end) > 0
    first[some] = np.minimum(first[some], start + np.asarray(begin)[some])
    last[some] = np.maximum(last[some], start + np.asarray(end)[some])
