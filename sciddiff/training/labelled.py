"""What is known of the scenes that a synthesis learns from: labels, drawn or made by a rule, and facts."""

import math
from pathlib import Path

import numpy as np
import xarray as xr

from sciddiff import io, labels
from sciddiff.errors import InputError, RecipeError
from sciddiff.labels.rules import by_rule
from sciddiff.model.fit import is_stack
from sciddiff.recipe.schema import Source
from sciddiff.recipe.tasks import Settings, Synthesis
from sciddiff.tasks import Task


def facts_of(source: Source, settings: Settings) -> tuple[float, ...]:
    """The task's facts of a source, in their order; NaN where it does not tell.

    Raises
    ------
    RecipeError
        It tells a class or a number that the task does not have.
    """
    if not isinstance(settings, Synthesis):
        return ()
    unknown = sorted(set(source.numbers) - set(settings.numbers))
    if unknown:
        raise RecipeError(
            f"{source.path}: numbers names {', '.join(unknown)}; the task has {', '.join(settings.numbers)}"
        )
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
        There are none, or they are not of the image's pixels.
    """
    bands = task.inputs[0].bands
    file = source.label_file(path)
    if file is not None:
        found = io.open(str(file))
        if len(found.band) != len(bands) or found.shape[1:] != image.shape[1:]:
            raise InputError(
                f"{file}: labels of {path.name} are {found.shape}; expected {(len(bands), *image.shape[1:])}"
            )
        return found
    if source.label_rule is None:
        raise InputError(f"{path}: a synthesis learns from labelled images; give the source labels or a label_rule")
    if is_stack(image) and image.sizes["t"] * image.sizes["z"] > 1:
        raise InputError(f"{path}: label_rule {source.label_rule} makes labels of one plane; the file has several")
    plane = image.isel(t=0, z=0) if is_stack(image) else image
    values, valid = io.read_window(plane, slice(None), slice(None))
    offset = np.reshape(np.array(source.offset), (-1, 1, 1))
    made = by_rule(source.label_rule, source.scale * np.where(valid, values, np.nan) + offset, task.bands)
    result = io.from_array(made[None].astype(np.float32), grid=io.grid_of(plane), bands=list(bands))
    return result.expand_dims({"t": 1, "z": 1}, axis=(1, 2)) if is_stack(image) else result
