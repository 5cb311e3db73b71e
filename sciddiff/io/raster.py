"""Opening files as images, each by the reader of its kind: only the header is read until pixels are asked for."""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import xarray as xr

from sciddiff.errors import InputError
from sciddiff.io.dataset import Location, check_length, is_tiff, label, location, opened, remote
from sciddiff.io.image import assemble
from sciddiff.io.metadata import grid_from, read_profile
from sciddiff.io.pixels import Pixels, lazy_layers
from sciddiff.io.profile import RasterProfile, RasterWarning, Source
from sciddiff.io.radiometry import value_dtype
from sciddiff.io.restated import axes_of, file_of


def open(  # noqa: A001
    path: Location | Sequence[Location], *, bands: Sequence[str | int] | None = None, axes: str | None = None
) -> xr.DataArray:
    """Open a raster or a microscopy stack as an image, lazily.

    Parameters
    ----------
    path
        Anything that GDAL opens as one raster: GeoTIFF foremost, VRT, a zip with one raster, /vsi paths, and addresses
        (http, https, s3). Single-band files as one image: a list of them, a pattern such as `scene/*_B*.TIF`, or their
        folder, among them Landsat scenes and Sentinel-2 SAFE (see `sciddiff.io.scene`). A TIFF stack, an ImageJ
        hyperstack, an OME-TIFF or OME-Zarr (see `sciddiff.io.stack`). A NetCDF file or Zarr store, with `#variable`
        where it has several (see `sciddiff.io.cube`).
    bands
        Bands by name, with the usual aliases, or by 1-based number, in the order wanted; None: all of them. An alpha
        band holds validity and is no band of the image, unless it is asked for here.
    axes
        Of a TIFF stack that does not say what its axes are: letters of TCZYX, slowest first, such as `ZYX`.

    Returns
    -------
    xarray.DataArray
        Physical values with dims (band, y, x), or (band, t, z, y, x) of a stack with several planes in time or depth,
        and NaN where invalid; float32 where every stored number comes back
        from it, else float64. Coordinates: band names, x, y, `spatial_ref` (see `grid_of`) and `valid` (bool, True
        where measured). `encoding["raster"]` has what is needed to write it back (`RasterProfile`). It holds the
        path, not an open file, so it may be pickled and read from threads.

    Raises
    ------
    InputError
        Missing, truncated, unreadable or complex file, files that make no image, a band that is not there, or axes
        that are not known.
    """
    from sciddiff.io.scene import one_raster, rasters

    files = rasters(path)
    where = location(path) if isinstance(path, str | os.PathLike) else ", ".join(files or ())
    told, where = axes_of(where)
    if axes is not None or told is not None:
        return _open_with_axes(where, bands=bands, axes=axes or told or "")
    if files is None and (reader := _reader(where)) is not None:
        return reader(where, bands=bands)
    source = where if files is None else one_raster(files, bands=bands)
    with opened(source) as src:
        check_length(src, source)
        profile = read_profile(src, source, bands=bands)
        grid = grid_from(src)
    if (file := file_of(where)) is not None:
        with opened(file) as src:
            profile = _with_tags(profile, read_profile(src, file, bands=bands))
    dtype = _value_dtype(profile, source)
    pixels = Pixels(cast(Source, profile.source), profile, dtype, (grid.shape[0], grid.shape[1]))
    values, valid = lazy_layers(pixels, dtype)
    image = assemble(values, valid, grid=grid, bands=profile.names, profile=profile, units=units_of(profile))
    image.name = Path(where).stem if files is None or os.path.isdir(where) else None
    image.encoding["source"] = where
    return image


def _with_tags(profile: RasterProfile, whole: RasterProfile) -> RasterProfile:
    """A profile with the tags of the file behind it, of which GDAL's connection keeps one namespace."""
    bands = tuple(replace(band, tags=own.tags) for band, own in zip(profile.bands, whole.bands, strict=True))
    if profile.units != whole.units:
        message = "the units of the bands are not kept: they are those of another scale and offset"
        warnings.warn(message, RasterWarning, stacklevel=3)
    return replace(profile, bands=bands, tags=whole.tags)


def _open_with_axes(where: str, *, bands: Sequence[str | int] | None, axes: str) -> xr.DataArray:
    from sciddiff.io.stack import open_stack

    if remote(where) or not is_tiff(where):
        raise InputError(f"{label(where)}: axes={axes} goes with a local TIFF; other files say what their axes are")
    return open_stack(where, bands=bands, axes=axes)


def _reader(where: str) -> Callable[..., xr.DataArray] | None:
    """Return what opens a local file or store that is not for GDAL."""
    from sciddiff.io.cube import is_cube, open_cube

    if remote(where):
        return None
    if os.path.isfile(where) and is_tiff(where):
        return _tiff_reader(where)
    if not is_cube(where):
        return None
    if os.path.isdir(where):
        from sciddiff.io.stack_ngff import is_ngff
        from sciddiff.io.zarr import is_written_here, open_zarr

        if is_written_here(Path(where)):
            return open_zarr
        if is_ngff(where):
            from sciddiff.io.stack import open_stack

            return open_stack
    return open_cube


def is_stack(path: Location) -> bool:
    """Return whether `open` takes a path for a microscopy file.

    Parameters
    ----------
    path
        Anything.
    """
    reader = _reader(location(path))
    return reader is not None and reader.__name__ == "open_stack"


def _tiff_reader(where: str) -> Callable[..., xr.DataArray] | None:
    from sciddiff.io.stack_files import is_stack_tiff

    ome = where.lower().endswith((".ome.tif", ".ome.tiff"))
    if not ome and not is_stack_tiff(where):
        return None
    from sciddiff.io.ome import is_raster_ome, open_ome_tiff
    from sciddiff.io.stack import open_stack

    return open_ome_tiff if is_raster_ome(where) else open_stack


def _value_dtype(profile: RasterProfile, where: str) -> np.dtype[np.floating]:
    try:
        return value_dtype(profile.dtype, profile.radiometry)
    except InputError as error:
        raise InputError(f"{label(where)}: {error}") from None


def units_of(profile: RasterProfile) -> str | None:
    """Return the unit that all bands share; reflectance of Sentinel-2 is 1.

    Parameters
    ----------
    profile
        Of the file.
    """
    units = set(profile.units)
    if units == {None} and all(item.sentinel2 for item in profile.radiometry):
        return "1"
    return units.pop() if len(units) == 1 else None
