"""What synthetic images add to a segmenter: the same small network trained with and without them, on few labels."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError
from sciddiff.evaluation.label_scores import class_scores, mean_scores, object_scores
from sciddiff.evaluation.segmenter import Kind, Segmenter, segment, train_segmenter
from sciddiff.evaluation.windows import Image, Labels, Pair

ARMS = {
    "real": (False, False),
    "real + usual": (True, False),
    "real + synthetic": (False, True),
    "real + usual + synthetic": (True, True),
}
"""Arms of the experiment: whether the usual variations are made, and whether synthetic images are seen."""
BASELINE = "real + usual"
LEAST = 48
"""Pixels along a side of the smallest annotated block."""
TRIES = 50

Generate = Callable[[Labels, int], Image]
"""From labels (h, w) and a seed to an image (c, h, w)."""
NewMasks = Callable[[Sequence[Labels], np.random.Generator, tuple[int, int]], Labels]
"""From the annotated labels to new ones of a size."""


@dataclass(frozen=True)
class Result:
    """One training: its arm, share of the labels, seed, and the scores on the test images."""

    arm: str
    share: float
    seed: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Design:
    """The experiment.

    Attributes
    ----------
    kind
        Of the labels: `instances` or `classes`.
    arms
        Of `ARMS`.
    shares
        Parts of the annotated area that are used.
    seeds
        How many; each draws another block, other windows, weights and synthetic images.
    steps
        Of each training, whatever the arm.
    images
        Synthetic images for each share and seed.
    side
        Rows and columns of one.
    """

    kind: Kind = "instances"
    arms: tuple[str, ...] = tuple(ARMS)
    shares: tuple[float, ...] = (0.05, 0.1, 0.25)
    seeds: int = 5
    steps: int = 350
    images: int = 12
    side: int = 192


def annotated(pairs: Sequence[Pair], share: float, *, seed: int) -> list[Pair]:
    """A part of labelled images as people annotate: whole images first, then one block of the next.

    Parameters
    ----------
    pairs
        Images (c, h, w) and labels (h, w).
    share
        Of all their pixels.
    seed
        Of the order of the images and the place of the block; a block without a label is not taken.

    Raises
    ------
    InputError
        No block with a label is found.
    """
    rng = np.random.default_rng([seed, 11])
    left = share * sum(labels.size for _, labels in pairs)
    found: list[Pair] = []
    for at in rng.permutation(len(pairs)):
        image, labels = pairs[at]
        if labels.size <= left * 1.001:
            found.append((image, labels))
            left -= labels.size
            continue
        if left >= LEAST**2 or not found:
            found.append(_block(image, labels, left, rng))
        return found
    return found


def _block(image: Image, labels: Labels, area: float, rng: np.random.Generator) -> Pair:
    """A block of about an area, as square as the image allows."""
    height, width = labels.shape
    rows = int(np.clip(round(math.sqrt(area)), min(LEAST, height), height))
    cols = int(np.clip(round(area / rows), min(LEAST, width), width))
    rows = int(np.clip(round(area / cols), min(LEAST, height), height))
    for _ in range(TRIES):
        row, col = int(rng.integers(height - rows + 1)), int(rng.integers(width - cols + 1))
        part = np.s_[row : row + rows, col : col + cols]
        if (labels[part] != 0).any():
            return image[:, *part], labels[part]
    raise InputError(f"no block of {rows} x {cols} pixels with a label was found in {TRIES} tries")


def run(
    train: Sequence[Pair],
    test: Sequence[Pair],
    design: Design,
    *,
    generate: Generate,
    new_masks: NewMasks,
    record: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Result]:
    """Train and score every arm at every share and seed, or continue where the record ends.

    Parameters
    ----------
    train, test
        Labelled images; of the first only the shares are looked at.
    design
        The experiment.
    generate, new_masks
        What makes the synthetic images: of the share's labels only.
    record
        A file of results, one a line, which is added to.
    workers
        Processes; `generate` and `new_masks` then travel to them.
    progress
        Called with (trainings done, trainings).

    Returns
    -------
    list of Result
        By share, seed and arm.
    """
    done = {(each.arm, each.share, each.seed): each for each in _recorded(record)}
    if record is not None:  # without a last line that a kill cut off
        record.write_text("".join(json.dumps(asdict(each)) + "\n" for each in done.values()))
    cells = [(share, seed) for share in design.shares for seed in range(design.seeds)]
    missing = {cell: tuple(arm for arm in design.arms if (arm, *cell) not in done) for cell in cells}
    tasks = [(cell, arms) for cell, arms in missing.items() if arms]
    count = len(cells) * len(design.arms)
    progress(count - sum(len(arms) for _, arms in tasks), count)
    for result in _results(train, test, design, generate, new_masks, tasks, workers=workers):
        done[result.arm, result.share, result.seed] = result
        if record is not None:
            with record.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
        progress(len(done), count)
    return [done[arm, *cell] for cell in cells for arm in design.arms]


def _recorded(record: Path | None) -> Iterator[Result]:
    if record is None or not record.exists():
        return
    for line in record.read_text().splitlines():
        try:
            yield Result(**json.loads(line))
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue


def _results(
    train: Sequence[Pair],
    test: Sequence[Pair],
    design: Design,
    generate: Generate,
    new_masks: NewMasks,
    tasks: Sequence[tuple[tuple[float, int], tuple[str, ...]]],
    *,
    workers: int,
) -> Iterator[Result]:
    given = (train, test, design, generate, new_masks)
    if workers < 2:
        for cell, arms in tasks:
            yield from _cell(*given, cell, arms)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        for future in [pool.submit(_cell_at_once, *given, cell, arms) for cell, arms in tasks]:
            yield from future.result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _cell_at_once(*given: Any) -> list[Result]:
    return list(_cell(*given))


def _cell(
    train: Sequence[Pair],
    test: Sequence[Pair],
    design: Design,
    generate: Generate,
    new_masks: NewMasks,
    cell: tuple[float, int],
    arms: Sequence[str],
) -> Iterator[Result]:
    """The arms of one share and seed, which have their synthetic images in common."""
    share, seed = cell
    pairs = annotated(train, share, seed=seed)
    made: list[Pair] = []
    if any(ARMS[arm][1] for arm in arms):
        rng = np.random.default_rng([seed, round(1e4 * share)])
        for number in range(design.images):
            mask = new_masks([labels for _, labels in pairs], rng, (design.side, design.side))
            made.append((generate(mask, 1000 * seed + number), mask))
    for arm in arms:
        usual, synthetic = ARMS[arm]
        segmenter = train_segmenter(
            pairs,
            kind=design.kind,
            classes=_classes([*train, *test]) if design.kind == "classes" else (),
            steps=design.steps,
            seed=seed,
            augment=usual,
            synthetic=made if synthetic else (),
        )
        yield Result(arm, share, seed, scores(segmenter, test))


def _classes(pairs: Sequence[Pair]) -> tuple[int, ...]:
    found: set[int] = set()
    for _, labels in pairs:
        found |= {int(value) for value in np.unique(labels)}
    return tuple(sorted(found))


def scores(segmenter: Segmenter, test: Sequence[Pair]) -> dict[str, float]:
    """Scores of a segmenter on labelled images: of objects averaged over images, of classes pooled."""
    results = [segment(segmenter, image) for image, _ in test]
    truths = [labels for _, labels in test]
    if segmenter.kind == "classes":
        return dict(class_scores(results, truths, classes=segmenter.classes))
    return dict(mean_scores([object_scores(result, truth) for result, truth in zip(results, truths, strict=True)]))


@dataclass(frozen=True)
class Row:
    """An arm at a share: the mean of a score over seeds, its difference to the baseline, and 95 % intervals of both."""

    arm: str
    share: float
    mean: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]

    @property
    def pays(self) -> bool | None:
        """Whether it is better than the baseline for certain (True), worse for certain (False), or neither."""
        low, high = self.gain_interval
        return True if low > 0 else False if high < 0 else None


def summary(results: Sequence[Result], *, score: str) -> list[Row]:
    """Means and Student's 95 % intervals over seeds; differences to `BASELINE` are paired by seed.

    Parameters
    ----------
    results
        As `run` gives them.
    score
        Name of the score.
    """
    rows = []
    table: dict[tuple[str, float], dict[int, float]] = {}
    for each in results:
        table.setdefault((each.arm, each.share), {})[each.seed] = each.scores[score]
    for (arm, share), values in table.items():
        base = table.get((BASELINE, share), {})
        common = [seed for seed in values if seed in base]
        differences = np.array([values[seed] - base[seed] for seed in common])
        mean, interval = _student(np.array(list(values.values())))
        gain, gain_interval = _student(differences)
        rows.append(Row(arm, share, mean, interval, gain, gain_interval))
    return rows


def _student(values: NDArray[np.float64]) -> tuple[float, tuple[float, float]]:
    from scipy import stats

    if values.size == 0:
        return math.nan, (math.nan, math.nan)
    mean = float(values.mean())
    if values.size == 1:
        return mean, (-math.inf, math.inf)
    half = float(stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    return mean, (mean - half, mean + half)
