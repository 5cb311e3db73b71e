"""What is known of the scenes that a synthesis learns from: labels, drawn or made by a rule, and facts."""

import math
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io, labels
from sciddiff.errors import InputError, RecipeError
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
    made = _by_rule(source, np.where(valid, values, np.nan), task)
    result = io.from_array(made[None].astype(np.float32), grid=io.grid_of(plane), bands=list(bands))
    return result.expand_dims({"t": 1, "z": 1}, axis=(1, 2)) if is_stack(image) else result


def _by_rule(source: Source, values: NDArray[np.floating], task: Task) -> NDArray[np.integer]:
    if source.label_rule == "nuclei":
        return labels.segmented_nuclei(np.nan_to_num(values[0]))
    place = {name: task.bands.index(band) for name, band in RULE_BANDS.items()}
    offset = np.reshape(np.array(source.offset), (-1, 1, 1))
    return labels.landcover(source.scale * values + offset, **place)


RULE_BANDS = {"green": "B03", "red": "B04", "nir": "B08", "swir": "B11"}
"""Bands by which the rule `landcover` names them."""
