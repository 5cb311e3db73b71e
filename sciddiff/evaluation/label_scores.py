"""Segmentations against the truth: objects that are found, classes that are right."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sciddiff.errors import InputError
from sciddiff.evaluation.morphology import match
from sciddiff.evaluation.windows import Labels

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Of intersection over union, as the Data Science Bowl 2018 averages over them."""


def object_scores(result: Labels, truth: Labels) -> dict[str, float]:
    """How well objects are found, on one image.

    Parameters
    ----------
    result, truth
        Labels of one shape, 0 for the background.

    Returns
    -------
    dict
        `object_iou`: intersection over union (IoU) with its match, averaged over the true objects, 0 for one that is
        missed. `matched_iou`: the same over those matched with an IoU of 0.5 or more; NaN where there is none.
        `foreground_iou`: of what is object at all. `f1`: 2 TP / (2 TP + FP + FN) at IoU 0.5.
        `average_precision`: TP / (TP + FP + FN), averaged over the IoU 0.5, 0.55 ... 0.95 (Data Science Bowl 2018).
        `panoptic_quality`: f1 times matched_iou (Kirillov et al. 2019, equation 1). NaN where neither has an object.

    Raises
    ------
    InputError
        Shapes that differ.

    References
    ----------
    Caicedo et al. 2019, Nature Methods 16, 1247 (Data Science Bowl 2018); Kirillov et al. 2019 (panoptic quality).
    """
    best, good = match(result, truth, iou=1e-6), match(result, truth)
    found = [int((good.iou >= threshold).sum()) for threshold in THRESHOLDS]
    total, true = 2 * good.found + good.made_up + good.missed, good.found + good.missed
    union = np.count_nonzero((result != 0) | (truth != 0))
    both = np.count_nonzero((result != 0) & (truth != 0))
    return {
        "object_iou": float(best.iou.sum()) / true if true else math.nan,
        "matched_iou": float(good.iou.mean()) if good.found else math.nan,
        "foreground_iou": float(both / union) if union else math.nan,
        "f1": 2 * good.found / total if total else math.nan,
        "average_precision": float(np.mean([count / (total - count) for count in found])) if total else math.nan,
        "panoptic_quality": 2 * float(good.iou.sum()) / total if total else math.nan,
    }


def class_scores(
    results: Sequence[Labels], truths: Sequence[Labels], *, classes: Sequence[int], unlabelled: int | None = None
) -> dict[str, float]:
    """How well classes are told, pooled over images.

    Parameters
    ----------
    results, truths
        Class values, pairwise of one shape.
    classes
        Those that are scored.
    unlabelled
        Pixels of this true value do not count.

    Returns
    -------
    dict
        `mean_iou`: over the classes that the truth has, TP / (TP + FP + FN) of each (Everingham et al. 2010).
        `accuracy`: share of right pixels; `iou_VALUE` of each class, NaN where neither has it.

    Raises
    ------
    InputError
        Shapes that differ, or none of the classes in the truth.
    """
    counts = np.zeros((len(classes), 3))  # right, in the result, in the truth
    right = scored = 0
    for result, truth in zip(results, truths, strict=True):
        if result.shape != truth.shape:
            raise InputError(f"labels are {result.shape} and {truth.shape}; expected one shape")
        known = np.isin(truth, [value for value in classes if value != unlabelled])
        scored, right = scored + int(known.sum()), right + int((known & (result == truth)).sum())
        for number, value in enumerate(classes):
            own, true = known & (result == value), known & (truth == value)
            counts[number] += np.count_nonzero(own & true), np.count_nonzero(own), np.count_nonzero(true)
    if not scored:
        raise InputError(f"the truth has none of the classes {list(classes)}: nothing to score")
    union = counts[:, 1] + counts[:, 2] - counts[:, 0]
    iou = np.divide(counts[:, 0], union, out=np.full(len(classes), np.nan), where=union > 0)
    named = {f"iou_{value}": float(score) for value, score in zip(classes, iou)}
    return {"mean_iou": float(iou[counts[:, 2] > 0].mean()), "accuracy": float(right / scored), **named}


def mean_scores(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each score over images, those without it left out; NaN where none has it.

    Parameters
    ----------
    rows
        One mapping an image.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    known = {name: [row[name] for row in rows if not math.isnan(row.get(name, math.nan))] for name in names}
    return {name: float(np.mean(values)) if values else math.nan for name, values in known.items()}
