"""Saving images as OME-TIFF or OME-Zarr: whole at their path, read back, or absent."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from sciddiff.errors import InputError, OutputError, OutputExistsError
from sciddiff.io import cog
from sciddiff.io.image import STACK_DIMS, band_list, grid_of, read_window
from sciddiff.io.profile import RasterWarning
from sciddiff.io.pyramid import coding
from sciddiff.io.radiometry import Radiometry, encode
from sciddiff.io.stack_files import read_stack_window
from sciddiff.io.stack_profile import Spatial, StackProfile, plain_stack_profile
from sciddiff.io.stack_write import AXES, finish_stack_ome_zarr, ngff_version, stack_layout_of, write_stack_ome_tiff
from sciddiff.io.target import kind_of, refuse_disk, refuse_folder, sync

SIDE = 512
"""Of the chunks of the store that is written first."""


def is_stack(image: xr.DataArray, path: Path) -> bool:
    """Return whether an image is saved as a stack: it has planes, or came from a microscopy file, or is to be OME.

    Parameters
    ----------
    image
        To be saved.
    path
        Of the output.
    """
    if {"t", "z"} & set(image.dims) or isinstance(image.encoding.get("stack"), StackProfile):
        return True
    named = path.name.lower().endswith((".ome.tif", ".ome.tiff", ".ome.zarr"))
    return named and {"y", "x"} <= set(image.dims) and grid_of(image).crs is None


def save_stack(
    image: xr.DataArray,
    path: Path,
    *,
    overwrite: bool = False,
    creation_options: Mapping[str, str] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write an image as OME-TIFF (.ome.tif, .tif) or OME-Zarr (.ome.zarr); see `sciddiff.save`.

    Parameters
    ----------
    image
        With the dims y and x, and some of band, t and z.
    path
        Of the output.
    overwrite
        Replace what is there.
    creation_options
        See `write_stack_ome_tiff` and `finish_stack_ome_zarr`.
    provenance
        Goes to an annotation.

    Raises
    ------
    OutputExistsError
        The path exists and `overwrite` is not set.
    OutputError
        The folder cannot be written to, the disk is full, the format does not know the type of the pixels, or integers
        are to hold pixels that are invalid.
    """
    kind, options = kind_of(path), dict(creation_options or {})
    if kind == "zarr":
        raise OutputError(f"{path}: stacks are written as .ome.tif or .ome.zarr")
    _refuse_place(path, kind, overwrite=overwrite)
    image = _five_dims(image)
    profile = profile_to_save(image)
    if kind == "ome.zarr":
        ngff_version(options)
    else:
        stack_layout_of(path, profile, options, shape=(image.sizes["y"], image.sizes["x"]))
    refuse_disk(path, int(np.prod(image.shape)) * np.dtype(profile.dtype).itemsize)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with cog.guarded(path):
            group = folder / "stack.zarr"
            pixels = _store(image, group, profile, name=path)
            told: Any = {"profile": profile, "provenance": dict(provenance or {}), "options": options}
            if kind == "ome.zarr":
                finish_stack_ome_zarr(group, **told)
                _publish_folder(group, path)
            else:
                whole = folder / "stack.ome.tif"
                write_stack_ome_tiff(pixels, whole, **told)
                verify_stack(whole, pixels, name=path)
                cog.publish(whole, path, overwrite=overwrite)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_place(path: Path, kind: str, *, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    refuse_folder(path, kind)
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(f"{path}: exists already; nothing is overwritten without overwrite (--overwrite)")


def _five_dims(image: xr.DataArray) -> xr.DataArray:
    known, dims = set(STACK_DIMS), {str(dim) for dim in image.dims}
    if not {"y", "x"} <= dims or not dims <= known:
        raise InputError(f"the image has dims {image.dims}; a stack has y and x, and some of band, t, z")
    if image.dtype.kind not in "biuf":
        raise InputError(f"the image holds {image.dtype}; a stack needs real numbers")
    if not image.size:
        raise InputError(f"the image is empty: {dict(image.sizes)}")
    missing = [dim for dim in STACK_DIMS if dim not in dims]
    whole = image.expand_dims(missing).transpose(*STACK_DIMS)
    if "valid" in whole.coords and set(whole.coords["valid"].dims) != known:
        whole = whole.assign_coords(valid=whole.coords["valid"].broadcast_like(whole).transpose(*STACK_DIMS))
    whole.encoding = dict(image.encoding)
    return whole


def profile_to_save(image: xr.DataArray) -> StackProfile:
    """Return how an image is saved as a stack: by its profile, on its grid, with its channels and frames.

    An image without one, such as a result of arithmetic, is stored as float32 (float64 if it is), its pixel size in
    micrometres if its grid has one.

    Parameters
    ----------
    image
        (band, t, z, y, x) or (band, y, x).
    """
    profile, grid = image.encoding.get("stack"), grid_of(image)
    names, frames = band_list(image), image.sizes.get("t", 1)
    if not isinstance(profile, StackProfile):
        dtype = "float64" if image.dtype.kind == "f" and image.dtype.itemsize > 4 else "float32"
        plain = grid.affine.is_identity or grid.crs is not None
        size = Spatial() if plain else Spatial(abs(grid.affine.a), abs(grid.affine.e), _spacing(image))
        return plain_stack_profile(names, dtype=dtype, pixel_size=size)
    if profile.dtype == "bool":  # which OME-TIFF and the codecs lack
        profile = profile.with_dtype("uint8")
    placed = _in_depth(profile.on_grid(grid.affine).select(names), image)
    times = np.atleast_1d(image.coords["t"].values) if "t" in image.coords else np.empty(0)
    if profile.times:
        placed = replace(placed, times=tuple(float(time) for time in times) if len(times) == frames else ())
    elif profile.time_increment and len(times) > 1:
        placed = replace(placed, time_increment=float(times[1] - times[0]))
    return placed


def _in_depth(profile: StackProfile, image: xr.DataArray) -> StackProfile:
    """The profile of the planes that an image has left."""
    first, step = _first(image, "z"), _spacing(image)
    size, place = profile.pixel_size, profile.position
    if size.z is None:
        return profile
    spaced = size.z if step is None or np.isclose(step, size.z, rtol=1e-6) else step
    raised = None if place.z is None else place.z + profile.rise * first
    return replace(profile, pixel_size=size._replace(z=spaced), position=place._replace(z=raised))


def _first(image: xr.DataArray, dim: str) -> float:
    return float(np.ravel(image.coords[dim].values)[0]) if dim in image.coords else 0.0


def _spacing(image: xr.DataArray) -> float | None:
    if "z" not in image.coords or image.sizes.get("z", 1) < 2:
        return None
    levels = np.asarray(image.coords["z"].values, dtype=np.float64)
    return abs(float(levels[1] - levels[0])) or None


def _store(image: xr.DataArray, folder: Path, profile: StackProfile, *, name: Path) -> Any:
    """The stored numbers of an image as a Zarr array (t, c, z, y, x)."""
    group: Any = zarr.create_group(folder, zarr_format=3)
    shape = tuple(image.sizes[dim] for dim in ("t", "band", "z", "y", "x"))
    side = min(SIDE, max(shape[-2:]))
    pixels = group.create_array(
        "0", shape=shape, chunks=(1, 1, 1, side, side), dtype=profile.dtype, fill_value=0, **coding(group, AXES)
    )
    clipped = 0
    for (t, c, z), rows in product(np.ndindex(shape[:3]), _lines(shape[3], side)):
        values, valid = read_window(image.isel(t=t, band=c, z=z), rows, slice(0, shape[4]))
        stored, lost = _encoded(values, valid, profile, name)
        clipped += lost
        pixels[t, c, z, rows] = stored
    if clipped:
        message = f"{name.name}: {clipped} values were clipped to the range of {profile.dtype}"
        warnings.warn(message, RasterWarning, stacklevel=4)
    return pixels


def _lines(height: int, side: int) -> Iterator[slice]:
    for row in range(0, height, side):
        yield slice(row, min(row + side, height))


def _encoded(
    values: NDArray[np.floating], valid: NDArray[np.bool_], profile: StackProfile, name: Path
) -> tuple[NDArray[Any], int]:
    if np.dtype(profile.dtype).kind in "iu" and not valid.all():
        raise OutputError(
            f"{name}: {int((~valid).sum())} pixels of a plane are invalid, and OME has no {profile.dtype} for that; "
            "fill them, or set image.encoding['stack'] to its with_dtype('float32')"
        )
    return encode(values, valid, radiometry=Radiometry(), dtype=profile.dtype, nodata=None)


def verify_stack(path: Path, pixels: Any, *, name: Path) -> None:
    """Raise unless every plane of a file reads back as it was written.

    Parameters
    ----------
    path
        Of the file.
    pixels
        (t, c, z, h, w).
    name
        What messages call it.

    Raises
    ------
    OutputError
        Some plane does not.
    """
    width = pixels.shape[4]
    for (t, c, z), rows in product(np.ndindex(tuple(pixels.shape[:3])), _lines(pixels.shape[3], SIDE)):
        back = read_stack_window(path, t, c, z, rows, slice(0, width))
        if back.tobytes() != np.ascontiguousarray(pixels[t, c, z, rows]).tobytes():
            where = f"t {t}, channel {c}, z {z}, row {rows.start}"
            raise OutputError(f"{name}: pixels at {where} read back differently: nothing is kept")


def _publish_folder(whole: Path, path: Path) -> None:
    sync(whole)
    former = whole.with_name(f"{whole.name}.former")
    if os.path.lexists(path):
        os.rename(path, former)
    os.rename(whole, path)
    shutil.rmtree(former, ignore_errors=True)
