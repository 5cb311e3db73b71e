"""Distances between sets of images by what a segmenter sees in them, beside those of real images among themselves.

The usual FID and KID measure with a network that was trained on photographs. Here the features are those of the
segmenter of the images' own field, `segmenter.SegmentationNet`: mean and spread over the image of each channel of the
two coarsest scales. Figures compare sets that were measured by one segmenter, and nothing else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sciddiff.errors import InputError
from sciddiff.evaluation.segmenter import STRIDE, Segmenter
from sciddiff.evaluation.windows import Image, check_pair, large_enough, normalised

Features = NDArray[np.float64]
"""(n, d), one row an image."""

SCALES = 2
"""The coarsest of the network."""
SUBSETS = 50
"""Random subsets over which means and intervals are taken."""
LEAST = 4
"""Images of a set."""


@dataclass(frozen=True)
class Spread:
    """A distance over random subsets: its mean and the interval of 95 % of its values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Distances:
    """How far synthetic images are from real ones, beside how far real ones are from each other.

    Attributes
    ----------
    count
        Images of each subset: a Fréchet distance grows as they get fewer, so that only equal counts compare.
    frechet, kernel
        Of synthetic images to real ones.
    frechet_floor, kernel_floor
        Of one half of the real images to the other.
    """

    count: int
    frechet: Spread
    kernel: Spread
    frechet_floor: Spread
    kernel_floor: Spread

    def to_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return asdict(self)


def features(segmenter: Segmenter, images: Sequence[Image]) -> Features:
    """Mean and spread of each channel of the segmenter's coarsest scales.

    Parameters
    ----------
    segmenter
        Trained on real images that are among neither set.
    images
        (c, h, w) each; of one size, if sets are to be compared.

    Raises
    ------
    InputError
        Another number of channels than the segmenter's, values that are not finite.
    """
    rows = []
    for image in images:
        check_pair(image, np.zeros(image.shape[-2:], np.int8))
        if len(image) != segmenter.channels:
            raise InputError(f"an image has {len(image)} channels; the segmenter was trained on {segmenter.channels}")
        height, width = (max(STRIDE, side // STRIDE * STRIDE) for side in image.shape[1:])
        whole = np.asarray(large_enough(normalised(image), STRIDE)[:, :height, :width], np.float32)
        with torch.inference_mode():
            pyramid = segmenter.network.features(torch.from_numpy(whole)[None])[-SCALES:]
        parts = [moment for scale in pyramid for moment in (scale.mean((2, 3)), scale.std((2, 3), correction=0))]
        rows.append(torch.cat(parts, 1)[0].double().numpy())
    return np.stack(rows) if rows else np.empty((0, 0))


def frechet(a: Features, b: Features) -> float:
    """Squared Fréchet distance of two Gaussians with the means and covariances of the rows.

    Parameters
    ----------
    a, b
        (n, d) and (m, d).

    Raises
    ------
    InputError
        Fewer than two rows, or rows of different lengths.

    References
    ----------
    Heusel et al. 2017, equation 6: |mu_a - mu_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)). The trace of the root is the
    sum of the singular values of the product of the square roots of both, which the centred rows are up to a rotation.
    """
    _check(a, b, least=2)
    roots = [(rows - rows.mean(0)) / math.sqrt(len(rows) - 1) for rows in (a, b)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(max(0.0, means + sum(np.square(root).sum() for root in roots) - 2 * shared))


def kernel_distance(a: Features, b: Features) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x . y / d + 1)^3; negative where sets are alike.

    Parameters
    ----------
    a, b
        (n, d) and (m, d).

    Raises
    ------
    InputError
        Fewer than two rows, or rows of different lengths.

    References
    ----------
    Binkowski et al. 2018, equation 4 (KID); Gretton et al. 2012, lemma 6.
    """
    _check(a, b, least=2)

    def kernel(x: Features, y: Features) -> NDArray[np.float64]:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)

    within = [(own.sum() - np.trace(own)) / (len(own) * (len(own) - 1)) for own in (kernel(a, a), kernel(b, b))]
    return float(sum(within) - 2 * kernel(a, b).mean())


def compare_sets(real: Features, made: Features, *, seed: int = 0, subsets: int = SUBSETS) -> Distances:
    """Distances of synthetic images to a random half of the real ones, and of the other half to it, over many halves.

    Parameters
    ----------
    real, made
        Features (n, d) and (m, d); each is first divided by its spread over the real images, so that none rules by
        its unit.
    seed
        Of the subsets.
    subsets
        How many.

    Raises
    ------
    InputError
        Fewer than 8 real or 4 synthetic images, or rows of different lengths.
    """
    _check(real, real, least=2 * LEAST)
    _check(made, real, least=LEAST)
    spread = real.std(0)
    scale = np.where(spread > 1e-9, spread, 1)
    real, made = ((rows - real.mean(0)) / scale for rows in (real, made))
    count = min(len(real) // 2, len(made))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        order = rng.permutation(len(real))
        half, other = real[order[:count]], real[order[count : 2 * count]]
        drawn = made[rng.permutation(len(made))[:count]]
        values.append([measure(half, rows) for measure in (frechet, kernel_distance) for rows in (drawn, other)])
    columns = [
        Spread(float(np.mean(column)), *(float(q) for q in np.quantile(column, [0.025, 0.975])))
        for column in np.transpose(values)
    ]
    return Distances(count, frechet=columns[0], kernel=columns[2], frechet_floor=columns[1], kernel_floor=columns[3])


def compare_classes(
    segmenter: Segmenter, real: Mapping[str, Sequence[Image]], made: Mapping[str, Sequence[Image]], *, seed: int = 0
) -> dict[str, Distances]:
    """`compare_sets` for the images of each class.

    Parameters
    ----------
    segmenter
        Measures the features.
    real, made
        Images (c, h, w) of one size by class; classes of one of them only are left out.
    seed
        Of the subsets.

    Raises
    ------
    InputError
        No class in common, or too few images of one.
    """
    names = [name for name in real if name in made]
    if not names:
        raise InputError(
            f"real images have the classes {', '.join(real)}, synthetic ones {', '.join(made)}: none is shared"
        )
    found = {}
    for name in names:
        try:
            found[name] = compare_sets(features(segmenter, real[name]), features(segmenter, made[name]), seed=seed)
        except InputError as error:
            raise InputError(f"class {name}: {error}") from error
    return found


def _check(a: Features, b: Features, *, least: int) -> None:
    if min(len(a), len(b)) < least or a.shape[1:] != b.shape[1:]:
        raise InputError(
            f"features are {a.shape} and {b.shape}; expected {least} or more images in each set, "
            "of one number of features"
        )
