"""What is asked of new images, and what that means to a model."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    bands = list(task.bands)
    if len(image.band) != len(bands):
        image = image.isel(band=io.match_bands(bands, [str(name) for name in image.band.values]))
    dark, bright = (0.0,) * len(bands), (1.0,) * len(bands)
    stored = PLAIN
    if task.levelled:
        dark, bright = levels_of(image)
        instrument |= {"dark": dark, "bright": bright}
        profile = image.encoding.get("stack") or image.encoding.get("raster")
        stored = Stored("float32" if profile is None else profile.dtype)
    if task.settings.style:
        low, high = (np.reshape(np.array(each), (-1, 1, 1)) for each in (dark, bright))
        instrument["style"] = style_of((image - low) / (high - low), task.transformed)
    return instrument, stored


def generator_of(
    model: Model, wish: Wish, *, tile: int | None = None
) -> Callable[[NDArray[np.integer], int], NDArray[np.float32]]:
    """A function from labels (h, w), or (label bands, h, w), and a seed to an image (bands, h, w), in memory.

    Parameters
    ----------
    model
        Of synthesis.
    wish
        What is asked of all images; masks and layout are not looked at.
    tile
        See `Model.predict`.
    """
    instrument, _ = told(model, wish)

    def generate(labels: NDArray[np.integer], seed: int) -> NDArray[np.float32]:
        given = np.asarray(labels if labels.ndim == 3 else labels[None], np.float64)
        found = model.predict(
            given, steps=steps_of(model, wish), seed=seed, instrument=instrument, guidance=wish.guidance, tile=tile
        )
        return np.asarray(found["sample"].values, np.float32)

    return generate


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
