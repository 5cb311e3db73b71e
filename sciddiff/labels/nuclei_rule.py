"""Labels of fluorescent nuclei by rules, where nobody has annotated them.

The background is taken off, a threshold that is both global and local parts nuclei from it, touching nuclei are split
where the distance to the boundary and the intensity both sink, and every nucleus is cut at half of its own brightness.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError, OptionError

Box = tuple[slice, slice]

DIAMETERS = (6.0, 160.0)
"""Range in which a typical diameter is looked for, in pixels; the upper end is also a third of the image's side."""
EDGE = 0.55
"""Where a nucleus ends, as a share of its brightness above the background: half, and a little for blur among others."""
CONVEX = 0.96
"""Parts are one nucleus where their union fills its convex hull at least so well, relative to the better part."""
ALIKE = 1.2
"""Ratio of brightness up to which parts may be one nucleus."""
LARGEST = 2.5
"""Area up to which parts are joined, relative to a disc of the typical diameter."""
DEPTH = 0.02
"""How far a saddle must lie below both peaks to part two nuclei, in diameters of distance to the boundary."""


def segmented_nuclei(image: NDArray[Any], *, diameter: float | None = None) -> NDArray[np.uint32]:
    """Instances of bright nuclei on a dark background.

    Parameters
    ----------
    image
        Intensities, (h, w).
    diameter
        Typical diameter of a nucleus in pixels; `typical_diameter` of the image where not given.

    Returns
    -------
    ndarray
        Instances, (h, w), uint32: 0 for the background, 1, 2, ... the nuclei.

    Raises
    ------
    InputError
        If the image has not two dimensions, or values that are not finite.
    OptionError
        If the diameter is below 4 pixels: nuclei that small have no shape.
    """
    from scipy import ndimage
    from skimage import measure

    _checked(image)
    diameter = typical_diameter(image) if diameter is None else diameter
    if diameter < 4:
        raise OptionError(f"nuclei of {diameter:.3g} pixels; give 4 or more, or a finer image")
    raised = _raised(image, diameter=diameter)
    root = np.sqrt(ndimage.gaussian_filter(raised, diameter / 16))
    nuclei = _foreground(root, diameter=diameter)
    split = _joined(_split(nuclei, root, diameter=diameter), root, largest=LARGEST * math.pi / 4 * diameter**2)
    cut = _cut(split, ndimage.gaussian_filter(raised, diameter / 24), smallest=math.pi / 4 * (diameter / 3) ** 2)
    return measure.label(cut, background=0, connectivity=1).astype(np.uint32)


def typical_diameter(image: NDArray[Any]) -> float:
    """Diameter of the bright blobs that stand out most.

    The Laplacian of a Gaussian, times its variance, is lowest in the middle of a disc where sigma is its radius over
    the square root of 2 (Lindeberg 1998). Of all lowest points over place and scale the weighted median counts.

    Parameters
    ----------
    image
        Intensities, (h, w).

    Returns
    -------
    float
        In pixels.

    Raises
    ------
    InputError
        If the image has not two dimensions, values that are not finite, or no blobs.
    """
    from scipy import ndimage

    _checked(image)
    root = np.sqrt(np.maximum(image - np.percentile(image, 1), 0)).astype(np.float32)
    root = _most_varied(root, size=1024)
    largest = max(min(DIAMETERS[1], min(image.shape) / 3), DIAMETERS[0] * 1.2)
    diameters = np.geomspace(DIAMETERS[0], largest, 2 + int(5 * math.log2(largest / DIAMETERS[0])))
    responses = _blobness(root, diameters=diameters)
    peaks = (responses == ndimage.maximum_filter(responses, size=(3, 5, 5))) & (responses > 0)
    peaks[[0, -1]] = False
    # What is weaker than half of the strong ones is texture or noise.
    peaks &= responses > 0.5 * np.quantile(responses[peaks], 0.98) if peaks.any() else False
    if not peaks.any():
        raise InputError("no bright blobs in the image; give the diameter of its nuclei")
    scale, row, column = np.nonzero(peaks)
    finer, strength, coarser = (responses[scale + step, row, column] for step in (-1, 0, 1))
    part = (finer - coarser) / (2 * (finer - 2 * strength + coarser))
    sizes = diameters[scale] * (diameters[1] / diameters[0]) ** part
    order = np.argsort(sizes)
    weight = np.cumsum((strength**2 * np.sqrt(sizes))[order])
    return float(sizes[order][np.searchsorted(weight, weight[-1] / 2)])


def _checked(image: NDArray[Any]) -> None:
    if image.ndim != 2 or not np.isfinite(image).all():
        raise InputError(f"an image of shape {image.shape}; give one channel (h, w) with finite values")


def _most_varied(values: NDArray[np.float32], *, size: int) -> NDArray[np.float32]:
    """The square of an image that varies most, or all of a small one."""
    # The last square ends with the image.
    rows, columns = (sorted({*range(0, n - size, size), max(n - size, 0)}) for n in values.shape)
    squares = [values[row : row + size, column : column + size] for row in rows for column in columns]
    return max(squares, key=lambda square: float(square.std()))


