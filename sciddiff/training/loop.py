"""The training loop: one readable function over states that save themselves."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciddiff import diffusion
from sciddiff.errors import InputError, InterruptedRun, OptionError, OutputError
from sciddiff.model import Model, build, load, mix_bands, write
from sciddiff.recipe import to_yaml
from sciddiff.recipe.schema import Recipe
from sciddiff.stopping import stop_signals
from sciddiff.training.begin import begun_with, with_centre, with_linear_map
from sciddiff.training.checkpoint import read_checkpoint, write_checkpoint
from sciddiff.training.curves import Curves
from sciddiff.training.ema import Average
from sciddiff.training.excess import excess
from sciddiff.training.halo import halo_table
from sciddiff.training.patches import Prefetched, Scene, open_scenes
from sciddiff.training.pool import Pool, simulate_group, simulating
from sciddiff.training.report import write_report
from sciddiff.training.validation import calibration, score, validation_set
from sciddiff.training.windows import Fresh

COOLDOWN = 0.4
"""Share of the steps over which the learning rate falls to zero at the end."""
CALIBRATION_BATCHES = 32
"""Batches from which the residual's covariance is measured before the first step."""
SMALLEST = 1e-3
"""Least eigenvalue of that covariance, as a share of the largest."""

Progress = Callable[[int, int, dict[str, float]], None]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, a plateau, linear cool-down: steps may be added to a run during its plateau."""
    training = recipe.training
    left = (training.steps - step) / (COOLDOWN * training.steps)
    return training.learning_rate * min(1.0, (step + 1) / max(training.warmup, 1), max(left, 0.0))


def run_key(recipe: Recipe) -> str:
    """Hash of all that decides the weights, but the number of steps."""
    training = recipe.training.model_copy(update={"steps": 0, "validate_every": 1, "checkpoint_every": 1, "warmup": 0})
    return hashlib.sha256(to_yaml(recipe.model_copy(update={"training": training})).encode()).hexdigest()


class LossWeight(nn.Module):
    """Learned log-variance of the loss at each noise level (Karras et al. 2024, equation 21)."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(8, 1)
        nn.init.zeros_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * torch.arange(1, 5, device=t.device)
        return self.line(torch.cat([angle.cos(), angle.sin()], 1))[:, 0]


