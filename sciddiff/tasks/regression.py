"""Local linear regressions of one image on all bands of another, their sums pooled over cells of pixels.

Images are (b, c, h, w) and begin at a cell; what belongs to cells is (b, ..., rows, cols), in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.tasks.local import box_mean

CELL = 8
"""Side of the cells in pixels; windows must be aligned to it."""


class Moments(NamedTuple):
    """Weighted moments about each cell: effective pixels (b, 1, ...), means of x (b, c, ...) and of y (b, t, ...), the
    sums of centred products of x and x (b, c, c, ...) and of x and y (b, c, t, ...), the variance of x (b, c, ...)."""

    pixels: Tensor
    mean_x: Tensor
    mean_y: Tensor
    square: Tensor
    cross: Tensor
    spread: Tensor


def radius(sides: tuple[int, ...]) -> int:
    """How far, in pixels, what is gathered over windows of these sides in cells and brought back to pixels looks."""
    return (max(sides) // 2 + 2) * CELL


def whole_cells(image: Tensor) -> Tensor:
    """The image, zero beyond its far edges up to whole cells: windows of the engine are whole as they come."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % CELL, 0, -height % CELL))


def gather(image: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Sums over the windows of each cell, in pixels; each window over its side, so that a near pixel counts more."""
    cells = F.avg_pool2d(image, CELL).double()
    total = torch.zeros_like(cells)
    for side in sides:
        total = total + CELL**2 * side * box_mean(cells, side)  # sums, divided by the side
    return total


def to_pixels(cells: Tensor, dtype: torch.dtype) -> Tensor:
    """Cells brought to pixels by linear interpolation, in the precision of an image."""
    return F.interpolate(cells.to(dtype), scale_factor=CELL, mode="bilinear", align_corners=False)


def moments(x: Tensor, y: Tensor, weight: Tensor, *, sides: tuple[int, ...]) -> Moments:
    """Moments of the bands of x with those of y about each cell.

    Parameters
    ----------
    x
        (b, c, h, w), whole cells.
    y
        (b, t, h, w).
    weight
        (b, 1, h, w), zero where either is not known.
    sides
        Of the windows, in cells.
    """
    c = x.shape[1]
    count = gather(weight, sides)
    safe = count.clamp_min(1e-6)
    mean_x, mean_y = (gather(weight * each, sides) / safe for each in (x, y))
    square = torch.stack([gather(weight * x[:, i : i + 1] * x, sides) for i in range(c)], 1)
    cross = torch.stack([gather(weight * x[:, i : i + 1] * y, sides) for i in range(c)], 1)
    square = square - safe[:, None] * mean_x[:, :, None] * mean_x[:, None]
    cross = cross - safe[:, None] * mean_x[:, :, None] * mean_y[:, None]
    spread = torch.diagonal(square, dim1=1, dim2=2).movedim(-1, 1) / safe
    return Moments(count, mean_x, mean_y, square, cross, spread)


def slopes(found: Moments, ridge: Tensor) -> Tensor:
    """Slopes of y on x, (b, c, t, rows, cols): least squares with a ridge (b, c, rows, cols) on the diagonal."""
    matrix = found.square.movedim((1, 2), (-2, -1)) + torch.diag_embed(ridge.movedim(1, -1))
    solved = torch.linalg.solve(matrix, found.cross.movedim((1, 2), (-2, -1)))
    return solved.movedim((-2, -1), (1, 2))


def evaluate(start: Tensor, x: Tensor, *, slope: Tensor, level: Tensor) -> Tensor:
    """start + level + slope x, with slope and level brought to pixels; (b, t, h, w)."""
    values = start + to_pixels(level, x.dtype)
    for i in range(x.shape[1]):
        values = values + to_pixels(slope[:, i], x.dtype) * x[:, i : i + 1]
    return values