def _blobness(root: NDArray[np.float32], *, diameters: NDArray[np.float64]) -> NDArray[np.float32]:
    """Response to discs of each diameter, 0 where there are none; (diameters, h, w). The image goes on mirrored."""
    from scipy import fft

    rows, columns = ((np.pi * np.arange(n) / n) ** 2 for n in root.shape)
    squared = (rows[:, None] + columns).astype(np.float32)
    spectrum = fft.dctn(root)
    responses = np.empty((len(diameters), *root.shape), np.float32)
    for response, variance in zip(responses, diameters**2 / 8, strict=True):
        phase = np.float32(variance) * squared
        response[:] = fft.idctn(spectrum * (phase * np.exp(-phase / 2)))
    return np.maximum(responses, 0, out=responses)


def _raised(image: NDArray[Any], *, diameter: float) -> NDArray[np.float32]:
    """Intensity above the background, which is what an opening wider than clusters of nuclei leaves; 0 or more."""
    from scipy import ndimage

    values = image.astype(np.float32)
    window = 2 * int(3 * diameter) + 1
    low = ndimage.grey_opening(ndimage.gaussian_filter(values, diameter / 6), size=(window, window))
    return np.maximum(values - ndimage.gaussian_filter(low, diameter), 0)


def _foreground(root: NDArray[np.float32], *, diameter: float) -> NDArray[np.bool_]:
    """Above a global threshold, and above a share of what is bright around."""
    from scipy import ndimage
    from skimage import filters, morphology

    level = filters.threshold_otsu(root)
    # Otsu's level lies too high where a few nuclei shine: the second time only what is below their level counts.
    level = min(level, filters.threshold_otsu(np.minimum(root, 1.5 * level)))
    around = ndimage.gaussian_filter(root, 1.5 * diameter)
    nuclei = (root > level) & (root > around)
    nuclei = morphology.remove_small_holes(nuclei, max_size=int((diameter / 4) ** 2))
    return morphology.opening(nuclei, morphology.disk(max(int(diameter / 10), 1)))


def _split(nuclei: NDArray[np.bool_], root: NDArray[np.float32], *, diameter: float) -> NDArray[np.int32]:
    """One label a nucleus, by watershed from the peaks of distance and intensity together."""
    from scipy import ndimage
    from skimage import measure, morphology, segmentation

    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(nuclei).astype(np.float32), diameter / 24)
    bright = ndimage.gaussian_filter(root, diameter / 18)
    relative = bright / np.maximum(ndimage.gaussian_filter(bright, diameter / 3), 1e-6)
    height = (distance / diameter * relative**2).astype(np.float32)
    peaks = morphology.h_maxima(height, DEPTH)
    markers = measure.label((peaks > 0) & nuclei, connectivity=2)
    return segmentation.watershed(-height, markers, mask=nuclei)


def _joined(labels: NDArray[np.int32], root: NDArray[np.float32], *, largest: float) -> NDArray[np.int32]:
    """Join parts of one nucleus: neighbours as bright as each other that together are as convex as alone."""
    from scipy import ndimage

    labels = labels.copy()
    boxes = dict(enumerate(ndimage.find_objects(labels), start=1))
    pairs = _neighbours(labels)
    while pairs:
        fit = {pair: _fit(labels, root, pair, boxes=boxes, largest=largest) for pair in pairs}
        best = [pair for pair in sorted(fit, key=lambda each: (-fit[each], each)) if fit[pair] >= CONVEX]
        taken: set[int] = set()
        for first, second in best:
            if first in taken or second in taken:
                continue
            box = boxes[second]
            labels[box][labels[box] == second] = first
            boxes[first] = _around(boxes[first], box)
            taken |= {first, second}
        # Only what has changed can fit better than before.
        pairs = {pair for pair in _neighbours(labels) if taken & set(pair)}
    return labels


def _fit(
    labels: NDArray[np.int32],
    root: NDArray[np.float32],
    pair: tuple[int, int],
    *,
    boxes: Mapping[int, Box],
    largest: float,
) -> float:
    """How convex two parts are together, relative to the better one alone; 0 where they are too large or not alike."""
    from skimage import morphology

    box = _around(boxes[pair[0]], boxes[pair[1]])
    parts = [labels[box] == value for value in pair]
    areas = [int(part.sum()) for part in parts]
    bright = sorted(float(np.median(root[box][part])) ** 2 for part in parts)
    if sum(areas) > largest or bright[1] > ALIKE * bright[0]:
        return 0.0
    hulls = [int(morphology.convex_hull_image(part).sum()) for part in (parts[0] | parts[1], *parts)]
    return sum(areas) / hulls[0] / max(areas[0] / hulls[1], areas[1] / hulls[2])


def _neighbours(labels: NDArray[np.int32]) -> set[tuple[int, int]]:
    """Pairs of objects with a common side, the lower value first."""
    pairs: set[tuple[int, int]] = set()
    for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        met = (one != other) & (one > 0) & (other > 0)
        pairs |= set(zip(np.minimum(one[met], other[met]).tolist(), np.maximum(one[met], other[met]).tolist()))
    return pairs


def _around(first: Box, second: Box) -> Box:
    """The smallest box around two."""
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second))
    return rows, columns


def _cut(labels: NDArray[np.int32], raised: NDArray[np.float32], *, smallest: float) -> NDArray[np.int32]:
    """Each nucleus where it is at least `EDGE` times as bright as its brighter half, filled; without the small ones."""
    from scipy import ndimage

    result = np.zeros_like(labels)
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = labels[box] == value
        own &= raised[box] > EDGE * np.percentile(raised[box][own], 75)
        parts, count = ndimage.label(ndimage.binary_fill_holes(own))
        if not count:
            continue
        largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        if largest.sum() >= smallest:
            result[box][largest & (labels[box] == value)] = value
    return result
