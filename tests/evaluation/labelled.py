"""Discs and fields that a small network learns within seconds."""

import numpy as np

from sciddiff.evaluation.windows import Pair


def discs(seed: int, side: int = 96, *, count: int = 12, noise: float = 3.0) -> Pair:
    """Bright discs on a dark ground, apart from each other, and their labels."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[:side, :side]
    image, labels = np.full((side, side), 20.0), np.zeros((side, side), np.int32)
    for number in range(1, count + 1):
        (y, x), radius = rng.uniform(0, side, 2), rng.uniform(6, 9)
        inside = np.hypot(row - y, col - x) <= radius
        if not labels[np.hypot(row - y, col - x) <= radius + 4].any():
            image[inside], labels[inside] = rng.uniform(60, 100), number
    return np.float32(image + rng.normal(0, noise, image.shape))[None], labels


def fields(seed: int, side: int = 96) -> Pair:
    """Stripes of three classes, 1 to 3, told apart by two bands; the last rows are unlabelled, 0."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.integers(side // 4, 3 * side // 4, 2))
    labels = np.repeat(1 + np.searchsorted(edges, np.arange(side)), side).reshape(side, side).T
    colours = np.array([[10.0, 80.0], [50.0, 50.0], [90.0, 20.0]])
    image = colours[labels - 1].transpose(2, 0, 1) + rng.normal(0, 5, (2, side, side))
    labels = labels.copy()
    labels[-8:] = 0
    return np.float32(image), np.asarray(labels, np.int32)
