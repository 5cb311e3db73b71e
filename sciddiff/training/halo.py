"""How wide a halo must be, measured on the trained model."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sciddiff.labels import nuclei
from sciddiff.model import Model, restore
from sciddiff.model.windows import round_up
from sciddiff.tasks import Observation
from sciddiff.tasks.base import planes_beside

SIZES = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192)
CORE = 32
SIDE = 480
SIZES_MADE, CORE_MADE, SIDE_MADE = (16, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320), 256, 896
"""The same where all is made: every step of a sample carries what is missing at a window's edge a network further, and
where an object may become bright or dark as well, little makes much. So it is looked for farther, at more places."""
DIAMETER = 26.0
"""Of the procedural nuclei, in pixels."""


@torch.inference_mode()
def halo_table(model: Model) -> dict[str, float]:
    """Largest change, in spreads of the residual, of a core when only a halo of that many pixels is seen.

    Measured on correlated noise in place of a scene, about the reflectance of land where values count, on procedural
    nuclei where instances are asked for; for the posterior mean and a sample of three steps, or as many as the recipe
    asks for.
    """
    generator = torch.Generator().manual_seed(0)
    unit = math.lcm(model.task.stride, model.network.stride)
    made = model.task.generative
    sizes = SIZES_MADE if made else SIZES
    sides = (SIDE_MADE, CORE_MADE) if made else (SIDE, CORE)
    whole_side, core_side = (round_up(each, unit) for each in sides)
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
    if getattr(model.recipe.task, "labels", None) == "instances":
        places = nuclei((whole_side, whole_side), np.random.default_rng(0), diameter=DIAMETER)
        clean[:, -named] = torch.from_numpy(places.astype(np.float32)).to(clean)
    obs = model.task.simulate(clean, None)
    if model.task.generative:  # of no class: where the look is open, too, least is enough to change it
        obs = model.task.observe(
            {each.name: obs.inputs[each.name] for each in model.task.inputs if each.required}, None
        )
    table = {}
    steps, method = max(3, model.recipe.sampler.steps), model.recipe.sampler.method
    whole = list(restore(model, obs, origins=[(0, 0)], steps=steps, method=method))
    change = whole[0] - model.task.base(obs)
    spread = change.std().clamp_min(1e-12)
    row, col = _busiest(change, core_side, unit, room=round_up(sizes[-1], unit))
    for halo in sizes:
        halo = round_up(halo, unit)
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


def _busiest(change: Tensor, side: int, unit: int, *, room: int) -> tuple[int, int]:
    """Row and column of the core that the network changes most, so that the halo is not measured where it does nothing.

    Of those of a side that have room for the widest halo.
    """
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
