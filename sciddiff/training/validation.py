"""Validation: PSNR of the posterior mean on held-out places, beside the baselines."""

import math

import torch
from torch import Tensor

from sciddiff.model import Model, restore
from sciddiff.recipe.schema import Recipe
from sciddiff.training.patches import channels, keeps_levels, open_scenes, read_scene

SIDE = 384
"""Largest side of a validation window, in target pixels."""


def validation_set(recipe: Recipe, model: Model) -> list[Tensor]:
    """The central window of each held-out scene, (1, scene bands, h, w), averaged over blocks by its least factor.

    See `patches.read_scene`.
    """
    windows = []
    unit = math.lcm(model.task.stride, model.network.stride)
    task = model.task
    for scene in open_scenes(recipe, task, recipe.data.valid):
        factor = min(scene.coarsen)
        height, width = (min(SIDE, side // factor // unit * unit) * factor for side in scene.image.shape[1:])
        row, col = (scene.image.shape[1] - height) // 2, (scene.image.shape[2] - width) // 2
        rows, cols = slice(row, row + height), slice(col, col + width)
        clean, _ = read_scene(scene, rows, cols, bands=channels(task), absolute=keeps_levels(task))
        clean = clean.reshape(len(clean), height // factor, factor, width // factor, factor).mean((2, 4))
        windows.append(torch.from_numpy(clean)[None].to(model.device))
    return windows


def _psnr(estimate: Tensor, clean: Tensor) -> float:
    """In dB over the bands present, the peak taken as one spread of the band: differences are what counts."""
    present = clean.abs().amax((0, 2, 3)) > 0
    return float(-10 * torch.log10((estimate - clean)[:, present].square().mean()))


@torch.inference_mode()
def calibration(model: Model, windows: list[Tensor]) -> float:
    """Ratio of the mean's error to the spread of samples (3 steps) on the held-out windows, over all bands and pixels.

    An untrained or young network is too sure or not sure enough; scaling what samples add to the mean by this number
    makes their spread equal the error where it was measured.
    """
    logs = []
    for number, clean in enumerate(windows):
        obs = model.task.simulate(clean, None)
        clean = model.task.truth(clean, obs)
        mean, sample = restore(model, obs, origins=[(0, 0)], steps=3, seed=number)
        present = clean.abs().amax((0, 2, 3)) > 0
        error, departure = ((each - mean)[:, present].square().mean() for each in (clean, sample))
        logs.append(0.5 * float(torch.log(error / departure)))
    return math.exp(sum(logs) / len(logs))


@torch.inference_mode()
def score(model: Model, windows: list[Tensor]) -> dict[str, float]:
    """Mean PSNR over the held-out windows, nominal instrument: of the posterior mean and the cheap baselines."""
    totals: dict[str, float] = {}
    for clean in windows:
        obs = model.task.simulate(clean, None)
        estimates = {"mean": next(restore(model, obs, origins=[(0, 0)]))}
        baselines = model.task.baselines()
        estimates |= {name: baselines[name](obs) for name in model.task.cheap if name in baselines}
        truth = model.task.truth(clean, obs)
        if model.task.generative:  # it learns in another unit than that of its images
            truth = model.task.project(truth, obs)
        own = model.task.takes_noisy or model.task.generative
        unit = truth.std() if own else 1.0  # other windows have the spread one already
        for name, estimate in estimates.items():
            totals[name] = totals.get(name, 0.0) + _psnr(estimate / unit, truth / unit) / len(windows)
    return {name: round(value, 3) for name, value in totals.items()}