@dataclass
class State:
    """All that a run holds and a checkpoint keeps."""

    model: Model
    weight: LossWeight
    optimiser: torch.optim.Optimizer
    average: Average
    step: int = 0
    seconds: float = 0.0

    def to_dict(self, key: str) -> dict[str, Any]:
        """For `checkpoint.write_checkpoint`."""
        return {
            "key": key,
            "step": self.step,
            "seconds": self.seconds,
            "network": self.model.network.state_dict(),
            "residual_root": self.model.residual_root,
            "weight": self.weight.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.weights,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from what `to_dict` gave."""
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.model.network.load_state_dict(saved["network"])
        self.model = replace(self.model, residual_root=saved["residual_root"].to(self.model.device))
        self.weight.load_state_dict(saved["weight"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average.weights = {name: value.to(self.model.device) for name, value in saved["average"].items()}


def start(recipe: Recipe, device: str) -> State:
    """A run before its first step."""
    model = build(recipe, device=device)
    if recipe.training.start is not None:
        model = begun_with(model, load(recipe.training.start, device=device))
    weight = LossWeight().to(device)
    groups = [
        {"params": list(model.network.parameters()), "weight_decay": recipe.training.weight_decay},
        {"params": list(weight.parameters()), "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.training.learning_rate, betas=(0.9, 0.99))
    return State(model, weight, optimiser, Average(model.network, recipe.training.ema))


def covariance_root(model: Model, batches: Fresh | Pool) -> Tensor:
    """Symmetric square root of the covariance of (x - base) / s over the bands, from exact windows that have them all.

    One where no truth is exact: the scale s is then taken at its word.
    """
    bands = len(model.task.bands)
    covariance, windows, exact = torch.zeros(bands, bands, dtype=torch.float64), 0, False
    for residual, _, _, weight, trust in batches.first(CALIBRATION_BATCHES):
        whole = residual.abs().amax((2, 3)).gt(0).all(1) & (trust == 1)
        weighted = residual[whole] * weight[whole] * bands
        covariance += torch.einsum("bihw,bjhw->ij", weighted, residual[whole]).double().cpu()
        windows, exact = windows + int(whole.sum()), exact or bool((trust == 1).any())
    if not exact:
        return torch.eye(bands).to(model.residual_root)
    values, vectors = torch.linalg.eigh(covariance / max(windows, 1))
    if not values[-1] > 0:
        raise InputError(f"none of the first {CALIBRATION_BATCHES} batches holds a window with all bands and contrast")
    values = values.clamp_min(SMALLEST * float(values[-1]))
    return ((vectors * values.sqrt()) @ vectors.T).to(model.residual_root)


def losses(state: State, batches: Fresh | Pool) -> tuple[Tensor, Tensor]:
    """Angles and mean squared errors of the velocity, one each for a window of the step's batch."""
    model, recipe = state.model, state.model.recipe
    (residual, maps, numbers, weight, trust), source = batches.at(state.step)
    residual = mix_bands(torch.linalg.inv(model.residual_root), residual)
    batch = len(residual)
    regressors = round(recipe.diffusion.regression_share * batch)
    offset = torch.rand(1, generator=source, device=model.device)
    uniform = (torch.arange(batch - regressors, device=model.device) + offset) / max(batch - regressors, 1)
    drawn = diffusion.draw_angles(uniform, recipe.diffusion.sigma_median, recipe.diffusion.sigma_spread)
    t = torch.cat([drawn, torch.full((regressors,), torch.pi / 2, device=model.device)])
    t[trust < 1] = torch.pi / 2  # of a truth with noise only the mean can be learned
    noise = torch.randn(residual.shape, generator=source, device=model.device)
    noise[t == torch.pi / 2] = 0
    if recipe.diffusion.excess_share:
        noise = noise * excess(residual, t, share=recipe.diffusion.excess_share, generator=source)
    encoded = model.network.encode(maps.contiguous(memory_format=torch.channels_last), numbers)
    velocity = model.network(diffusion.state(residual, noise, t), t, encoded)
    target = diffusion.velocity_target(residual, noise, t)
    return t, trust * ((velocity - target).square() * weight).sum((1, 2, 3))


def step_once(state: State, batches: Fresh | Pool) -> tuple[Tensor, Tensor]:
    """One optimiser step; angles and losses of its batch."""
    recipe = state.model.recipe
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, state.step)
    t, loss = losses(state, batches)
    log_variance = state.weight(t)
    state.optimiser.zero_grad(set_to_none=True)
    (loss * torch.exp(-log_variance) + log_variance).mean().backward()
    nn.utils.clip_grad_norm_(state.model.network.parameters(), recipe.training.clip)
    state.optimiser.step()
    state.average.update(state.model.network, state.step)
    state.step += 1
    return t, loss.detach()


