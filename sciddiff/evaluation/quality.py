"""Which synthetic images show what their labels say: a segmenter that has only seen real ones is the judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.label_scores import class_scores, object_scores
from sciddiff.evaluation.segmenter import Segmenter, segment
from sciddiff.evaluation.windows import Image, Labels, Pair


@dataclass(frozen=True)
class Threshold:
    """What a synthetic image must reach.

    Attributes
    ----------
    value
        The least score: `share` times `median`.
    share
        As asked.
    median
        Score of held-out real images.
    real
        Their scores, (n,), ascending.
    """

    value: float
    share: float
    median: float
    real: NDArray[np.float64]

    def to_dict(self) -> dict[str, float]:
        """The numbers, for JSON; `real_kept` is the share of the real images that would pass."""
        kept = float((self.real >= self.value).mean())
        return {"threshold": self.value, "share": self.share, "real_median": self.median, "real_kept": kept}


def quality(segmenter: Segmenter, image: Image, labels: Labels) -> float:
    """How well an image shows its labels, 0 to 1.

    Parameters
    ----------
    segmenter
        Trained on real images only.
    image
        (c, h, w), synthetic or real.
    labels
        (h, w), what it was made from.

    Returns
    -------
    float
        Panoptic quality of objects (one where neither has any), mean IoU of classes, of the segmentation against
        the labels.

    Raises
    ------
    InputError
        Shapes that do not belong together; labels without any class that the segmenter knows.
    """
    found = segment(segmenter, image)
    if segmenter.kind == "classes":
        return class_scores([found], [labels], classes=segmenter.classes)["mean_iou"]
    score = object_scores(found, labels)["panoptic_quality"]
    return 1.0 if np.isnan(score) else score


def threshold_from_real(
    segmenter: Segmenter, pairs: Sequence[Pair], *, share: float = 0.7, size: tuple[int, int] | None = None
) -> Threshold:
    """A threshold relative to what the segmenter reaches on real images, for nothing can be asked beyond that.

    Parameters
    ----------
    segmenter
        The judge.
    pairs
        Real labelled images that it was not trained on.
    share
        Of the median score.
    size
        Height and width into which the pairs are cut first: that of the synthetic images, as a score depends on how
        much an image shows. Patches without labels are left out.

    Raises
    ------
    InputError
        No pair is left.
    OptionError
        A share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise OptionError(f"share is {share}; expected a number above 0 and up to 1")
    parts = pairs if size is None else [part for pair in pairs for part in patches(pair, size)]
    known = [pair for pair in parts if _says_something(segmenter, pair[1])]
    if not known:
        raise InputError(f"none of {len(parts)} held-out real images has labels: nothing to compare with")
    real = np.sort([quality(segmenter, image, labels) for image, labels in known])
    median = float(np.median(real))
    return Threshold(share * median, share, median, real)


def keep(segmenter: Segmenter, pairs: Sequence[Pair], threshold: Threshold) -> tuple[list[Pair], NDArray[np.float64]]:
    """The pairs that reach the threshold, and the scores of all.

    Parameters
    ----------
    segmenter
        The judge.
    pairs
        Synthetic images and the labels that they were made from.
    threshold
        See `threshold_from_real`.
    """
    scores = np.array([quality(segmenter, image, labels) for image, labels in pairs])
    return [pair for pair, score in zip(pairs, scores) if score >= threshold.value], scores


def patches(pair: Pair, size: tuple[int, int]) -> Iterator[Pair]:
    """Patches next to each other, what is left over at the far edges apart; the whole where it is smaller.

    Parameters
    ----------
    pair
        Image (c, h, w) and labels (h, w).
    size
        Height and width.
    """
    image, labels = pair
    high, wide = (min(part, side) for part, side in zip(size, labels.shape))
    for row in range(0, labels.shape[0] - high + 1, high):
        for col in range(0, labels.shape[1] - wide + 1, wide):
            place = slice(row, row + high), slice(col, col + wide)
            yield image[:, *place], labels[place]


def _says_something(segmenter: Segmenter, labels: Labels) -> bool:
    if segmenter.kind == "classes":
        return bool(np.isin(labels, segmenter.classes).any())
    return bool(labels.any())
