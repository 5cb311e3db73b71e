"""The absolute lattice of windows, and reading a window of an image with its halo, filled and padded.

A core is what a window contributes to the result; its halo is context. Cores tile the target grid from its first
pixel on, so any tile size, batch or order computes the same pixels from the same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from sciddiff import io

FILL_SIDES = (3, 5, 9, 17, 33)
"""Sides of the boxes from which an invalid pixel is filled, the smallest that holds a valid one, in input pixels."""
FILL_RADIUS = FILL_SIDES[-1] // 2


@dataclass(frozen=True)
class Window:
    """A core on the target grid: rows [row, row + height) and columns [col, col + width)."""

    row: int
    col: int
    height: int
    width: int


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


def read_padded(
    image: xr.DataArray, *, row: int, col: int, height: int, width: int, fallback: Sequence[float]
) -> NDArray[np.floating]:
    """Read a window that may reach beyond the image: filled where invalid, its edges continued by their last pixel.

    Parameters
    ----------
    image
        (band, y, x) with its `valid` coordinate.
    row, col, height, width
        In pixels of the image; may lie outside.
    fallback
        See `fill_invalid`.

    Returns
    -------
    ndarray
        (c, height, width), finite.
    """
    size_y, size_x = image.shape[1:]
    top, left = np.clip(row, 0, size_y - 1), np.clip(col, 0, size_x - 1)
    bottom, right = np.clip(row + height, top + 1, size_y), np.clip(col + width, left + 1, size_x)
    first_y, first_x = max(top - FILL_RADIUS, 0), max(left - FILL_RADIUS, 0)
    rows = slice(int(first_y), int(min(bottom + FILL_RADIUS, size_y)))
    cols = slice(int(first_x), int(min(right + FILL_RADIUS, size_x)))
    values, valid = io.read_window(image, rows, cols)
    fill_invalid(values, valid, fallback=fallback)
    values = values[:, top - first_y : bottom - first_y, left - first_x : right - first_x]
    pads = ((0, 0), (top - row, row + height - bottom), (left - col, col + width - right))
    return np.pad(values, np.maximum(pads, 0), mode="edge")


def as_tensor(values: NDArray[np.floating], device: torch.device) -> Tensor:
    """A window as (1, c, h, w) in its own precision."""
    return torch.from_numpy(np.ascontiguousarray(values))[None].to(device)


def tile_side(asked: int | None, shape: tuple[int, int], unit: int) -> int:
    """Side of the cores: `asked` rounded up to the lattice, never far beyond the image."""
    largest = round_up(max(shape), unit)
    return min(round_up(asked or DEFAULT_TILE, unit), largest)


DEFAULT_TILE = 512


def unit_of(*strides: int) -> int:
    """Pixels to which cores and halos are aligned: all grids and scales are cut at whole pixels."""
    return math.lcm(*strides)
