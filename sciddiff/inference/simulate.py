"""What the instrument would have measured of a clean raster, as files."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator

from sciddiff import io
from sciddiff.errors import InputError, OutputError, about
from sciddiff.inference.simulate_stack import simulate_stack
from sciddiff.io.align import aligned
from sciddiff.io.profile import plain_profile
from sciddiff.labels.rules import by_rule
from sciddiff.model.fit import Fitted, fit, is_stack, of_any_size
from sciddiff.model.layout import global_mean
from sciddiff.model.windows import fill_invalid
from sciddiff.recipe.schema import Recipe
from sciddiff.recipe.tasks import Synthesis
from sciddiff.tasks import Input, Observation, Task, build_task, known_name


def simulate_file(
    recipe: Recipe,
    source: str,
    folder: Path,
    *,
    guide: str | None = None,
    seed: int = 0,
    nominal: bool = True,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Degrade a clean raster by a recipe's forward model; writes one file an input, and the target.

    Parameters
    ----------
    recipe
        Whose task and bands are taken.
    source
        The clean raster; its far edge is cut to whole pixels of the main input.
    folder
        Where `target.tif` and the inputs go, such as `image.tif`, `pan.tif`, `date_1.tif`, `mask.tif` (of a synthesis
        one made by a rule); of a microscopy stack `target.ome.tif` and `image.ome.tif`.
    guide
        Raster of the scene's further bands, such as the panchromatic one, brought to the source's grid by averaging
        (Wald's protocol); the source itself where not given.
    seed
        Of a random instrument.
    nominal
        The nominal instrument without noise, or one drawn as in training.
    overwrite
        Whether files that are there may be replaced.

    Returns
    -------
    dict
        Paths by name.

    Raises
    ------
    InputError
        Where the raster lacks a band or is smaller than one pixel of the main input.
    """
    generator = None if nominal else torch.Generator().manual_seed(seed)
    further = None if guide is None else io.open(guide)
    with about(source):
        images = simulate_image(recipe, io.open(source), guide=further, generator=generator)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    suffix = ".ome.tif" if all("stack" in image.encoding for image in images.values()) else ".tif"
    paths = {name: folder / f"{name}{suffix}" for name in images}
    for name, path in paths.items():
        io.save(images[name], path, overwrite=overwrite)
    return paths


