"""Classes of land cover from surface reflectance, by rules that mean the same in every scene.

No annotation stands behind these labels. Index rules with fixed thresholds decide in this order:

1. bright: green and red reflect more than 0.2 on average (cloud, sand, salt, snow, roofs; no vegetation does);
2. water: green above the short-wave infrared (MNDWI above 0; Xu 2006) or above the near infrared (NDWI above 0;
   McFeeters 1996), the near infrared below 0.15 and the vegetation index (NDVI) below 0.2;
3. bare: an NDVI below 0.2; sparse and mixed: below 0.35 and 0.5, between soil and closed vegetation (0.2 and 0.5 after
   Sobrino et al. 2004; parted once more, because dry land has hardly anything else);
4. grass, crops among it, or forest: closed vegetation, by the nearest of three centres. They were found by k-means in
   the logarithms of green and short-wave infrared, from 6000 pixels each of Wales, Tanzania and Nicaragua and 1500 of
   Texas. Canopies hold shadow and reflect less than herbs there (Huang et al. 2008): the two darker centres are forest.

Closed crops as dark as a canopy count as forest, wet meadows too: the labels say what an image shows, no land use.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError

CLASSES: dict[str, int] = {"water": 1, "bare": 2, "sparse": 3, "mixed": 4, "grass": 5, "forest": 6, "bright": 7}
"""Values of the classes; 0 is where nothing was measured."""
BRIGHT_FROM = 0.2
"""Mean of green and red."""
WATER_TO = 0.15
"""Near infrared of water: more than clear water has, so that silt does not make it land."""
SPARSE_FROM, MIXED_FROM, CLOSED_FROM = 0.2, 0.35, 0.5
"""NDVI from which on there is vegetation, as much of it as of soil, and no soil to be seen."""
CENTRES = {"dense forest": (0.038, 0.109), "open forest": (0.055, 0.165), "grass": (0.079, 0.227)}
"""Green and short-wave infrared reflectance (1.6 µm) at the centres of closed vegetation."""
FLOOR = 1e-3
"""Least reflectance in a ratio or a logarithm."""


def landcover(
    reflectance: NDArray[Any], *, red: int, nir: int, green: int, swir: int, smallest: int = 9
) -> NDArray[np.uint8]:
    """Land cover of a scene, in patches.

    Parameters
    ----------
    reflectance
        Surface reflectance in 0..1, (bands, h, w), NaN where invalid.
    red, nir, green, swir
        Positions of the bands: about 0.66, 0.85, 0.56 and 1.6 µm.
    smallest
        Pixels of the smallest patch that stays; a smaller one falls to the nearest that does.

    Returns
    -------
    ndarray
        Values of `CLASSES`, (h, w), uint8; 0 where one of the four bands is invalid or all are exactly 0.

    Raises
    ------
    InputError
        If the array has no such bands, or holds digital numbers.
    """
    if reflectance.ndim != 3 or not all(0 <= band < len(reflectance) for band in (red, nir, green, swir)):
        raise InputError(f"no bands {(red, nir, green, swir)} in an array of {reflectance.shape}; give (bands, h, w)")
    bands = {"red": reflectance[red], "nir": reflectance[nir], "green": reflectance[green], "swir": reflectance[swir]}
    valid = np.logical_and.reduce([np.isfinite(band) for band in bands.values()])
    valid &= np.logical_or.reduce([band != 0 for band in bands.values()])
    typical = float(np.median(bands["nir"][valid])) if valid.any() else 0.0
    if typical > 2:
        raise InputError(f"the near infrared is {typical:.4g} at the median; give reflectance in 0..1, scale applied")
    labels = np.where(valid, _classes(**bands), 0).astype(np.uint8)
    return sieved(majority(majority(labels)), smallest=smallest)


def majority(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class that weighs most among 3 x 3 pixels, 1 2 1 each way: lines one pixel wide stay, single pixels go.

    Parameters
    ----------
    labels
        Classes, (h, w); 0 neither votes nor changes.

    Returns
    -------
    ndarray
        (h, w). A pixel keeps its class where another weighs no more.
    """
    most = _weight(labels, labels)
    result = labels.copy()
    for value in np.unique(labels[labels > 0]):
        weight = _weight(labels, np.full_like(labels, value))
        wins = (weight > most) & (labels > 0)
        result[wins], most[wins] = value, weight[wins]
    return result


def sieved(labels: NDArray[np.uint8], *, smallest: int) -> NDArray[np.uint8]:
    """Give each connected patch below a size to the nearest patch that is not.

    Parameters
    ----------
    labels
        Classes, (h, w); 0 stays 0.
    smallest
        Pixels of the smallest patch to stay, joined over sides and corners. Where none is as large all stay.

    Returns
    -------
    ndarray
        (h, w).
    """
    from scipy import ndimage
    from skimage import measure

    patches = measure.label(labels, connectivity=2, background=0)
    large = np.bincount(patches.ravel()) >= smallest
    large[0] = False
    kept = large[patches]
    if not kept.any() or kept[labels > 0].all():
        return labels
    nearest = ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True)
    return np.where(labels > 0, labels[tuple(nearest)], labels)


def _classes(*, red: NDArray[Any], nir: NDArray[Any], green: NDArray[Any], swir: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes of single pixels; anything where they are invalid."""
    red, nir, green, swir = (np.maximum(band, FLOOR) for band in (red, nir, green, swir))
    vegetation = (nir - red) / (nir + red)
    rules = {
        "bright": green + red > 2 * BRIGHT_FROM,
        "water": ((green > swir) | (green > nir)) & (nir < WATER_TO) & (vegetation < SPARSE_FROM),
        "bare": vegetation < SPARSE_FROM,
        "sparse": vegetation < MIXED_FROM,
        "mixed": vegetation < CLOSED_FROM,
        "grass": _nearest_centre(green, swir) == list(CENTRES).index("grass"),
    }
    return np.select(list(rules.values()), [np.uint8(CLASSES[name]) for name in rules], np.uint8(CLASSES["forest"]))


def _nearest_centre(green: NDArray[Any], swir: NDArray[Any]) -> NDArray[np.intp]:
    at = np.log(green), np.log(swir)
    apart = [(at[0] - np.log(first)) ** 2 + (at[1] - np.log(second)) ** 2 for first, second in CENTRES.values()]
    return np.argmin(apart, axis=0)


def _weight(labels: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Weight of the wanted class around each pixel, 16 in all."""
    padded = np.pad(labels, 1)
    h, w = labels.shape
    weight = np.zeros((h, w), np.uint8)
    for i, down in enumerate((1, 2, 1)):
        for j, along in enumerate((1, 2, 1)):
            weight += np.uint8(down * along) * (padded[i : i + h, j : j + w] == wanted)
    return weight
