"""Where a raster may be written, and as what: the path, the disk, and what GeoTIFF has no room for."""

import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from sciddiff.errors import OutputError, OutputExistsError, OutputNameError
from sciddiff.io.cube import is_cube
from sciddiff.io.profile import RasterProfile, RasterWarning
from sciddiff.io.radiometry import holds

SIDECARS = (".aux.xml", ".ovr", ".msk")
"""Files that GDAL reads beside a raster of that name."""


def kind_of(path: Path) -> str:
    """Return the format of an output: `tif`, `ome.tif`, `zarr` or `ome.zarr`.

    Parameters
    ----------
    path
        Of the output.

    Raises
    ------
    OutputNameError
        Its suffix is of none of them.
    """
    name = path.name.lower().replace(".tiff", ".tif")
    for kind in ("ome.tif", "tif", "ome.zarr", "zarr"):
        if name.endswith(f".{kind}"):
            return kind
    raise OutputNameError(f"{path}: give a name that ends in .tif, .ome.tif, .zarr or .ome.zarr")


def refuse_path(path: Path, *, overwrite: bool) -> None:
    """Raise if nothing can be written at a path.

    Parameters
    ----------
    path
        Of the output.
    overwrite
        Whether a file there may be replaced.

    Raises
    ------
    OutputExistsError
        It exists and `overwrite` is not set.
    OutputError
        It is a folder, has no folder, or is not named .tif.
    """
    if path.suffix.lower() not in {".tif", ".tiff"}:
        raise OutputError(f"{path}: rasters are written as GeoTIFF; give a name that ends in .tif")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not overwrite and os.path.lexists(path):
        raise OutputExistsError(f"{path}: exists already; nothing is overwritten without overwrite (--overwrite)")


def refuse_folder(path: Path, kind: str) -> None:
    """Raise if a folder is at the path of an output that may not take its place.

    Parameters
    ----------
    path
        Of the output.
    kind
        See `kind_of`.

    Raises
    ------
    OutputError
        A file is to be written there; or a Zarr store, and the folder holds something, and is none itself.
    """
    if not path.is_dir():
        return
    if kind.endswith("tif"):
        raise OutputError(f"{path}: is a folder")
    if any(path.iterdir()) and not is_cube(str(path)):
        raise OutputError(f"{path}: is a folder with other files, no Zarr store: move it, or choose another output")


def refuse_disk(path: Path, size: int) -> None:
    """Raise if the disk has no room for the uncompressed raster.

    Parameters
    ----------
    path
        Of the output.
    size
        In bytes.

    Raises
    ------
    OutputError
        It would not fit.
    """
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OutputError(f"{path}: needs {size / 1e9:.1f} GB while it is written; the disk has {free / 1e9:.1f} GB")


def fitting(profile: RasterProfile, grid: GeoBox) -> RasterProfile:
    """Return the profile as GeoTIFF can say it on a grid: one nodata value that the type holds, one CRS.

    Parameters
    ----------
    profile
        Of an image; what must go is named in a warning.
    grid
        Of the output.
    """
    profile = replace(profile.on_grid(grid.affine), crs_wkt=_crs(profile, grid))
    nodata = profile.nodata
    if nodata is not None and not holds(profile.dtype, nodata):
        warnings.warn(f"nodata {nodata} is not kept: {profile.dtype} cannot hold it", RasterWarning, stacklevel=3)
        nodata = None
    if len({str(band.nodata) for band in profile.bands}) > 1:
        message = f"GeoTIFF has one nodata value for all bands: {nodata} is taken"
        warnings.warn(message, RasterWarning, stacklevel=3)
    bands = tuple(replace(band, nodata=nodata) for band in profile.bands)
    alpha = profile.alpha and replace(profile.alpha, nodata=nodata)
    return replace(profile, bands=bands, alpha=alpha)


def opaque_number(dtype: str) -> int:
    """Return the alpha of an opaque pixel: 255, or 65535 in uint16.

    Parameters
    ----------
    dtype
        Of the raster.
    """
    return int(np.iinfo(dtype).max) if dtype in {"uint8", "int8", "uint16"} else 255


def beside(path: Path, end: str) -> Path:
    """Return the path of a sidecar.

    Parameters
    ----------
    path
        Of a raster.
    end
        Such as .aux.xml.
    """
    return path.with_name(path.name + end)


def sync(path: Path) -> None:
    """Make sure that a file or folder is on the disk.

    Parameters
    ----------
    path
        That exists.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _crs(profile: RasterProfile, grid: GeoBox) -> str | None:
    """The CRS of the grid, in the words of the source where it is the same."""
    if grid.crs is None:
        return None
    if profile.crs_wkt is not None and grid.crs == profile.crs_wkt:
        return profile.crs_wkt
    return str(grid.crs.to_wkt())
