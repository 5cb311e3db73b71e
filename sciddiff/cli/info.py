"""`sciddiff info`: what a raster, a stack, a model or a run is."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sciddiff.cli.options import axes_option, json_option
from sciddiff.cli.output import show

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

WHOLE = 2**20
"""Pixels of a band up to which statistics come from all of them."""
LOOK, LOOKS = 256, 8
"""Of a larger raster: side of the windows that are read, and the most of them in a row and in a column."""


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
    """Return minimum, mean, maximum and valid share of each band, in what is looked at."""
    import numpy as np

    from sciddiff import io

    shape = (image.shape[1], image.shape[2])
    block = image.encoding["raster"].block
    parts = []
    for rows, cols in looks(shape, block):
        values, valid = io.read_window(image, rows, cols)
        kept = [band[known].astype(np.float64) for band, known in zip(values, valid, strict=True)]
        parts.append([(known.size, len(band), *_summed(band)) for band, known in zip(kept, valid, strict=True)])
    result = []
    for band in zip(*parts, strict=True):
        sizes, counts, totals, lows, highs = (np.array(numbers) for numbers in zip(*band, strict=True))
        told = {"min": lows.min(), "mean": totals.sum() / counts.sum(), "max": highs.max()} if counts.any() else {}
        result.append({**{name: float(number) for name, number in told.items()}, "valid": counts.sum() / sizes.sum()})
    return result


def _summed(values: "NDArray[np.float64]") -> tuple[float, float, float]:
    """Sum, minimum and maximum."""
    return (values.sum(), values.min(), values.max()) if values.size else (0.0, math.inf, -math.inf)


def looks(shape: tuple[int, int], block: tuple[int, int]) -> list[tuple[slice, slice]]:
    """
    Return evenly spread windows of a raster, few enough for any size; all of it where it is small.

    Parameters
    ----------
    shape : tuple
        Rows and columns.
    block : tuple
        Rows and columns that are decoded at once; of strips as wide as the raster fewer rows are read.
    """
    if math.prod(shape) <= WHOLE:
        return [(slice(0, shape[0]), slice(0, shape[1]))]
    strips = block[1] >= shape[1]
    height = min(LOOK, max(block[0], 2 * WHOLE // shape[1])) if strips else LOOK
    return [(row, col) for row in _spread(shape[0], height, block[0]) for col in _spread(shape[1], LOOK, block[1])]


def _spread(size: int, side: int, block: int) -> list[slice]:
    """Windows along an axis, at the beginning of blocks where there are several."""
    side = min(size, side)
    count = min(LOOKS, max(1, size // side))
    starts = [round(at * (size - side) / max(1, count - 1)) for at in range(count)]
    if block < size:
        starts = [min(start // block * block, size - side) for start in starts]
    return [slice(start, start + side) for start in sorted(set(starts))]
