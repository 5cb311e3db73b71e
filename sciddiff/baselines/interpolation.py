"""Interpolators on exact pixel geometry: every one a small filter for each phase of the block.

A low pixel covers its ratio x ratio block, so high pixel p of a block lies at (p + 1/2) / ratio - 1/2 low pixels
from the block's centre. Edges are continued by their last pixel.
"""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

MMSE_RADIUS = 4
"""Of the linear minimum-mean-square-error interpolator, in low-resolution pixels."""


def polyphase(low: Tensor, filters: Tensor) -> Tensor:
    """Interpolate by one filter a phase.

    Parameters
    ----------
    low
        (b, c, h, w).
    filters
        (ratio, ratio, k, k) for all bands, or (b or 1, c, ratio, ratio, k, k); k odd.

    Returns
    -------
    Tensor
        (b, c, h ratio, w ratio).
    """
    b, c, h, w = low.shape
    ratio, size = filters.shape[-3], filters.shape[-1]
    sets = filters.shape[0] if filters.ndim == 6 else 1
    weights = filters.to(low).expand(sets, c, ratio, ratio, size, size).reshape(-1, 1, size, size)
    padded = F.pad(low.reshape(-1, sets * c, h, w), (size // 2,) * 4, mode="replicate")
    # channels last, as one set of filters a channel takes processors half the time
    phases = F.conv2d(padded.contiguous(memory_format=torch.channels_last), weights, groups=sets * c)
    # pixel_shuffle in one copy: torch's own takes three times as long
    blocks = phases.unflatten(1, (-1, ratio, ratio)).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(b, c, h * ratio, w * ratio)


def _separable(kernel: NDArray[np.float64]) -> Tensor:
    """Filters (ratio, ratio, k, k) from line filters (ratio, k), made to sum to one."""
    line = kernel / kernel.sum(1, keepdims=True)
    return torch.from_numpy(np.einsum("ia,jb->ijab", line, line))


def _offsets(ratio: int, radius: int) -> NDArray[np.float64]:
    """Distance in low pixels from each phase (rows) to each tap (columns)."""
    phase = (np.arange(ratio) + 0.5) / ratio - 0.5
    return phase[:, None] - np.arange(-radius, radius + 1)[None]


@functools.cache
def bicubic_filters(ratio: int) -> Tensor:
    """Cubic convolution with a = -1/2 (Keys 1981)."""
    x = np.abs(_offsets(ratio, 2))
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return _separable(np.where(x <= 1, near, np.where(x < 2, far, 0.0)))


@functools.cache
def lanczos_filters(ratio: int) -> Tensor:
    """Windowed sinc of three lobes (Duchon 1979)."""
    x = _offsets(ratio, 3)
    return _separable(np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0))


def bicubic(low: Tensor, ratio: int) -> Tensor:
    """Interpolate (b, c, h, w) by `ratio` with Keys' cubic convolution."""
    return polyphase(low, bicubic_filters(ratio))


def lanczos(low: Tensor, ratio: int) -> Tensor:
    """Interpolate (b, c, h, w) by `ratio` with the Lanczos kernel of three lobes."""
    return polyphase(low, lanczos_filters(ratio))


@functools.cache
def mmse_filters(
    gain: float,
    ratio: int,
    *,
    offset: tuple[float, float] | None = None,
    radius: int = MMSE_RADIUS,
    beta: float = 2.6,
    noise: float = 1e-4,
) -> Tensor:
    """Filters of the linear minimum-mean-square-error interpolator (simple kriging) for a sensor's MTF.

    Parameters
    ----------
    gain
        Of the sensor's MTF at the low grid's Nyquist frequency.
    ratio
        High-resolution pixels along a low one.
    offset
        Rows and columns by which the high grid begins after the low one, in high-resolution pixels: the filters for
        what `sensor.degrade_at` measures. Not given: the inverse of `sensor.degrade`.
    radius
        Of the filters, in low-resolution pixels.
    beta
        The scene's power spectrum is 1 / f^beta.
    noise
        Variance of the white noise as a share of the low image's variance.

    Returns
    -------
    Tensor
        (ratio, ratio, 2 radius + 1, 2 radius + 1), float64; each phase sums to one.

    Notes
    -----
    With C_yy the covariance of the low pixels and c_xy that of a high pixel with them, both inverse transforms of
    the spectrum times the MTF, the weights solve (C_yy + noise C_yy(0) I) w = c_xy.
    """
    size = 64 * ratio
    f = np.fft.fftfreq(size)
    f2 = f[:, None] ** 2 + f[None] ** 2
    power = 1 / (f2 + 1e-5) ** (beta / 2)
    sigma = ratio * math.sqrt(-2 * math.log(gain)) / math.pi
    middle = (ratio - 1) / 2 - (ratio - 1) // 2
    aperture = np.cos(math.pi * f) if middle and offset is None else np.ones(size)
    centres = [aperture * np.exp(-2j * math.pi * f * (middle - shift)) for shift in offset or (0.0, 0.0)]
    mtf = np.exp(-2 * math.pi**2 * sigma**2 * f2)
    auto = np.fft.ifft2(power * (mtf * np.outer(aperture, aperture)) ** 2).real
    cross = np.fft.ifft2(power * mtf * np.outer(*centres)).real
    return solved_filters(auto, cross, ratio=ratio, radius=radius, noise=noise)


def solved_filters(
    auto: NDArray[np.float64], cross: NDArray[np.float64], *, ratio: int, radius: int, noise: float
) -> Tensor:
    """Filters from the covariances of low pixels, and of high with low ones, by distance in high pixels (periodic)."""
    size = len(auto)
    tap = np.arange(-radius, radius + 1)
    grid = np.stack(np.meshgrid(tap, tap, indexing="ij"), -1).reshape(-1, 2)  # taps, (y, x)
    between = (grid[:, None] - grid[None]) * ratio % size
    c_yy = auto[between[..., 0], between[..., 1]] + noise * auto[0, 0] * np.eye(len(grid))
    phase = np.arange(ratio)
    block = np.stack(np.meshgrid(phase, phase, indexing="ij"), -1).reshape(-1, 2)
    to_tap = (block[:, None] - (ratio - 1) // 2 - grid[None] * ratio) % size
    weights = np.linalg.solve(c_yy, cross[to_tap[..., 0], to_tap[..., 1]].T).T
    weights /= weights.sum(1, keepdims=True)
    return torch.from_numpy(weights.reshape(ratio, ratio, 2 * radius + 1, 2 * radius + 1))


class GainInterpolator:
    """`mmse_filters` for any gain of a range: solved on a grid of gains, mixed linearly between two of them.

    Parameters
    ----------
    ratio
        High-resolution pixels along a low one.
    low, high
        Range of the gains.
    step
        Largest spacing of the grid.
    """

    def __init__(self, ratio: int, *, low: float, high: float, step: float):
        self.ratio = ratio
        count = max(2, math.ceil(round((high - low) / step, 6)) + 1)
        self.gains = torch.linspace(low, high, count, dtype=torch.float64)

    def __call__(self, low: Tensor, gain: Tensor, *, offset: tuple[float, float] | None = None) -> Tensor:
        """Interpolate (b, c, h, w) for gains (b, c); see `mmse_filters` for the offset."""
        at = (gain.double().cpu() - self.gains[0]) / (self.gains[1] - self.gains[0])
        lower = at.floor().clamp(0, len(self.gains) - 2)
        part = (at - lower)[..., None, None, None, None]
        below, above = (self._filters(lower.long() + more, offset) for more in (0, 1))
        return polyphase(low, below * (1 - part) + above * part)

    def _filters(self, index: Tensor, offset: tuple[float, float] | None) -> Tensor:
        gains = self.gains[index].flatten().tolist()
        filters = torch.stack([mmse_filters(gain, self.ratio, offset=offset) for gain in gains])
        return filters.unflatten(0, index.shape)


@functools.cache
def mmse_line_filters(
    gain: float, ratio: int, *, radius: int = MMSE_RADIUS, noise: float = 1e-3, beta: float = 1.6
) -> Tensor:
    """Filters of the interpolator of `mmse_filters` along one axis, (ratio, 2 radius + 1), float64.

    Parameters
    ----------
    gain
        Of the blur along the axis at the low grid's Nyquist frequency.
    ratio, radius, noise
        See `mmse_filters`.
    beta
        The power spectrum along a line is 1 / f^beta: that of a plane, 1 / f^(beta + 1), summed across the line.
    """
    size = 256 * ratio
    f = np.fft.fftfreq(size)
    power = 1 / (f**2 + 1e-5) ** (beta / 2)
    sigma = ratio * math.sqrt(-2 * math.log(gain)) / math.pi
    middle = (ratio - 1) / 2 - (ratio - 1) // 2
    aperture = np.cos(math.pi * f) if middle else np.ones(size)
    mtf = aperture * np.exp(-2 * math.pi**2 * sigma**2 * f**2)
    auto = np.fft.ifft(power * mtf**2).real
    cross = np.fft.ifft(power * mtf * np.exp(-2j * math.pi * f * middle)).real
    tap = np.arange(-radius, radius + 1)
    c_yy = auto[(tap[:, None] - tap) * ratio % size] + noise * auto[0] * np.eye(len(tap))
    to_tap = (np.arange(ratio)[:, None] - (ratio - 1) // 2 - tap * ratio) % size
    weights = np.linalg.solve(c_yy, cross[to_tap].T).T
    return torch.from_numpy(weights / weights.sum(1, keepdims=True))


class LineInterpolator(GainInterpolator):
    """`mmse_line_filters` for any gain of a range, along the rows axis."""

    def __call__(self, low: Tensor, gain: Tensor, *, offset: tuple[float, float] | None = None) -> Tensor:
        """Interpolate (b, c, h, w) for gains (b, c) to (b, c, h ratio, w)."""
        at = (gain.double().cpu() - self.gains[0]) / (self.gains[1] - self.gains[0])
        lower = at.floor().clamp(0, len(self.gains) - 2)
        part = (at - lower)[..., None, None]
        below, above = (self._line(lower.long() + more) for more in (0, 1))
        b, c, h, w = low.shape
        weights = (below * (1 - part) + above * part).to(low)  # b c ratio taps
        padded = F.pad(
            low.reshape(1, b * c, h, w), (0, 0, weights.shape[-1] // 2, weights.shape[-1] // 2), mode="replicate"
        )
        phases = F.conv2d(padded, weights.reshape(b * c * self.ratio, 1, -1, 1), groups=b * c)
        return phases.reshape(b, c, self.ratio, h, w).transpose(2, 3).reshape(b, c, h * self.ratio, w)

    def _line(self, index: Tensor) -> Tensor:
        filters = torch.stack([mmse_line_filters(gain, self.ratio) for gain in self.gains[index].flatten().tolist()])
        return filters.unflatten(0, index.shape)


def linear_rows(low: Tensor, ratio: int) -> Tensor:
    """Interpolate (b, c, h, w) linearly along the rows axis to (b, c, h ratio, w)."""
    return F.interpolate(low, scale_factor=(ratio, 1), mode="bilinear", align_corners=False)


def cubic_rows(low: Tensor, ratio: int) -> Tensor:
    """Interpolate (b, c, h, w) along the rows axis to (b, c, h ratio, w) with a cubic convolution (a = -3/4)."""
    return F.interpolate(low, scale_factor=(ratio, 1), mode="bicubic", align_corners=False)
