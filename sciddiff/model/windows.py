"""The absolute lattice of windows, and reading a window of an image with its halo, filled and padded.

A core is what a window contributes to the result; its halo is context. Cores tile the target grid from its first
pixel on, so any tile size, batch or order computes the same pixels from the same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff import io

FILL_SIDES = (3, 5, 9, 17, 33)
"""Sides of the boxes from which an invalid pixel is filled, the smallest that holds a valid one, in input pixels."""
FILL_RADIUS = FILL_SIDES[-1] // 2


@dataclass(frozen=True)
class Window:
    """A core on the target grid: rows [row, row + height), columns [col, col + width).

    In a stack of `depth` planes of the result from `frame` on: those of all times, one after the other.
    """

    row: int
    col: int
    height: int
    width: int
    frame: int = field(default=0, repr=False)
    depth: int = field(default=1, repr=False)


def span(window: Window) -> tuple[slice, slice]:
    """Rows and columns of a window."""
    return slice(window.row, window.row + window.height), slice(window.col, window.col + window.width)


def lattice(shape: tuple[int, int], tile: int) -> list[Window]:
    """Cores of tile x tile pixels, row by row, those at the far edges cut to `shape`.

    >>> lattice((64, 96), 64)
    [Window(row=0, col=0, height=64, width=64), Window(row=0, col=64, height=64, width=32)]
    """
    height, width = shape
    return [
        Window(row, col, min(tile, height - row), min(tile, width - col))
        for row in range(0, height, tile)
        for col in range(0, width, tile)
    ]


def round_up(size: int, unit: int) -> int:
    """Least multiple of `unit` that is not below `size`."""
    return -(-size // unit) * unit


def fill_invalid(values: NDArray[np.floating], valid: NDArray[np.bool_], *, fallback: Sequence[float]) -> None:
    """Fill invalid pixels in place from valid neighbours, so that nodata never reaches a convolution.

    Parameters
    ----------
    values, valid
        (c, h, w).
    fallback
        Value of each band where no valid pixel lies within `FILL_RADIUS`.
    """
    for band, known, far in zip(values, valid, fallback, strict=True):
        if known.all():
            continue
        weighted, missing = np.where(known, band, 0).astype(np.float64), ~known
        band[missing] = far
        for side in FILL_SIDES:
            if not missing.any():
                break
            share = ndimage.uniform_filter(known.astype(np.float64), side, mode="constant")
            total = ndimage.uniform_filter(weighted, side, mode="constant")
            reached = missing & (share > 0.5 / side**2)
            band[reached] = total[reached] / share[reached]
            missing &= ~reached


@dataclass(frozen=True)
class Reach:
    """What must be read of an image for a window that may reach beyond it, and how the window comes out of that."""

    rows: slice
    cols: slice
    crop: tuple[slice, slice]
    pads: tuple[tuple[int, int], tuple[int, int]]


def reach(shape: tuple[int, int], *, row: int, col: int, height: int, width: int) -> Reach:
    """What a window needs of an image of `shape`: its pixels and those within `FILL_RADIUS`; it may lie outside."""
    rows, crop_y, pad_y = _axis(shape[0], row, height)
    cols, crop_x, pad_x = _axis(shape[1], col, width)
    return Reach(rows, cols, (crop_y, crop_x), (pad_y, pad_x))


def _axis(size: int, start: int, length: int) -> tuple[slice, slice, tuple[int, int]]:
    first = min(max(start, 0), size - 1)
    last = min(max(start + length, first + 1), size)
    begin = max(first - FILL_RADIUS, 0)
    read = slice(begin, min(last + FILL_RADIUS, size))
    return read, slice(first - begin, last - begin), (max(first - start, 0), max(start + length - last, 0))


def fill_and_pad(
    values: NDArray[np.floating], valid: NDArray[np.bool_], reached: Reach, *, fallback: Sequence[float] | None
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """The window of what was read, filled where invalid (in place), mirrored at the edges; and where it was valid.

    A mirror keeps the look of noise and texture, which the last pixel drawn out into stripes does not, and is the same
    at every resolution. Labels have no `fallback`: they become zero."""
    known = np.pad(valid[:, *reached.crop], ((0, 0), *reached.pads))
    if fallback is None:
        values[~valid] = 0
    else:
        fill_invalid(values, valid, fallback=fallback)
    return np.pad(values[:, *reached.crop], ((0, 0), *reached.pads), mode="symmetric"), known


def read_padded(
    image: xr.DataArray, *, row: int, col: int, height: int, width: int, fallback: Sequence[float] | None
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Read a window that may reach beyond the image: filled where invalid, mirrored at the edges.

    Parameters
    ----------
    image
        (band, y, x) with its `valid` coordinate.
    row, col, height, width
        In pixels of the image; may lie outside.
    fallback
        See `fill_and_pad`.

    Returns
    -------
    values
        (c, height, width), finite.
    known
        Where they were read and valid.
    """
    reached = reach((image.shape[1], image.shape[2]), row=row, col=col, height=height, width=width)
    values, valid = io.read_window(image, reached.rows, reached.cols)
    return fill_and_pad(values, valid, reached, fallback=fallback)


def tile_side(asked: int | None, shape: tuple[int, int], unit: int) -> int:
    """Side of the cores: `asked` rounded up to the lattice, never far beyond the image."""
    largest = round_up(max(shape), unit)
    return min(round_up(asked or DEFAULT_TILE, unit), largest)


DEFAULT_TILE = 512


def unit_of(*strides: int) -> int:
    """Pixels to which cores and halos are aligned: all grids and scales are cut at whole pixels."""
    return math.lcm(*strides)
