"""Images with holes: filled from around, dates matched to them and fitted into them. All local, free of contrast.

Images are (b, c, h, w); a mask is (b, c, h, w) or (b, 1, h, w), boolean, true where a value was measured. What stands
elsewhere, as long as it is finite, has no part in any result. Cells of `CELL` pixels begin at the first pixel.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sciddiff.tasks import regression
from sciddiff.tasks.local import box_mean

ROUNDS = (8, 6, 4, 2, 2)
"""Relaxations towards the membrane, finest level first, after the answer of the coarser level was brought up."""
CELL = 2 ** len(ROUNDS)
"""Side of the coarsest cells; windows must be aligned to it."""
SPREADS = 2
"""Coarsest cells by which known ones are continued into cells without any known pixel."""
LEVEL = 65
"""Side in pixels of the window of the levels that a date is matched about."""
NEIGHBOURHOODS = (3, 5, 9)
"""Sides, in cells, of the windows in which a date is matched; see `regression.gather`."""
RIDGE, FEW = 5.0, 4.0
"""Pixels that the beliefs count for that the bands of a date tell nothing of the image, and that its error is the
image's own spread."""
FADE = 8
"""Pixels from what is known over which the network's change of a fitted date rises to the whole of it: there the date
agrees with what was measured, and what the network adds shows as a seam."""
FLAG_COLOURS = {0: (230, 230, 230, 255), 1: (67, 147, 195, 255), 2: (214, 96, 77, 255)}
"""Of what a flag says of a pixel: observed, filled from another date, made up from what is around."""
FLAT = 1e-9
"""Spread of a band of a date, in that of its strongest, below which it tells nothing."""

FILL_RADIUS = sum((rounds + 2) * 2**level for level, rounds in enumerate(ROUNDS)) + (SPREADS + 1) * CELL
"""How far `fill` looks, in pixels: cells, relaxations and the way up, level by level."""
REACH = SPREADS * CELL
"""A pixel with a known one within this many rows and columns gets a value of `fill`; one farther away may get zero."""
MATCH_RADIUS = LEVEL // 2 + regression.radius(NEIGHBOURHOODS)
"""How far `match` looks, in pixels."""
INSERT_RADIUS = MATCH_RADIUS + FILL_RADIUS
"""How far a matched date that is fitted in by `membrane` looks, in pixels."""


def fill(image: Tensor, known: Tensor) -> Tensor:
    """Continue an image into its holes: means of known pixels over cells, brought up and relaxed to a membrane.

    Parameters
    ----------
    image
        (b, c, h, w).
    known
        Where it was measured.

    Returns
    -------
    Tensor
        (b, c, h, w), known pixels bit for bit as they were; zero beyond reach of any.

    Notes
    -----
    The pyramid is that of Gortler, Grzeszczuk, Szeliski and Cohen 1996 (pull-push): a cell with one known pixel is
    known. The relaxation is Jacobi's for Laplace's equation, known cells held.
    """
    known = known.expand_as(image)
    c = image.shape[1]
    # each level is (value times weight, weight): both go through the same linear steps, their ratio is the answer
    held = torch.cat([torch.where(known, image, 0), known.to(image.dtype)], 1)
    levels = [F.pad(held, (0, -image.shape[3] % CELL, 0, -image.shape[2] % CELL))]
    for _ in ROUNDS:
        cells = 4 * F.avg_pool2d(levels[-1], 2)
        levels.append(cells / cells[:, c:].clamp_min(1).repeat(1, 2, 1, 1))
    state = _spread(levels.pop())
    for rounds in reversed(ROUNDS):
        held = levels.pop()
        free = 1 - held[:, c:].repeat(1, 2, 1, 1)
        state = held + free * F.interpolate(state, scale_factor=2, mode="bilinear", align_corners=False)
        for _ in range(rounds):
            state = held + free * _neighbours(state)
    state = state[..., : image.shape[2], : image.shape[3]]
    return torch.where(known, image, _ratio(state[:, :c], state[:, c:]))


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean, zero where there is no weight."""
    return torch.where(weight > 0, total / weight.clamp_min(torch.finfo(weight.dtype).tiny), 0)


def _spread(cells: Tensor) -> Tensor:
    """Cells without any known pixel get the mean of those beside, `SPREADS` times; the others stay."""
    c = cells.shape[1] // 2
    for _ in range(SPREADS):
        near = box_mean(cells, 3)
        reached = (cells[:, c:] > 0).repeat(1, 2, 1, 1)
        cells = torch.where(reached, cells, near)
    return torch.where((weight := cells[:, c:].repeat(1, 2, 1, 1)) > 0, cells / weight.clamp_min(1e-30), 0)


def _neighbours(value: Tensor) -> Tensor:
    """Mean of the four neighbours; edges continued."""
    padded = F.pad(value, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return (rows + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4


def match(date: Tensor, image: Tensor, *, seen: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Bring a date to the radiometry of an image: local regression of each band on all bands of the date.

    Parameters
    ----------
    date, image
        (b, c, h, w); the first pixel begins a cell of `regression.CELL` pixels.
    seen, known
        Where each was measured.

    Returns
    -------
    matched : Tensor
        (b, c, h, w); a band that the date lacks at a pixel counts as its mean around there. Zero without a pixel
        within reach that both have.
    error : Tensor
        Variance of the image about the matched date, in the image's unit squared; infinite there.

    Notes
    -----
    Least squares with a ridge, about levels over `LEVEL` pixels: where the two dates do not agree the slopes go to zero
    and the matched date to the image's mean. With the membrane over it, on pairs of four summers of one place in four
    bands, it errs 0.6 to 0.9 dB less than a gain and an offset for each band.
    """
    height, width = image.shape[2:]
    common = (seen & known).expand_as(image)
    weight = common.to(image.dtype)
    share = box_mean(weight, LEVEL)
    # first: the squares of raw digital numbers would lose the contrast
    date_level, image_level = (_ratio(box_mean(torch.where(common, z, 0), LEVEL), share) for z in (date, image))
    x = torch.where(seen.expand_as(date), date - date_level, 0)
    y = torch.where(common, image - image_level, 0)
    x, y, weight = (regression.whole_cells(each) for each in (x, y, weight))
    parts = [_match_band(x, y[:, j : j + 1], weight[:, j : j + 1]) for j in range(image.shape[1])]
    change, error, there = (torch.cat(each, 1)[..., :height, :width] for each in zip(*parts, strict=True))
    told = (there > 0) & (share > 0)
    error = _ratio(error, there).clamp_min(torch.finfo(image.dtype).tiny ** 0.5)
    matched = image_level + _ratio(change, there)
    return torch.where(told, matched, 0), torch.where(told, error, torch.inf)


