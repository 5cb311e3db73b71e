"""Fourier ring and shell correlation: up to which frequency two images agree.

Frequencies are in cycles a unit of length, spacings in units of length a pixel (1 for pixels).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.signal import windows

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Window = Literal["tukey", "hann", "none"]
Threshold = float | Literal["half-bit"]

HALVES = 1 / 7
"""Threshold for two images with noise of their own, such as halves of one exposure."""
TRUTH = 0.5
"""Threshold against a truth without noise: sqrt(2 c / (1 + c)) of c = 1/7 (Rosenthal, Henderson 2003)."""
TAPER = 0.25
"""Share of a side over which Tukey's window rises and falls."""
LEAST = 8
"""Fourier pixels that a ring must hold to count: that many has the first ring of an image."""
SMOOTH = 3
"""Rings over which a curve is averaged."""
STAYS = 5
"""Rings whose mean must be below a threshold where a curve falls below it: one of few pixels does so by chance."""


@dataclass(frozen=True)
class Curve:
    """Correlation by frequency.

    Attributes
    ----------
    frequency
        Middle of each ring, in cycles a unit of length, (n,).
    correlation
        In [-1, 1], (n,); 0 for a ring without power. Rings of fewer Fourier pixels than `LEAST` are left out.
    count
        Fourier pixels of each ring, both halves of the plane, (n,).
    highest
        Nyquist's frequency, beyond which nothing is known.
    """

    frequency: Double
    correlation: Double
    count: Double
    highest: float


class Resolution(NamedTuple):
    """Where a curve falls below its threshold.

    `length` is 1 / `frequency`, in units of length; `limited` says that the curve stays above up to the highest
    frequency, so that the pixels and not the image set the figure. Frequency 0 and infinite length: nowhere above.
    """

    length: float
    frequency: float
    limited: bool


def frc(
    first: Array,
    second: Array,
    *,
    spacing: float | Sequence[float] = 1.0,
    window: Window = "hann",
    smooth: int = SMOOTH,
) -> Curve:
    """Fourier ring correlation of two images, or shell correlation of two volumes.

    Parameters
    ----------
    first, second
        Of one shape, 2-D or 3-D, all finite.
    spacing
        Length of a pixel, one number or one an axis.
    window
        Against the step from one edge to the opposite one.
    smooth
        Rings over which the curve is averaged; 1 for none.

    Returns
    -------
    Curve
        Rings one Fourier pixel wide (of the axis that has the widest), up to the least of the axes' Nyquist
        frequencies.

    Raises
    ------
    InputError
        Shapes that differ, values that are not finite, or images of fewer than 8 pixels along an axis.

    Notes
    -----
    Re sum F1 conj(F2) / sqrt(sum |F1|^2 sum |F2|^2) over each ring. Of signal of density S under noise of density N
    in each, S / (S + N). At high signal the leakage of the window carries the curve some Fourier pixels beyond a sharp
    cut-off: at a signal 20 times the noise, of 256 pixels a side, Hann's to 0.21 for 0.2 cycles a pixel and Tukey's,
    which uses more of the image, to 0.22.

    References
    ----------
    Saxton, Baumeister 1982; van Heel 1987; Nieuwenhuizen et al. 2013.
    """
    lengths = _spacing(spacing, first.ndim)
    axes, times = _frequencies(first.shape, lengths)
    radius = np.sqrt(sum(axis**2 for axis in axes))
    step = max(1 / (side * length) for side, length in zip(first.shape, lengths))
    return _curve(
        _transforms(first, second, window), radius, times, step=step, highest=0.5 / max(lengths), smooth=smooth
    )


def axis_frc(
    first: Array,
    second: Array,
    *,
    spacing: float | Sequence[float] = 1.0,
    window: Window = "hann",
    smooth: int = SMOOTH,
    half_angle: float = 20.0,
) -> tuple[Curve, ...]:
    """Correlation along each axis: over the cone of frequencies about it, for stacks that are coarser along z.

    Parameters
    ----------
    first, second, spacing, window, smooth
        See `frc`.
    half_angle
        Of the cone, in degrees, measured in physical frequencies. A wider one holds more of them, which steadies the
        curve, but off the axis a passband that is flat along it reaches further.

    Returns
    -------
    tuple of Curve
        One an axis in their order, each with rings one pixel of that axis wide, up to that axis's Nyquist frequency.

    References
    ----------
    Koho et al. 2019 (sectioned FSC).
    """
    lengths = _spacing(spacing, first.ndim)
    axes, times = _frequencies(first.shape, lengths)
    radius = np.sqrt(sum(axis**2 for axis in axes))
    pair = _transforms(first, second, window)
    curves = []
    for axis, side, length in zip(axes, first.shape, lengths):
        within = np.abs(axis) >= math.cos(math.radians(half_angle)) * radius
        curves.append(
            _curve(pair, radius, times * within, step=1 / (side * length), highest=0.5 / length, smooth=smooth)
        )
    return tuple(curves)