def simulate_image(
    recipe: Recipe, image: xr.DataArray, *, guide: xr.DataArray | None = None, generator: Generator | None = None
) -> dict[str, xr.DataArray]:
    """The same in memory.

    Parameters
    ----------
    recipe
        Whose task and bands are taken.
    image
        The clean one, of any pixel size.
    guide
        See `simulate_file`.
    generator
        Of the instrument; None: the nominal one without noise.

    Returns
    -------
    dict
        `target` and the task's inputs; those that may be given several times are numbered. A pixel of the main one is
        valid where all that it covers is.

    Raises
    ------
    InputError
        See `simulate_file`.
    """
    task = build_task(recipe)
    fitted = fit(of_any_size(recipe), image, channelwise=task.channelwise)
    if task.labels:
        return _labelled(recipe, fitted)
    if "stack" in image.encoding:
        return simulate_stack(task, fitted, generator=generator)
    unit = task.inputs[0].ratio
    height, width = (side // unit * unit for side in fitted.image.shape[1:])
    if not height or not width:
        raise InputError(f"{fitted.image.shape[1:]} pixels are fewer than one of {unit} x {unit}")
    target = fitted.image.isel(y=slice(0, height), x=slice(0, width))
    clean, valid = _scene(task, target, fitted, _guide(recipe, task, image, guide))
    obs = task.simulate(torch.from_numpy(clean)[None], generator)
    return {"target": _target(task, clean, obs, target, valid), **_images(task, obs, target, fitted, valid)}


def _labelled(recipe: Recipe, fitted: Fitted) -> dict[str, xr.DataArray]:
    """A mask of the image made by a rule, and the image itself: what a synthesis learns from."""
    image = fitted.image.isel(t=0, z=0) if is_stack(fitted.image) else fitted.image
    if is_stack(fitted.image) and fitted.image.sizes["t"] * fitted.image.sizes["z"] > 1:
        raise InputError("labels are made of one plane; the file has several")
    values, valid = io.read_window(image, slice(None), slice(None))
    rule = "nuclei" if isinstance(recipe.task, Synthesis) and recipe.task.labels == "instances" else "landcover"
    names = [recipe.bands[at] for at in fitted.positions]
    made = by_rule(rule, np.where(valid, values, np.nan), names)
    name = "instance" if rule == "nuclei" else "class"
    mask = io.from_array(
        made[None].astype(np.float64),
        grid=io.grid_of(image),
        bands=[name],
        profile=plain_profile([name], dtype="uint32" if rule == "nuclei" else "uint8"),
    )
    return {"target": image, "mask": mask}


def _target(
    task: Task, clean: NDArray[np.float32], obs: Observation, target: xr.DataArray, valid: NDArray[np.bool_]
) -> xr.DataArray:
    """What is sought: the clean raster as it was, or the other quantity that the task is about."""
    if task.bands == task.inputs[0].bands:
        return target
    truth = task.truth(torch.from_numpy(clean)[None], obs)[0].numpy()
    seen = np.broadcast_to(valid.all(0), truth.shape)
    return io.from_array(truth, grid=io.grid_of(target), bands=list(task.bands), valid=seen)


def _guide(recipe: Recipe, task: Task, whole: xr.DataArray, given: xr.DataArray | None) -> xr.DataArray | None:
    """The scene's further bands, on the grid of the scene."""
    wanted = task.scene_bands[len(task.inputs[0].bands) :]
    if not wanted:
        return None
    image = whole if given is None else given
    if len(image.band) != 1 or len(wanted) != 1:
        names = [str(name) for name in image.band.values]
        image = image.isel(band=io.match_bands(list(wanted), names, sensor=recipe.task.sensor))
    return aligned(image, io.grid_of(whole), resampling="average")


def _scene(
    task: Task, target: xr.DataArray, fitted: Fitted, guide: xr.DataArray | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clean scene in the task's channels, its holes filled, and the validity of the target's bands."""
    height, width = target.shape[1:]
    clean = np.zeros((len(task.scene_bands), height, width), np.float32)
    values, valid = io.read_window(target, slice(0, height), slice(0, width))
    known = valid.copy()
    fill_invalid(values, valid, fallback=global_mean(target))
    clean[list(fitted.positions)] = values
    if guide is not None:
        more, seen = io.read_window(guide, slice(0, height), slice(0, width))
        known &= seen.all(0)
        fill_invalid(more, seen, fallback=global_mean(guide))
        clean[len(task.inputs[0].bands) :] = more
    return clean, known


def _images(
    task: Task, obs: Observation, target: xr.DataArray, fitted: Fitted, valid: NDArray[np.bool_]
) -> dict[str, xr.DataArray]:
    """Every input as an image: those of one name are numbered."""
    images = {}
    for spec in task.inputs:
        values = obs.inputs[spec.name][0].numpy()
        known = obs.inputs.get(known_name(spec.name))
        seen = np.ones(values.shape, bool) if known is None else np.broadcast_to(known[0].numpy() > 0, values.shape)
        for number in range(spec.most):
            channels = slice(number * len(spec.bands), (number + 1) * len(spec.bands))
            if not seen[channels].any():
                continue
            name = spec.name if spec.most == 1 else f"{spec.name}_{number + 1}"
            images[name] = _image(spec, task.inputs[0].bands, values[channels], seen[channels], target, fitted, valid)
    return images


def _image(
    spec: Input,
    main_bands: tuple[str, ...],
    values: NDArray[np.float32],
    seen: NDArray[np.bool_],
    target: xr.DataArray,
    fitted: Fitted,
    valid: NDArray[np.bool_],
) -> xr.DataArray:
    grid, r = io.grid_of(target), spec.ratio
    bands = list(spec.bands)
    if spec.bands == main_bands:
        values, seen = values[list(fitted.positions)], seen[list(fitted.positions)]
        bands = [str(name) for name in target.band.values]
    if not spec.is_mask:
        whole: NDArray[np.bool_] = np.asarray(
            valid.reshape(len(valid), values.shape[1], r, values.shape[2], r).all((2, 4))
        )
        seen = seen & (whole if len(whole) == len(seen) else whole.all(0))
        values = np.where(seen, values, np.nan).astype(np.float32)
    return io.from_array(values, grid=grid.zoom_out(r) if r > 1 else grid, bands=bands, valid=seen)
