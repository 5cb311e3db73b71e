"""The noise law Var[y] = a E[y] + b from images alone, from dark and flat exposures, or from what lies beyond the optics.

Two views of a block of pixels: its mean, and the variance of a second difference that smooth structure hardly passes
(Immerkaer 1996). Noise puts all blocks on the line; texture lifts some above it, and shows at coarser scale too, which
tells it from noise. Clipped blocks lie below the line and are left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.errors import InputError

Array = NDArray[np.generic]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]

BLOCK = 8
"""Side of a block in pixels."""

CLIPPED = 0.05
"""Share of a block's pixels that may lie at the lowest or highest value where those pile up."""

FLOOR = 0.02
"""Variance anywhere in the image's range, at least, as a share of the median block's: a line may not fall to zero."""

MIN_BLOCKS = 32
_PIECES = 24  # of the range of means, from which the first line is drawn
_ROUNDS = 12  # of the reweighted fit


class _Blocks(NamedTuple):
    """Mean, variance of the second difference, and variance expected of four quarters' means: equal for pure noise."""

    mean: Double
    variance: Double
    coarse: Double


def noise_law(planes: Array, *, spacing: int = 1) -> tuple[float, float]:
    """Estimate the noise law of images from themselves.

    Parameters
    ----------
    planes
        (..., h, w): an image, or planes and windows of one stack with one camera and gain; NaN where invalid.
    spacing
        Pixels between the taps of the second difference. Two where the noise of neighbours is correlated (interpolated,
        slightly smoothed or demosaiced images): one would see too little of it; but two sees more texture.

    Returns
    -------
    a, b
        In units and squared units of the image: a >= 0, and a y + b > 0 over the range of its block means. Rounding is
        part of b.

    Raises
    ------
    InputError
        For planes with fewer than `MIN_BLOCKS` usable blocks of `BLOCK` pixels, or without any noise.
    """
    image = np.asarray(planes, np.float64)
    blocks = _blocks(image.reshape(-1, *image.shape[-2:]), spacing)
    if blocks.mean.size < MIN_BLOCKS:
        raise InputError(
            f"{blocks.mean.size} usable blocks of {BLOCK} x {BLOCK} pixels in planes of shape {image.shape}; "
            f"noise needs {MIN_BLOCKS}: give more or larger planes"
        )
    if not np.median(blocks.variance) > 0:
        raise InputError("half of the blocks are constant; no noise to estimate: give its law instead")
    return _bounded(*_fit(blocks), blocks)


def _blocks(planes: Double, spacing: int) -> _Blocks:
    parts = [_blocks_of(plane, spacing, _piled(planes)) for plane in planes if min(plane.shape) > BLOCK + 2 * spacing]
    if not parts:
        return _Blocks(*np.empty((3, 0)))
    used = [np.concatenate([part[n] for part in parts]) for n in range(4)]
    free = used[3] <= CLIPPED
    if free.sum() < max(MIN_BLOCKS, 0.05 * free.size):  # a picture of few counts, where zeros are counts too
        free[:] = True
    return _Blocks(*(values[free] for values in used[:3]))


def _piled(planes: Double) -> list[float]:
    """The ends of the range where more values pile up than beside them."""
    values = planes[np.isfinite(planes)]
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return [end for end in (low, high) if (values == end).mean() > 1e-3]


def _blocks_of(plane: Double, spacing: int, piled: Sequence[float]) -> tuple[Double, Double, Double, Double]:
    """Mean, variance, coarse variance and share of clipped pixels of the plane's whole and finite blocks."""
    line = np.zeros(2 * spacing + 1)
    line[::spacing] = 1, -2, 1
    second = ndimage.convolve1d(ndimage.convolve1d(plane, line, axis=0), line, axis=1)
    inner = (slice(spacing, -spacing),) * 2
    cut = np.isin(plane, piled).astype(np.float64)
    values, residual, clipped = (_tiles(image[inner]) for image in (plane, second / 6, cut))
    half = BLOCK // 2
    quarters = values.reshape(-1, 2, half, 2, half).mean((2, 4)).reshape(-1, 4)
    coarse = quarters.var(1, ddof=1) * half**2
    result = values.mean((1, 2)), (residual**2).mean((1, 2)), coarse, clipped.mean((1, 2))
    known = np.isfinite(result[0] + result[1])
    return result[0][known], result[1][known], result[2][known], result[3][known]


def _tiles(image: Double) -> Double:
    """Blocks (n, BLOCK, BLOCK)."""
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    cut = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return cut.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


def _fit(blocks: _Blocks) -> tuple[float, float]:
    """Line through the blocks that hold nothing but noise: reweighted by the line itself, texture left out."""
    line = _lower_line(blocks)
    spread = 0.35  # relative standard deviation of a block's variance, for Gaussian noise; measured below
    for _ in range(_ROUNDS):
        expected = _positive(line, blocks)
        smooth = (blocks.coarse < 3.5 * expected) & (blocks.variance < (1 + 3 * spread) * expected)
        smooth &= blocks.variance > 0
        if smooth.sum() < MIN_BLOCKS // 2:
            break
        line = _line(blocks.mean[smooth], blocks.variance[smooth], expected[smooth])
        ratio = blocks.variance[smooth] / _positive(line, blocks)[smooth]
        spread = float(np.clip(1.4826 * np.median(np.abs(ratio - np.median(ratio))), 0.2, 0.6))
    return line


def _lower_line(blocks: _Blocks) -> tuple[float, float]:
    """First line: the lower fifth of the variances in each piece of the range of means."""
    order = np.argsort(blocks.mean)
    pieces = [piece for piece in np.array_split(order, _PIECES) if piece.size]
    mean = np.array([blocks.mean[piece].mean() for piece in pieces])
    low = np.array([np.quantile(blocks.variance[piece], 0.2) for piece in pieces])
    weight = np.maximum(low, FLOOR * max(np.median(low), 1e-300))
    return _line(mean, low, weight)