def checkerboard_frc(
    image: Array, *, spacing: float | Sequence[float] = 1.0, window: Window = "hann", smooth: int = SMOOTH
) -> Curve:
    """Correlation of one image with itself: its pixels of even places against those of odd ones.

    Parameters
    ----------
    image
        2-D or 3-D, noise of each pixel its own, finite.
    spacing, window, smooth
        See `frc`.

    Returns
    -------
    Curve
        Up to half of Nyquist's frequency, for each part holds every second pixel along each axis: a resolution
        finer than 4 pixels cannot be told. Where detail beyond that is folded back, the curve is too low.

    Notes
    -----
    The parts (even, even) and (odd, odd), and (even, odd) and (odd, even) of an image, lie half a pixel of theirs
    apart along each axis: their phases are moved back exactly. One part of 2^d holds less light than a half of the
    counts; the correlation c of parts becomes k c / (1 + (k - 1) c) of halves, k = 2^(d - 1) (Spearman, Brown 1910),
    so that the thresholds mean the same as with two exposures.

    References
    ----------
    Koho et al. 2019, whose halves are these; their shift is corrected by a fitted curve.
    """
    lengths = [2 * length for length in _spacing(spacing, image.ndim)]
    even = image[tuple(slice(0, side // 2 * 2) for side in image.shape)]
    shape = tuple(side // 2 for side in even.shape)
    axes, times = _frequencies(shape, lengths)
    radius = np.sqrt(sum(axis**2 for axis in axes))
    step = max(1 / (side * length) for side, length in zip(shape, lengths))
    curves = []
    for last in range(2 ** (image.ndim - 1)):
        starts = [0, *(last >> at & 1 for at in range(image.ndim - 1))]
        one, two = (even[tuple(slice(start ^ flip, None, 2) for start in starts)] for flip in (0, 1))
        first, second = _transforms(one, two, window)
        moves = sum(axis * length * (0.5 - start) for axis, length, start in zip(axes, lengths, starts))
        pair = first, second * np.exp(-2j * np.pi * moves)
        curves.append(_curve(pair, radius, times, step=step, highest=0.5 / max(lengths), smooth=smooth))
    correlation = np.mean([curve.correlation for curve in curves], 0)
    k = 2 ** (image.ndim - 1)
    halves = k * correlation / np.maximum(1 + (k - 1) * correlation, 1 / k)
    return Curve(curves[0].frequency, np.clip(halves, -1, 1), curves[0].count, curves[0].highest)


def half_bit(count: Array | float) -> Double:
    """Correlation at which both images together hold half a bit of information a Fourier pixel.

    Parameters
    ----------
    count
        Fourier pixels of the ring, above 0.

    Notes
    -----
    With s = (sqrt(2) - 1) / 2 the signal-to-noise ratio of each image: (s + (2 sqrt(s) + 1) / sqrt(n)) /
    (s + 1 + 2 sqrt(s) / sqrt(n)), that is (0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 / sqrt(n)).

    References
    ----------
    van Heel, Schatz 2005.
    """
    ratio = (math.sqrt(2) - 1) / 2
    root = np.sqrt(np.asarray(count, np.float64))
    return np.asarray((ratio + (2 * math.sqrt(ratio) + 1) / root) / (ratio + 1 + 2 * math.sqrt(ratio) / root))


def resolution(curve: Curve, *, threshold: Threshold = HALVES) -> Resolution:
    """First frequency at which a curve falls below the threshold and stays there, between rings linearly.

    Parameters
    ----------
    curve
        Of `frc`, of an axis, or of one image.
    threshold
        1/7 for halves, 0.5 against a truth without noise (see `TRUTH`), or "half-bit".
    """
    level = half_bit(curve.count) if threshold == "half-bit" else np.full(curve.count.shape, float(threshold))
    above = curve.correlation - level
    below = np.flatnonzero((above < 0) & (_ahead(above, curve.count) < 0))
    if not curve.frequency.size:
        return Resolution(math.inf, 0.0, False)
    if not below.size:
        return Resolution(1 / curve.highest, curve.highest, True)
    before = np.flatnonzero(above[: below[0]] >= 0)  # a ring or two may be below already
    if not before.size:
        return Resolution(math.inf, 0.0, False)
    at = int(before[-1])
    share = above[at] / (above[at] - above[at + 1])
    low, high = curve.frequency[at : at + 2]
    found = float(low + share * (high - low))
    return Resolution(1 / found, found, False)


def _ahead(values: Double, count: Double) -> Double:
    """Mean of each ring and those after it, `STAYS` in all, each counted by its Fourier pixels."""
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (values * count, count))
    first = np.arange(values.size)
    last = np.minimum(first + STAYS, values.size)
    return np.asarray((sums[last] - sums[first]) / (counts[last] - counts[first]))


def true_up_to(
    result: Array, truth: Array, *, spacing: float | Sequence[float] = 1.0, threshold: Threshold = TRUTH
) -> Resolution:
    """Frequency up to which the detail of a result is that of the truth; what is finer is made up or lost.

    Parameters
    ----------
    result, truth, spacing
        See `frc`; any gain and offset.
    threshold
        `HALVES` where the truth is as noisy as the result.
    """
    return resolution(frc(result, truth, spacing=spacing), threshold=threshold)


def _spacing(spacing: float | Sequence[float], ndim: int) -> list[float]:
    lengths = [float(spacing)] * ndim if isinstance(spacing, int | float) else [float(part) for part in spacing]
    if len(lengths) != ndim or not all(length > 0 for length in lengths):
        raise InputError(f"spacing is {spacing}; expected {ndim} lengths above zero, one an axis")
    return lengths


def _frequencies(shape: tuple[int, ...], lengths: Sequence[float]) -> tuple[list[Double], Double]:
    """Signed frequency of each axis on the half space of `rfftn`, open meshes, and how often each stands in all."""
    lines = [np.fft.fftfreq(side, length) for side, length in zip(shape[:-1], lengths)]
    lines.append(np.fft.rfftfreq(shape[-1], lengths[-1]))
    times = np.full([line.size for line in lines], 2.0)
    times[..., 0] = 1
    if shape[-1] % 2 == 0:
        times[..., -1] = 1
    return list(np.ix_(*lines)), times


def taper(shape: tuple[int, ...], window: Window) -> Double:
    """Weights of an image that fall to its edges, the product over the axes.

    Parameters
    ----------
    shape
        Of the image.
    window
        Tukey's is flat over the middle three quarters.
    """
    weights = np.ones(())
    for side in shape:
        if window == "tukey":
            line = windows.tukey(side, TAPER, sym=True)
        else:
            line = windows.hann(side, sym=False) if window == "hann" else np.ones(side)
        weights = np.multiply.outer(weights, line)
    return np.asarray(weights)


def _transforms(first: Array, second: Array, window: Window) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    if first.shape != second.shape or first.ndim not in (2, 3):
        raise InputError(f"images are {first.shape} and {second.shape}; expected one shape of two or three axes")
    if min(first.shape) < 8:
        raise InputError(f"images of {first.shape} pixels are too small for a spectrum; expected 8 along each axis")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("an image has pixels that are not finite: fill them, or cut to a part without")
    weights = taper(first.shape, window)
    one, two = (
        fft.rfftn(weights * (image - (weights * image).sum() / weights.sum()))
        for image in (np.asarray(first, np.float64), np.asarray(second, np.float64))
    )
    return one, two


def _curve(
    pair: tuple[NDArray[np.complex128], NDArray[np.complex128]],
    radius: Double,
    times: Double,
    *,
    step: float,
    highest: float,
    smooth: int,
) -> Curve:
    """Sums over rings of width `step` about its multiples, without the mean; `times` weighs the frequencies."""
    first, second = pair
    rings = int(highest / step + 1e-9)
    ring = np.minimum(np.rint(radius / step), rings + 1).astype(np.int64).ravel()

    def sums(values: Double) -> Double:
        total = np.bincount(ring, weights=(times * values).ravel(), minlength=rings + 2)
        return np.asarray(total[1 : rings + 1], np.float64)

    cross = sums(np.real(first * np.conj(second)))
    power = sums(np.abs(first) ** 2) * sums(np.abs(second) ** 2)
    count = sums(np.ones(radius.shape, np.float64))
    filled = count >= LEAST
    correlation = np.divide(cross, np.sqrt(power), out=np.zeros(rings), where=power > 0)[filled]
    if smooth > 1:
        correlation = np.asarray(ndimage.uniform_filter1d(correlation, smooth, mode="nearest"), np.float64)
    frequency = np.asarray(step * np.arange(1, rings + 1), np.float64)
    return Curve(frequency[filled], np.asarray(correlation, np.float64), count[filled], highest)
