"""The engine on one batch of windows: base, residual, projection."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sciddiff import diffusion
from sciddiff.diffusion import SAMPLERS, Velocity, keyed_normal, posterior_mean
from sciddiff.networks.unet import UNet
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Condition, Observation, Task


class Restorer(Protocol):
    """What the engine needs of a `Model`."""

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        ...

    @property
    def task(self) -> Task:
        """Forward model, base, condition, projection."""
        ...

    @property
    def network(self) -> UNet:
        """The velocity."""
        ...

    @property
    def residual_root(self) -> Tensor:
        """Square root of the residual's covariance over the bands, on the device of the weights."""
        ...

    @property
    def record(self) -> Mapping[str, Any]:
        """What was measured of the model."""
        ...

    @property
    def radius(self) -> int:
        """Halo in target pixels beyond which nothing can change a pixel."""
        ...


@dataclass(frozen=True)
class Guide:
    """By what a model is guided; see `diffusion.guide`.

    Attributes
    ----------
    obs
        What the origin of the guidance is told: nothing, or what is not wanted; or the same, where it is a weaker
        model.
    scale
        0 gives the origin, 1 the model, more goes beyond it.
    interval
        Noise levels that are guided.
    weaker
        The model at the origin; the guided one itself where not given.
    """

    obs: Observation
    scale: float
    interval: tuple[float, float]
    weaker: "Restorer | None" = None


def mix_bands(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply the bands of each pixel by a matrix: (c, c) times (b, c, h, w)."""
    return torch.einsum("ij,bjhw->bihw", matrix, image)


@torch.inference_mode()
def restore(
    model: Restorer,
    obs: Observation,
    *,
    origins: Sequence[tuple[int, ...]],
    steps: int = 1,
    samples: int = 1,
    seed: int = 0,
    method: str = "angle",
    channel: int = 0,
    guide: Guide | None = None,
    strength: float = 1.0,
) -> Iterator[Tensor]:
    """Posterior mean of a batch of windows, then its samples one by one, all projected on the measurement.

    Parameters
    ----------
    model
        The model.
    obs
        What was measured, as `model.task.observe` gives it.
    origins
        Absolute target pixel of each window's first pixel, (row, column) or, in a stack, (plane, row, column): the
        noise is keyed by it.
    steps
        Network evaluations of one sample, that of the mean included; 1 gives the mean alone.
    samples
        How many samples follow the mean where `steps` is 2 or more.
    seed
        Of the samples.
    method
        Name of the sampler.
    channel
        Number of the image's first channel, where channels are restored one by one: the noise is keyed by it.
    guide
        What leads the model beyond its own estimate, if anything does.
    strength
        How far an image that is to be changed may change, 1 for all the way; see `diffusion.partial_way`.

    Yields
    ------
    Tensor
        (b, c, h, w) on the target grid, in the precision of the input.
    """
    base = model.task.base(obs)
    condition = model.task.condition(obs, base)
    root = model.residual_root.to(base)
    spread = 1.0 if model.task.generative else float(model.record.get("calibration", 1.0))
    velocity = _velocity(model, condition, obs)
    if guide is not None:
        velocity = _guided(guide.weaker or model, velocity, guide, base=base)
    edit = model.task.edited(obs)
    known = None if edit is None else _whitened((edit.start - base) / condition.scale, root)

    def finish(residual: Tensor) -> Tensor:
        change = condition.scale * mix_bands(root, residual.to(base))
        # -0.0 + 0.0 is 0.0: where nothing is added, not even that bit may change
        return model.task.project(torch.where(change == 0, base, base + change), obs)

    mean = posterior_mean(velocity, torch.zeros_like(base, dtype=torch.float32))
    yield finish(mean)
    for sample in range(samples if steps > 1 else 0):
        noise = torch.stack([_noise(base, origin, seed=seed, sample=sample, channel=channel) for origin in origins])
        if edit is None or known is None:
            drawn = SAMPLERS[method](velocity, noise, steps, mean=mean)
        else:
            drawn = _changed(velocity, known, noise, edit.keep, steps=steps, strength=strength, method=method)
        yield finish(mean + spread * (drawn - mean))


def _velocity(model: Restorer, condition: Condition, obs: Observation) -> Velocity:
    encoded = model.network.encode(condition.maps.float(), obs.numbers.float())

    def velocity(state: Tensor, t: float) -> Tensor:
        angle = torch.full((len(state),), t, device=state.device)
        return model.network(state, angle, encoded)

    return velocity


def _guided(model: Restorer, velocity: Velocity, guide: Guide, *, base: Tensor) -> Velocity:
    origin = _velocity(model, model.task.condition(guide.obs, base), guide.obs)
    extrapolate = diffusion.classifier_free if guide.weaker is None else diffusion.autoguided
    return diffusion.within(extrapolate(velocity, origin, guide.scale), velocity, guide.interval)


def _whitened(residual: Tensor, root: Tensor) -> Tensor:
    return mix_bands(torch.linalg.inv(root), residual).float()


def _changed(
    velocity: Velocity, known: Tensor, noise: Tensor, keep: Tensor, *, steps: int, strength: float, method: str
) -> Tensor:
    """A sample that changes a known image: outside what is kept, and as far as the strength says."""
    held = diffusion.keeping(velocity, known, noise, keep)
    if strength < 1:
        return diffusion.partial_way(held, known, noise, strength=strength, steps=steps)
    return SAMPLERS[method](held, noise, steps, None)


def _noise(like: Tensor, origin: tuple[int, ...], *, seed: int, sample: int, channel: int) -> Tensor:
    """Noise for one window, (c, h, w), its first channel the given one; `like` is (b, c, h, w)."""
    count, size = like.shape[1], tuple(like.shape[2:])
    shape = size if len(origin) == len(size) else (1,) * (len(origin) - len(size)) + size
    noise = keyed_normal(
        seed=seed,
        sample=sample,
        step=0,
        channels=channel + count,
        origin=origin,
        shape=shape,
        device=str(like.device),
    )
    return noise[channel:].reshape(count, *size)