def _line(mean: Double, variance: Double, expected: Double) -> tuple[float, float]:
    """Line of least relative squares, a >= 0."""
    weight = expected**-2 / (expected**-2).sum()
    centre, level = weight @ mean, weight @ variance
    moment = weight @ (mean - centre) ** 2
    a = max(0.0, weight @ ((mean - centre) * (variance - level)) / moment) if moment > 0 else 0.0
    return float(a), float(level - a * centre)


def _positive(line: tuple[float, float], blocks: _Blocks) -> Double:
    return np.maximum(line[0] * blocks.mean + line[1], FLOOR * np.median(blocks.variance))


def _bounded(a: float, b: float, blocks: _Blocks) -> tuple[float, float]:
    """Turn a line that falls to zero within the image's range about the median block, until it no longer does."""
    low, middle = blocks.mean.min(), np.median(blocks.mean)
    level = a * middle + b
    floor = FLOOR * np.median(blocks.variance)
    if a * low + b >= floor:
        return a, b
    level = max(level, floor)
    a = (level - floor) / (middle - low) if middle > low else 0.0
    return float(a), float(level - a * middle)


class Transfer(NamedTuple):
    """A camera from its photon transfer curve: gain (ADU an electron), offset (ADU), read noise (electrons)."""

    gain: float
    offset: float
    read_noise: float


def photon_transfer(darks: Array, flats: Sequence[Array]) -> Transfer:
    """Calibrate a camera from repeated exposures.

    Parameters
    ----------
    darks
        Exposures without light, (n, h, w), n >= 2.
    flats
        At one or more levels of still light, each (n, h, w); the picture need not be flat, for variance is taken over
        the repetitions of each pixel. Levels that saturate are left out.

    Returns
    -------
    Transfer
        Slope of variance against mean, dark mean, root of the dark variance over the slope.

    Raises
    ------
    InputError
        For single exposures, or where no level is brighter than dark without saturation.

    References
    ----------
    Janesick 2007, Photon Transfer.
    """
    if min(len(stack) for stack in (darks, *flats)) < 2:
        raise InputError("a stack holds one exposure; the variance of a pixel needs two or more")
    offset, floor = _over_time(darks)
    points = [_over_time(flat) for flat in flats if not _saturated(flat)]
    mean, variance = np.array([point for point in points if point[0] > offset]).reshape(-1, 2).T
    if not mean.size:
        raise InputError(f"no flat level lies above the dark mean {offset:.4g} and below saturation; expose more")
    weight = variance**-2
    light = mean - offset
    gain = float((weight * light * (variance - floor)).sum() / (weight * light**2).sum())
    return Transfer(gain, offset, float(np.sqrt(floor) / gain))


def _over_time(stack: Array) -> tuple[float, float]:
    """Mean over all, and the mean over pixels of the variance over exposures."""
    values = np.asarray(stack, np.float64)
    return float(values.mean()), float(values.var(0, ddof=1).mean())


def _saturated(flat: Array) -> bool:
    values = np.asarray(flat)
    return bool((values == values.max()).mean() > 1e-3 and np.ptp(values) > 0) and np.issubdtype(
        values.dtype, np.integer
    )


def out_of_band_variance(image: Array, *, cutoff: float) -> float:
    """Noise variance from the power where the optics pass nothing.

    Parameters
    ----------
    image
        (..., h, w), sampled finer than Nyquist.
    cutoff
        Of the optical transfer function, in cycles a pixel (`optics.cutoff` times the pixel size).

    Returns
    -------
    float
        Mean variance of a pixel's noise, white up to the corners of the spectrum; in squared units of the image.

    Raises
    ------
    InputError
        Where fewer than 16 frequencies lie beyond the cut-off.

    References
    ----------
    Heintzmann, Relich, Nieuwenhuizen, Lidke, Rieger 2016 (arXiv:1611.05654).
    """
    values, window = _windowed(image)
    h, w = values.shape[-2:]
    beyond = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None]) > cutoff
    if beyond.sum() < 16:
        raise InputError(f"{beyond.sum()} frequencies beyond {cutoff:.3f} cycles a pixel; the pixels are too coarse")
    power = np.abs(np.fft.fft2(values * window)) ** 2
    return float(power[..., beyond].mean() / (window**2).sum())


def out_of_band_gain(image: Array, *, cutoff: float, offset: float, read_noise: float = 0.0) -> float:
    """Gain of a camera from the noise beyond the optics' cut-off: its variance over the mean above the offset.

    Parameters
    ----------
    image
        (..., h, w), sampled finer than Nyquist.
    cutoff
        Of the optical transfer function, in cycles a pixel.
    offset
        ADU.
    read_noise
        Standard deviation in ADU.

    Returns
    -------
    float
        ADU an electron.

    Raises
    ------
    InputError
        Where nothing lies beyond the cut-off, or the image is not brighter than the offset.
    """
    values, window = _windowed(image)
    light = float((values * window**2).mean() / (window**2).mean() + np.asarray(image, np.float64).mean()) - offset
    if light <= 0:
        raise InputError(f"the image's mean lies {-light:.4g} below the offset {offset:.4g}; give the camera's own")
    return (out_of_band_variance(image, cutoff=cutoff) - read_noise**2) / light


def _windowed(image: Array) -> tuple[Double, Double]:
    """The image less its mean, and a Hann window that keeps its edges out of the corners of the spectrum."""
    values = np.asarray(image, np.float64)
    line = [np.hanning(n + 2)[1:-1] for n in values.shape[-2:]]
    return values - values.mean(), np.outer(*line)
