"""Metrics of images: arrays first (result, truth), bands first, invalid pixels left out everywhere."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

TAPER = 32
"""Pixels over which the spectral window rises from invalid pixels."""
LEAST = 16
"""Frequencies that an octave must hold."""


def _checked(result: Array, truth: Array, valid: Mask | None) -> Mask:
    if result.shape != truth.shape or result.ndim != 3:
        raise InputError(f"result and truth are {result.shape} and {truth.shape}; expected the same (bands, h, w)")
    mask = np.ones(truth.shape, bool) if valid is None else np.broadcast_to(valid, truth.shape)
    mask = mask & np.isfinite(truth) & np.isfinite(result)
    if not mask.any():
        raise InputError("no pixel is valid in both images: nothing to compare")
    return mask


def mse(result: Array, truth: Array, *, valid: Mask | None = None) -> NDArray[np.float64]:
    """Mean squared error of each band, (c,); NaN for a band without valid pixels.

    Parameters
    ----------
    result, truth
        (c, h, w); what is not finite is invalid.
    valid
        Broadcast against them.

    Raises
    ------
    InputError
        Shapes that differ, or no valid pixel.
    """
    mask = _checked(result, truth, valid)
    error = np.where(mask, result.astype(np.float64) - truth, 0)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (error**2).sum((1, 2)) / mask.sum((1, 2))
    return means


def rmse(result: Array, truth: Array, *, valid: Mask | None = None) -> float:
    """Root mean square error over all valid pixels of all bands, in the unit of the images; see `mse`."""
    mask = _checked(result, truth, valid)
    error = result[mask].astype(np.float64) - truth[mask]
    return float(np.sqrt(np.mean(error**2)))


def decibels(error: float, data_range: float) -> float:
    """Peak signal-to-noise ratio of a mean squared error; infinite for none.

    Raises
    ------
    InputError
        A range that is not positive.
    """
    if not data_range > 0:
        raise InputError(f"data_range is {data_range}; expected a positive number in the unit of the image")
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def psnr(result: Array, truth: Array, *, data_range: float, valid: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, the squared error pooled over all valid pixels of all bands.

    Parameters
    ----------
    result, truth
        See `mse`.
    data_range
        The peak, in the unit of the images.
    valid
        See `mse`.
    """
    return decibels(rmse(result, truth, valid=valid) ** 2, data_range)


def psnr_bands(result: Array, truth: Array, *, data_range: float, valid: Mask | None = None) -> list[float]:
    """Peak signal-to-noise ratio in dB of each band; their mean is not `psnr`, which pools the error first."""
    return [decibels(float(error), data_range) for error in mse(result, truth, valid=valid)]


def sam(result: Array, truth: Array, *, valid: Mask | None = None) -> float:
    """Spectral angle in degrees, averaged over pixels where all bands are valid and both norms above zero.

    Parameters
    ----------
    result, truth, valid
        See `mse`.

    Returns
    -------
    float
        NaN where no such pixel is left.

    References
    ----------
    Yuhas, Goetz, Boardman 1992.
    """
    angles = spectral_angles(result, truth, valid=valid)
    return float(angles.mean()) if angles.size else math.nan


def spectral_angles(result: Array, truth: Array, *, valid: Mask | None = None) -> NDArray[np.float64]:
    """Angles in degrees of the pixels that `sam` averages, (n,); see there."""
    every = _checked(result, truth, valid).all(0)
    a, x = truth[:, every].astype(np.float64), result[:, every].astype(np.float64)
    norms = np.sqrt((a**2).sum(0) * (x**2).sum(0))
    seen = norms > 0
    cosine = np.clip((a * x).sum(0)[seen] / norms[seen], -1, 1)
    return np.asarray(np.degrees(np.arccos(cosine)))


def ergas(result: Array, truth: Array, *, ratio: int, valid: Mask | None = None) -> float:
    """Relative dimensionless global error: (100 / ratio) sqrt(mean over bands of MSE / mean(truth)^2).

    Parameters
    ----------
    result, truth
        See `mse`.
    ratio
        High-resolution pixels along a low one.
    valid
        See `mse`.

    References
    ----------
    Wald 2002.
    """
    mask = _checked(result, truth, valid)
    errors = mse(result, truth, valid=valid)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(mask, truth, 0).sum((1, 2), dtype=np.float64) / mask.sum((1, 2))
        return float(100 / ratio * np.sqrt(np.nanmean(errors / means**2)))


def spectral_window(valid: Mask) -> NDArray[np.float64]:
    """Weights (h, w): Hann's window, tapered in the same way to zero at invalid pixels, over `TAPER` pixels."""
    lines = [np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in valid.shape]
    window: NDArray[np.float64] = np.outer(*lines)
    if not valid.all():
        distance = ndimage.distance_transform_edt(valid)
        window *= np.sin(np.pi / 2 * np.minimum(distance / TAPER, 1)) ** 2
    return window