def train(
    recipe: Recipe,
    output: Path,
    *,
    max_seconds: float | None = None,
    device: str = "cpu",
    workers: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Train a model, or continue where the same command stopped.

    Parameters
    ----------
    recipe
        What to train, on what.
    output
        Folder of `checkpoint.pt`, `curves.jsonl` and, at the end, `report.html` and `model.safetensors`.
    max_seconds
        Stop after this time with a checkpoint.
    device
        As torch names it.
    workers
        Processes that simulate the windows of a pool (`training.reuse` above 1) on the CPU; 0: this one does.
    progress
        Called with (step, steps, figures) after every step.

    Returns
    -------
    Path
        Of the model.

    Raises
    ------
    OptionError
        Where the recipe names no training data, or has no pool for workers, or `output` holds another recipe's run.
    InterruptedRun
        After a signal or `max_seconds`; a checkpoint was written, if a step was made.
    OutputError
        Where a worker was killed.
    """
    if not recipe.data.train:
        raise OptionError(f"{recipe.name}: data.train is empty; name rasters in the recipe or with --train")
    if workers and recipe.training.reuse == 1:
        raise OptionError("workers simulate windows that are shown again; set training.reuse above 1, or ask for none")
    recipe = with_centre(with_linear_map(recipe))
    folder, key = _prepare(output), run_key(recipe)
    state = start(recipe, device)
    checkpoint = folder / "checkpoint.pt"
    saved = read_checkpoint(checkpoint)
    if saved is not None and saved["key"] != key:
        raise OptionError(f"{checkpoint} is of another recipe; choose another folder or delete it")
    if saved is not None:
        state.restore(saved)
    scenes = open_scenes(recipe, state.model.task, recipe.data.train)
    valid = validation_set(recipe, state.model)
    curves = Curves(folder / "curves.jsonl", since=state.step)
    begun = time.monotonic() - state.seconds
    deadline = float("inf") if max_seconds is None else time.monotonic() + max_seconds
    with stop_signals() as stopped, _windows(state, scenes, workers=workers, stopped=stopped) as batches:
        if saved is None and recipe.training.start is None:
            state.model = replace(state.model, residual_root=covariance_root(state.model, batches))
        while state.step < recipe.training.steps:
            curves.add(*step_once(state, batches))
            state.seconds = time.monotonic() - begun
            last = state.step == recipe.training.steps
            if valid and (state.step % recipe.training.validate_every == 0 or last):
                with state.average.applied(state.model.network):
                    curves.validated(score(state.model, valid))
            if progress is not None:
                progress(state.step, recipe.training.steps, curves.latest)
            interrupted = not last and (stopped() is not None or time.monotonic() > deadline)
            if state.step % recipe.training.checkpoint_every == 0 or last or interrupted:
                curves.write(state.step, seconds=state.seconds, rate=learning_rate(recipe, state.step - 1))
                write_checkpoint(checkpoint, state.to_dict(key))
            if interrupted:
                raise InterruptedRun(
                    f"stopped at step {state.step} of {recipe.training.steps}; the same command continues"
                )
    return _finish(state, folder, [scene.name for scene in scenes], valid)


@contextmanager
def _windows(
    state: State, scenes: Sequence[Scene], *, workers: int, stopped: Callable[[], str | None]
) -> Iterator[Fresh | Pool]:
    """The batches of the steps that are left."""
    model, recipe = state.model, state.model.recipe
    if recipe.training.reuse == 1:
        with Prefetched(scenes, recipe, model.task) as batches:
            yield Fresh(model, batches)
        return
    pool = partial(Pool, recipe, model.task, device=model.device, lead=CALIBRATION_BATCHES, stopped=stopped)
    if workers == 0:
        yield pool(partial(simulate_group, recipe, model.task, scenes))
        return
    with simulating(recipe, workers) as simulate:
        yield pool(simulate)


def _prepare(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {output}: {error.strerror}") from error
    return output


def _started_on(model: Model) -> set[str]:
    """What the model that the run began with had been trained on."""
    return set(model.record.get("provenance", {}).get("trained_on", []))


def _finish(state: State, folder: Path, scenes: list[str], valid: list[Any]) -> Path:
    """Round the averaged weights as the file keeps them, measure that model, write it."""
    network = state.model.network
    network.load_state_dict({name: value.half().to(value) for name, value in state.average.weights.items()})
    record = {
        "halo": halo_table(state.model),
        "calibration": round(calibration(state.model, valid), 4) if valid and not state.model.task.generative else 1.0,
        "metrics": {"validation": score(state.model, valid)} if valid else {},
        "provenance": {
            "trained_on": sorted({Path(name).name for name in scenes} | _started_on(state.model)),
            "steps": state.step,
            "seconds": round(state.seconds),
            "device": str(state.model.device),
        },
    }
    write_report(folder / "curves.jsonl", folder / "report.html", title=f"Training of {state.model.recipe.name}")
    path = folder / "model.safetensors"
    write(replace(state.model, record=record), path)
    return path
