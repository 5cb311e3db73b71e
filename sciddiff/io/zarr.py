"""Zarr stores as outputs: for xarray (CF conventions) and for viewers of images (OME-Zarr, NGFF 0.5)."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff.errors import InputError
from sciddiff.io.arrays import image_of
from sciddiff.io.image import axis_unit, grid_coords
from sciddiff.io.metadata import PROVENANCE, file_bands
from sciddiff.io.ngff import multiscale, shown
from sciddiff.io.profile import RasterProfile
from sciddiff.io.profile_json import profile_from_dict, profile_to_dict
from sciddiff.io.pyramid import add_levels
from sciddiff.io.stack_ngff import ATTRIBUTE

FORMAT = "sciddiff-raster/1"


def described(grid: GeoBox, profile: RasterProfile, provenance: Mapping[str, str], *, variable: str) -> dict[str, Any]:
    """Return what brings an image back from a format that has no place of its own for it, as JSON values.

    Parameters
    ----------
    grid
        Of the image.
    profile
        Of the file.
    provenance
        Of the image.
    variable
        Name of the array, or of the result.
    """
    return {
        "format": FORMAT,
        "variable": variable,
        "grid": {
            "shape": list(grid.shape),
            "affine": list(grid.affine)[:6],
            "crs": None if grid.crs is None else grid.crs.to_wkt(),
        },
        "profile": profile_to_dict(profile),
        "provenance": dict(provenance),
    }


def recalled(data: Mapping[str, Any], where: str) -> tuple[GeoBox, RasterProfile]:
    """Return grid and profile from what `described` gave.

    Parameters
    ----------
    data
        After JSON.
    where
        The file, for messages.

    Raises
    ------
    InputError
        It is of another format.
    """
    if data.get("format") != FORMAT:
        raise InputError(f"{where}: written in the format {data.get('format')}; this version reads {FORMAT}")
    grid = data["grid"]
    box = GeoBox(tuple(grid["shape"]), Affine(*grid["affine"]), grid["crs"])
    profile = profile_from_dict(data["profile"])
    tags = {**profile.tags, PROVENANCE: data["provenance"]} if data["provenance"] else profile.tags
    return box, replace(profile, tags=tags)


def finish_zarr(
    folder: Path, *, grid: GeoBox, profile: RasterProfile, provenance: Mapping[str, str], variable: str
) -> None:
    """Make a group that holds the pixels a Zarr that `xarray.open_zarr` reads; may be done twice.

    Parameters
    ----------
    folder
        Of a Zarr v3 group with the array `variable` (bands, y, x) and, where the file has a mask, `mask` (y, x).
    grid
        Of the image.
    profile
        Of the file.
    provenance
        Goes to the group's attributes.
    variable
        Name of the array.
    """
    group = zarr.open_group(folder, mode="r+")
    _drop_idle_mask(group, profile)
    names = [band.name for band in file_bands(profile)]
    coords = grid_coords(grid)
    band = group.create_array("band", shape=(len(names),), chunks=(len(names),), dtype=str, **_axis("band"))
    band[:] = np.array(names, dtype=object)
    for axis in ("y", "x"):
        array = group.create_array(axis, data=np.asarray(coords[axis].values), **_axis(axis))
        array.attrs.update(coords[axis].attrs)
    spatial = group.create_array("spatial_ref", shape=(), chunks=(), dtype="int32", fill_value=0, overwrite=True)
    spatial.attrs.update(coords["spatial_ref"].attrs)
    group[variable].attrs.update(_conventions(profile))
    group.attrs[ATTRIBUTE] = described(grid, profile, provenance, variable=variable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is young, and says so
        zarr.consolidate_metadata(folder)


def _axis(name: str) -> dict[str, Any]:
    return {"dimension_names": (name,), "overwrite": True}


def _drop_idle_mask(group: Any, profile: RasterProfile) -> None:
    if "mask" in group and not profile.mask:
        del group["mask"]


def _conventions(profile: RasterProfile) -> dict[str, Any]:
    """CF attributes by which readers get physical values."""
    attrs: dict[str, Any] = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    pairs = {(item.scale / item.divisor, item.offset / item.divisor) for item in profile.radiometry}
    if len(pairs) == 1 and (pair := pairs.pop()) != (1.0, 0.0):
        attrs |= {"scale_factor": pair[0], "add_offset": pair[1]}
    elif pairs:
        attrs |= {"band_scales": list(profile.scales), "band_offsets": list(profile.offsets)}
    if profile.nodata is not None and np.isfinite(profile.nodata):
        attrs["missing_value"] = profile.nodata if np.dtype(profile.dtype).kind == "f" else int(profile.nodata)
    units = set(profile.units) - {None}
    if len(units) == 1:
        attrs["units"] = units.pop()
    return attrs


def finish_ome_zarr(
    folder: Path, *, grid: GeoBox, profile: RasterProfile, provenance: Mapping[str, str], variable: str
) -> None:
    """Make a group that holds the pixels an OME-Zarr with a pyramid (NGFF 0.5); may be done twice.

    Parameters
    ----------
    folder
        Of a Zarr v3 group with the array `pixels` (c, y, x), which becomes `0`, and, where the file has a mask,
        `mask` (y, x).
    grid
        Of the image; positions count from its first pixel, its place on Earth stands in the attribute `sciddiff`.
    profile
        Of the file.
    provenance
        Goes to the group's attributes.
    variable
        Name of the result.
    """
    if (folder / "pixels").exists():
        os.rename(folder / "pixels", folder / "0")
    group = zarr.open_group(folder, mode="r+")
    _drop_idle_mask(group, profile)
    mask = group["mask"] if profile.mask else None
    finest: Any = group["0"]
    levels = [finest]
    levels += add_levels(group, finest, mask, profile=profile, name=str, axes=("c", "y", "x"))
    group.attrs[ATTRIBUTE] = described(grid, profile, provenance, variable=variable)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [_multiscale(grid, len(levels), variable)],
        "omero": {"channels": _channels(profile, np.asarray(levels[-1][...]))},
    }


def _multiscale(grid: GeoBox, levels: int, name: str) -> dict[str, Any]:
    height, width = (abs(float(size)) for size in (grid.resolution.y, grid.resolution.x))
    metric = grid.crs is not None and axis_unit(grid.crs) in {"metre", "meter"}
    unit = {"unit": "meter"} if metric else {}
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", **unit} for axis in ("y", "x")]
    return multiscale(axes, size=[1.0, height, width], origin=[0.0, 0.0, 0.0], levels=levels, name=name)


def _channels(profile: RasterProfile, coarsest: NDArray[Any]) -> list[dict[str, Any]]:
    return [
        shown(number, band.name, stored[np.isfinite(stored) & (stored != profile.nodata)])
        for number, (band, stored) in enumerate(zip(file_bands(profile), coarsest, strict=True))
    ]


def is_written_here(path: Path) -> bool:
    """Return whether a folder is a Zarr group that `sciddiff` wrote as a raster.

    Parameters
    ----------
    path
        Of a folder.
    """
    try:
        own: Any = zarr.open_group(path, mode="r").attrs.get(ATTRIBUTE, {})
        return "grid" in own
    except (OSError, ValueError, KeyError):
        return False


def open_zarr(path: str | os.PathLike[str], *, bands: Sequence[str | int] | None = None) -> xr.DataArray:
    """Open a Zarr or OME-Zarr that `sciddiff` wrote as an image, lazily; see `sciddiff.open`.

    Parameters
    ----------
    path
        Of the folder.
    bands
        By name or 1-based number; None: all.

    Raises
    ------
    InputError
        It is damaged, or of another format.
    """
    folder = Path(path).absolute()
    try:
        data: Any = zarr.open_group(folder, mode="r").attrs[ATTRIBUTE]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: cannot be opened: {error}") from error
    grid, profile = recalled(data, str(folder))
    return image_of(folder, read_stored_zarr, profile=profile, grid=grid, bands=bands)


def read_stored_zarr(path: str, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return stored numbers, (bands, h, w), and the mask, (h, w), of a window.

    Parameters
    ----------
    path
        Of the folder.
    rows, cols
        Of the window.
    """
    group = zarr.open_group(path, mode="r")
    variable = str(group.attrs[ATTRIBUTE]["variable"])  # type: ignore[index,call-overload]
    name = "0" if "ome" in group.attrs else variable
    try:
        mask = np.asarray(group["mask"][rows, cols]) if "mask" in group else None  # type: ignore[index]
        return np.asarray(group[name][:, rows, cols]), mask  # type: ignore[index]
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        where = f"rows {rows.start} to {rows.stop}, columns {cols.start} to {cols.stop}"
        raise InputError(f"{path}: cannot be read at {where}, damaged: {error}") from error
