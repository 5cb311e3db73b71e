"""A small classifier of images, trained on real ones: whether a synthetic image is of the class it was asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.windows import Image, Pair, check_pair, draw, large_enough, normalised, varied
from sciddiff.networks.unet import Block, Down

WIDTHS, STEM = (24, 48, 64), 2
BATCH, WINDOW = 16, 64
LEARNING_RATE, WARMUP = 3e-3, 20
SMOOTH_TARGETS = 0.05
"""Share of a target that goes to all classes alike, so that few images are not learned by heart."""


class ClassNet(nn.Module):
    """Blocks of `networks.unet` on the way down, then mean and spread of each channel, then one linear map."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.enter = nn.Conv2d(channels * STEM**2, WIDTHS[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width, 1) for width in WIDTHS)
        self.downs = nn.ModuleList(Down(fine, coarse) for fine, coarse in pairwise(WIDTHS))
        self.leave = nn.Linear(2 * WIDTHS[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (b, classes) of (b, c, h, w), sides multiples of 8."""
        x = self.enter(F.pixel_unshuffle(image, STEM))
        for level, block in enumerate(self.blocks):
            x = block(self.downs[level - 1](x) if level else x, x.new_ones(len(x), 1))
        pooled = torch.cat([x.mean((2, 3)), x.var((2, 3), correction=0).add(1e-6).sqrt()], 1)
        return self.leave(pooled)


@dataclass(frozen=True)
class Classifier:
    """A trained network and its classes.

    Attributes
    ----------
    network
        Its weights.
    classes
        Names in the order of the outputs.
    channels
        Of an image.
    contrast_free
        Whether each channel of each image loses its contrast first.
    centre, spread
        What is taken from each channel and what it is divided by where it does not, (c, 1, 1).
    """

    network: ClassNet
    classes: tuple[str, ...]
    channels: int
    contrast_free: bool
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How images are classified against what they were asked to be.

    Attributes
    ----------
    classes
        Names, in the order of rows and columns.
    confusion
        Images asked for as (row) and taken for (column), (n, n).
    probability
        Mean probability of the class that was asked for.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    probability: float

    @property
    def share(self) -> float:
        """Of the images that are taken for what was asked."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def balanced(self) -> float:
        """Mean over the classes that were asked for of the share of each."""
        asked = self.confusion.sum(1)
        return float((np.diag(self.confusion)[asked > 0] / asked[asked > 0]).mean())

    def to_dict(self) -> dict[str, object]:
        """The figures, for JSON."""
        return {
            "classes": list(self.classes),
            "share": self.share,
            "balanced": self.balanced,
            "probability": self.probability,
            "confusion": self.confusion.tolist(),
        }


def train_classifier(
    images_by_class: Mapping[str, Sequence[Image]], *, steps: int = 300, seed: int = 0, contrast_free: bool = True
) -> Classifier:
    """Train on windows of real images; what is drawn at a step is a pure function of the seed and the step.

    Parameters
    ----------
    images_by_class
        Images (c, h, w) by the name of their class.
    steps
        Of 16 windows of 64 x 64 pixels, as many of each class.
    seed
        Of weights and windows.
    contrast_free
        Whether each channel of each image is brought to one range first. Else exposure and stain count too: with few
        images of a class it is then easier to know each image by its brightness than the class by its texture.

    Returns
    -------
    Classifier
        In evaluation mode, on the CPU.

    Raises
    ------
    InputError
        Fewer than two classes, a class without images, images of different channels.
    OptionError
        No step.
    """
    classes = tuple(images_by_class)
    if len(classes) < 2 or not all(len(images) for images in images_by_class.values()):
        raise InputError(
            f"expected images of two or more classes, got { ({k: len(v) for k, v in images_by_class.items()}) }"
        )
    if steps < 1:
        raise OptionError(f"steps is {steps}; expected 1 or more")
    every = [image for images in images_by_class.values() for image in images]
    channels = {len(image) for image in every}
    if len(channels) != 1:
        raise InputError(f"images have {sorted(channels)} channels; expected one number")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ClassNet(channels.pop(), len(classes))
    centre = np.mean([image.mean((1, 2), dtype=np.float64) for image in every], 0)[:, None, None]
    spread = np.mean([image.std((1, 2), dtype=np.float64) for image in every], 0)[:, None, None]
    classifier = Classifier(network, classes, len(every[0]), contrast_free, centre, np.where(spread > 0, spread, 1))
    ready = [[_ready(classifier, image) for image in images] for images in images_by_class.values()]
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.05)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, steps)
        windows, targets = _batch(ready, seed=seed, step=step, contrast_free=contrast_free)
        loss = F.cross_entropy(network(windows), targets, label_smoothing=SMOOTH_TARGETS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    return classifier


def classify(classifier: Classifier, image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probability of each class, the mean over windows next to each other, (classes,).

    Parameters
    ----------
    classifier
        Trained on images of the same channels.
    image
        (c, h, w), mirrored up to one window where it is smaller.

    Raises
    ------
    InputError
        Another number of channels, or values that are not finite.
    """
    if len(image) != classifier.channels:
        raise InputError(f"the image has {len(image)} channels; the classifier was trained on {classifier.channels}")
    ready, _ = _ready(classifier, image)
    places = [np.linspace(0, side - WINDOW, -(-side // WINDOW)).astype(int) for side in ready.shape[1:]]
    windows = [ready[:, row : row + WINDOW, col : col + WINDOW] for row in places[0] for col in places[1]]
    with torch.inference_mode():
        parts = [
            classifier.network(torch.from_numpy(np.stack(windows[at : at + BATCH]))).softmax(1)
            for at in range(0, len(windows), BATCH)
        ]
    return torch.cat(parts).double().mean(0).numpy()


def agreement(classifier: Classifier, images: Sequence[Image], asked: Sequence[str]) -> Agreement:
    """How many images are taken for what they were asked to be; of held-out real images the same is the ceiling.

    Parameters
    ----------
    classifier
        Trained on real images that are not among these.
    images
        Synthetic or real, (c, h, w).
    asked
        The class of each.

    Raises
    ------
    InputError
        No image, another number of classes than of images, or a class that the classifier does not know.
    """
    unknown = sorted(set(asked) - set(classifier.classes))
    if unknown or not images or len(images) != len(asked):
        raise InputError(
            f"{len(images)} images and {len(asked)} classes, of which {unknown or 'none'} are unknown; "
            f"expected one of {', '.join(classifier.classes)} for each image"
        )
    confusion = np.zeros((len(classifier.classes),) * 2, np.int64)
    given = []
    for image, name in zip(images, asked):
        found, wanted = classify(classifier, image), classifier.classes.index(name)
        confusion[wanted, int(found.argmax())] += 1
        given.append(found[wanted])
    return Agreement(classifier.classes, confusion, float(np.mean(given)))


def _ready(classifier: Classifier, image: NDArray[np.floating]) -> Pair:
    """Image in the range of the network, at least a window large, and labels that say nothing."""
    check_pair(image, np.zeros(image.shape[1:], np.int8))
    scaled = normalised(image) if classifier.contrast_free else (image - classifier.centre) / classifier.spread
    grown = np.asarray(large_enough(np.asarray(scaled), WINDOW), np.float32)
    return grown, np.zeros(grown.shape[1:], np.int8)


def _batch(ready: Sequence[Sequence[Pair]], *, seed: int, step: int, contrast_free: bool) -> tuple[Tensor, Tensor]:
    """Windows mirrored and turned; of other contrast and noise where contrast is not to count."""
    windows, targets = [], []
    for number in range(BATCH):
        rng = np.random.default_rng([seed, step, number])
        target = (number + step) % len(ready)
        window, _ = varied(*draw(ready[target], WINDOW, rng), rng, contrast=contrast_free)
        windows.append(window)
        targets.append(target)
    return torch.from_numpy(np.stack(windows)), torch.tensor(targets)


def _learning_rate(step: int, steps: int) -> float:
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
