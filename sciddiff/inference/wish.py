"""What is asked of new images: in the words of a user, and in those of the task."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError, RecipeError
from sciddiff.io.profile import RasterProfile
from sciddiff.io.stack_ngff import is_ngff
from sciddiff.model import Model
from sciddiff.model.request import Guidance, weaker_of
from sciddiff.model.result import Stored
from sciddiff.recipe.files import find_rasters
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.look import levels_of
from sciddiff.tasks.style import style_of
from sciddiff.tasks.synthesis import Synthesis

PLAIN = Stored("uint16", scale=1e-4, offset=-0.1)
"""Levels and reflectance as whole numbers, so that dark noise below zero is kept, too."""
COUNTS = {"dark": (1000.0,), "bright": (11000.0,)}
"""The same numbers of levels, for files that have no scale."""


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
        See `model.request`.
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

    def __post_init__(self) -> None:
        if self.image is None and (self.region is not None or self.strength < 1):
            name = "region says where" if self.region is not None else "strength says how far"
            raise OptionError(f"{name} an image is changed; give the image, too")
        if self.size is not None and self.layout == "given":
            raise OptionError(f"a size of {self.size} is one of made masks; given ones have their own")


def find_masks(path: str) -> tuple[str, ...]:
    """The masks that a path names: a file, a Zarr, a folder or a pattern.

    Raises
    ------
    InputError
        None is there.
    """
    if os.path.exists(path) and (not os.path.isdir(path) or path.rstrip("/").endswith(".zarr") or is_ngff(path)):
        return (path.rstrip("/"),)
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
        It is of another task.
    """
    if not isinstance(model.task, Synthesis):
        raise OptionError(
            f"{model.recipe.name} is a model of the task {model.recipe.task.kind}; needs one of synthesis"
        )
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
    task = task_of(model)
    if wish.guidance.weaker is not None:
        weaker_of(model, wish.guidance.weaker)
    instrument: dict[str, tuple[float, ...]] = {}
    if wish.image_class is not None:
        instrument["image_class"] = (number_of_class(model, wish.image_class),)
    for name, number in wish.numbers.items():
        if name not in task.settings.numbers:
            known = ", ".join(task.settings.numbers) or "none"
            raise OptionError(f"{model.recipe.name} knows no number {name}; it knows {known}")
        instrument[name] = (float(number),)
    if wish.layout == "none":
        instrument["mask"] = (0.0,)
    checked(instrument, task.limits, task=task.settings.kind)
    if wish.style is None:
        return instrument, PLAIN
    if not (task.style or task.levelled):
        raise OptionError(f"{model.recipe.name} follows no style; leave the reference out")
    more, stored = _like_reference(model, wish.style)
    if wish.image is not None:  # a changed image keeps its own levels
        more = {"style": more["style"]} if "style" in more else {}
    return instrument | more, stored


def _like_reference(model: Model, path: str) -> tuple[dict[str, tuple[float, ...]], Stored]:
    """Levels and style of a reference image, and how it is stored."""
    task = task_of(model)
    image = _in_bands(io.open(path), task.bands, path, sensor=task.settings.sensor)
    try:
        return styled(model, image), _stored_as(image) if task.levelled else PLAIN
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def styled(model: Model, image: xr.DataArray) -> dict[str, tuple[float, ...]]:
    """What a model is told to make images that look like a reference: its levels, where they count, and its style.

    Parameters
    ----------
    model
        Of synthesis.
    image
        (band, y, x), in the model's order of bands.

    Raises
    ------
    InputError
        It has no window without invalid pixels.
    """
    task = task_of(model)
    dark, bright = (0.0,) * len(task.bands), (1.0,) * len(task.bands)
    found: dict[str, tuple[float, ...]] = {}
    if task.levelled:
        dark, bright = levels_of(image)
        found |= {"dark": dark, "bright": bright}
    low, span = (torch.tensor(each).view(1, -1, 1, 1) for each in (dark, np.subtract(bright, dark)))

    def transformed(values: Tensor) -> Tensor:
        return task.transformed((values - low) / span)

    return found | ({"style": style_of(image, transformed)} if task.style else {})


def _in_bands(image: xr.DataArray, bands: tuple[str, ...], path: str, *, sensor: str) -> xr.DataArray:
    """The first plane of a reference in the model's order of bands, which need no names if there is one or as many."""
    image = image.isel(t=0, z=0) if "z" in image.dims else image
    names = [str(name) for name in image.band.values]
    if len(names) == len(bands) and (len(names) == 1 or "unnamed" in io.describe_bands(names)):
        return image
    try:
        return image.isel(band=io.match_bands(list(bands), names, sensor=sensor))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _stored_as(image: xr.DataArray) -> Stored:
    """As the file of an image is; as float32 where its bands have scales of their own."""
    profile = image.encoding.get("stack") or image.encoding.get("raster")
    if not isinstance(profile, RasterProfile):
        return Stored("float32" if profile is None else profile.dtype)
    scales = {(band.scale, band.offset) for band in profile.bands}
    if len(scales) > 1:
        return Stored("float32")
    ((scale, offset),) = scales
    return Stored(profile.dtype, scale=scale, offset=offset)


def for_stack(
    model: Model, instrument: Mapping[str, tuple[float, ...]], stored: Stored
) -> tuple[Mapping[str, tuple[float, ...]], Stored]:
    """The same where the mask is a stack, whose file has no scale: levels become counts of a camera.

    Parameters
    ----------
    model
        Of synthesis.
    instrument, stored
        As `told` gives them.
    """
    if stored.scale == 1 and stored.offset == 0:
        return instrument, stored
    if stored == PLAIN and model.task.levelled:
        return {**COUNTS, **instrument}, Stored(stored.dtype)
    return instrument, Stored("float32")
