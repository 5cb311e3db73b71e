"""Clouds and shadows where no mask is given: a detector looks at the image and at each of its dates.

A detector is a model of the task `cloud_mask`, by its shipped name or its path, or the package omnicloudmask where it
is installed. What it finds goes on as the inputs `mask` and `date_mask`, as if it had been given.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module

import numpy as np
import xarray as xr
from scipy import ndimage
from torch import device

from sciddiff import io
from sciddiff.errors import InputError, OptionError, SciddiffError
from sciddiff.model.fit import fit
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Task

OMNICLOUDMASK = "omnicloudmask"
MARGIN = 2
"""Pixels by which clouds and shadows that omnicloudmask finds are widened."""
MASKS = {"image": "mask", "date": "date_mask"}
"""The input that says of another one where it is hidden."""


def wanted(task: Task, given: Iterable[str]) -> tuple[str, ...]:
    """Inputs in which clouds must be sought: none where a mask is given, or where the task names no detector."""
    names = set(given)
    if task.detector is None or "mask" in names:
        return ()
    return ("image", "date") if "date" in names and "date_mask" not in names else ("image",)


def with_masks(
    recipe: Recipe, task: Task, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]], *, on: device
) -> dict[str, list[xr.DataArray]]:
    """Images of a task, with the masks that it needs and was not given.

    Parameters
    ----------
    recipe, task
        Of the model that needs them.
    image, others
        See `fit.fit_all`.
    on
        Where the detector computes.

    Returns
    -------
    dict
        `others` with `mask` and `date_mask`, in memory.

    Raises
    ------
    InputError
        The detector cannot use an image.
    OptionError
        It is not installed.
    """
    result = {name: list(given) for name, given in others.items()}
    missing = wanted(task, others)
    if not missing:
        return result
    detect = detector(str(task.detector), on=on)
    for name in missing:
        images = [image] if name == "image" else others[name]
        result[MASKS[name]] = [detect(named(recipe, each)) for each in images]
    return result


def named(recipe: Recipe, image: xr.DataArray) -> xr.DataArray:
    """The bands of an image that a model knows, under the model's names: unnamed ones get theirs by their order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model itself says what it leaves out
        fitted = fit(recipe, image)
    renamed = fitted.image.assign_coords(band=[recipe.bands[at] for at in fitted.positions])
    renamed.encoding = {}
    return renamed


def detector(name: str, *, on: device) -> Callable[[xr.DataArray], xr.DataArray]:
    """What finds clouds and shadows in an image of reflectance, (band, y, x).

    Its answer is one band, in memory: 0 where clear, 1 where cloud, 2 where shadow; invalid where the image is. It
    raises an `InputError` where it cannot use an image.

    Parameters
    ----------
    name
        Name or path of a model, or `omnicloudmask`.
    on
        Where it computes.

    Raises
    ------
    OptionError
        It is a model of another task.
    """
    from sciddiff.model.file import load  # which imports the model that imports this

    if name == OMNICLOUDMASK:
        return omnicloudmask
    model = load(name, device=str(on))
    refuse_other(model.task, name)

    def detect(image: xr.DataArray) -> xr.DataArray:
        try:
            found = model.predict(image)["mask"]
        except InputError as error:
            raise told(name, error) from error
        values = found.values
        return io.from_array(np.nan_to_num(values), grid=io.grid_of(image), bands=["mask"], valid=np.isfinite(values))

    return detect


def refuse_other(task: Task, detector: str) -> None:
    """Raise where a model makes no mask.

    Raises
    ------
    OptionError
        It does not.
    """
    if "mask" not in task.extras:
        raise OptionError(f"the detector {detector} finds no clouds: it is of another task than cloud_mask")


def told(detector: str, error: SciddiffError) -> InputError:
    """What the user reads where a detector fails: why it was asked at all, and what to do."""
    return InputError(f"no mask is given, and {detector} cannot look for clouds: {error}; give -i mask=PATH")


def omnicloudmask(image: xr.DataArray, *, sensor: str = "generic") -> xr.DataArray:
    """Find clouds and shadows by the package omnicloudmask (Wright et al. 2025), which looks at the whole image.

    Parameters
    ----------
    image
        (band, y, x), with red, green and near infrared.
    sensor
        Whose numbers the bands' names may hold.

    Returns
    -------
    DataArray
        See `detector`.

    Raises
    ------
    InputError
        A band is missing.
    OptionError
        The package is not installed.
    """
    try:
        package = import_module(OMNICLOUDMASK)
    except ImportError as error:
        raise OptionError(
            "the detector omnicloudmask is not installed: `pip install omnicloudmask`, take the shipped cloud-mask, or "
            "give -i mask=PATH"
        ) from error
    names = [str(name) for name in image.band.values]
    try:
        bands = io.match_bands(["red", "green", "nir"], names, sensor=sensor)
    except InputError as error:
        raise told(OMNICLOUDMASK, error) from error
    values, valid = io.read_window(image.isel(band=list(bands)), slice(None), slice(None))
    known = np.asarray(valid.all(0))
    classes = np.asarray(package.predict_from_array(np.where(known, values, 0).astype(np.float32)))[0]
    square = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), bool)
    cloud, shadow = (ndimage.binary_dilation(part & known, square) for part in (np.isin(classes, (1, 2)), classes == 3))
    mask = np.select([cloud, shadow], [1.0, 2.0], 0.0).astype(np.float32)
    return io.from_array(mask[None], grid=io.grid_of(image), bands=["mask"], valid=known[None])
