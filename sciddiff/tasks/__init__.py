"""One file a task: what goes in, simulate, base, condition, project, metrics."""

from sciddiff.recipe.schema import Recipe
from sciddiff.tasks.base import Condition, Input, Instrument, Observation, Task
from sciddiff.tasks.super_resolution import SuperResolution

__all__ = ["Condition", "Input", "Instrument", "Observation", "Task", "build_task"]

KINDS = {"super_resolution": SuperResolution}


def build_task(recipe: Recipe) -> Task:
    """The task that a recipe asks for."""
    return KINDS[recipe.task.kind](recipe.task, recipe.bands)
