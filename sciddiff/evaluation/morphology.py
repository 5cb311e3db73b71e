"""Whether objects survive a restoration: how many, how large, of which shape, and how many are those of the truth."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, sparse

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Labels = NDArray[np.integer]


@dataclass(frozen=True)
class Objects:
    """What the objects of an image are, one number each, (n,).

    Attributes
    ----------
    area
        Pixels, or voxels of a volume.
    intensity
        Mean, in the unit of the image.
    solidity
        Area over that of the convex hull.
    eccentricity
        0 of a circle to 1 of a line; NaN of volumes, for which it is not defined.
    """

    area: Double
    intensity: Double
    solidity: Double
    eccentricity: Double

    def summary(self) -> dict[str, float]:
        """Their count and the median of each property, NaN where there are none."""
        parts = {name: getattr(self, name) for name in ("area", "intensity", "solidity", "eccentricity")}
        medians = {name: float(np.median(values)) if values.size else math.nan for name, values in parts.items()}
        return {"objects": float(self.area.size), **medians}


@dataclass(frozen=True)
class Matching:
    """Objects of a result against those of the truth.

    Attributes
    ----------
    pairs
        Labels that belong together, (n, 2), the result's first.
    iou
        Of each pair, above the threshold.
    found, made_up, missed
        Pairs, objects of the result without a truth, of the truth without a result.
    """

    pairs: NDArray[np.int64]
    iou: Double
    found: int
    made_up: int
    missed: int

    @property
    def average_precision(self) -> float:
        """Found over found, made up and missed; NaN where there is no object at all."""
        total = self.found + self.made_up + self.missed
        return self.found / total if total else math.nan


def segment(image: Array, *, smoothing: float = 1.0, smallest: int = 16) -> NDArray[np.int32]:
    """Label bright objects: Otsu's threshold on the smoothed image, touching ones parted by a watershed.

    Parameters
    ----------
    image
        2-D or 3-D; what is not finite is background.
    smoothing
        Sigma of the Gaussian in pixels.
    smallest
        Pixels below which an object is dropped; its root in each axis is how far seeds of two objects are apart.

    Returns
    -------
    ndarray
        Labels from 1, 0 for the background; no object in a flat image.
    """
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu
    from skimage.segmentation import relabel_sequential, watershed

    known = np.isfinite(image)
    if not known.any() or np.ptp(image[known]) == 0:
        return np.zeros(image.shape, np.int32)
    filled = np.where(known, image, image[known].min()).astype(np.float64)
    smooth = ndimage.gaussian_filter(filled, smoothing)
    bright = (smooth > threshold_otsu(smooth[known])) & known
    inside = ndimage.gaussian_filter(ndimage.distance_transform_edt(bright), smoothing)
    apart = max(2, round(smallest ** (1 / image.ndim)))
    seeds = np.zeros(image.shape, np.int32)
    places = peak_local_max(inside, min_distance=apart, labels=bright.astype(np.int32), exclude_border=False)
    seeds[tuple(places.T)] = np.arange(1, len(places) + 1)
    labels = watershed(-inside, seeds, mask=bright)
    small = np.flatnonzero(np.bincount(labels.ravel()) < smallest)
    labels[np.isin(labels, small)] = 0
    return np.asarray(relabel_sequential(labels)[0], np.int32)


def measure(labels: Labels, image: Array) -> Objects:
    """Properties of labelled objects.

    Parameters
    ----------
    labels
        2-D or 3-D, 0 for the background.
    image
        Of the same shape.

    Raises
    ------
    InputError
        Shapes that differ.
    """
    from skimage.measure import regionprops_table

    if labels.shape != image.shape:
        raise InputError(f"labels are {labels.shape} and the image {image.shape}; expected one shape")
    names = ["area", "intensity_mean", "solidity", *(["eccentricity"] if labels.ndim == 2 else [])]
    if not labels.any():
        return Objects(*np.zeros((4, 0)))
    table = regionprops_table(labels, np.asarray(image, np.float64), properties=names)
    area = np.asarray(table["area"], np.float64)
    eccentricity = table.get("eccentricity", np.full(area.shape, np.nan))
    return Objects(area, table["intensity_mean"], table["solidity"], eccentricity)


def match(result: Labels, truth: Labels, *, iou: float = 0.5) -> Matching:
    """Pair objects by intersection over union so that the sum is largest.

    Parameters
    ----------
    result, truth
        Labels of one shape, 0 for the background.
    iou
        Least of a pair; 0.5 for AP@0.5.

    Raises
    ------
    InputError
        Shapes that differ, or a threshold outside (0, 1].

    References
    ----------
    Caicedo et al. 2019 (Data Science Bowl 2018); Schmidt et al. 2018 (StarDist).
    """
    if result.shape != truth.shape:
        raise InputError(f"labels are {result.shape} and {truth.shape}; expected one shape")
    if not 0 < iou <= 1:
        raise InputError(f"iou is {iou}; expected a number above 0 and up to 1")
    names_a, a = np.unique(result, return_inverse=True)
    names_b, b = np.unique(truth, return_inverse=True)
    shared = sparse.coo_array((np.ones(a.size), (a.ravel(), b.ravel())), (names_a.size, names_b.size)).toarray()
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    overlap = (shared / union)[np.ix_(names_a != 0, names_b != 0)]
    names_a, names_b = names_a[names_a != 0], names_b[names_b != 0]
    good = np.where(overlap >= iou, overlap, 0.0)
    rows, cols = optimize.linear_sum_assignment(good, maximize=True)
    kept = good[rows, cols] > 0
    rows, cols = rows[kept], cols[kept]
    pairs = np.stack([names_a[rows], names_b[cols]], 1).astype(np.int64)
    found = len(pairs)
    return Matching(pairs, overlap[rows, cols], found, names_a.size - found, names_b.size - found)


def compare_objects(
    image: Array, truth: Array, *, labels: Labels | None = None, truth_labels: Labels | None = None
) -> dict[str, float]:
    """Objects of an image against those of the truth.

    Parameters
    ----------
    image, truth
        Of one shape; call it for the image before the restoration and after it.
    labels, truth_labels
        Of both, from a segmentation of your own; else from `segment`.

    Returns
    -------
    dict
        `objects`, the medians `area`, `intensity`, `solidity`, `eccentricity`; `truth_objects`; `ap50` and `iou` of
        the pairs (mean); `area_ratio`, the median over pairs of the image's area over the truth's.
    """
    own = segment(image) if labels is None else labels
    other = segment(truth) if truth_labels is None else truth_labels
    pairs = match(own, other)
    areas, truths = (np.bincount(part.ravel()) for part in (own, other))
    ratio = areas[pairs.pairs[:, 0]] / truths[pairs.pairs[:, 1]]
    return {
        **measure(own, image).summary(),
        "truth_objects": float(np.count_nonzero(truths[1:])),
        "ap50": pairs.average_precision,
        "iou": float(pairs.iou.mean()) if pairs.found else math.nan,
        "area_ratio": float(np.median(ratio)) if pairs.found else math.nan,
    }
