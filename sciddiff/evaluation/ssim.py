"""Structural similarity in any number of dimensions, from local statistics that can be scaled in closed form."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIGMA, RADIUS = 1.5, 5
"""Of the Gaussian window, in pixels: 11 along each axis."""
K1, K2 = 0.01, 0.03
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, the finest first (Wang, Simoncelli, Bovik 2003)."""


class Local(NamedTuple):
    """Means, variances and covariance of two images under the window, one number a position, (n,) each."""

    mean_x: Double
    mean_y: Double
    var_x: Double
    var_y: Double
    cov: Double


class Parts(NamedTuple):
    """Luminance and contrast-structure of each position, (n,); their product is SSIM."""

    luminance: Double
    structure: Double


def checked_pair(result: Array, truth: Array, valid: Mask | None = None) -> Mask:
    """Where both images are valid and finite, in their shape.

    Parameters
    ----------
    result, truth
        Of one shape.
    valid
        Broadcast against them.

    Raises
    ------
    InputError
        Shapes that differ.
    """
    if result.shape != truth.shape:
        raise InputError(f"result and truth are {result.shape} and {truth.shape}; expected one shape")
    mask = np.isfinite(result) & np.isfinite(truth)
    return mask if valid is None else mask & np.broadcast_to(valid, mask.shape)


def local_statistics(x: Array, y: Array, *, valid: Mask | None = None) -> Local:
    """Statistics under a Gaussian window wherever the whole window lies within the image and on valid pixels.

    Parameters
    ----------
    x, y
        Of one shape, of any number of dimensions.
    valid
        Broadcast against them; what is not finite is invalid.

    Returns
    -------
    Local
        Population moments, as in Wang, Bovik, Sheikh, Simoncelli 2004; of length 0 where no window fits.

    Raises
    ------
    InputError
        Shapes that differ.
    """
    mask = checked_pair(x, y, valid)
    side = 2 * RADIUS + 1
    kept = mask if mask.all() else ndimage.minimum_filter(mask, side, mode="constant", cval=False)
    inner = np.zeros(mask.shape, bool)
    inside = tuple(slice(RADIUS, -RADIUS) for _ in mask.shape)
    inner[inside] = kept[inside]
    if not inner.any():
        return Local(*np.zeros((5, 0)))
    # Moments about the middle of the image: squares of large offsets would cost digits.
    middle_x, middle_y = (float(image[mask].mean(dtype=np.float64)) for image in (x, y))
    x0, y0 = (np.where(mask, image, at) - at for image, at in ((x, np.float64(middle_x)), (y, np.float64(middle_y))))
    mean_x, mean_y, xx, yy, xy = (_blur(image)[inner] for image in (x0, y0, x0 * x0, y0 * y0, x0 * y0))
    return Local(
        mean_x + middle_x,
        mean_y + middle_y,
        np.maximum(xx - mean_x**2, 0),
        np.maximum(yy - mean_y**2, 0),
        xy - mean_x * mean_y,
    )


def similarity(local: Local, *, data_range: float, scale: float = 1.0) -> Parts:
    """SSIM of (scale x, y) without filtering again: moments of x scale by known powers.

    Parameters
    ----------
    local
        Of x and y.
    data_range
        The peak L of the constants (0.01 L)^2 and (0.03 L)^2, in the unit of y.
    scale
        Of x.

    Raises
    ------
    InputError
        A range that is not positive.
    """
    if not data_range > 0:
        raise InputError(f"data_range is {data_range}; expected a positive number in the unit of the image")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = scale * local.mean_x, local.mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * scale * local.cov + c2) / (scale**2 * local.var_x + local.var_y + c2)
    return Parts(luminance, structure)


def ssim(result: Array, truth: Array, *, data_range: float, valid: Mask | None = None) -> float:
    """Mean structural similarity over all positions whose window is whole; 1 for equal images.

    Parameters
    ----------
    result, truth
        Of one shape, of any number of dimensions (all of them spatial).
    data_range
        The peak, in the unit of the images.
    valid
        Broadcast against them.

    Returns
    -------
    float
        NaN where no window of 11 pixels along each axis fits.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli 2004: Gaussian window of sigma 1.5, population moments.
    """
    parts = similarity(local_statistics(result, truth, valid=valid), data_range=data_range)
    return float((parts.luminance * parts.structure).mean()) if parts.luminance.size else math.nan


def ms_ssim(result: Array, truth: Array, *, data_range: float, valid: Mask | None = None) -> float:
    """Multi-scale structural similarity: the product of the means of five scales, each half as fine.

    Parameters
    ----------
    result, truth, data_range, valid
        See `ssim`.

    Returns
    -------
    float
        In [0, 1]; a negative mean counts as 0. Scales at which no window fits are left out and the exponents of the
        others raised to the same sum; NaN where none fits.

    References
    ----------
    Wang, Simoncelli, Bovik 2003.
    """
    mask = checked_pair(result, truth, valid)
    x, y = (np.where(mask, image, 0).astype(np.float64) for image in (result, truth))
    means: list[tuple[float, float]] = []
    for _ in WEIGHTS:
        parts = similarity(local_statistics(x, y, valid=mask), data_range=data_range)
        if not parts.luminance.size:
            break
        both = parts.luminance * parts.structure
        means.append((float(parts.structure.mean()), float(both.mean())))
        x, y, mask = _halved(x), _halved(y), _halved(mask.astype(np.float64)) == 1
    if not means:
        return math.nan
    values = [structure for structure, _ in means[:-1]] + [means[-1][1]]
    weights = np.array(WEIGHTS[: len(values)]) / sum(WEIGHTS[: len(values)])
    return float(np.prod(np.maximum(values, 0) ** weights))


def _blur(image: Double) -> Double:
    return np.asarray(ndimage.gaussian_filter(image, SIGMA, radius=RADIUS, mode="reflect"))


def _halved(image: Double) -> Double:
    """Means of blocks of 2 along every axis; a last odd row is left out."""
    for axis in range(image.ndim):
        pairs = image.shape[axis] // 2
        shape = (*image.shape[:axis], pairs, 2, *image.shape[axis + 1 :])
        image = np.take(image, np.arange(2 * pairs), axis).reshape(shape).mean(axis + 1)
    return image
