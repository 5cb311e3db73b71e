"""The noise law Var[y] = a E[y] + b from images, from dark and flat exposures, or from what lies beyond the optics.

Two views of a block of pixels: its mean, and the variance of a second difference that smooth structure hardly passes
(Immerkaer 1996). Noise puts all blocks on the line; texture lifts some above it, and shows at coarser scale too, which
tells it from noise. Where hardly a block is free of it, a fourth difference takes the second's place, which passes less
of it. Clipped blocks lie below the line and are left out.
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

FLOOR = 1e-3
"""Variance anywhere in the image's range, at least, as a share of the median block's: a line may not fall to zero."""

MOSTLY = 0.1
"""Share of blocks that must be free of clipping, or else all are used."""

MIN_BLOCKS = 32
MIN_SMOOTH = 16
"""Blocks without structure through which a line is drawn, at least; with fewer, all count by the fourth difference."""

SECOND, FOURTH = (1, -2, 1), (1, -4, 6, -4, 1)
"""Taps of the differences along an axis."""

LAW = "tell its law, such as --instrument gain=2 --instrument variance=-150 on the command line"
"""What to do where it cannot be estimated."""
_PIECES = 24  # of the range of means, from which the first line is drawn
_ROUNDS = 12  # of the reweighted fit


class _Told(NamedTuple):
    """Numbers of the line that are known beforehand."""

    gain: float | None = None
    variance: float | None = None


class _Blocks(NamedTuple):
    """Mean; variance by second and fourth differences and by the means of quarters, alike for white noise; clipped."""

    mean: Double
    variance: Double
    fourth: Double
    coarse: Double
    clipped: Double


def noise_law(
    planes: Array, *, spacing: int = 1, gain: float | None = None, variance: float | None = None
) -> tuple[float, float]:
    """Estimate the noise law of images from themselves.

    Parameters
    ----------
    planes
        (..., h, w): an image, or planes and windows of one stack with one camera and gain; NaN where invalid.
    spacing
        Pixels between the taps of the second difference. Two where the noise of neighbours is correlated (interpolated,
        slightly smoothed or demosaiced images): one would see too little of it; but two sees more texture.
    gain, variance
        a or b where it is known: it stays, and the other is that of the line through the blocks that has it.

    Returns
    -------
    a, b
        In units and squared units of the image: a >= 0, and a y + b > 0 over the range of its block means, but where a
        `variance` that was given forbids it. Rounding is part of b.

    Raises
    ------
    InputError
        For planes with fewer than `MIN_BLOCKS` usable blocks of `BLOCK` pixels, or without any noise.
    """
    if gain is not None and variance is not None:
        return gain, variance
    image = np.asarray(planes, np.float64)
    blocks = _blocks(image.reshape(-1, *image.shape[-2:]), spacing)
    if blocks.mean.size < MIN_BLOCKS:
        raise InputError(
            f"{blocks.mean.size} usable blocks of {BLOCK} x {BLOCK} pixels in planes of shape {image.shape}; "
            f"noise needs {MIN_BLOCKS}: give more or larger planes, or {LAW}"
        )
    if (blocks.variance > 0).sum() < MIN_BLOCKS:
        raise InputError(f"almost all blocks are constant; there is no noise to estimate: {LAW}")
    told = _Told(gain, variance)
    return _bounded(_fit(_unclipped(blocks), told), blocks, told)


def _blocks(planes: Double, spacing: int) -> _Blocks:
    piled = _piled(planes)
    parts = [_blocks_of(plane, spacing, piled) for plane in planes if min(plane.shape) >= BLOCK + 2 * spacing]
    return _Blocks(*(np.concatenate(column) for column in zip(*parts))) if parts else _Blocks(*np.empty((5, 0)))


def _unclipped(blocks: _Blocks) -> _Blocks:
    """The blocks free of clipping; all in a picture of so few counts that zeros are counts like others.

    Chosen by the share that blocks of like means have: by its own, a block would be chosen for its noise.
    """
    share = np.empty_like(blocks.mean)
    for piece in _pieces(blocks):
        share[piece] = blocks.clipped[piece].mean()
    free = (share <= CLIPPED) & (blocks.clipped <= 5 * CLIPPED)
    if free.sum() < max(MIN_BLOCKS, MOSTLY * free.size):
        return blocks
    return _Blocks(*(values[free] for values in blocks))


def _pieces(blocks: _Blocks) -> list[NDArray[np.intp]]:
    """Indices of the blocks, in equal parts by their means."""
    return [piece for piece in np.array_split(np.argsort(blocks.mean), _PIECES) if piece.size]


def _piled(planes: Double) -> list[float]:
    """The ends of the range where more values pile up than beside them."""
    values = planes[np.isfinite(planes)]
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return [end for end in (low, high) if (values == end).mean() > 1e-3]


def _blocks_of(plane: Double, spacing: int, piled: Sequence[float]) -> _Blocks:
    """The plane's whole and finite blocks."""
    inner = (slice(spacing, -spacing),) * 2
    cut = np.isin(plane, piled).astype(np.float64)
    views = plane, _difference(plane, SECOND, spacing), _difference(plane, FOURTH, spacing), cut
    values, second, fourth, clipped = (_tiles(image[inner]) for image in views)
    half = BLOCK // 2
    quarters = values.reshape(-1, 2, half, 2, half).mean((2, 4)).reshape(-1, 4)
    coarse = quarters.var(1, ddof=1) * half**2
    power = ((each**2).mean((1, 2)) for each in (second, fourth))
    result = values.mean((1, 2)), *power, coarse, clipped.mean((1, 2))
    known = np.isfinite(result[2])  # of which the taps reach farthest
    return _Blocks(*(column[known] for column in result))