def _match_band(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One band (b, 1, h, w) on all of x: values and their error, each times the share of cells that tell, and that."""
    found = regression.moments(x, y, weight, sides=NEIGHBOURHOODS)
    count, some = found.pixels, found.pixels > 0
    strongest = found.spread.amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny ** 0.5)
    slope = regression.slopes(found, RIDGE * (found.spread + FLAT * strongest))
    level = found.mean_y - (slope * found.mean_x[:, :, None]).sum(1)
    values = regression.evaluate(torch.zeros_like(y), x, slope=slope, level=level)
    square = regression.gather(weight * y**2, NEIGHBOURHOODS) / count.clamp_min(1e-6) - found.mean_y**2
    misfit = regression.gather(weight * (y - values) ** 2, NEIGHBOURHOODS)
    error = (misfit + FEW * square.clamp_min(0)) / (count + FEW)
    return values, regression.to_pixels(error * some, y.dtype), regression.to_pixels(some.to(count), y.dtype)


def membrane(matched: Tensor, image: Tensor, common: Tensor) -> Tensor:
    """Fit a date into an image: what is left between them around a hole is continued into it.

    Parameters
    ----------
    matched, image
        (b, c, h, w).
    common
        Where both were measured.

    Returns
    -------
    Tensor
        The date, equal to the image at every common pixel but for rounding, (b, c, h, w).
    """
    return matched + fill(image - matched, common)


def faded(x: Tensor, base: Tensor, *, known: Tensor, fitted: Tensor) -> Tensor:
    """A result drawn to its base towards what is known, where the base is a date that was fitted in.

    Parameters
    ----------
    x, base
        (b, c, h, w).
    known, fitted
        Where something was measured, and where the base is a fitted date, (b, c, h, w) or (b, 1, h, w), boolean.

    Returns
    -------
    Tensor
        (b, c, h, w): base + d / `FADE` (x - base) where fitted and d, the rows or columns to the nearest known pixel,
        is less than `FADE`; x elsewhere.
    """
    share = depth(known.to(x), FADE)
    return torch.where(fitted & (share < 1), base + share * (x - base), x)


def depth(known: Tensor, width: int) -> Tensor:
    """How deep in a hole a pixel lies: rows or columns to the nearest known one over `width`, at most 1; 0 where known.

    >>> depth(torch.tensor([[[[1.0, 0, 0, 0]]]]), 2).tolist()
    [[[[0.0, 0.5, 1.0, 1.0]]]]
    """
    total = torch.zeros_like(known)
    for _ in range(width):
        total = total + (1 - known)
        known = F.max_pool2d(known, 3, stride=1, padding=1)
    return total / width


def by_band(
    image: Tensor, known: Tensor, method: Callable[[NDArray[np.floating], NDArray[np.bool_]], NDArray[np.floating]]
) -> Tensor:
    """A classical method on each band by itself, for each may have holes of its own; one that is nowhere stays.

    Parameters
    ----------
    image, known
        (b, c, h, w).
    method
        Of (1, h, w) and where it is missing, (h, w).
    """
    result = image.cpu().numpy().copy()
    missing = ~known.cpu().numpy()
    for at in np.ndindex(*result.shape[:2]):
        if not missing[at].all():
            result[at] = method(result[at][None], missing[at])[0]
    return torch.from_numpy(result).to(image)
