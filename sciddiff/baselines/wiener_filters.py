"""Wiener filters of finite support for a Gaussian blur, pixels that add up light, and white noise.

The interpolators of `interpolation.mmse_filters` for other instruments: with a ratio of one they sharpen only.
"""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciddiff.baselines.interpolation import polyphase, solved_filters

REACH = 3
"""Radius of the filters in standard deviations of the blur."""
LEAST_RADIUS = 4
"""Of the filters, in low-resolution pixels."""


def filter_radius(width: float) -> int:
    """Radius of the filters in low-resolution pixels, for a blur of that standard deviation in the same pixels."""
    return max(LEAST_RADIUS, math.ceil(REACH * width))


def line_response(width: float, ratio: int, size: int) -> NDArray[np.float64]:
    """Transfer function along one axis of the blur and of the mean over a block's pixels, about the block's middle.

    Parameters
    ----------
    width
        Standard deviation of the Gaussian in high-resolution pixels, sampled at whole ones within four of it.
    ratio
        High-resolution pixels along a block.
    size
        Number of frequencies, as `numpy.fft.fftfreq` orders them.
    """
    f = np.fft.fftfreq(size)
    tap = np.arange(math.ceil(4 * width) + 1)
    weights = np.exp(-(tap**2) / (2 * width**2))
    blur = (weights[0] + 2 * np.cos(2 * math.pi * np.outer(f, tap[1:])) @ weights[1:]) / (2 * weights.sum() - 1)
    places = np.arange(ratio) - (ratio - 1) / 2
    return np.asarray(blur * np.cos(2 * math.pi * np.outer(f, places)).mean(1))


@functools.cache
def wiener_filters(width: float, ratio: int, *, noise: float, radius: int, beta: float = 2.6) -> Tensor:
    """Filters of least mean square error for a blurred, binned and noisy image of a scene with a power law.

    Parameters
    ----------
    width
        Standard deviation of the Gaussian blur, in low-resolution pixels.
    ratio
        High-resolution pixels along a low one, whose light it adds up.
    noise
        Variance of the white noise as a share of the low image's variance.
    radius
        Of the filters, in low-resolution pixels.
    beta
        The scene's power spectrum is 1 / f^beta.

    Returns
    -------
    Tensor
        (ratio, ratio, 2 radius + 1, 2 radius + 1), float64; each phase sums to one.

    Notes
    -----
    The normal equations of `interpolation.mmse_filters`. With a ratio of one and no bound of the radius they give the
    Wiener filter H P / (H^2 P + N) (Wiener 1949).
    """
    size = 64 * ratio
    f = np.fft.fftfreq(size)
    power = 1 / (f[:, None] ** 2 + f[None] ** 2 + 1e-5) ** (beta / 2)
    line = line_response(width * ratio, ratio, size)
    middle = (ratio - 1) / 2 - (ratio - 1) // 2
    centred = line * np.exp(-2j * math.pi * f * middle)
    auto = np.fft.ifft2(power * np.outer(line, line) ** 2).real
    cross = np.fft.ifft2(power * np.outer(centred, centred)).real
    return solved_filters(auto, cross, ratio=ratio, radius=radius, noise=noise)


@functools.cache
def missing_over_detail(width: float, ratio: int, *, noise: float, beta: float = 2.6, side: int) -> float:
    """What a Wiener filter leaves of a scene with a power law, over the detail of what it gives; standard deviations.

    Parameters
    ----------
    width, ratio, noise, beta
        See `wiener_filters`.
    side
        Detail is the estimate less its mean over that many pixels, squared, of the high-resolution grid.

    Notes
    -----
    Of the unbounded filter, with P the scene's spectrum and N the noise's on the high-resolution grid: it leaves
    P N / (H^2 P + N) and gives H^2 P^2 / (H^2 P + N).
    """
    size = 128
    f = np.fft.fftfreq(size)
    power = 1 / (f[:, None] ** 2 + f[None] ** 2 + 1e-5) ** (beta / 2)
    line = line_response(width * ratio, ratio, size)
    seen = power * np.outer(line, line) ** 2
    white = noise * seen.mean() * ratio**2
    mean = np.cos(2 * math.pi * np.outer(f, np.arange(side) - side // 2)).mean(1)
    detail = (1 - np.outer(mean, mean)) ** 2
    return float(np.sqrt((power * white / (seen + white)).mean() / (detail * power * seen / (seen + white)).mean()))


class Deconvolver:
    """`wiener_filters` for any width and noise of a range: solved on a grid, mixed linearly between its points.

    Parameters
    ----------
    ratio
        High-resolution pixels along a low one.
    widths
        Range of the blur's standard deviation, in low-resolution pixels.
    noise
        Range of the noise's standard deviation as a share of the image's; beyond it the nearest is taken.
    step
        Largest spacing of the widths.
    levels
        Noise levels of the grid for each factor of ten.
    """

    def __init__(
        self, ratio: int, *, widths: tuple[float, float], noise: tuple[float, float], step: float, levels: int = 2
    ):
        self.ratio, self.radius = ratio, filter_radius(widths[1])
        count = max(2, math.ceil(round((widths[1] - widths[0]) / step, 6)) + 1)
        self.widths = torch.linspace(*widths, count, dtype=torch.float64)
        decades = math.log10(noise[1] / noise[0])
        self.levels = torch.logspace(
            math.log10(noise[0]), math.log10(noise[1]), max(2, math.ceil(levels * decades) + 1), dtype=torch.float64
        )

    def missing(self, width: Tensor, noise: Tensor, *, side: int) -> Tensor:
        """`missing_over_detail` for widths and noise levels (b,), each: mixed linearly as the filters are."""
        (at, part), (level, share) = self._places(width, noise)
        total = torch.zeros_like(part)
        for more, weight in ((0, 1 - part), (1, part)):
            for louder, own in ((0, 1 - share), (1, share)):
                places = zip(self.widths[at + more].tolist(), self.levels[level + louder].tolist(), strict=True)
                found = [missing_over_detail(each, self.ratio, noise=loud**2, side=side) for each, loud in places]
                total += weight * own * torch.tensor(found, dtype=torch.float64)
        return total

    def _places(self, width: Tensor, noise: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return _place(width.double().cpu(), self.widths), _place(noise.double().cpu().log(), self.levels.log())

    def __call__(self, low: Tensor, width: Tensor, noise: Tensor) -> Tensor:
        """Deconvolve (b, c, h, w) for widths (b, c) and noise levels (b,) to (b, c, h ratio, w ratio)."""
        (at, part), (level, share) = self._places(width, noise)
        level, share = level[:, None].expand_as(at), share[:, None].expand_as(part)
        total = torch.zeros(())
        for more, weight in ((0, 1 - part), (1, part)):
            for louder, own in ((0, 1 - share), (1, share)):
                total = total + (weight * own)[..., None, None, None, None] * self._filters(at + more, level + louder)
        return polyphase(low, total)

    def _filters(self, width: Tensor, level: Tensor) -> Tensor:
        places = zip(self.widths[width].flatten().tolist(), self.levels[level].flatten().tolist())
        found = [wiener_filters(each, self.ratio, noise=noise**2, radius=self.radius) for each, noise in places]
        return torch.stack(found).unflatten(0, width.shape)


def _place(value: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the grid's point below a value, and the share of the one above, on an even grid."""
    step = (grid[1] - grid[0]).clamp_min(1e-12)  # zero where a range is one number
    at = ((value - grid[0]) / step).clamp(0, len(grid) - 1)
    lower = at.floor().clamp(max=len(grid) - 2)
    return lower.long(), at - lower
