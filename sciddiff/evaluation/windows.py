"""Labelled images as small networks learn them: contrast taken off, windows at random places, the usual variations."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError

Image = NDArray[np.float32]
"""(c, h, w)."""
Labels = NDArray[np.integer]
"""(h, w): objects, or classes."""
Pair = tuple[Image, Labels]

DARK, BRIGHT = 1.0, 99.0
"""Percentiles of a channel that become 0 and 1."""
GAIN, OFFSET, GAMMA, NOISE = 1.4, 0.1, 1.4, 0.08
"""How far the usual variations go: factors either way, a share of the range, factors either way, a spread."""


def check_pair(image: NDArray[np.floating], labels: Labels) -> None:
    """Refuse what is no labelled image.

    Parameters
    ----------
    image
        (c, h, w), finite.
    labels
        (h, w), integers.

    Raises
    ------
    InputError
        Shapes that do not belong together, values that are not finite, labels that are no integers.
    """
    if image.ndim != 3 or labels.shape != image.shape[1:]:
        raise InputError(f"the image is {image.shape} and its labels {labels.shape}; expected (c, h, w) and (h, w)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels are {labels.dtype}; expected integers, one an object or a class")
    if not np.isfinite(image).all():
        raise InputError(f"{np.count_nonzero(~np.isfinite(image))} values of the image are not finite; fill them first")


def normalised(image: NDArray[np.floating]) -> Image:
    """Each channel with its 1st percentile at 0 and its 99th at 1, so that gain and offset do not matter.

    Parameters
    ----------
    image
        (c, h, w); a flat channel becomes zero.
    """
    low, high = np.percentile(image, [DARK, BRIGHT], axis=(1, 2), keepdims=True)
    spread = np.ptp(image, axis=(1, 2), keepdims=True)
    scale = np.where(high > low, high - low, np.where(spread > 0, spread, 1))
    return np.asarray((image - low) / scale, np.float32)


def large_enough(array: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """Mirrored at its far edges until the last two axes are at least `side` long.

    Parameters
    ----------
    array
        (..., h, w).
    side
        Of a window.
    """
    missing = [(0, max(0, side - length)) for length in array.shape[-2:]]
    return np.pad(array, [(0, 0)] * (array.ndim - 2) + missing, mode="symmetric") if any(map(any, missing)) else array


def draw(pairs: Sequence[Pair], side: int, rng: np.random.Generator) -> Pair:
    """A window of one of the pairs; the more often from a pair, the larger it is.

    Parameters
    ----------
    pairs
        Each at least `side` pixels high and wide.
    side
        Of the window.
    rng
        Decides.
    """
    areas = np.array([labels.size for _, labels in pairs], np.float64)
    image, labels = pairs[int(rng.choice(len(pairs), p=areas / areas.sum()))]
    row, col = (int(rng.integers(length - side + 1)) for length in labels.shape)
    window = slice(row, row + side), slice(col, col + side)
    return image[:, *window], labels[window]


def varied(image: Image, labels: Labels, rng: np.random.Generator, *, contrast: bool = True) -> Pair:
    """The usual augmentation: mirrored, turned by right angles, with other gain, offset, gamma and more noise.

    Parameters
    ----------
    image
        (c, h, w), square, as `normalised` gives it.
    labels
        (h, w).
    rng
        Decides.
    contrast
        Whether values change too, or only places.
    """
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    image, labels = np.rot90(image, turns, (1, 2)), np.rot90(labels, turns)
    if mirrored:
        image, labels = image[:, :, ::-1], labels[:, ::-1]
    if not contrast:
        return np.ascontiguousarray(image), labels
    gamma, gain = (limit ** rng.uniform(-1, 1) for limit in (GAMMA, GAIN))
    changed = gain * np.sign(image) * np.abs(image) ** gamma + rng.uniform(-OFFSET, OFFSET)
    return np.asarray(changed + rng.uniform(0, NOISE) * rng.standard_normal(image.shape), np.float32), labels
