"""What the tests of stacks share: small models whose every weight acts, and stacks of a few planes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciddiff.io.stack_files import read_stack_window
from sciddiff.io.stack_profile import Channel, Objective, Spatial, StackProfile, Units
from sciddiff.io.stack_write import write_stack_ome_tiff
from sciddiff.model import Model, build
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import Condition, Observation, beside
from sciddiff.tasks.dehaze_widefield import DehazeWidefield
from sciddiff.tasks.isotropic import Isotropic
from sciddiff.tasks.super_resolution import SuperResolution

RECIPE = """
version: 1
name: law
task: {kind: %s, ratio: %d, channelwise: true, mtf: 0.3, mtf_range: [0.28, 0.32], projections: 0%s}
bands: [intensity]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}
training: {patch: 48}
"""
VOLUME = """
version: 1
name: law
task: {kind: dehaze_widefield, neighbours: {along: z, planes: 1}}
bands: [intensity]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8, dims: 3}
training: {patch: 48}
"""
SHAPE = (2, 2, 2, 20, 28)
"""Times, channels, planes, rows, columns."""


class Narrow:
    """A scale of one number everywhere: such a task looks no farther than its interpolation, and windows are small."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.radius = 5 * self.ratio  # type: ignore[attr-defined]

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        return Condition(scale=torch.full_like(base, 500.0), maps=torch.cat([(base - 16000) / 3000] * 2, 1))


class NarrowSuperResolution(Narrow, SuperResolution):
    pass


class NarrowIsotropic(Narrow, Isotropic):
    pass


class NarrowVolume(DehazeWidefield):
    """The image as it is, corrected by what the network finds in three planes."""

    radius = 0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given, volume=True)

    def base(self, obs: Observation) -> Tensor:
        return obs.inputs["image"]

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        near, scale = torch.full_like(base, 16000), torch.full_like(base, 3000)
        planes, known = beside.given(obs, self.neighbours)
        seen = beside.maps(planes, known, near=near, scale=scale, middle=base)
        return Condition(scale=scale / 6, maps=torch.cat([(base - near) / scale] * 5 + list(seen), 1))


def random_model(kind: str = "super_resolution", ratio: int = 2) -> Model:
    """A network whose every weight acts: the zeros of a fresh one are filled."""
    model = build(parse_recipe(VOLUME if kind == "volume" else RECIPE % (kind, ratio, "")))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    narrow: Any = {"super_resolution": NarrowSuperResolution, "isotropic": NarrowIsotropic, "volume": NarrowVolume}
    return dataclasses.replace(model, task=narrow[kind](model.recipe.task, model.recipe.bands))


def values(shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> NDArray[Any]:
    """Rough numbers, different in each plane: in the lower half of a type of integers, about 1 for floats."""
    rng = np.random.default_rng(0)
    rough: NDArray[Any] = rng.normal(size=shape).cumsum(-1).cumsum(-2)
    rough /= rough.std()
    rough += 0.1 * rng.normal(size=shape)
    if np.dtype(dtype).kind == "f":
        return rough.astype(dtype)
    top = np.iinfo(dtype).max // 2
    return (top / 2 * (1 + rough / 12)).clip(top // 8, top).astype(dtype)


def profile(dtype: str = "uint16", *, channels: int = 2, times: int = 2) -> StackProfile:
    """What microscopes say of a stack, in odd units; its optics pass what the pixels of a result can show."""
    told = (
        Channel("DAPI", "0000FFFF", 461.0, 405.0, 0.125, "Hoechst", {"AcquisitionMode": "WideField"}),
        Channel("GFP <1>", "00FF00FF", 509.5, 488.0, 0.5),
    )
    return StackProfile(
        dtype,
        tuple(told[at] if at < len(told) else Channel(f"more {at}") for at in range(channels)),
        "TCZYX",
        pixel_size=Spatial(0.25, 0.25, 2.0),
        pixel_unit=Units("nm", "µm", "mm"),
        position=Spatial(100.0, -200.0, 3.0),
        position_unit=Units("µm", "mm", "µm"),
        time_increment=0.25,
        time_unit="ms",
        times=tuple(0.5 + 0.25 * at for at in range(times)),
        objective=Objective(0.9, 40.0, "Air", 1.0, {"Model": "Plan"}),
        name="cells & <more>",
        acquired="2024-01-02T03:04:05",
    )


def stack_file(path: Path, shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> Path:
    """An OME-TIFF with `values` and `profile`."""
    told = profile(dtype, channels=shape[1], times=shape[0])
    write_stack_ome_tiff(values(shape, dtype), path, profile=told, provenance={}, options={})
    return path


def stored(path: Path) -> NDArray[Any]:
    """Numbers of a stack that this project wrote, (t, c, z, y, x)."""
    every = slice(None)
    return read_stack_window(path, every, every, every, every, every)
