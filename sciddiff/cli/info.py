"""`sciddiff info`: what a raster, a model or a run is."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sciddiff.cli.options import json_option
from sciddiff.cli.output import show

if TYPE_CHECKING:
    import xarray as xr

STATISTICS_SIDE = 512
"""Statistics come from about this many rows and columns, evenly spread."""


@click.command()
@click.argument("path")
@json_option
def info(path: str, as_json: bool) -> None:
    """Tell what a raster, a model or a run is.

    PATH is a raster, a model file or the name of a shipped model, or the folder OUTPUT.run of a `predict` that has not
    ended. A raster's statistics are approximate: from evenly spread windows, in physical units.
    """
    if Path(path, "plan.json").exists():
        from sciddiff.inference import describe_run

        told = describe_run(Path(path))
    else:
        told = describe_model(path) if _is_model(path) else describe_raster(path)
    show(told, as_json=as_json)


def describe_model(path: str) -> dict[str, Any]:
    """
    Return what a model file says about itself, without loading its weights.

    Parameters
    ----------
    path : str
        A file or a shipped name.
    """
    from sciddiff.model import read_header
    from sciddiff.recipe import find_model, parse_recipe

    file = find_model(path)
    header = dict(read_header(file))
    recipe = parse_recipe(header["recipe"], name=file.name)
    return {"kind": "model", "path": str(file), **header, "recipe": recipe.model_dump(mode="json")}


def describe_raster(path: str) -> dict[str, Any]:
    """
    Return what a raster is: size, grid, bands, how it is stored, and statistics of a thinned reading.

    Parameters
    ----------
    path : str
        Anything that `sciddiff.open` opens.
    """
    from sciddiff import io

    image = io.open(path)
    grid = io.grid_of(image)
    profile = image.encoding["raster"]
    bands, height, width = image.shape
    statistics = _statistics(image)
    return {
        "kind": "raster",
        "path": path,
        "size": {"bands": bands, "height": height, "width": width},
        "crs": None if grid.crs is None else f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else grid.crs.to_wkt(),
        "affine": list(grid.affine)[:6],
        "pixel_size": [math.hypot(grid.affine.a, grid.affine.d), math.hypot(grid.affine.b, grid.affine.e)],
        "dtype": str(profile.dtype),
        "nodata": profile.nodata,
        "validity": str(profile.mask_kind),
        "bands": [
            {"name": str(name), "scale": scale, "offset": offset, **numbers}
            for name, scale, offset, numbers in zip(
                image.band.values, profile.scales, profile.offsets, statistics, strict=True
            )
        ],
    }


def _is_model(path: str) -> bool:
    from sciddiff.recipe import shipped_models

    return path.endswith(".safetensors") or (not Path(path).exists() and path in shipped_models())


def _statistics(image: "xr.DataArray") -> list[dict[str, float]]:
    """Return minimum, mean, maximum and valid share of each band."""
    import numpy as np

    rows, cols = (max(1, size // STATISTICS_SIDE) for size in image.shape[1:])
    thinned = image.isel(y=slice(None, None, rows), x=slice(None, None, cols)).load()
    result = []
    for band in range(len(thinned)):
        valid = np.asarray(thinned.valid[band])
        values = np.asarray(thinned[band], dtype=np.float64)[valid]
        numbers = {"min": values.min(), "mean": values.mean(), "max": values.max()} if values.size else {}
        result.append({**{name: float(number) for name, number in numbers.items()}, "valid": float(valid.mean())})
    return result
