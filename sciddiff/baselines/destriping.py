"""Stripes of unequal detectors taken off: matched moments, and wavelets damped in Fourier space.

Images are (c, h, w) of floats, masks (h, w), true where missing. What stands under the mask has no part in the rest
of the result, and is handed through.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sciddiff.baselines.inpainting import smooth_fill
from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]
Axis = Literal["columns", "rows"]


def _upright(image: Array, axis: Axis, missing: Mask | None) -> tuple[Double, Mask]:
    """The image in double precision and where it is known, turned so that stripes run down the columns."""
    if axis not in ("columns", "rows"):
        raise InputError(f"axis is {axis!r}; expected 'columns' or 'rows', whichever the stripes run along")
    mask = np.zeros(image.shape[-2:], bool) if missing is None else missing
    filled = smooth_fill(image, mask).astype(np.float64)
    return (filled, ~mask) if axis == "columns" else (filled.swapaxes(1, 2), ~mask.T)


def _returned(image: Array, result: Double, axis: Axis, missing: Mask | None) -> Array:
    turned = (result if axis == "columns" else result.swapaxes(1, 2)).astype(image.dtype)
    return turned if missing is None else np.where(missing, image, turned)


def _smoothed(profile: Double, weight: Double, width: float) -> Double:
    """Weighted Gaussian mean along the columns; over all of them for an infinite width."""
    if math.isinf(width):
        return np.full_like(profile, (profile * weight).sum() / weight.sum())
    total = ndimage.gaussian_filter1d(profile * weight, width, mode="reflect", truncate=8)
    return total / np.maximum(ndimage.gaussian_filter1d(weight, width, mode="reflect", truncate=8), 1e-300)


def _moments(band: Double, known: Mask) -> tuple[Double, Double]:
    """Median and median absolute deviation of each column, (w,); NaN without known pixels."""
    values = np.where(known, band, np.nan)
    centre, spread = np.full((2, band.shape[1]), np.nan)
    some = known.any(0)
    centre[some] = np.nanmedian(values[:, some], axis=0)
    spread[some] = np.nanmedian(np.abs(values[:, some] - centre[some]), axis=0)
    return centre, spread


def moment_matching(
    image: Array,
    axis: Axis = "columns",
    *,
    missing: Mask | None = None,
    width: float = 16.0,
    gains: bool = True,
    limit: float = 2.0,
) -> Array:
    """Give each column (or row) the median and the spread of those around it.

    Parameters
    ----------
    image
        (c, h, w), any unit.
    axis
        What the stripes run along.
    missing
        (h, w).
    width
        Standard deviation in pixels of the Gaussian that smooths the profiles of medians and of spreads; infinite
        for one median and one spread for all, right where every detector sees the same distribution.
    gains
        Whether spreads are matched too; without, only offsets.
    limit
        Of a gain, up or down.

    Returns
    -------
    ndarray
        (c, h, w).

    References
    ----------
    Gadallah, Csillag, Smith 2000 (moment matching); here with medians, median absolute deviations and the geometric
    mean of spreads.
    """
    bands, known = _upright(image, axis, missing)
    if not width > 0 or not limit >= 1:
        raise InputError(f"width {width} and limit {limit}; expected a positive number and one not below 1")
    result = bands.copy()
    for number, band in enumerate(bands):
        centre, spread = _moments(band, known)
        seen = np.isfinite(centre)
        centre = np.where(seen, centre, 0)
        level = _smoothed(centre, seen.astype(np.float64), width)
        gain = np.ones_like(centre)
        varied = seen & (spread > 0)
        if gains and varied.any():
            scale = np.log(np.where(varied, spread, 1))
            gain = np.where(varied, np.exp(_smoothed(scale, varied.astype(np.float64), width) - scale), 1)
        matched = (band - centre) * np.clip(gain, 1 / limit, limit) + level
        result[number] = np.where(seen, matched, band)
    return _returned(image, result, axis, missing)


def haar(image: Double) -> tuple[Double, Double, Double, Double]:
    """One orthonormal Haar level of (..., h, w), both even.

    Parameters
    ----------
    image
        (..., h, w).

    Returns
    -------
    low, across, along, both
        Each (..., h / 2, w / 2): means, differences between columns, between rows, and of both.
    """
    a, b = image[..., ::2, ::2], image[..., ::2, 1::2]
    c, d = image[..., 1::2, ::2], image[..., 1::2, 1::2]
    return (a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2


def inverse_haar(low: Double, across: Double, along: Double, both: Double) -> Double:
    """The image (..., h, w) of which `haar` made these."""
    result = np.empty((*low.shape[:-2], 2 * low.shape[-2], 2 * low.shape[-1]))
    result[..., ::2, ::2] = (low + across + along + both) / 2
    result[..., ::2, 1::2] = (low - across + along - both) / 2
    result[..., 1::2, ::2] = (low + across - along - both) / 2
    result[..., 1::2, 1::2] = (low - across - along + both) / 2
    return result


def _damped(detail: Double, spacing: int, bandwidth: float) -> Double:
    """Differences between columns (..., h, w) without what varies slowly down them."""
    f = np.arange(detail.shape[-2])[:, None] / (2 * detail.shape[-2] * spacing)
    spectrum = fft.dct(detail, axis=-2) * -np.expm1(-(f**2) / (2 * bandwidth**2))
    return fft.idct(spectrum, axis=-2)


def _cleaned(image: Double, levels: int, bandwidth: float, spacing: int = 1) -> Double:
    if not levels:
        return image
    low, across, along, both = haar(image)
    across = _damped(across, 2 * spacing, bandwidth)
    return inverse_haar(_cleaned(low, levels - 1, bandwidth, 2 * spacing), across, along, both)


def wavelet_fft(
    image: Array,
    axis: Axis = "columns",
    *,
    missing: Mask | None = None,
    levels: int = 4,
    bandwidth: float = 0.005,
    shifts: int = 4,
) -> Array:
    """Damp, in each wavelet level, the differences between columns that vary slowly down the columns.

    Parameters
    ----------
    image
        (c, h, w), any unit.
    axis
        What the stripes run along.
    missing
        (h, w); holes are bridged by `smooth_fill` first.
    levels
        Of the wavelet transform: stripes up to 2^levels pixels wide are removed.
    bandwidth
        Standard deviation, in cycles a pixel along the stripes, of the notch 1 - exp(-f^2 / (2 bandwidth^2)); a
        stripe that lasts n pixels has about 1 / n.
    shifts
        Shifts across the stripes over which the result is averaged (cycle spinning, Coifman and Donoho 1995), for
        Haar wavelets see only every other pair of columns.

    Returns
    -------
    ndarray
        (c, h, w).

    References
    ----------
    Munch, Trtik, Marone, Stampanoni 2009; with Haar wavelets, the cosine transform (which does not join the image's
    ends), and the notch in cycles a pixel rather than in lines of the spectrum, so that its width is that of a
    whole image in a tile too.
    """
    bands, _ = _upright(image, axis, missing)
    if levels < 1 or shifts < 1 or not bandwidth > 0:
        raise InputError(f"levels {levels}, shifts {shifts}, bandwidth {bandwidth}; expected all above zero")
    block = 2**levels
    h, w = bands.shape[1:]
    total = np.zeros_like(bands)
    places = sorted({number * block // shifts for number in range(shifts)})
    for shift in places:
        pad = ((0, 0), (0, -h % block), (shift, -(w + shift) % block))
        total += _cleaned(np.pad(bands, pad, mode="symmetric"), levels, bandwidth)[:, :h, shift : shift + w]
    return _returned(image, total / len(places), axis, missing)
