"""What a network sees of an instance mask: maps that depend on what is near, equal on every window.

An instance mask is an integer array (h, w): 0 is the background, every other value one object. The rim of an object are
its pixels with a pixel of another value above, below, left or right of them. What lies outside the array is unknown:
its border is no rim.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError, OptionError

FLAT = 1e-3
"""Slope of the distance, per pixel, below which it has no direction."""
SMOOTH, STEP = (3.0, 10.0, 3.0), (-1.0, 0.0, 1.0)
"""Across and along the derivative (Scharr 2000): its direction errs by less than a degree on a plane."""


def margin(reach: int) -> int:
    """Pixels that a window must hold around its core for the maps there to equal those of the whole mask."""
    return reach + 2


def instance_maps(mask: NDArray[Any], *, reach: int) -> NDArray[np.float32]:
    """What is an object, how far its boundary is, and which way leads from there to its middle.

    Parameters
    ----------
    mask
        Instances, (h, w), integers: 0 for the background, every other value one object.
    reach
        Pixels beyond which distances are not told apart, 1 or more.

    Returns
    -------
    ndarray
        (4, h, w), float32: 1 in objects, 0 elsewhere; `signed_distance`; the two components, down and along the rows,
        of the unit vector in which that distance rises, seen from each object alone, 0 outside and where it is flat.
        On a window they equal those of the whole mask, bit for bit, from `margin(reach)` pixels inwards.

    Raises
    ------
    InputError
        If the mask has not two dimensions, or values that are no integers or below 0.
    OptionError
        If the reach is below 1.
    """
    distance = signed_distance(mask, reach=reach)
    inside = mask > 0
    rises = _gradient(mask, distance * np.float32(reach))
    length = np.sqrt(rises[0] ** 2 + rises[1] ** 2)
    pointed = inside & (length > FLAT)
    maps = np.zeros((4, *mask.shape), np.float32)
    maps[0], maps[1] = inside, distance
    np.divide(rises, length, out=maps[2:], where=np.broadcast_to(pointed, rises.shape))
    return maps


def signed_distance(mask: NDArray[Any], *, reach: int) -> NDArray[np.float32]:
    """Distance to the boundary of the objects, in parts of the reach: above 0 inside, below 0 outside.

    Inside it is the distance to the rim of the same object and half a pixel more, so that objects which touch are
    parted by the boundary between them; outside the distance to the nearest object and half a pixel less. Distances
    between centres of pixels, Euclidean, exact (lower envelopes row by row; Felzenszwalb and Huttenlocher 2012).

    Parameters
    ----------
    mask
        Instances, (h, w), integers: 0 for the background, every other value one object.
    reach
        Pixels at which the distance is cut, 1 or more.

    Returns
    -------
    ndarray
        (h, w), float32, in -1..1.

    Raises
    ------
    InputError
        If the mask has not two dimensions, or values that are no integers or below 0.
    OptionError
        If the reach is below 1.
    """
    checked(mask)
    if reach < 1:
        raise OptionError(f"a reach of {reach} pixels; it must be 1 or more")
    inside = mask > 0
    # The nearest rim is always that of the own object, and from outside the nearest object begins with its rim: one
    # transform serves both.
    away = np.sqrt(_squared_distance(_rim(mask) & inside, reach=reach), dtype=np.float32)
    signed = np.where(inside, away + np.float32(0.5), np.float32(0.5) - away)
    return np.clip(signed / np.float32(reach), np.float32(-1), np.float32(1))


def checked(mask: NDArray[Any]) -> None:
    """Refuse what is no mask.

    Raises
    ------
    InputError
        If it has not two dimensions, or values that are no integers or below 0.
    """
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise InputError(f"a mask of {mask.dtype} values and shape {mask.shape}; give integers of shape (h, w)")
    if mask.size and mask.dtype.kind == "i" and mask.min() < 0:
        raise InputError(f"a mask with the value {mask.min()}; 0 is the background, objects are 1 or more")


def _rim(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Where one of the four neighbours has another value."""
    rim = np.zeros(mask.shape, bool)
    down, along = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    rim[1:] |= down
    rim[:-1] |= down
    rim[:, 1:] |= along
    rim[:, :-1] |= along
    return rim


def _squared_distance(targets: NDArray[np.bool_], *, reach: int) -> NDArray[np.int32]:
    """Squared distance to the nearest target, or anything from (reach + 1)^2 on where none is within the reach."""
    far = (reach + 1) ** 2
    # Twice the cut must fit: of short numbers twice as many are compared at a time.
    kind = np.int16 if 2 * far < 2**15 else np.int32
    squared = np.where(targets, 0, far).astype(kind)
    for _ in range(2):
        squared = _lowest_sum(squared, reach=reach).T
    return squared.astype(np.int32)


def _lowest_sum(squared: NDArray[Any], *, reach: int) -> NDArray[Any]:
    """Per column the least of squared + (rows between)^2 over all rows within the reach."""
    least = np.ascontiguousarray(squared)
    squared, shifted = least.copy(), np.empty_like(least)
    for rows in range(1, min(reach, len(squared) - 1) + 1):
        np.add(squared, squared.dtype.type(rows**2), out=shifted)
        np.minimum(least[rows:], shifted[:-rows], out=least[rows:])
        np.minimum(least[:-rows], shifted[rows:], out=least[:-rows])
    return least


def _gradient(mask: NDArray[Any], distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Derivatives down and along of the distance in pixels, (2, h, w); what is of another value counts as outside."""
    h, w = mask.shape
    mask, distance = np.pad(mask, 1, mode="edge"), np.pad(distance, 1, mode="edge")
    own, rises = mask[1:-1, 1:-1], np.zeros((2, h, w), np.float32)
    for i in range(3):
        for j in range(3):
            down, along = STEP[i] * SMOOTH[j] / 32, SMOOTH[i] * STEP[j] / 32
            if not (down or along):
                continue
            near, values = distance[i : i + h, j : j + w], mask[i : i + h, j : j + w]
            seen = np.where(values == own, near, -np.abs(near))
            rises[0] += np.float32(down) * seen
            rises[1] += np.float32(along) * seen
    return rises
