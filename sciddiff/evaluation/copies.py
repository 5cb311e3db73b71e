"""Whether a generator copies its training images: nearest-neighbour distances, beside those of real images never seen.

Each channel of a patch loses its mean and its spread first, so that a change of gain or offset hides nothing; a slight
blur takes noise off, which would otherwise be most of a distance. Distances are the root mean square difference of what
is left, in spreads: sqrt(2 (1 - r)) for a normalised cross-correlation r averaged over the channels; 0 is a copy, 1.41
has nothing in common. The search goes over all offsets and the eight mirrored and turned versions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from sciddiff.errors import InputError
from sciddiff.evaluation.windows import Image

SMOOTHING = 1.0
"""Sigma of the blur, in pixels."""
FLAT = 0.02
"""Spread, as a share of that of all training images, below which a patch of them shows nothing that could be copied."""
TAIL = 0.01
"""Quantile of the real distances below which a patch is suspect."""
COPY = 0.5
"""A patch at less than this share of that quantile is called a copy: nearer than chance comes by a wide margin."""
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Nearest:
    """The training patch that is most like a patch.

    Attributes
    ----------
    distance
        In spreads, see the module.
    image, row, column
        Which training image, and the first pixel there.
    turns, mirrored
        Quarter turns of the patch, and whether it was mirrored left to right before, to lie on the training patch.
    """

    distance: float
    image: int
    row: int
    column: int
    turns: int
    mirrored: bool


@dataclass(frozen=True)
class Copies:
    """Distances of generated patches to the training images, and of real patches that were held out.

    Attributes
    ----------
    size
        Side of the patches.
    generated, real
        The nearest training patch of each.
    """

    size: int
    generated: tuple[Nearest, ...]
    real: tuple[Nearest, ...]

    @property
    def floor(self) -> float:
        """The 1 % quantile of the real distances."""
        return float(np.quantile(_distances(self.real), TAIL))

    @property
    def suspects(self) -> list[int]:
        """Numbers of the generated patches below the floor, the nearest first."""
        distances = _distances(self.generated)
        return [int(number) for number in np.argsort(distances) if distances[number] < self.floor]

    @property
    def copied(self) -> list[int]:
        """Those of the suspects that are below half of the floor."""
        return [number for number in self.suspects if self.generated[number].distance < COPY * self.floor]

    @property
    def p_nearer(self) -> float:
        """Chance of distances as small if generated patches were no nearer than real ones (Mann and Whitney 1947)."""
        from scipy.stats import mannwhitneyu

        return float(mannwhitneyu(_distances(self.generated), _distances(self.real), alternative="less").pvalue)

    @property
    def p_tail(self) -> float:
        """Chance of so many generated patches below every real one, if all were drawn alike.

        Of n + m patches in random order the first k are generated: the product of (n - i) / (n + m - i).
        """
        count, others = len(self.generated), len(self.real)
        below = int((_distances(self.generated) < _distances(self.real).min()).sum())
        return math.prod((count - i) / (count + others - i) for i in range(below))

    def to_dict(self) -> dict[str, Any]:
        """The summary, for JSON."""
        return {
            "size": self.size,
            "patches": {"generated": len(self.generated), "real": len(self.real)},
            "quantiles": {
                name: {f"{share:g}": float(np.quantile(_distances(nearest), share)) for share in QUANTILES}
                for name, nearest in (("generated", self.generated), ("real", self.real))
            },
            "floor": self.floor,
            "share_below_floor": len(self.suspects) / len(self.generated),
            "p_nearer": self.p_nearer,
            "p_tail": self.p_tail,
            "suspects": [{"patch": number, **vars(self.generated[number])} for number in self.suspects],
            "copied": self.copied,
        }


def copies(
    generated: Sequence[Image], training: Sequence[Image], held_out: Sequence[Image], *, size: int, count: int = 100
) -> Copies:
    """Compare generated images with the training images, and real images never seen in the same way.

    Parameters
    ----------
    generated, training, held_out
        Images (c, h, w), finite.
    size
        Side of the patches: a few objects wide, for one object alone is like many others.
    count
        At most so many patches of each; they lie next to each other, evenly thinned.

    Raises
    ------
    InputError
        Images smaller than a patch, or of different channels.
    """
    groups = [list(_patches(images, size, name)) for images, name in ((generated, "generated"), (held_out, "held-out"))]
    chosen = [
        [group[at] for at in np.linspace(0, len(group) - 1, min(count, len(group))).astype(int)] for group in groups
    ]
    found = [tuple(nearest_training(group, training, size=size)) for group in chosen]
    return Copies(size, *found)


def nearest_training(patches: Sequence[Image], training: Sequence[Image], *, size: int) -> list[Nearest]:
    """The nearest training patch of each patch.

    Parameters
    ----------
    patches
        (c, size, size) each.
    training
        Images (c, h, w); those smaller than a patch have none.
    size
        Side.

    Raises
    ------
    InputError
        A patch of another shape, no training image as large as a patch, or other channels.
    """
    known = [number for number, image in enumerate(training) if min(image.shape[1:]) >= size]
    channels = {len(image) for image in training}
    if not known:
        raise InputError(f"no training image is as large as a patch of {size} x {size} pixels: take smaller patches")
    for patch in patches:
        if patch.shape[1:] != (size, size) or {len(patch)} != channels:
            raise InputError(
                f"a patch is {patch.shape}; expected {sorted(channels)} channels of {size} x {size} pixels"
            )
    spread = np.sqrt(np.mean([_smooth(training[number]).var((1, 2)) for number in known], 0))
    best = [Nearest(math.inf, 0, 0, 0, 0, False)] * len(patches)
    kernels = [_versions(_standard(_smooth(patch))) for patch in patches]
    for number in known:
        search = _Search(_smooth(training[number]), size, FLAT * spread)
        for at, versions in enumerate(kernels):
            best[at] = min(best[at], search.nearest(versions, number), key=lambda found: found.distance)
    return best


class _Search:
    """A training image that is ready to be searched."""

    def __init__(self, image: Image, size: int, least: NDArray[np.floating]):
        self.places = tuple(side - size + 1 for side in image.shape[1:])
        self.shape = tuple(fft.next_fast_len(side, real=True) for side in image.shape[1:])
        centred = image - image.mean((1, 2), keepdims=True)
        self.spectrum = fft.rfft2(centred.astype(np.float32), self.shape)
        energy = size**2 * np.stack([_local_variance(channel, size) for channel in centred])
        self.shows = energy > size**2 * np.square(least)[:, None, None]
        self.norm = np.sqrt(np.where(self.shows, energy, 1)).astype(np.float32)

    def nearest(self, versions: Sequence[tuple[int, bool, Image]], number: int) -> Nearest:
        """The place of the highest mean correlation."""
        best = Nearest(math.inf, number, 0, 0, 0, False)
        for turns, mirrored, kernel in versions:
            product = self.spectrum * np.conj(fft.rfft2(kernel, self.shape))
            moved = fft.irfft2(product, self.shape)[:, : self.places[0], : self.places[1]]
            correlation = np.where(self.shows, moved / self.norm, 0).mean(0)
            row, col = (int(place) for place in np.unravel_index(correlation.argmax(), correlation.shape))
            distance = math.sqrt(max(0.0, 2 * (1 - float(correlation[row, col]))))
            if distance < best.distance:
                best = Nearest(distance, number, row, col, turns, mirrored)
        return best


def _local_variance(channel: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Variance of the window that begins at each pixel, from sums of rows and columns."""

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return (sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]) / size**2

    exact = channel.astype(np.float64)
    return np.maximum(mean(exact**2) - mean(exact) ** 2, 0)


