"""What a training step sees of windows: their simulated measurements and what is to be learned of them."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sciddiff.model import Model
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Task
from sciddiff.training.patches import Prefetched


class Windows(NamedTuple):
    """Simulated windows, one along the first axis of each tensor."""

    residual: Tensor
    """(x - base) / s."""
    maps: Tensor
    """What the network sees."""
    numbers: Tensor
    """What it is told of the instrument."""
    weight: Tensor
    """Of each pixel, over pixels and bands of a window one."""
    trust: Tensor
    """In each window's truth."""

    def at(self, which: Tensor | slice) -> "Windows":
        """Some of them."""
        return Windows(*(each[which] for each in self))


def generator(recipe: Recipe, *key: int | str, device: str | torch.device) -> torch.Generator:
    """Source of the random numbers of a step, or of what else the key names: the same in every run."""
    digest = hashlib.sha256("/".join(map(str, (recipe.seed, *key))).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


def simulated(recipe: Recipe, task: Task, clean: Tensor, source: torch.Generator) -> Windows:
    """Measure clean scenes (b, c, h, w) by instruments drawn at random, where they are.

    The weight is the local scale over its mean, the same for all bands: errors count in proportion to the contrast
    around them, half-way from the unit weight of the normalised residual to that of plain squared errors.
    """
    with torch.no_grad():
        obs = task.simulate(clean, source, instrument_dropout=recipe.diffusion.instrument_dropout)
        base = task.base(obs)
        condition = task.condition(obs, base)
        residual = (task.truth(clean, obs) - base) / condition.scale
        weight = (condition.scale / condition.scale.mean((2, 3), keepdim=True)).mean(1, keepdim=True)
        weight = weight / weight.sum((2, 3), keepdim=True) / base.shape[1]
    return Windows(residual, condition.maps, obs.numbers, weight, task.trust(obs))


class Fresh:
    """Windows that are simulated where the network is, and shown once."""

    def __init__(self, model: Model, batches: Prefetched):
        self.recipe, self.task, self.device, self.batches = model.recipe, model.task, model.device, batches

    def at(self, step: int) -> tuple[Windows, torch.Generator]:
        """The batch of a step, and the source of its further random numbers."""
        source = generator(self.recipe, step, device=self.device)
        clean = torch.from_numpy(self.batches.batch(step).copy()).to(self.device)
        return simulated(self.recipe, self.task, clean, source), source

    def first(self, count: int) -> Iterator[Windows]:
        """The batches of the first steps."""
        return (self.at(step)[0] for step in range(count))
