"""Haze taken off one image: dark objects, dark channel, haze-optimised transform.

Images are (c, h, w) of floats, linear in radiance or reflectance; masks (h, w), true where missing. What stands under
the mask has no part in the rest of the result, and is handed through.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, optimize

from sciddiff.baselines.inpainting import nearest
from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]

VISIBLE = (0.40, 0.70)
"""Wavelengths in micrometres."""
LEAST = 50
"""Pixels of a haze level."""


def _usable(image: Array, missing: Mask | None) -> tuple[Double, Mask]:
    """The image in double precision with its holes filled by `nearest`, and where it is known."""
    mask = np.zeros(image.shape[-2:], bool) if missing is None else missing
    return nearest(image, mask).astype(np.float64), ~mask


def _returned(image: Array, result: Double, known: Mask) -> Array:
    return np.where(known, result.astype(image.dtype), image)


def dark_object_subtraction(
    image: Array, *, percentile: float = 0.1, floor: ArrayLike = 0.0, missing: Mask | None = None
) -> Array:
    """Subtract from each band what its darkest pixels hold above `floor`.

    Parameters
    ----------
    image
        (c, h, w), radiance or reflectance.
    percentile
        Of each band's known pixels, the value that counts as dark, in percent; 0 is the least.
    floor
        What a dark object truly sends, a number or (c,); Chavez (1996) has a reflectance of 0.01.
    missing
        (h, w).

    Returns
    -------
    ndarray
        (c, h, w), never below `floor` except where the image was.

    References
    ----------
    Chavez 1988, 1996.
    """
    usable, known = _usable(image, missing)
    least = np.broadcast_to(np.asarray(floor, np.float64), len(image))[:, None, None]
    dark = np.percentile(usable[:, known], percentile, axis=1, method="lower")[:, None, None]
    haze = np.maximum(dark - least, 0)
    return _returned(image, np.maximum(usable - haze, np.minimum(usable, least)), known)


def guided_filter(image: Double, guide: Double, *, radius: int, eps: float) -> Double:
    """Smooth (h, w) where the guide (h, w) is smooth, keep edges that it has (He, Sun, Tang 2013).

    Parameters
    ----------
    image, guide
        (h, w).
    radius
        Of the square window, in pixels.
    eps
        Variance of the guide below which it counts as flat, in its squared unit.

    Returns
    -------
    ndarray
        (h, w).
    """

    def mean(values: Double) -> Double:
        return ndimage.uniform_filter(values, 2 * radius + 1, mode="reflect")

    level, centre = mean(image), mean(guide)
    slope = (mean(guide * image) - centre * level) / (np.maximum(mean(guide**2) - centre**2, 0) + eps)
    return mean(slope) * guide + mean(level - slope * centre)


def _airlight(image: Double, visible: NDArray[np.intp], known: Mask, patch: int, share: float) -> Double:
    """Mean (c,) of the pixels whose dark channel, each band relative to its brightest value, is brightest."""
    scale = np.maximum(np.percentile(image[:, known], 99.9, axis=1), 1e-12)[:, None, None]
    dark = ndimage.minimum_filter((image / scale)[visible].min(0), patch)
    bright = known & (dark >= np.quantile(dark[known], 1 - share))
    return image[:, bright].mean(1)


def dark_channel_prior(
    image: Array,
    wavelengths: Sequence[float],
    *,
    missing: Mask | None = None,
    airlight: ArrayLike | None = None,
    patch: int = 15,
    strength: float = 0.95,
    radius: int = 30,
    exponent: float = 1.0,
    least: float = 0.1,
) -> Array:
    """Invert I = J t + A (1 - t), with t from the darkest visible band of each neighbourhood.

    Parameters
    ----------
    image
        (c, h, w), radiance or reflectance; only ratios of one band's values matter.
    wavelengths
        (c,), in micrometres; the dark channel is that of the bands in `VISIBLE`.
    missing
        (h, w).
    airlight
        A, (c,), in the image's unit; by default the mean of the 0.1 % of pixels with the brightest dark channel.
    patch
        Side of the neighbourhood, odd, in pixels.
    strength
        Share of the haze that is removed (omega).
    radius
        Of the guided filter that fits t to the image's edges, in pixels.
    exponent
        t of a band at wavelength l is t^((l_visible / l)^exponent): 0 for grey haze, up to 4 for the thinnest.
    least
        Bound of t from below; what is thicker is not extrapolated.

    Returns
    -------
    ndarray
        (c, h, w), not below zero except where the image was.

    References
    ----------
    He, Sun, Tang 2011 (dark channel), 2013 (guided filter). The power law is Angstrom's.
    """
    usable, known = _usable(image, missing)
    length = np.asarray(wavelengths, np.float64)
    visible = np.flatnonzero((length >= VISIBLE[0]) & (length <= VISIBLE[1]))
    if length.shape != (len(image),) or not len(visible):
        raise InputError(f"wavelengths {list(wavelengths)} for {len(image)} bands; expected one in {VISIBLE} or more")
    A = _airlight(usable, visible, known, patch, 1e-3) if airlight is None else np.asarray(airlight, np.float64)
    if A.shape != (len(image),) or not (A > 0).all():
        raise InputError(f"airlight {A.tolist()}; expected a positive number for each of {len(image)} bands")
    A = A[:, None, None]
    relative = (usable / A)[visible]
    dark = ndimage.minimum_filter(relative.min(0), patch)
    rough = np.clip(1 - strength * dark, least, 1)
    smooth = np.clip(guided_filter(rough, relative.mean(0), radius=radius, eps=1e-3), least, 1)
    power = (length[visible].mean() / length) ** exponent
    t = np.maximum(smooth ** power[:, None, None], least)
    return _returned(image, np.maximum((usable - A) / t + A, np.minimum(usable, 0)), known)


def clear_line(blue: Array, red: Array, *, known: Mask, lag: int = 3) -> float:
    """Angle in radians of the line that clear pixels follow in the plane of blue and red.

    Parameters
    ----------
    blue, red
        (h, w), in one unit.
    known
        (h, w), true where they count.
    lag
        Between the pixels of a pair.

    Returns
    -------
    float
        Between 0 and pi / 2; pi / 4 in a flat image.

    Notes
    -----
    Haze is smoother than land: the main axis of the differences of pixels `lag` apart is that of the land in haze.
    """
    moments = np.zeros((2, 2))
    for a, b in (
        ((slice(None), slice(lag, None)), (slice(None), slice(None, -lag))),
        ((slice(lag, None), slice(None)), (slice(None, -lag), slice(None))),
    ):
        both = known[a] & known[b]
        step = np.stack([band[a][both] - band[b][both] for band in (blue, red)]).astype(np.float64)
        moments += step @ step.T
    return _main_axis(moments)


def _main_axis(moments: Double) -> float:
    """Angle of the larger axis of (2, 2) second moments of blue and red, taken to rise."""
    if not moments.any():
        return float(np.pi / 4)
    x, y = np.linalg.eigh(moments)[1][:, -1]
    return float(np.arctan2(abs(y), abs(x)))


def haze_optimised_image(
    image: Array, bands: tuple[int, int], *, clear: Mask | None = None, missing: Mask | None = None
) -> Double:
    """Distance of each pixel from the clear line, blue sin(angle) - red cos(angle), (h, w): the more, the hazier.

    Parameters
    ----------
    image
        (c, h, w), radiance or reflectance.
    bands
        Numbers of the blue and the red band.
    clear
        (h, w), true where surely clear; by default the angle is that of `clear_line` over all known pixels.
    missing
        (h, w).

    Returns
    -------
    ndarray
        (h, w), in the image's unit, up to a constant.

    References
    ----------
    Zhang, Guindon, Cihlar 2002.
    """
    usable, known = _usable(image, missing)
    blue, red = usable[bands[0]], usable[bands[1]]
    if clear is None:
        angle = clear_line(blue, red, known=known)
    else:
        use = known & clear
        if use.sum() < 2:
            raise InputError(f"{use.sum()} clear pixels: too few for the clear line")
        angle = _main_axis(np.cov(blue[use], red[use]))
    return blue * np.sin(angle) - red * np.cos(angle)


def haze_optimised_transform(
    image: Array,
    bands: tuple[int, int],
    *,
    clear: Mask | None = None,
    missing: Mask | None = None,
    adjust: Sequence[int] | None = None,
    percentile: float = 1.0,
    levels: int = 32,
) -> Array:
    """Subtract from each haze level what its darkest pixels have above those of the clearest level, band by band.

    Parameters
    ----------
    image, bands, clear, missing
        See `haze_optimised_image`.
    adjust
        Numbers of the bands to be corrected, all by default; the sensible ones are those up to the near infrared.
    percentile
        What counts as the dark bound of a level, in percent.
    levels
        Of haze, equally wide; those with fewer than `LEAST` pixels are left out.

    Returns
    -------
    ndarray
        (c, h, w), not below zero except where the image was.

    References
    ----------
    Zhang, Guindon, Cihlar 2002. The bound is made to rise with haze (isotonic regression) and interpolated between
    levels.
    """
    usable, known = _usable(image, missing)
    haze = haze_optimised_image(image, bands, clear=clear, missing=missing)
    groups = _levels(haze[known], levels)
    middle = np.array([haze[known][group].mean() for group in groups])
    counts = np.array([group.sum() for group in groups])
    result = usable.copy()
    for band in (range(len(image)) if adjust is None else adjust) if groups else ():
        values = usable[band][known]
        dark = [np.percentile(values[group], percentile) for group in groups]
        bound = optimize.isotonic_regression(dark, weights=counts).x
        corrected = usable[band] - np.interp(haze, middle, bound - bound[0])
        result[band] = np.maximum(corrected, np.minimum(usable[band], 0))
    return _returned(image, result, known)


def _levels(haze: Double, count: int) -> list[Mask]:
    """Members of equally wide levels of haze (n,), from clear to hazy; the last one in a hundred join their end."""
    low, high = np.percentile(haze, [0.5, 99.5])
    if not high > low:
        return []
    number = np.clip(np.floor((haze - low) / (high - low) * count), 0, count - 1)
    return [number == level for level in range(count) if (number == level).sum() >= LEAST]
