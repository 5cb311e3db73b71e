"""How wide a halo must be, measured on the trained model."""

from dataclasses import replace

import torch

from sciddiff.model import Model, restore
from sciddiff.tasks import Observation

SIZES = (16, 24, 32, 48, 64, 80, 96, 128)
CORE = 32
SIDE = 480


@torch.inference_mode()
def halo_table(model: Model) -> dict[str, float]:
    """Largest change, in spreads of the residual, of a core when only a halo of that many pixels is seen.

    Measured on correlated noise in place of a scene, for the posterior mean and a sample of three steps.
    """
    generator = torch.Generator().manual_seed(0)
    unit = max(model.task.stride, model.network.stride)
    clean = torch.randn(1, len(model.task.scene_bands), SIDE, SIDE, generator=generator)
    frequency = torch.fft.fftfreq(SIDE)
    power = (frequency[:, None] ** 2 + frequency[None] ** 2 + 1e-4) ** -0.65
    clean = torch.fft.ifft2(torch.fft.fft2(clean) * power).real.float().to(model.device)
    clean = clean / clean.std((2, 3), keepdim=True)
    obs = model.task.simulate(clean, None)
    table = {}
    whole = list(restore(model, obs, origins=[(0, 0)], steps=3))
    spread = (whole[0] - model.task.base(obs)).std().clamp_min(1e-12)
    centre = (SIDE - CORE) // 2 // unit * unit
    for halo in SIZES:
        halo = -(-halo // unit) * unit
        first, side = centre - halo, CORE + 2 * halo
        part = _crop(obs, first=first, side=side)
        tiles = restore(model, part, origins=[(first, first)], steps=3)
        core = slice(halo, halo + CORE)
        errors = [
            (tile[..., core, core] - full[..., centre : centre + CORE, centre : centre + CORE]).abs().max()
            for tile, full in zip(tiles, whole, strict=True)
        ]
        table[str(halo)] = float(torch.stack(errors).max() / spread)
    return table


def _crop(obs: Observation, *, first: int, side: int) -> Observation:
    """The square window of the target grid that starts at row and column `first`, with all its inputs."""
    parts = {}
    for name, image in obs.inputs.items():
        ratio = SIDE // image.shape[-1]
        window = slice(first // ratio, (first + side) // ratio)
        parts[name] = image[..., window, window]
    return replace(obs, inputs=parts)
