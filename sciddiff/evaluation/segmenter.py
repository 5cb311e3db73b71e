"""A small U-Net that segments, trained within a minute on one core: a ruler for synthetic images, not a product."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.targets import BACKGROUND, BOUNDARY, INTERIOR, boundary_targets, class_numbers, class_weights
from sciddiff.evaluation.windows import Image, Pair, check_pair, draw, large_enough, normalised, varied
from sciddiff.networks.unet import Hourglass, RMSNorm

Kind = Literal["instances", "classes"]

WIDTHS, BLOCKS, STEM = (16, 32, 64), (1, 1, 2), 2
STRIDE = STEM * 2 ** (len(WIDTHS) - 1)
HALO = STRIDE * math.ceil(
    (
        sum(STEM * 2**level * 2 * (blocks + (level < len(BLOCKS) - 1)) for level, blocks in enumerate(BLOCKS))
        + (3 * STEM + 4 * STRIDE)
    )
    / STRIDE
)
"""How far the network looks, in pixels, as in `networks.unet`; whole strides."""
BATCH, WINDOW = 8, 96
LEARNING_RATE, WARMUP = 4e-3, 20
CORE = 512
"""Side of a tile of a large image; changes memory, not the result."""
SEED = 0.8
"""Probability of interior above which connected pixels begin an object."""
SMALL = 0.1
"""Objects below this share of the training objects' median area are dropped."""


class SegmentationNet(nn.Module):
    """Hourglass of `networks.unet` whose embedding is the constant one; logits of each class at each pixel."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        cells = STEM**2
        self.enter = nn.Conv2d(channels * cells, WIDTHS[0], 3, padding=1)
        self.body = Hourglass(WIDTHS, BLOCKS, embedding=1)
        self.leave = nn.Sequential(RMSNorm(WIDTHS[0]), nn.SiLU(), nn.Conv2d(WIDTHS[0], classes * cells, 3, padding=1))

    def features(self, image: Tensor) -> list[Tensor]:
        """Features after the way up, finest first, of (b, c, h, w)."""
        x = self.enter(F.pixel_unshuffle(image, STEM))
        return self.body(x, x.new_ones(len(x), 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (b, classes, h, w) of (b, c, h, w), sides multiples of `STRIDE`."""
        return F.pixel_shuffle(self.leave(self.features(image)[0]), STEM)


@dataclass(frozen=True)
class Segmenter:
    """A trained network and what its outputs mean.

    Attributes
    ----------
    network
        Its weights.
    kind
        "instances": background, interior, boundary; "classes": one output a value of the labels.
    classes
        Values of the labels in the order of the outputs; of instances empty.
    channels
        Of an image.
    weights
        Of each output in the loss.
    smallest
        Pixels below which an object is dropped.
    """

    network: SegmentationNet
    kind: Kind
    classes: tuple[int, ...]
    channels: int
    weights: tuple[float, ...]
    smallest: int


