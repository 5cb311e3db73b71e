"""Saving images."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import xarray as xr

from sciddiff.errors import InputError
from sciddiff.io.image import band_list, grid_of, read_window
from sciddiff.io.profile import RasterProfile, plain_profile
from sciddiff.io.writer import RasterWriter

WINDOW_BYTES = 2**25
"""About what `save` holds of an image at a time, in float64."""


def save(
    image: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    creation_options: Mapping[str, str] | None = None,
    provenance: dict[str, str] | None = None,
) -> None:
    """Write an image as a cloud-optimised GeoTIFF, or a stack as OME-TIFF or OME-Zarr, with all that its profile says.

    An image whose profile got lost in arithmetic, or that never had one, is stored as float32 (float64 if it is) with
    its grid and band names, and NaN where invalid. A lazy image is never held as a whole.

    Parameters
    ----------
    image
        (band, y, x) or (y, x), or a stack: with t or z, or read from a microscopy file.
    path
        A .tif; of a stack, .ome.tif, .tif (an OME-TIFF, too) or .ome.zarr.
    overwrite
        Replace what is there.
    creation_options
        Of GDAL's COG driver, over the defaults; COMPRESS, LEVEL and BLOCKSIZE of OME-TIFF; NGFF (0.5, 0.4) of OME-Zarr.
    provenance
        Goes to the tag namespace SCIDDIFF, or to an annotation.

    Raises
    ------
    OutputExistsError
        The path exists and `overwrite` is not set.
    OutputError
        The folder cannot be written to, or the disk is full.
    InputError
        The image has other dims, or pixels that are no real numbers, or cannot be read.
    """
    from sciddiff.io.stack_save import is_stack, save_stack

    if is_stack(image, Path(path)):
        save_stack(image, Path(path), overwrite=overwrite, creation_options=creation_options, provenance=provenance)
        return
    image = _three_dims(image)
    names = band_list(image)
    profile = image.encoding.get("raster")
    if not isinstance(profile, RasterProfile):
        units = image.attrs.get("units")
        wide = image.dtype.kind == "f" and image.dtype.itemsize > 4
        profile = plain_profile(names, dtype="float64" if wide else "float32", units=units and str(units))
        profile = replace(profile, transform=grid_of(image).affine)
    with RasterWriter(
        path,
        grid=grid_of(image),
        bands=names,
        profile=profile,
        overwrite=overwrite,
        creation_options=creation_options,
        provenance=provenance,
    ) as writer:
        for rows, cols in _windows(image):
            values, valid = read_window(image, rows, cols)
            writer.write(values, valid, rows.start, cols.start)


def _three_dims(image: xr.DataArray) -> xr.DataArray:
    if set(image.dims) == {"y", "x"}:
        image = image.expand_dims("band")
    if set(image.dims) != {"band", "y", "x"}:
        raise InputError(f"the image has dims {image.dims}; it needs band, y, x")
    if image.dtype.kind not in "biuf":
        raise InputError(f"the image holds {image.dtype}; a raster needs real numbers")
    if not all(image.shape):
        raise InputError(f"the image is empty: {dict(image.sizes)}")
    return image.transpose("band", "y", "x")


def _windows(image: xr.DataArray) -> Iterator[tuple[slice, slice]]:
    """Cover an image with windows of whole blocks, row by row."""
    bands, height, width = image.shape
    cols = min(width, 4096)
    rows = max(1, WINDOW_BYTES // (8 * bands * cols) // 512) * 512
    for row in range(0, height, rows):
        for col in range(0, width, cols):
            yield slice(row, min(row + rows, height)), slice(col, min(col + cols, width))
