"""How wide a halo must be, measured on the trained model."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from sciddiff.model import Model, restore
from sciddiff.tasks import Observation
from sciddiff.tasks.base import planes_beside

SIZES = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192)
CORE = 32
SIDE = 480


@torch.inference_mode()
def halo_table(model: Model) -> dict[str, float]:
    """Largest change, in spreads of the residual, of a core when only a halo of that many pixels is seen.

    Measured on correlated noise in place of a scene, about the reflectance of land where values count, for the
    posterior mean and a sample of three steps, or as many as the recipe asks for.
    """
    generator = torch.Generator().manual_seed(0)
    unit = math.lcm(model.task.stride, model.network.stride)
    whole_side, core_side = (-(-side // unit) * unit for side in (SIDE, CORE))
    count = len(model.task.scene_bands) + planes_beside(model.task.neighbours)
    clean = torch.randn(1, count, whole_side, whole_side, generator=generator)
    frequency = torch.fft.fftfreq(whole_side)
    power = (frequency[:, None] ** 2 + frequency[None] ** 2 + 1e-4) ** -0.65
    clean = torch.fft.ifft2(torch.fft.fft2(clean) * power).real.float().to(model.device)
    clean = clean / clean.std((2, 3), keepdim=True)
    if model.task.absolute:
        clean = 0.15 + 0.05 * clean
    if named := model.task.labels + len(model.task.facts):
        clean[:, -named:] = (2 * clean[:, -named:] / clean[:, -named:].std()).round().clamp(0, 3)
    obs = model.task.simulate(clean, None)
    table = {}
    steps, method = max(3, model.recipe.sampler.steps), model.recipe.sampler.method
    whole = list(restore(model, obs, origins=[(0, 0)], steps=steps, method=method))
    change = whole[0] - model.task.base(obs)
    spread = change.std().clamp_min(1e-12)
    row, col = _busiest(change, core_side, unit)
    for halo in SIZES:
        halo = -(-halo // unit) * unit
        origin, side = (row - halo, col - halo), core_side + 2 * halo
        tiles = restore(
            model, _crop(obs, *origin, side=side, whole=whole_side), origins=[origin], steps=steps, method=method
        )
        core = slice(halo, halo + core_side)
        errors = [
            (tile[..., core, core] - full[..., row : row + core_side, col : col + core_side]).abs().max()
            for tile, full in zip(tiles, whole, strict=True)
        ]
        table[str(halo)] = float(torch.stack(errors).max() / spread)
    return table


def _busiest(change: Tensor, side: int, unit: int) -> tuple[int, int]:
    """Row and column of the core that the network changes most, so that the halo is not measured where it does nothing.

    Of those of a side that have room for the widest halo.
    """
    room = -(-SIZES[-1] // unit) * unit
    inner = change[..., room:-room, room:-room].square().sum((0, 1))
    power = torch.nn.functional.avg_pool2d(inner[None], side, stride=unit)[0]
    row, col = divmod(int(power.argmax()), power.shape[1])
    return room + row * unit, room + col * unit


def _crop(obs: Observation, row: int, col: int, *, side: int, whole: int) -> Observation:
    """The square window of a target grid `whole` pixels wide that starts at a row and column, with all its inputs."""
    parts = {}
    for name, image in obs.inputs.items():
        ratios = (whole // size for size in image.shape[-2:])
        rows, cols = (slice(first // r, (first + side) // r) for first, r in zip((row, col), ratios, strict=True))
        parts[name] = image[..., rows, cols]
    return replace(obs, inputs=parts)