def train_segmenter(
    pairs: Sequence[Pair],
    *,
    kind: Kind,
    classes: Sequence[int] = (),
    unlabelled: int | None = None,
    steps: int = 350,
    seed: int = 0,
    augment: bool = True,
    synthetic: Sequence[Pair] = (),
) -> Segmenter:
    """Train on labelled images; what is drawn at a step is a pure function of the seed and the step.

    Parameters
    ----------
    pairs
        Images (c, h, w) and labels (h, w).
    kind
        Whether labels are objects (0 the background) or classes.
    classes
        Values of the classes; those of the pairs where not given. Of no effect on instances.
    unlabelled
        The class value that says nothing: such pixels are left out of the loss and are no class.
    steps
        Of 8 windows of 96 x 96 pixels.
    seed
        Of weights and windows.
    augment
        Whether windows get the usual variations, see `windows.varied`.
    synthetic
        Further pairs: half of each batch comes from them.

    Returns
    -------
    Segmenter
        In evaluation mode, on the CPU.

    Raises
    ------
    InputError
        Nothing to learn from, or pairs that do not belong together.
    OptionError
        No step.
    """
    if steps < 1:
        raise OptionError(f"steps is {steps}; expected 1 or more")
    values = _classes(pairs, kind, classes, unlabelled)
    real, made = (_prepared(group, kind, values) for group in (pairs, synthetic))
    channels = {image.shape[0] for image, _ in [*real, *made]}
    if len(channels) != 1:
        raise InputError(f"images have {sorted(channels)} channels; expected one number")
    outputs = 3 if kind == "instances" else len(values)
    weights = torch.from_numpy(class_weights([*real, *made], outputs))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SegmentationNet(channels.pop(), outputs)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, steps)
        images, targets = _batch(real, made, seed=seed, step=step, augment=augment)
        loss = _loss(network(images), targets, weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    smallest = _smallest(pairs) if kind == "instances" else 0
    return Segmenter(network.eval(), kind, values, real[0][0].shape[0], tuple(weights.tolist()), smallest)


def segment(segmenter: Segmenter, image: NDArray[np.floating]) -> NDArray[np.int32]:
    """Label an image.

    Parameters
    ----------
    segmenter
        Trained on images of the same channels.
    image
        (c, h, w), of any contrast; a large one goes through in tiles that give the result of the whole.

    Returns
    -------
    ndarray
        (h, w): objects from 1, 0 for the background; or values of classes.

    Raises
    ------
    InputError
        Another number of channels, or values that are not finite.
    """
    scores = probabilities(segmenter, image)
    if segmenter.kind == "classes":
        return np.asarray(segmenter.classes, np.int32)[scores.argmax(0)]
    return _objects(scores, segmenter.weights, smallest=segmenter.smallest)


def probabilities(segmenter: Segmenter, image: NDArray[np.floating], *, core: int = CORE) -> NDArray[np.float32]:
    """Probability of each output at each pixel, (outputs, h, w).

    Parameters
    ----------
    segmenter, image
        See `segment`.
    core
        Side of a tile, a multiple of `STRIDE`.
    """
    check_pair(image, np.zeros(image.shape[-2:], np.int32))
    if len(image) != segmenter.channels:
        raise InputError(f"the image has {len(image)} channels; the segmenter was trained on {segmenter.channels}")
    network = segmenter.network
    height, width = image.shape[1:]
    fill = [(0, -side % STRIDE) for side in (height, width)]
    padded = torch.from_numpy(np.pad(normalised(image), [(0, 0), *fill], mode="symmetric"))
    rows, cols = padded.shape[1:]
    found = None
    for row in range(0, rows, core):
        for col in range(0, cols, core):
            top, left = max(0, row - HALO), max(0, col - HALO)
            tile = padded[:, top : row + core + HALO, left : col + core + HALO]
            with torch.inference_mode():
                scores = network(tile[None])[0].softmax(0).numpy()
            if found is None:
                found = np.empty((len(scores), rows, cols), np.float32)
            part = scores[:, row - top : row - top + core, col - left : col - left + core]
            found[:, row : row + core, col : col + core] = part
    if found is None:
        raise InputError(f"the image is {image.shape}: it has no pixel")
    return found[:, :height, :width]


def _classes(pairs: Sequence[Pair], kind: Kind, classes: Sequence[int], unlabelled: int | None) -> tuple[int, ...]:
    if not pairs:
        raise InputError("no labelled image to learn from")
    for image, labels in pairs:
        check_pair(image, labels)
    if kind == "instances":
        return ()
    found = classes or np.unique(np.concatenate([np.unique(labels) for _, labels in pairs])).tolist()
    values = tuple(sorted(int(value) for value in found if value != unlabelled))
    if len(values) < 2:
        raise InputError(f"labels have the classes {values}; expected two or more beside what is unlabelled")
    return values


def _prepared(pairs: Sequence[Pair], kind: Kind, classes: tuple[int, ...]) -> list[Pair]:
    """Normalised images, and targets as numbers of outputs, -1 where nothing is to be learned."""
    prepared: list[Pair] = []
    for image, labels in pairs:
        check_pair(image, labels)
        targets = boundary_targets(labels) if kind == "instances" else class_numbers(labels, classes)
        grown = large_enough(normalised(image), WINDOW), large_enough(targets, WINDOW)
        prepared.append((np.asarray(grown[0], np.float32), np.asarray(grown[1], np.int64)))
    return prepared


def _smallest(pairs: Sequence[Pair]) -> int:
    areas = np.concatenate([np.unique(labels[labels != 0], return_counts=True)[1] for _, labels in pairs])
    return round(SMALL * float(np.median(areas))) if areas.size else 0


def _batch(real: Sequence[Pair], made: Sequence[Pair], *, seed: int, step: int, augment: bool) -> tuple[Tensor, Tensor]:
    windows = []
    for number in range(BATCH):
        rng = np.random.default_rng([seed, step, number])
        window = draw(made if made and number % 2 else real, WINDOW, rng)
        windows.append(varied(*window, rng) if augment else window)
    images, targets = (np.stack(parts) for parts in zip(*windows))
    return torch.from_numpy(images), torch.from_numpy(targets)


def _learning_rate(step: int, steps: int) -> float:
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy and soft Dice (Milletari et al. 2016) over what is labelled."""
    known = targets >= 0
    if not known.any():
        return 0 * logits.sum()
    entropy = F.cross_entropy(logits, targets, weight=weights, ignore_index=-1)
    asked = F.one_hot(targets.clamp_min(0), logits.shape[1]).movedim(-1, 1) * known[:, None]
    given = logits.softmax(1) * known[:, None]
    shared, total = (part.sum((0, 2, 3)) for part in (given * asked, given + asked))
    return entropy + 1 - ((2 * shared + 1) / (total + 1))[weights > 0].mean()


def _objects(scores: Image, weights: Sequence[float], *, smallest: int) -> NDArray[np.int32]:
    """Watershed from the connected interiors over what is more likely object than background.

    The loss overrates rare outputs by their weight: good for parting objects, taken back for their outline.
    """
    from scipy import ndimage
    from skimage.segmentation import relabel_sequential, watershed

    likely = scores / np.maximum(weights, 1e-6).astype(np.float32)[:, None, None]
    inside = likely[BACKGROUND] < likely[INTERIOR] + likely[BOUNDARY]
    seeds, _ = ndimage.label((scores[INTERIOR] > SEED) & inside)
    labels = watershed(-scores[INTERIOR], seeds, mask=inside)
    small = np.flatnonzero(np.bincount(labels.ravel()) < smallest)
    labels[np.isin(labels, small)] = 0
    return np.asarray(relabel_sequential(labels)[0], np.int32)
