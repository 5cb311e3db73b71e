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

from sciddiff.tasks.local import box_mean

ROUNDS = (8, 6, 4, 2, 2)
"""Relaxations towards the membrane, finest level first, after the answer of the coarser level was brought up."""
CELL = 2 ** len(ROUNDS)
"""Side of the coarsest cells; windows must be aligned to it."""
SPREADS = 2
"""Coarsest cells by which known ones are continued into cells without any known pixel."""
NEAR, WIDE = 17, 65
"""Sides of the two windows in which a date is matched."""
ENOUGH = 0.1
"""Weight of the wide window's means against those of the near one: they count where that holds few pixels."""
TRUST = 0.02
"""Share of a date's variance over the wide window that its variance must exceed for a gain to be told."""

FILL_RADIUS = sum((rounds + 2) * 2**level for level, rounds in enumerate(ROUNDS)) + (SPREADS + 1) * CELL
"""How far `fill` looks, in pixels: cells, relaxations and the way up, level by level."""
REACH = SPREADS * CELL
"""A pixel with a known one within this many rows and columns gets a value of `fill`; one farther away may get zero."""
MATCH_RADIUS = 2 * (WIDE // 2)
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


def match(date: Tensor, image: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
    """Bring a date to the radiometry of an image: local regression over the pixels that both have.

    Parameters
    ----------
    date, image
        (b, c, h, w).
    common
        Where both were measured.

    Returns
    -------
    matched : Tensor
        gain date + offset, (b, c, h, w), for every pixel of the date; zero without a common pixel within reach.
    error : Tensor
        Variance of the image about the matched date over the window, in the image's unit squared; infinite there.

    Notes
    -----
    Local linear histogram matching (Scaramuzza, Micijevic, Chander 2004) with the slope of least squares instead of
    the ratio of spreads: where the two dates do not agree it goes to zero and the matched date to the image's mean.
    Means are box means over `NEAR` and, by weight `ENOUGH`, over `WIDE` pixels.
    """
    weight = common.to(image.dtype).expand_as(image)
    share = box_mean(weight, WIDE)
    date_level, image_level = (_ratio(box_mean(each * weight, WIDE), share) for each in (date, image))
    # first: the squares of raw digital numbers would lose the contrast
    x, y = (date - date_level) * weight, (image - image_level) * weight
    count = _window(weight)
    mean_x, mean_y, square_x, square_y, product = (_ratio(_window(z), count) for z in (x, y, x * x, y * y, x * y))
    variance = (square_x - mean_x**2).clamp_min(0)
    covariance = product - mean_x * mean_y
    gain = _ratio(covariance, variance + TRUST * _ratio(box_mean(x * x, WIDE), share))
    matched = image_level + mean_y + gain * (date - date_level - mean_x)
    error = square_y - mean_y**2 - 2 * gain * covariance + gain**2 * variance
    error = error.clamp_min(torch.finfo(image.dtype).tiny ** 0.5)
    return torch.where(count > 0, matched, 0), torch.where(count > 0, error, torch.inf)


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


def _window(image: Tensor) -> Tensor:
    """Box mean over the near window, and a little of the wide one."""
    return box_mean(image, NEAR) + ENOUGH * box_mean(image, WIDE)


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
