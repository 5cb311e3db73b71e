"""One file a task: what goes in, simulate, base, condition, project, metrics."""

from typing import Any

from sciddiff.recipe.schema import Recipe
from sciddiff.tasks.base import LINEAR, Condition, Edit, Input, Instrument, Observation, OneImage, Task, known_name
from sciddiff.tasks.cloud_mask import CloudMask
from sciddiff.tasks.deconvolve import Deconvolve
from sciddiff.tasks.dehaze import Dehaze
from sciddiff.tasks.dehaze_widefield import DehazeWidefield
from sciddiff.tasks.denoise import Denoise
from sciddiff.tasks.destripe import Destripe
from sciddiff.tasks.fill_gaps import FillGaps
from sciddiff.tasks.isotropic import Isotropic
from sciddiff.tasks.pansharpen import Pansharpen
from sciddiff.tasks.remove_clouds import RemoveClouds
from sciddiff.tasks.super_resolution import SuperResolution
from sciddiff.tasks.synthesis import Synthesis
from sciddiff.tasks.translate import Translate

__all__ = [
    "LINEAR",
    "Condition",
    "Edit",
    "Input",
    "Instrument",
    "Observation",
    "OneImage",
    "Task",
    "build_task",
    "known_name",
]

KINDS: dict[str, Any] = {
    "cloud_mask": CloudMask,
    "deconvolve": Deconvolve,
    "dehaze": Dehaze,
    "dehaze_widefield": DehazeWidefield,
    "denoise": Denoise,
    "destripe": Destripe,
    "fill_gaps": FillGaps,
    "isotropic": Isotropic,
    "pansharpen": Pansharpen,
    "remove_clouds": RemoveClouds,
    "super_resolution": SuperResolution,
    "synthesis": Synthesis,
    "translate": Translate,
}


def build_task(recipe: Recipe) -> Task:
    """The task that a recipe asks for."""
    volume = {"volume": True} if recipe.network.dims == 3 else {}  # of tasks that see planes beside one alone
    return KINDS[recipe.task.kind](recipe.task, recipe.bands, **volume)
