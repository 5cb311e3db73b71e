"""Other dates of a place brought to look like the target, and holes filled from them and from what is around.

A date is matched by a local linear regression over all its bands (Hall, Strebel, Nickeson and Goetz 1991 do it band by
band and for a whole scene): vegetation, soil and water that have changed in different ways are told apart by their
spectra. What is left at the rim of a hole is continued into it. All is local: no statistic is of the whole window.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.tasks import regression
from sciddiff.tasks.local import box_mean
from sciddiff.tasks.regression import CELL, whole_cells

NEIGHBOURHOODS = (3, 7, 17)
"""Sides, in cells, of the windows whose sums are added, each over its side: a near pixel counts in all of them."""
RIM = (3, 7, 15, 31)
"""Sides, in pixels, of the boxes that carry the misfit at a hole's rim into it."""
RELAXED = (3, 3, 2, 2)
"""Relaxations of a fill from around on grids of 1, 2, 4 and 8 pixels."""
FAR = (3, 7, 15)
"""Sides, in cells, of the boxes that bridge the widest holes."""
RIDGE = 60.0
"""Pixels that the belief in an unchanged spectrum counts for."""
FEW = 16.0
"""Pixels that the belief in an unchanged mean counts for."""
DOUBT = 100.0
"""Pixels at the far end of the rim's window that the belief in no misfit counts for."""
FALLING = 2.0
"""Weight of a box of side s is s^-FALLING, so that a pixel at distance r counts as r^-(2 + FALLING)."""
LEAST = 0.002
"""Reflectance below which differences are noise."""

MATCH_RADIUS = regression.radius(NEIGHBOURHOODS)
RIM_RADIUS = RIM[-1] // 2
AROUND_RADIUS = FAR[-1] // 2 * CELL + sum((rounds + 2) * 2**level for level, rounds in enumerate(RELAXED))


@dataclass(frozen=True)
class Matched:
    """Dates as the target would show them.

    Attributes
    ----------
    values
        (b, k, c, h, w); where a date is not clear they mean nothing.
    variance
        Of the target about them, as seen where both are clear, (b, k, c, h, w).
    """

    values: Tensor
    variance: Tensor


def match(target: Tensor, dates: Tensor, *, clear: Tensor, seen: Tensor) -> Matched:
    """Bring dates to the radiometry of the target.

    Parameters
    ----------
    target
        (b, c, h, w).
    dates
        (b, k, c, h, w).
    clear
        Where the target is known, (b, 1, h, w), 0 or 1.
    seen
        Where each date is, (b, k, 1, h, w).
    """
    height, width = target.shape[2:]
    common = [whole_cells(clear * seen[:, k]) for k in range(dates.shape[1])]
    whole, target = whole_cells(dates.flatten(1, 2)).unflatten(1, dates.shape[1:3]), whole_cells(target)
    parts = [_match_one(target, whole[:, k], common=each) for k, each in enumerate(common)]
    return Matched(*(torch.stack(each, 1)[..., :height, :width] for each in zip(*parts, strict=True)))


def _match_one(target: Tensor, date: Tensor, *, common: Tensor) -> tuple[Tensor, Tensor]:
    """Regress target - date on the date's bands in windows, shrunk towards no change; (b, c, h, w) twice."""
    found = regression.moments(date, target - date, common, sides=NEIGHBOURHOODS)
    spread, count = found.spread + LEAST**2, found.pixels
    slope = regression.slopes(found, RIDGE * spread)
    level = found.mean_y * count / (count + FEW) - (slope * found.mean_x[:, :, None]).sum(1)
    values = regression.evaluate(date, date, slope=slope, level=level)
    misfit = regression.gather(common * (target - values) ** 2, NEIGHBOURHOODS)
    prior = 0.2 * spread + (5 * LEAST) ** 2
    variance = (misfit + FEW * prior) / (count + FEW)
    return values, regression.to_pixels(variance, date.dtype)


def contrast(image: Tensor, known: Tensor, *, prior: Tensor) -> Tensor:
    """Standard deviation of what is known around, (b, c, h, w), drawn to that of the prior where little is.

    Parameters
    ----------
    image
        (b, c, h, w).
    known
        (b, 1, h, w), 0 or 1.
    prior
        What is expected of each band, (c,); a quarter of it is the standard deviation expected.
    """
    height, width = image.shape[2:]
    known, image = whole_cells(known), whole_cells(image)
    count = regression.gather(known, NEIGHBOURHOODS)
    mean = regression.gather(known * image, NEIGHBOURHOODS) / count.clamp_min(1e-6)
    square = (regression.gather(known * image**2, NEIGHBOURHOODS) - count * mean**2).clamp_min(0)
    expected = (0.25 * prior.double().view(-1, 1, 1)) ** 2
    variance = regression.to_pixels((square + FEW * expected) / (count + FEW), image.dtype)
    return variance[..., :height, :width].clamp_min(LEAST**2).sqrt()


def carry(image: Tensor, known: Tensor, *, sides: tuple[int, ...], doubt: float = 0.0) -> Tensor:
    """Average of what is known around, the near counting most: normalised convolution with a kernel that falls slowly.

    Parameters
    ----------
    image
        (b, c, h, w).
    known
        (b, 1, h, w), 0 or 1.
    sides
        Of the boxes that make up the kernel, in pixels.
    doubt
        Weight of the belief in zero, in pixels of the largest box.

    Returns
    -------
    Tensor
        (b, c, h, w), zero where nothing is known.
    """
    total = _spread(torch.cat([image * known, known], 1), sides)
    weight = total[:, -1:] + doubt * sides[-1] ** -(2 + FALLING)
    return total[:, :-1] / weight.clamp_min(1e-12)


def _spread(image: Tensor, sides: tuple[int, ...]) -> Tensor:
    total = torch.zeros_like(image)
    for side in sides:
        total = total + side**-FALLING * box_mean(image, side)
    return total


def surround(image: Tensor, known: Tensor, *, prior: Tensor) -> Tensor:
    """Fill from what is known around, as a membrane would; the prior, where nothing is known for many cells.

    Parameters
    ----------
    image
        (b, c, h, w).
    known
        (b, 1, h, w), 0 or 1.
    prior
        What is expected of each band, (c,).

    Returns
    -------
    Tensor
        (b, c, h, w), the image where it is known.

    Notes
    -----
    A pyramid of means of what is known (pull and push: Gortler, Grzeszczuk, Szeliski and Cohen 1996). Its coarsest
    cells are filled by a kernel that falls slowly; on the way up each level is relaxed towards the mean of neighbours.
    """
    height, width = image.shape[2:]
    rest = prior.view(-1, 1, 1)
    levels = [(whole_cells((image - rest) * known), whole_cells(known))]
    for _ in RELAXED[1:]:
        levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
    means = [total / share.clamp_min(1e-12) for total, share in levels]
    state = carry(means[-1], (levels[-1][1] > 0).to(image), sides=FAR, doubt=0.1)
    for level in reversed(range(len(RELAXED))):
        if level < len(RELAXED) - 1:
            state = F.interpolate(state, scale_factor=2, mode="bilinear", align_corners=False)
        held = levels[level][1] > 0
        state = torch.where(held, means[level], state)
        for _ in range(RELAXED[level]):
            state = torch.where(held, means[level], box_mean(state, 3))
    return torch.where(known > 0, image, (rest + state[..., :height, :width]))
