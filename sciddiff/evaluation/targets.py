"""Labels as a network learns them: numbers of its outputs at each pixel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sciddiff.evaluation.windows import Labels, Pair

BACKGROUND, INTERIOR, BOUNDARY = range(3)
"""Outputs of a network that finds objects."""


def boundary_targets(labels: Labels) -> NDArray[np.int64]:
    """Background 0, interior 1, boundary 2: the two outermost pixels of each object, so four where objects touch.

    Parameters
    ----------
    labels
        (h, w), 0 for the background. An object too thin for it has a boundary of one pixel.
    """
    from skimage.segmentation import find_boundaries

    def inside(objects: Labels) -> Labels:
        return np.where(find_boundaries(objects, mode="inner", connectivity=2), 0, objects)

    once = inside(labels)
    twice = inside(once)
    interior = np.where(np.isin(once, np.unique(twice)), twice, once)
    return np.select([interior != 0, labels != 0], [INTERIOR, BOUNDARY], BACKGROUND).astype(np.int64)


def class_numbers(labels: Labels, classes: tuple[int, ...]) -> NDArray[np.int64]:
    """Place of each class value among the classes, -1 for any other value.

    Parameters
    ----------
    labels
        (h, w), class values.
    classes
        Their values, ascending.
    """
    order = np.asarray(classes)
    places = np.searchsorted(order, labels).clip(0, len(order) - 1)
    return np.where(order[places] == labels, places, -1).astype(np.int64)


def class_weights(pairs: Sequence[Pair], outputs: int) -> NDArray[np.float32]:
    """One over the root of each output's frequency, so that thin boundaries and rare classes count; mean one.

    Parameters
    ----------
    pairs
        Images and targets; -1 does not count.
    outputs
        How many there are; one that never occurs has no weight.
    """
    counts = sum((np.bincount(targets[targets >= 0], minlength=outputs) for _, targets in pairs), np.zeros(outputs))
    weights = 1 / np.sqrt(np.maximum(counts, 1) / max(counts.sum(), 1))
    weights[counts == 0] = 0
    return np.asarray(weights / weights[counts > 0].mean(), np.float32)
