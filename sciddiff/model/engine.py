"""The engine on one batch of windows: base, residual, projection."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sciddiff.diffusion import SAMPLERS, keyed_normal, posterior_mean
from sciddiff.networks.unet import UNet
from sciddiff.tasks import Observation, Task


class Restorer(Protocol):
    """What the engine needs of a `Model`."""

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

    Yields
    ------
    Tensor
        (b, c, h, w) on the target grid, in the precision of the input.
    """
    base = model.task.base(obs)
    condition = model.task.condition(obs, base)
    root, spread = model.residual_root.to(base), float(model.record.get("calibration", 1.0))
    encoded = model.network.encode(condition.maps.float(), obs.numbers)

    def velocity(state: Tensor, t: float) -> Tensor:
        angle = torch.full((len(state),), t, device=state.device)
        return model.network(state, angle, encoded)

    def finish(residual: Tensor) -> Tensor:
        change = condition.scale * mix_bands(root, residual.to(base))
        # -0.0 + 0.0 is 0.0: where nothing is added, not even that bit may change
        return model.task.project(torch.where(change == 0, base, base + change), obs)

    mean = posterior_mean(velocity, torch.zeros_like(base, dtype=torch.float32))
    yield finish(mean)
    for sample in range(samples if steps > 1 else 0):
        noise = [_noise(base, origin, seed=seed, sample=sample, channel=channel) for origin in origins]
        drawn = SAMPLERS[method](velocity, torch.stack(noise), steps, mean=mean)
        yield finish(mean + spread * (drawn - mean))


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
