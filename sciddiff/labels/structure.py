"""Between instances and smooth maps of distance, which a generative model can draw and noise cannot break."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError, OptionError
from sciddiff.labels.maps import signed_distance

SADDLE = 0.2
"""How far the square root of the distance in pixels must sink between two objects: small ones have shallow saddles."""
BLUR = 0.8
"""Standard deviation in pixels that takes off the wobble of a pixel grid and leaves the rims of objects that touch."""


def to_distance(mask: NDArray[Any], *, reach: int) -> NDArray[np.float32]:
    """Signed distance to the boundary of the objects; see `signed_distance`.

    Parameters
    ----------
    mask
        Instances, (h, w), integers: 0 for the background.
    reach
        Pixels at which it is cut. Objects more than twice as wide have flat middles and come back all the same.

    Returns
    -------
    ndarray
        (h, w), float32, in -1..1: above 0 inside.
    """
    return signed_distance(mask, reach=reach)


def from_distance(distance: NDArray[Any], *, reach: int, smallest: int) -> NDArray[np.uint32]:
    """Instances from a signed distance: one for each maximum that stands out, as far as the distance is above 0.

    Parameters
    ----------
    distance
        In parts of the reach, (h, w), as `to_distance` or a model gives it.
    reach
        Pixels of one unit.
    smallest
        Pixels of the smallest object to stay.

    Returns
    -------
    ndarray
        (h, w), uint32: 0 for the background, 1, 2, ... the objects.

    Raises
    ------
    InputError
        If the distance has not two dimensions, or values that are not finite.
    OptionError
        If the reach is below 1.
    """
    from scipy import ndimage
    from skimage import measure, morphology, segmentation

    if distance.ndim != 2 or not np.isfinite(distance).all():
        raise InputError(f"a distance of shape {distance.shape}; give finite values of shape (h, w)")
    if reach < 1:
        raise OptionError(f"a reach of {reach} pixels; it must be 1 or more")
    inside = distance > 0
    pixels = np.where(inside, distance * reach, 0).astype(np.float32)
    height = np.sqrt(ndimage.gaussian_filter(pixels, BLUR))
    markers = measure.label((morphology.h_maxima(height, SADDLE) > 0) & inside, connectivity=2)
    parts = segmentation.watershed(-height, markers, mask=inside)
    large = np.bincount(parts.ravel()) >= smallest
    large[0] = False
    return (np.cumsum(large) * large)[parts].astype(np.uint32)
