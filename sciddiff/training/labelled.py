"""What is known of the scenes that a synthesis learns from: labels, drawn or made by a rule, and facts."""

import math
from pathlib import Path

import numpy as np
import xarray as xr

from sciddiff import io, labels
from sciddiff.errors import InputError, RecipeError
from sciddiff.labels.rules import BANDS as RULE_BANDS
from sciddiff.labels.rules import by_rule
from sciddiff.model.fit import is_stack
from sciddiff.recipe.schema import Recipe, Source
from sciddiff.recipe.tasks import Settings, Synthesis
from sciddiff.tasks import Task


def facts_of(source: Source, recipe: Recipe) -> tuple[float, ...]:
    """The task's facts of a source, in their order; NaN where it does not tell.

    Raises
    ------
    RecipeError
        It tells a class or a number that the task does not have, or one out of its range.
    """
    settings = recipe.task
    if not isinstance(settings, Synthesis):
        told = [name for name in ("labels", "label_rule", "image_class", "numbers") if getattr(source, name)]
        if told:
            raise RecipeError(f"{source.path}: {', '.join(told)} is for synthesis, the task is {settings.kind}")
        return ()
    unknown = sorted(set(source.numbers) - set(settings.numbers))
    if unknown:
        known = ", ".join(settings.numbers) or "none"
        raise RecipeError(f"{source.path}: numbers names {', '.join(unknown)}; the task has {known}")
    for name, value in source.numbers.items():
        low, high = settings.numbers[name]
        if not low <= value <= high:
            raise RecipeError(f"{source.path}: {name} is {value:g}; the task takes {low:g} to {high:g}")
    number = math.nan
    if source.image_class is not None:
        if source.image_class not in settings.image_classes:
            known = ", ".join(settings.image_classes) or "none"
            raise RecipeError(f"{source.path}: image_class is {source.image_class}; the task has {known}")
        number = float(settings.image_classes.index(source.image_class))
    return number, *(source.numbers.get(name, math.nan) for name in settings.numbers)


def labelled(
    source: Source, path: Path, image: xr.DataArray, task: Task, settings: Settings
) -> tuple[xr.DataArray, xr.DataArray]:
    """The image of a source's file and its labels; of a model of label structure the file is a mask, the image its
    signed distances."""
    if not isinstance(settings, Synthesis) or settings.unit != "distance":
        return image, open_labels(source, path, image, task)
    plane = image.isel(t=0, z=0) if is_stack(image) else image
    values, valid = io.read_window(plane, slice(None), slice(None))
    mask = np.where(valid, values, 0)[0].astype(np.int64)
    grid = io.grid_of(plane)
    distance = io.from_array(labels.to_distance(mask, reach=settings.reach), grid=grid, bands=list(task.bands))
    return distance, io.from_array(mask[None].astype(np.float64), grid=grid, bands=list(task.inputs[0].bands))


def open_labels(source: Source, path: Path, image: xr.DataArray, task: Task) -> xr.DataArray:
    """Labels of a source's file, (label bands, [t, z,] y, x).

    Raises
    ------
    InputError
        There are none, or they are not of the image's pixels, or hold what the task does not know.
    """
    bands = task.inputs[0].bands
    file = source.label_file(path)
    if file is None:
        found = _made(source, path, image, task)
    else:
        found = io.open(str(file))
        expected = len(bands), *image.shape[1:]
        if found.shape != expected:
            raise InputError(f"{file}: labels of {path.name} are {found.shape}; expected {expected}")
    try:
        task.check(found, {})
    except InputError as error:
        raise InputError(f"{file or path}: {error}") from error
    return found


def _made(source: Source, path: Path, image: xr.DataArray, task: Task) -> xr.DataArray:
    """Labels by the source's rule."""
    if source.label_rule is None:
        raise InputError(f"{path}: a synthesis learns from labelled images; give the source labels or a label_rule")
    bands = task.inputs[0].bands
    lacking = [name for name in RULE_BANDS.values() if name not in task.bands]
    if RULE_LABELS[source.label_rule] != bands or (source.label_rule == "landcover" and lacking):
        makes = ", ".join(RULE_LABELS[source.label_rule])
        of = f" of {', '.join(RULE_BANDS.values())}" if source.label_rule == "landcover" else ""
        told = f"the task learns {', '.join(bands)} and {', '.join(task.bands)}"
        raise InputError(f"{path}: label_rule {source.label_rule} makes {makes}{of}; {told}")
    if is_stack(image) and image.sizes["t"] * image.sizes["z"] > 1:
        raise InputError(f"{path}: label_rule {source.label_rule} makes labels of one plane; the file has several")
    plane = image.isel(t=0, z=0) if is_stack(image) else image
    values, valid = io.read_window(plane, slice(None), slice(None))
    offset = np.reshape(np.array(source.offset), (-1, 1, 1))
    made = by_rule(source.label_rule, source.scale * np.where(valid, values, np.nan) + offset, task.bands)
    result = io.from_array(made[None].astype(np.float32), grid=io.grid_of(plane), bands=list(bands))
    return result.expand_dims({"t": 1, "z": 1}, axis=(1, 2)) if is_stack(image) else result


RULE_LABELS = {"nuclei": ("instance",), "landcover": ("class",)}
"""Label bands that each rule makes."""