def _density(band: Array, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power spectral density on the half plane of `rfft2`, so that white noise of variance v has density v."""
    weight = window.sum()
    known = np.where(window > 0, band, 0).astype(np.float64)
    mean = (window * known).sum() / weight
    power: NDArray[np.float64] = np.abs(np.fft.rfft2(window * (known - mean))) ** 2 / (window**2).sum()
    return power


def _frequencies(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radial frequency in cycles a pixel on the half plane, and how often each stands in the whole plane."""
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    times = np.full(radius.shape, 2.0)
    times[:, 0] = 1
    if shape[1] % 2 == 0:
        times[:, -1] = 1
    return radius, times


def radial_spectrum(
    image: Array, *, bins: int = 64, valid: Mask | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean power spectral density over rings of equal width up to Nyquist.

    Parameters
    ----------
    image
        (c, h, w).
    bins
        How many rings.
    valid
        Broadcast against it.

    Returns
    -------
    frequency
        Middle of each ring in cycles a pixel, (bins,).
    power
        (c, bins), in squared units of the image; NaN for a ring without frequencies. White noise of variance v has v.
    """
    edges = np.linspace(0, 0.5, bins + 1)
    return (edges[1:] + edges[:-1]) / 2, _rings(image, edges, valid)


def octaves(shape: tuple[int, ...]) -> list[tuple[float, float]]:
    """Bounds of the octaves in cycles a pixel, from the finest ([1/4, 1/2]) to the widest with enough frequencies."""
    radius, times = _frequencies(shape[-2:])
    bounds, high = [], 0.5
    while times[(radius > high / 2) & (radius <= high)].sum() >= LEAST and high * min(shape[-2:]) >= 4:
        bounds.append((high / 2, high))
        high /= 2
    return bounds


def octave_power(image: Array, *, valid: Mask | None = None) -> NDArray[np.float64]:
    """Mean power spectral density of each octave of frequency, in dB.

    Parameters
    ----------
    image
        (c, h, w); what is not finite is invalid.
    valid
        Broadcast against it.

    Returns
    -------
    ndarray
        (c, n), the finest octave first: [1/4, 1/2] cycles a pixel, as `octaves` lists them.

    Raises
    ------
    InputError
        An image too small for one octave, or a band without valid pixels.
    """
    bounds = octaves(image.shape)
    if not bounds:
        raise InputError(f"{image.shape[-2:]} pixels are too few for a spectrum; expected 8 x 8 or more")
    edges = np.array([*(low for low, _ in reversed(bounds)), 0.5])
    with np.errstate(divide="ignore"):
        power: NDArray[np.float64] = 10 * np.log10(_rings(image, edges, valid))[:, ::-1]
    return power


def octave_difference(result: Array, truth: Array, *, valid: Mask | None = None) -> NDArray[np.float64]:
    """Power of the result above that of the truth in dB.

    Parameters
    ----------
    result, truth, valid
        See `mse`.

    Returns
    -------
    ndarray
        (c, n), the finest octave first; NaN where the truth has no power, such as in a band of one value.
    """
    mask = _checked(result, truth, valid)
    reference = octave_power(truth, valid=mask)
    level = np.abs(np.where(mask, truth, 0)).max((1, 2)).astype(np.float64)
    with np.errstate(divide="ignore"):
        rounding = 20 * np.log10(np.finfo(np.float32).eps * level)
    return octave_power(result, valid=mask) - np.where(reference > rounding[:, None], reference, np.nan)


class SpectralDistance(NamedTuple):
    """Fine detail of a result against the truth's, in dB.

    `bias` is the mean difference of power: below 0 detail was smoothed away, above 0 texture was made up. `distance` is
    the root mean square, which does not cancel.
    """

    bias: float
    distance: float


def spectral_distance(
    result: Array, truth: Array, *, cutoff: float = 0.5, valid: Mask | None = None
) -> SpectralDistance:
    """Difference of the logarithms of radial power between half the cut-off and the cut-off.

    Parameters
    ----------
    result, truth
        See `mse`; one gain of both shows as a bias.
    cutoff
        Highest frequency that the instrument passes, in cycles a pixel; 0.5 is Nyquist's.
    valid
        See `mse`.

    Returns
    -------
    SpectralDistance
        Over rings and bands with power in both; NaN where there are none.

    Raises
    ------
    InputError
        A cut-off outside (0, 0.5].
    """
    if not 0 < cutoff <= 0.5:
        raise InputError(f"cutoff is {cutoff}; expected cycles a pixel above 0 and up to 0.5")
    mask = _checked(result, truth, valid)
    bins = max(4, min(truth.shape[-2:]) // 2)
    frequency, reference = radial_spectrum(truth, bins=bins, valid=mask)
    _, power = radial_spectrum(result, bins=bins, valid=mask)
    fine = (frequency >= cutoff / 2) & (frequency <= cutoff) & (reference > 0) & (power > 0)
    if not fine.any():
        return SpectralDistance(math.nan, math.nan)
    difference = 10 * np.log10(power[fine] / reference[fine])
    return SpectralDistance(float(difference.mean()), float(np.sqrt((difference**2).mean())))


def _rings(image: Array, edges: NDArray[np.float64], valid: Mask | None) -> NDArray[np.float64]:
    mask = np.isfinite(image) if valid is None else np.broadcast_to(valid, image.shape) & np.isfinite(image)
    radius, times = _frequencies(image.shape[-2:])
    ring = np.searchsorted(edges, radius.ravel(), side="left")  # (low, high]: Nyquist is in, the mean is not
    count = np.bincount(ring, weights=times.ravel(), minlength=len(edges) + 1)[1 : len(edges)]
    power = np.full((len(image), len(edges) - 1), np.nan)
    for number, (band, known) in enumerate(zip(image, mask)):
        if not known.any():
            raise InputError(f"band {number + 1} has no valid pixel: it has no spectrum")
        density = (_density(band, spectral_window(known)) * times).ravel()
        total = np.bincount(ring, weights=density, minlength=len(edges) + 1)[1 : len(edges)]
        np.divide(total, count, out=power[number], where=count > 0)
    return power
