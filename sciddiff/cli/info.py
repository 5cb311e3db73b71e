"""`sciddiff info`: what a raster, a stack, a model or a run is."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sciddiff.cli.options import axes_option, json_option
from sciddiff.cli.output import show

if TYPE_CHECKING:
    import xarray as xr

STATISTICS_SIDE = 512
"""Statistics come from about this many rows and columns, evenly spread."""


@click.command()
@click.argument("path")
@axes_option
@json_option
def info(path: str, axes: str | None, as_json: bool) -> None:
    """Tell what a raster, a stack, a model or a run is.

    PATH is a raster, a microscopy stack, a model file or the name of a shipped model, or the folder OUTPUT.run of a
    `predict` that has not ended. A raster's statistics are approximate: from evenly spread windows, in physical units.
    """
    if Path(path, "plan.json").exists():
        from sciddiff.inference import describe_run

        told = describe_run(Path(path))
    else:
        told = describe_model(path) if _is_model(path) else describe_image(path, axes=axes)
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


def describe_image(path: str, *, axes: str | None = None) -> dict[str, Any]:
    """
    Return what a raster or stack is: size, grid, bands, how it is stored, and of a raster statistics.

    Parameters
    ----------
    path : str
        Anything that `sciddiff.open` opens.
    axes : str | None
        Of a stack that does not say them.
    """
    from sciddiff import io

    image = io.open(path, axes=axes)
    return describe_stack(path, image) if "stack" in image.encoding else describe_raster(path, image)


def describe_stack(path: str, image: "xr.DataArray") -> dict[str, Any]:
    """
    Return what a stack is: axes, sizes, the size of its pixels in the units of the file, its channels.

    Parameters
    ----------
    path : str
        Of the file.
    image : xr.DataArray
        As `sciddiff.open` gives it.
    """
    from sciddiff.io.stack import warn_saturated
    from sciddiff.io.units import LENGTHS, TIMES

    profile = image.encoding["stack"]
    lengths = zip("xyz", profile.pixel_size, profile.pixel_unit, strict=True)
    sizes = {axis: f"{size / LENGTHS[unit]:g} {unit}" for axis, size, unit in lengths if size is not None}
    told: dict[str, Any] = {
        "kind": "stack",
        "path": path,
        "axes": profile.axes,
        "size": {{"band": "channels"}.get(str(dim), str(dim)): size for dim, size in image.sizes.items()},
        "dtype": profile.dtype,
        "pixel_size": sizes or "not known",
    }
    if profile.time_increment is not None:
        told["time_increment"] = f"{profile.time_increment / TIMES[profile.time_unit]:g} {profile.time_unit}"
    if profile.objective is not None:
        numbers = {name: getattr(profile.objective, name) for name in ("na", "magnification", "immersion", "index")}
        told["objective"] = {name: number for name, number in numbers.items() if number is not None}
    told["saturated"] = warn_saturated(image)
    told["channels"] = [_channel(channel) for channel in profile.channels]
    return told


def _channel(channel: Any) -> dict[str, Any]:
    lengths = {name: getattr(channel, name) for name in ("emission", "excitation")}
    told = {name: f"{length:g} nm" for name, length in lengths.items() if length is not None}
    return {"name": channel.name, **({"colour": f"#{channel.colour}"} if channel.colour else {}), **told}


def describe_raster(path: str, image: "xr.DataArray") -> dict[str, Any]:
    """
    Return what a raster is: size, grid, bands, how it is stored, and statistics of a thinned reading.

    Parameters
    ----------
    path : str
        Anything that `sciddiff.open` opens.
    image : xr.DataArray
        As `sciddiff.open` gives it.
    """
    from sciddiff import io

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
