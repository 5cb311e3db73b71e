"""What a run begins with: another model's weights, a linear map found in closed form."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.model import Model
from sciddiff.recipe.schema import Recipe
from sciddiff.recipe.tasks import Synthesis, Translate
from sciddiff.tasks import build_task
from sciddiff.training.patches import draw_batch, open_scenes

WINDOWS = 16
"""Batches of training windows from which a linear map is found."""
RIDGE = 1e-4
"""Variance, in squared levels, that is added to that of each band, so that bands that are alike share their weight."""


def begun_with(model: Model, other: Model) -> Model:
    """The model with another's weights and covariance; what it sees more than the other begins without effect.

    Parameters
    ----------
    model
        As its recipe builds it.
    other
        Of the same network, but for inputs at the end that it may lack: their weights are zero; a volume that it may
        not see keeps the weights of a new one, which do nothing at first.

    Raises
    ------
    OptionError
        Where the networks differ by more than that.
    """
    weights = other.network.state_dict()
    if other.network.slab is None:
        weights |= {name: value for name, value in model.network.state_dict().items() if name.startswith("slab.")}
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    for name, value in model.network.state_dict().items():
        if name not in weights or not _fits(shapes[name], tuple(value.shape)):
            raise OptionError(
                f"training.start: {name} of {other.recipe.name} is {shapes.pop(name, 'not there')}, needs to be "
                f"{tuple(value.shape)}; take its network and its bands, or another model to start from"
            )
        weights[name] = _grown(weights[name], value)
    spare = sorted(set(weights) - set(model.network.state_dict()))
    if spare or other.residual_root.shape != model.residual_root.shape:
        raise OptionError(
            f"training.start: {other.recipe.name} has {', '.join(spare) or f'{len(other.residual_root)} bands'}, which "
            f"{model.recipe.name} has no place for; take its network and its bands, or another model to start from"
        )
    model.network.load_state_dict(weights)
    record = {"provenance": other.record.get("provenance", {})}
    return replace(model, residual_root=other.residual_root.to(model.residual_root), record=record)


def _fits(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether the shapes are alike, but for more inputs (the second axis)."""
    return old == new or (len(old) == len(new) > 1 and old[1] < new[1] and old[:1] + old[2:] == new[:1] + new[2:])


def _grown(old: Tensor, like: Tensor) -> Tensor:
    """The old weights, followed by zeros up to the shape of `like`."""
    if old.shape == like.shape:
        return old
    more = like.shape[1] - old.shape[1]
    return torch.cat([old, old.new_zeros(len(old), more, *old.shape[2:])], 1)


def with_centre(recipe: Recipe) -> Recipe:
    """A recipe whose synthesis has its base: the mean of training windows, if none is told.

    Parameters
    ----------
    recipe
        Of any task; others are given back as they are.
    """
    if not isinstance(recipe.task, Synthesis) or recipe.task.centre is not None:
        return recipe
    task = build_task(recipe)
    scenes = open_scenes(recipe, task, recipe.data.train)
    means = []
    for step in range(WINDOWS):
        clean = torch.from_numpy(draw_batch(scenes, recipe, task, step=step).copy())
        means.append(task.truth(clean, task.simulate(clean, None)).mean((0, 2, 3)))
    centre = [round(float(number), 4) for number in torch.stack(means).mean(0)]
    return recipe.model_copy(update={"task": recipe.task.model_copy(update={"centre": centre})})


def with_linear_map(recipe: Recipe) -> Recipe:
    """A recipe whose translation has its linear base: that of least squares over training windows, if none is told.

    Parameters
    ----------
    recipe
        Of any task; others are given back as they are.
    """
    if not isinstance(recipe.task, Translate) or recipe.task.linear is not None:
        return recipe
    task, count = build_task(recipe), len(recipe.bands)
    scenes = open_scenes(recipe, task, recipe.data.train)
    windows = np.concatenate([draw_batch(scenes, recipe, task, step=step) for step in range(WINDOWS)])
    pixels = windows.swapaxes(0, 1).reshape(windows.shape[1], -1).astype(np.float64)
    mean = pixels.mean(1)
    bands, targets = np.split(pixels - mean[:, None], [count])
    square = bands @ bands.T / bands.shape[1] + RIDGE * np.eye(count)
    weights = np.linalg.solve(square, bands @ targets.T / bands.shape[1]).T
    constants = mean[count:] - weights @ mean[:count]
    linear = [[round(float(number), 6) for number in row] for row in np.column_stack([weights, constants])]
    return recipe.model_copy(update={"task": recipe.task.model_copy(update={"linear": linear})})
