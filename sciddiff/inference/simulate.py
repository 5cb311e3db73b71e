"""What the instrument would have measured of a clean raster, as files."""

from pathlib import Path

import numpy as np
import torch

from sciddiff import io
from sciddiff.errors import InputError, OutputError
from sciddiff.model.fit import fit
from sciddiff.model.tiles import global_mean
from sciddiff.model.windows import fill_invalid
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task


def simulate_file(
    recipe: Recipe, source: str, folder: Path, *, seed: int = 0, nominal: bool = True, overwrite: bool = False
) -> dict[str, Path]:
    """Degrade a clean raster by a recipe's forward model; writes one file an input, and the target.

    Parameters
    ----------
    recipe
        Whose task and bands are taken.
    source
        The clean raster; its far edge is cut to whole low-resolution pixels.
    folder
        Where `target.tif` and the inputs go, such as `image.tif`.
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
        Where the raster lacks a band or is smaller than one low-resolution pixel.
    """
    task = build_task(recipe)
    fitted = fit(
        recipe.model_copy(update={"task": recipe.task.model_copy(update={"pixel_size": None})}), io.open(source)
    )
    ratio = task.inputs[0].ratio
    height, width = (side // ratio * ratio for side in fitted.image.shape[1:])
    if not height or not width:
        raise InputError(f"{source}: {fitted.image.shape[1:]} pixels are fewer than one of {ratio} x {ratio}")
    target = fitted.image.isel(y=slice(0, height), x=slice(0, width))
    values, valid = io.read_window(target, slice(0, height), slice(0, width))
    fill_invalid(values, valid, fallback=global_mean(target))
    clean = np.zeros((len(task.bands), height, width), np.float32)
    clean[list(fitted.positions)] = values
    generator = None if nominal else torch.Generator().manual_seed(seed)
    obs = task.simulate(torch.from_numpy(clean)[None], generator)
    _make(folder)
    paths = {"target": folder / "target.tif"}
    io.save(target, paths["target"], overwrite=overwrite)
    for spec in task.inputs:
        low = obs.inputs[spec.name][0].numpy()[list(fitted.positions)]
        shape = low.shape[1:]
        r = spec.ratio
        seen = valid.reshape(len(valid), shape[0], r, shape[1], r).all((2, 4))
        image = io.from_array(
            np.where(seen, low, np.nan).astype(np.float32),
            grid=io.grid_of(target).zoom_out(r) if r > 1 else io.grid_of(target),
            bands=[str(name) for name in target.band.values],
            valid=seen,
        )
        paths[spec.name] = folder / f"{spec.name}.tif"
        io.save(image, paths[spec.name], overwrite=overwrite)
    return paths


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
