"""Local statistics that make a task contrast-free."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.tasks.base import Condition

DETAIL, NEAR, SPREAD = 9, 17, 25
"""Sides of windows in target pixels: of the mean that detail stands out from, of the local mean that the network sees
the image less, of the scale."""
CELL = 4
"""Side of the cells over which the wide statistics are pooled first; windows must be aligned to it."""
FLOOR = 0.05
"""Least local scale, as a share of the wide one: where there is only noise, noise is not blown up."""
RADIUS = DETAIL // 2 + 2 * (NEAR // 2 + 2) * CELL
"""How far `contrast_free` looks, in target pixels."""


def box_mean(image: Tensor, side: int) -> Tensor:
    """Mean over a square window, edges continued by their last pixel; (b, c, h, w)."""
    padded = F.pad(image, (side // 2,) * 4, mode="replicate")
    return _window_sum(_window_sum(padded, side, dim=2), side, dim=3) / side**2


def box_mean_along(image: Tensor, side: int, *, dim: int) -> Tensor:
    """Mean over `side` pixels along the rows (`dim` 2) or columns (3) axis, ends continued by their last pixel."""
    pad = side // 2
    ends = (0, 0, pad, pad) if dim == 2 else (pad, pad, 0, 0)
    return _window_sum(F.pad(image, ends, mode="replicate"), side, dim=dim) / side


def _window_sum(image: Tensor, side: int, *, dim: int) -> Tensor:
    """Sums over `side` neighbours, in log2(side) additions of sums over 1, 2, 4, ... neighbours.

    Ten times faster than pooling, and local to the last bit, which a difference of cumulative sums is not.
    """
    size = image.shape[dim] - side + 1
    total, reached, width = None, 0, 1
    while True:
        if side & width:
            part = image.narrow(dim, reached, size)
            total = part if total is None else total + part
            reached += width
        if reached == side and total is not None:
            return total
        rest = image.shape[dim] - width
        image = image.narrow(dim, 0, rest) + image.narrow(dim, width, rest)
        width *= 2


def wide_mean(image: Tensor) -> Tensor:
    """Mean over about 68 x 68 pixels: a box over cells, interpolated linearly back; sides multiples of `CELL`."""
    cells = box_mean(F.avg_pool2d(image, CELL), NEAR)
    return F.interpolate(cells, scale_factor=CELL, mode="bilinear", align_corners=False)


def contrast_free(image: Tensor) -> Condition:
    """Express an image in its own local scale: any gain and offset of the input leaves the maps as they are.

    Parameters
    ----------
    image
        (b, c, h, w) on the target grid, finite, sides multiples of `CELL`.

    Returns
    -------
    Condition
        `scale`: local root mean square of the detail (the image less its mean over 9 x 9) over 25 x 25 pixels,
        floored; `maps`: the image less its mean over 17 x 17 over the scale, then the logarithm of the scale over
        that of a wider window, (b, 2 c, h, w).

    Notes
    -----
    Detail, not the image's whole spread, because an edge between two fields is contrast that the base keeps: measured
    in the spread of detail the residual's own spread varies half as much from place to place.
    """
    image = image - wide_mean(image)  # first: the squares of raw digital numbers would lose the contrast
    detail = (image - box_mean(image, DETAIL)) ** 2
    tiny = torch.finfo(image.dtype).tiny ** 0.5
    wide = wide_mean(detail).sqrt().clamp_min(tiny)
    scale = torch.sqrt(box_mean(detail, SPREAD) + (FLOOR * wide) ** 2).clamp_min(tiny)
    relative = torch.log(scale / wide).clamp(-4, 4)
    return Condition(scale=scale, maps=torch.cat([(image - box_mean(image, NEAR)) / scale, relative], 1))
