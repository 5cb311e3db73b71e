"""Local Wiener filters on the bands of an undecimated wavelet transform, for white noise of variance one."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.tasks.local import box_mean

TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Cubic B-spline; at scale j its taps lie 2^j pixels apart (Starck, Murtagh, Bijaoui 1998, a trous)."""
SCALES = 4
SIDES = (9, 11, 17, 33)
"""Sides of the windows in which the power of each band is told from the noise's."""
MARGIN = 1.1
"""Share of the noise's power that counts as noise there: the power of a window is itself uncertain."""
NEAR = 5
"""Side of the window in which the power of each band's first estimate is taken for that of the signal."""
PILOT = 0.7
"""Share of the noise's power set against it: the first estimate has lost some of the signal's."""
FAINT = 0.02
"""Share of a band's noise that is left as doubt where nothing stands out from it: what is fainter is missed."""
RADIUS = 2 * (2**SCALES - 1) + SIDES[-1] // 2 + NEAR // 2


class Smooth(NamedTuple):
    """Estimate of the clean image, and the standard deviation of its error as the filters expect it, (b, c, h, w)."""

    estimate: Tensor
    spread: Tensor


def smooth(image: Tensor) -> Smooth:
    """Take white noise of variance one off an image, band by band.

    Parameters
    ----------
    image
        (b, c, h, w).

    Returns
    -------
    Smooth
        The sum of the bands, each times p / (p + v) for its noise's variance v and the signal's local power p; and the
        root of the sum of their errors v p / (p + v), there with p as the excess of a window's power over the noise's,
        because the first estimate misses part of it. The coarsest mean stays.

    Notes
    -----
    The signal's power comes from a first estimate, itself a Wiener filter by the power of the noisy band in a wider
    window (Ghael, Sayeed, Baraniuk 1997: the empirical Wiener filter of wavelets).
    """
    noise = band_noise()
    coarse, estimate = image, torch.zeros_like(image)
    error = torch.full_like(image, noise[-1])
    for scale, side in enumerate(SIDES):
        mean = _mean(coarse, 2**scale)
        band, own = coarse - mean, noise[scale]
        power = box_mean(band.square(), side)
        first = (power - MARGIN * own).clamp_min(0) / power.clamp_min(own) * band
        signal = box_mean(first.square(), NEAR)
        estimate = estimate + signal / (signal + PILOT * own) * band
        excess = (power - own).clamp_min(0) / power.clamp_min(own)
        error = error + own * (FAINT + (1 - FAINT) * box_mean(excess, NEAR))
        coarse = mean
    return Smooth(estimate + coarse, error.sqrt())


def band_noise() -> tuple[float, ...]:
    """Variance of white noise of variance one in each band, finest first, and in what is left: sums of squared taps."""
    side = 2 * RADIUS + 1
    impulse = torch.zeros(1, 1, side, side, dtype=torch.float64)
    impulse[..., RADIUS, RADIUS] = 1
    variances = []
    for scale in range(SCALES):
        mean = _mean(impulse, 2**scale)
        variances.append(float((impulse - mean).square().sum()))
        impulse = mean
    return (*variances, float(impulse.square().sum()))


def _mean(image: Tensor, step: int) -> Tensor:
    """Spline mean with taps `step` pixels apart, edges continued by their last pixel."""
    b, c, h, w = image.shape
    taps = torch.tensor(TAPS, dtype=image.dtype, device=image.device)
    flat = image.reshape(b * c, 1, h, w)
    pad = 2 * step
    rows = F.conv2d(F.pad(flat, (0, 0, pad, pad), mode="replicate"), taps.view(1, 1, 5, 1), dilation=step)
    return F.conv2d(F.pad(rows, (pad, pad, 0, 0), mode="replicate"), taps.view(1, 1, 1, 5), dilation=step).view(
        b, c, h, w
    )
