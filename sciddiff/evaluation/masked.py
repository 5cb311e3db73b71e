"""Scores on clouded, shadowed and clear pixels apart, what happened to the clear ones, and whether a seam shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.errors import InputError
from sciddiff.evaluation.metrics import psnr, sam

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ClassScores:
    """Scores over one class of pixels: `psnr` in dB, `mae` in the image's unit, `sam` in degrees; NaN if empty."""

    pixels: int
    psnr: float
    mae: float
    sam: float


@dataclass(frozen=True)
class MaskedScores:
    """Scores by class, and the largest change of a clear pixel in the image's unit (NaN where not asked for)."""

    classes: dict[str, ClassScores]
    clear_identity: float


def _finite(mask: Mask, *images: Array) -> Mask:
    """Pixels (h, w) of the mask where all bands of all images are finite."""
    return np.logical_and.reduce([mask, *(np.isfinite(image).all(0) for image in images)])


def mae(result: Array, truth: Array, *, valid: Mask) -> float:
    """Mean absolute error in the images' unit, over all bands of the valid pixels (h, w); NaN for none."""
    use = _finite(valid, result, truth)
    return float(np.abs(result[:, use].astype(np.float64) - truth[:, use]).mean()) if use.any() else math.nan


def clear_identity(result: Array, observed: Array, *, clear: Mask) -> float:
    """Largest change of a pixel that needed none: max |result - observed| where clear.

    Parameters
    ----------
    result, observed
        (c, h, w), in one unit.
    clear
        (h, w).

    Returns
    -------
    float
        In the images' unit; 0 for pixels handed through bit for bit, infinite if one came out not finite, NaN where
        no observed pixel is clear.
    """
    if result.shape != observed.shape or result.ndim != 3 or clear.shape != observed.shape[1:]:
        raise InputError(f"images {result.shape} and {observed.shape}, mask {clear.shape}; expected (bands, h, w)")
    use = _finite(clear, observed)
    if not use.any():
        return math.nan
    change = np.abs(result[:, use].astype(np.float64) - observed[:, use])
    return float(np.where(np.isfinite(change), change, np.inf).max())


def _scores(result: Array, truth: Array, mask: Mask, data_range: float) -> ClassScores:
    use = _finite(mask, result, truth)
    if not use.any():
        return ClassScores(0, math.nan, math.nan, math.nan)
    return ClassScores(
        int(use.sum()),
        psnr(result, truth, data_range=data_range, valid=use),
        mae(result, truth, valid=use),
        sam(result, truth, valid=use),
    )


def masked_scores(
    result: Array,
    truth: Array,
    *,
    classes: Mapping[str, Mask],
    data_range: float,
    observed: Array | None = None,
    clear: str = "clear",
) -> MaskedScores:
    """Score each class of pixels by itself.

    Parameters
    ----------
    result, truth
        (c, h, w); a pixel with a band that is not finite is left out.
    classes
        Masks (h, w) by name, such as cloud, shadow and clear; they may overlap.
    data_range
        The peak of the signal-to-noise ratio, in the images' unit.
    observed
        The image with its clouds, (c, h, w), for `clear_identity`.
    clear
        Name of the class that has to come out as it went in.

    Returns
    -------
    MaskedScores
        One entry a class in their order.

    Raises
    ------
    InputError
        Shapes that differ, or `observed` without a class of the name `clear`.
    """
    wrong = [name for name, mask in classes.items() if mask.shape != truth.shape[1:] or mask.dtype != np.bool_]
    if result.shape != truth.shape or truth.ndim != 3 or wrong:
        raise InputError(
            f"images {result.shape} and {truth.shape}; masks that are no boolean (h, w) of theirs: {wrong}"
        )
    if observed is not None and clear not in classes:
        raise InputError(f"no class {clear!r} among {list(classes)}: which pixels should come out unchanged?")
    table = {name: _scores(result, truth, mask, data_range) for name, mask in classes.items()}
    changed = math.nan if observed is None else clear_identity(result, observed, clear=classes[clear])
    return MaskedScores(table, changed)


def _steps(image: Double, side: NDArray[np.int8], near: Mask, axis: int) -> tuple[Double, Double, int]:
    """Mean |step| (c,) across the boundary and beside it along one axis, and how many cross.

    `side` is 1 inside, 0 outside, -1 invalid. Beside is the mean of inside and outside, or the one that is there.
    """
    step = np.abs(np.diff(image, axis=axis + 1))
    cut = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
    rest = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
    a, b = side[cut], side[rest]
    across = (a >= 0) & (b >= 0) & (a != b)
    beside = [(a == value) & (b == value) & near[cut] & near[rest] for value in (0, 1)]
    means = [step[:, mask].mean(1) for mask in beside if mask.any()]
    if not across.any() or not means:
        return np.zeros(len(image)), np.zeros(len(image)), 0
    return step[:, across].mean(1), np.mean(means, axis=0), int(across.sum())


def seam_index(result: Array, mask: Mask, *, width: int = 4, valid: Mask | None = None) -> float:
    """How much steeper the result is across the mask's boundary than beside it: 1 for a seam that does not show.

    Parameters
    ----------
    result
        (c, h, w), any unit; what is not finite is left out.
    mask
        (h, w), true where pixels were replaced.
    width
        Pixels on both sides of the boundary that count as beside it.
    valid
        (h, w).

    Returns
    -------
    float
        Mean over bands of the mean |difference| of neighbours on different sides, over that of neighbours on one side
        (the mean of inside and outside), both along the same axes; NaN without a boundary or in a flat image, infinite
        for a step between flat sides.
    """
    if result.ndim != 3 or mask.shape != result.shape[1:] or mask.dtype != np.bool_:
        raise InputError(f"result {result.shape} and mask {mask.shape} of {mask.dtype}; expected (bands, h, w)")
    use = _finite(np.ones(mask.shape, bool) if valid is None else valid, result)
    if not (use & mask).any() or not (use & ~mask).any():
        return math.nan
    side = np.where(use, mask.astype(np.int8), np.int8(-1))
    near = np.where(mask, *(ndimage.distance_transform_edt(part) for part in (mask, ~mask))) <= width
    image = np.where(use, result, 0).astype(np.float64)
    parts = [_steps(image, side, near, axis) for axis in (0, 1)]
    across, beside = (sum(part[which] * part[2] for part in parts) for which in (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(across) / np.asarray(beside)
    return float(np.mean(ratio[~np.isnan(ratio)])) if not np.isnan(ratio).all() else math.nan