def _difference(plane: Double, taps: Sequence[int], spacing: int) -> Double:
    """Along both axes, `spacing` pixels between its taps; white noise keeps its variance, but at the plane's edges."""
    line = np.zeros((len(taps) - 1) * spacing + 1)
    line[::spacing] = np.array(taps) / np.linalg.norm(taps)
    return np.asarray(ndimage.convolve1d(ndimage.convolve1d(plane, line, axis=0), line, axis=1))


def _tiles(image: Double) -> Double:
    """Blocks (n, BLOCK, BLOCK)."""
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    cut = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return cut.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


def _fit(blocks: _Blocks, told: _Told) -> tuple[float, float]:
    """Line through the blocks that hold nothing but noise.

    Where hardly any are smooth, the lowest of them say no more than how little a block of this picture varies; then all
    count, smooth or not, by the difference that passes the less of what is in them.
    """
    line, enough = _through_smooth(blocks, told)
    if enough or (blocks.fourth > 0).sum() < MIN_BLOCKS:
        return line
    fine = blocks._replace(variance=blocks.fourth, coarse=np.zeros_like(blocks.coarse))
    return _through_smooth(fine, told)[0]


def _through_smooth(blocks: _Blocks, told: _Told) -> tuple[tuple[float, float], bool]:
    """Line reweighted by itself, texture left out, and whether enough blocks are left to draw it."""
    line = _lower_line(blocks, told)
    spread = 0.35  # relative standard deviation of a block's variance, for Gaussian noise; measured below
    for _ in range(_ROUNDS):
        expected = _positive(line, blocks)
        smooth = (blocks.coarse < 3.5 * expected) & (blocks.variance < (1 + 3 * spread) * expected)
        smooth &= blocks.variance > 0
        if smooth.sum() < MIN_SMOOTH:
            return line, False
        line = _line(blocks.mean[smooth], blocks.variance[smooth], expected[smooth], told)
        ratio = blocks.variance[smooth] / _positive(line, blocks)[smooth]
        spread = float(np.clip(1.4826 * np.median(np.abs(ratio - np.median(ratio))), 0.2, 0.6))
    return line, True


def _lower_line(blocks: _Blocks, told: _Told) -> tuple[float, float]:
    """First line: the lower fifth of the variances in each piece of the range of means."""
    pieces = _pieces(blocks)
    mean = np.array([blocks.mean[piece].mean() for piece in pieces])
    low = np.array([np.quantile(blocks.variance[piece], 0.2) for piece in pieces])
    return _line(mean, low, np.maximum(low, _floor(blocks)), told)


def _line(mean: Double, variance: Double, expected: Double, told: _Told) -> tuple[float, float]:
    """Line of least relative squares, a >= 0, with what is told of it."""
    weight = expected**-2 / (expected**-2).sum()
    centre, level = weight @ mean, weight @ variance
    if told.variance is not None:
        power = weight @ mean**2
        return max(
            0.0, float(weight @ (mean * (variance - told.variance)) / power)
        ) if power > 0 else 0.0, told.variance
    if told.gain is not None:
        return told.gain, float(level - told.gain * centre)
    moment = weight @ (mean - centre) ** 2
    a = max(0.0, weight @ ((mean - centre) * (variance - level)) / moment) if moment > 0 else 0.0
    return float(a), float(level - a * centre)


def _positive(line: tuple[float, float], blocks: _Blocks) -> Double:
    return np.maximum(line[0] * blocks.mean + line[1], _floor(blocks))


def _floor(blocks: _Blocks) -> float:
    return float(FLOOR * np.median(blocks.variance[blocks.variance > 0]))


def _bounded(line: tuple[float, float], blocks: _Blocks, told: _Told) -> tuple[float, float]:
    """Turn a line that falls to zero in the image's range about the mean block, until it does not.

    One whose slope is told is lifted; one whose height at zero is told gets steeper, where that helps.
    """
    a, b = line
    low, middle = blocks.mean.min(), blocks.mean.mean()
    floor = _floor(blocks)
    if a * low + b >= floor:
        return line
    if told.gain is not None:
        return a, float(floor - a * low)
    if told.variance is not None:
        return float((floor - b) / low) if low > 0 else a, b
    level = max(a * middle + b, floor)
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
    """Whether values pile up at the highest: more than at the next one below."""
    values, number = np.unique(np.asarray(flat), return_counts=True)
    return len(values) > 1 and number[-1] > max(number[-2], 1e-3 * number.sum())


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