def _smooth(image: Image) -> Image:
    return np.asarray(ndimage.gaussian_filter(image.astype(np.float32), (0, SMOOTHING, SMOOTHING)), np.float32)


def _standard(patch: Image) -> Image:
    """Each channel without its mean and with a norm of one; a flat one is zero."""
    centred = patch - patch.mean((1, 2), keepdims=True)
    norm = np.sqrt(np.square(centred).sum((1, 2), keepdims=True))
    return np.asarray(centred / np.where(norm > 1e-6 * (1 + np.abs(patch).max()), norm, np.inf), np.float32)


def _versions(patch: Image) -> list[tuple[int, bool, Image]]:
    """Turned by right angles, and mirrored before."""
    return [
        (turns, mirrored, np.ascontiguousarray(np.rot90(patch[:, :, ::-1] if mirrored else patch, turns, (1, 2))))
        for mirrored in (False, True)
        for turns in range(4)
    ]


def _patches(images: Sequence[Image], size: int, name: str) -> Iterator[Image]:
    """Patches next to each other."""
    small = [image.shape for image in images if min(image.shape[1:]) < size]
    if small or not images:
        raise InputError(
            f"{name} images: expected {size} x {size} pixels or more, got {small[0] if small else 'none'}; "
            "take smaller patches"
        )
    for image in images:
        for row in range(0, image.shape[1] - size + 1, size):
            for col in range(0, image.shape[2] - size + 1, size):
                yield image[:, row : row + size, col : col + size]


def _distances(nearest: Sequence[Nearest]) -> NDArray[np.float64]:
    return np.array([found.distance for found in nearest])
