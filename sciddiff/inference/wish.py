"""What is asked of new images, and what that means to a model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from sciddiff import io
from sciddiff.errors import InputError, OptionError, RecipeError
from sciddiff.model import Model
from sciddiff.model.fit import Stored, is_stack
from sciddiff.model.tiles import Guidance
from sciddiff.recipe.files import find_rasters
from sciddiff.tasks.look import levels_of
from sciddiff.tasks.style import style_of
from sciddiff.tasks.synthesis import Synthesis

PLAIN = Stored("uint16", scale=1e-4, offset=-0.1)
"""Levels and reflectance as whole numbers, so that dark noise below zero is kept, too."""


@dataclass(frozen=True)
class Wish:
    """What is asked of new images.

    Attributes
    ----------
    masks
        Files of masks, or empty.
    layout
        `given`: the masks as they are; `rearranged`: new ones from their objects; `procedural`: from no mask; `none`:
        nothing is asked of where things are; or the path of a model of label structure.
    count
        Images; as many as masks where not given.
    size
        Rows and columns of made masks; those of the first mask where not given.
    seed
        Image k has the seed `seed` + k.
    steps
        Network evaluations of an image; the recipe's where not given.
    image_class, numbers, style
        What is asked beside the mask: a class by its name, numbers by name, a reference image.
    guidance, strength
        See `model.tiles`.
    image, region
        An image that is to be changed, and where; everywhere where not given.
    """

    masks: tuple[str, ...] = ()
    layout: str = "given"
    count: int | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    steps: int | None = None
    image_class: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    style: str | None = None
    guidance: Guidance = field(default_factory=Guidance)
    strength: float = 1.0
    image: str | None = None
    region: str | None = None


def find_masks(path: str) -> tuple[str, ...]:
    """The masks that a path names: a file, a folder or a pattern.

    Raises
    ------
    InputError
        None is there.
    """
    if os.path.exists(path) and not os.path.isdir(path):
        return (path,)
    try:
        return tuple(str(each) for each in find_rasters(path, Path()))
    except RecipeError as error:
        raise InputError(f"{path} holds no masks: {error}") from error


def number_of_class(model: Model, name: str) -> float:
    """The number under which a model knows a class of images.

    Raises
    ------
    OptionError
        It knows no such class.
    """
    known = task_of(model).settings.image_classes
    if name not in known:
        raise OptionError(f"{model.recipe.name} knows no class {name}; it knows {', '.join(known) or 'none'}")
    return float(known.index(name))


def task_of(model: Model) -> Synthesis:
    """The task of a model of synthesis.

    Raises
    ------
    OptionError
        It is of another one.
    """
    if not isinstance(model.task, Synthesis):
        raise OptionError(f"{model.recipe.name} is a model of {model.recipe.task.kind}; needs one of synthesis")
    return model.task


def told(model: Model, wish: Wish) -> tuple[dict[str, tuple[float, ...]], Stored]:
    """What is asked of the images as the task takes it, and how they are stored: like the reference, if there is one.

    Raises
    ------
    OptionError
        The model does not know what is asked.
    InputError
        The reference is none.
    """
    settings = task_of(model).settings
    instrument: dict[str, tuple[float, ...]] = {}
    if wish.image_class is not None:
        instrument["image_class"] = (number_of_class(model, wish.image_class),)
    for name, number in wish.numbers.items():
        if name not in settings.numbers:
            raise OptionError(f"{model.recipe.name} knows no number {name}; it knows {', '.join(settings.numbers)}")
        instrument[name] = (float(number),)
    if wish.layout == "none":
        instrument["mask"] = (0.0,)
    if wish.style is None:
        return instrument, PLAIN
    return _as_reference(model, wish.style, instrument)


def _as_reference(
    model: Model, path: str, instrument: dict[str, tuple[float, ...]]
) -> tuple[dict[str, tuple[float, ...]], Stored]:
    task, image = task_of(model), io.open(path)
    if is_stack(image):
        image = image.isel(t=0, z=0)
    profile = image.encoding.get("stack") or image.encoding.get("raster")
    if len(image.band) != len(task.bands):
        names = [str(name) for name in image.band.values]
        image = image.isel(band=io.match_bands(list(task.bands), names))
    dtype = "float32" if profile is None else profile.dtype
    return {**instrument, **styled(model, image)}, Stored(dtype) if task.levelled else PLAIN


def styled(model: Model, image: xr.DataArray) -> dict[str, tuple[float, ...]]:
    """What a model is told to make images that look like a reference: its levels, where they count, and its style.

    Parameters
    ----------
    model
        Of synthesis.
    image
        (band, y, x), in the model's order of bands.
    """
    task = task_of(model)
    found: dict[str, tuple[float, ...]] = {}
    if task.levelled:
        found["dark"], found["bright"] = levels_of(image)
        low, high = (np.reshape(np.array(found[name]), (-1, 1, 1)) for name in ("dark", "bright"))
        image = (image - low) / (high - low)
    if task.settings.style:
        found["style"] = style_of(image, task.transformed)
    return found


def steps_of(model: Model, wish: Wish) -> int:
    """Network evaluations of an image.

    Raises
    ------
    OptionError
        One alone gives the mean of all images that could be.
    """
    steps = wish.steps or model.recipe.sampler.steps
    if steps < 2:
        raise OptionError("an image that could be needs steps of 2 or more; steps=1 is the mean of all")
    return steps
