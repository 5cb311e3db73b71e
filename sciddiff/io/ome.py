"""OME-TIFF: written with a pyramid from a store, streamed; read as images, lazily."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff.errors import InputError, OptionError, OutputError
from sciddiff.io.arrays import image_of
from sciddiff.io.metadata import file_bands
from sciddiff.io.ome_xml import elements
from sciddiff.io.profile import RasterProfile
from sciddiff.io.pyramid import add_levels
from sciddiff.io.stack_files import FAULTS
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.zarr import described, recalled

KEY = "sciddiff"
TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
"""Pixel types that OME-XML 2016-06 knows and NumPy has."""
COMPRESSIONS = {"DEFLATE": "zlib", "ZSTD": "zstd", "LZW": "lzw", "NONE": None}
BIG = 2**31


def write_ome_tiff(
    pixels: Any,
    mask: Any | None,
    path: Path,
    *,
    grid: GeoBox,
    profile: RasterProfile,
    provenance: Mapping[str, str],
    options: Mapping[str, str],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write stored numbers as an OME-TIFF with a pyramid in SubIFDs; a mask becomes a second image.

    Parameters
    ----------
    pixels
        (bands, h, w) in chunks; a part of it is held at a time.
    mask
        (h, w) uint8, or None.
    path
        Of the file; scratch for the pyramid, a third of the pixels, stands beside it meanwhile.
    grid
        Of the image; the pixel size in metres goes to the OME-XML, everything to an annotation.
    profile
        Of the file.
    provenance
        Goes to the annotation.
    options
        COMPRESS (DEFLATE, ZSTD, LZW, NONE), LEVEL, BLOCKSIZE.
    check
        Called between tiles; may raise.

    Raises
    ------
    OutputError
        OME-TIFF does not know the type of the pixels.
    OptionError
        An option that it does not know.
    """
    layout = layout_of(path, profile, options)
    scratch = path.with_name(f"{path.name}.levels.zarr")
    shutil.rmtree(scratch, ignore_errors=True)
    group = zarr.create_group(scratch, zarr_format=3)
    try:
        levels = add_levels(group, pixels, mask, profile=profile, name=str, axes=("c", "y", "x"), check=check)
        with tifffile.TiffWriter(path, bigtiff=is_big(pixels, profile.dtype), ome=True) as writer:
            told = {"metadata": _metadata(grid, profile, provenance)}
            write_levels(writer, [pixels, *levels], layout, told=told, check=check)
            if mask is not None:
                _write_mask(writer, mask, layout, check)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_big(pixels: Any, dtype: str) -> bool:
    """Return whether pixels, uncompressed, may be more than a classic TIFF has room for.

    Parameters
    ----------
    pixels
        Array.
    dtype
        As which they are stored.
    """
    return math.prod(pixels.shape) * np.dtype(dtype).itemsize > BIG


def write_levels(
    writer: Any,
    levels: Sequence[Any],
    layout: Mapping[str, Any],
    *,
    told: Mapping[str, Any],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write an image, a page a plane, and its pyramid in SubIFDs.

    Parameters
    ----------
    writer
        Of tifffile.
    levels
        Arrays (..., h, w) of one type, the finest first.
    layout
        See `layout_of`.
    told
        What tifffile writes beside the finest: `metadata` or `description`.
    check
        Called between rows of tiles; may raise.
    """
    side = layout["tile"][0]
    for number, level in enumerate(levels):
        place = {"subfiletype": 1, "metadata": None} if number else {"subifds": len(levels) - 1, **told}
        writer.write(
            _tiles(level, side, check),
            shape=level.shape,
            dtype=level.dtype,
            photometric="minisblack",
            **place,
            **layout,
        )


def _write_mask(writer: Any, mask: Any, layout: Mapping[str, Any], check: Callable[[], None]) -> None:
    plain = {**layout, "predictor": False}
    writer.write(
        _tiles(mask, layout["tile"][0], check),
        shape=mask.shape,
        dtype="uint8",
        photometric="minisblack",
        metadata={"axes": "YX", "Name": "mask"},
        **plain,
    )


def layout_of(path: Path, profile: RasterProfile | StackProfile, options: Mapping[str, str]) -> dict[str, Any]:
    """Return how an OME-TIFF is laid out, in the words of tifffile.

    Parameters
    ----------
    path
        Of the output, for messages.
    profile, options
        See `write_ome_tiff`.

    Raises
    ------
    OutputError
        OME-TIFF does not know the type of the pixels.
    OptionError
        An option that it does not know.
    """
    if profile.dtype not in TYPES:
        other = ".ome.zarr" if isinstance(profile, StackProfile) else ".tif or .zarr"
        raise OutputError(f"{path}: OME-TIFF has no pixels of type {profile.dtype}; write {other}")
    given = {name.upper(): text for name, text in options.items()}
    unknown = sorted(set(given) - {"COMPRESS", "LEVEL", "BLOCKSIZE"})
    if unknown:
        raise OptionError(f"--co {unknown[0]}: OME-TIFF takes COMPRESS, LEVEL and BLOCKSIZE")
    name = given.get("COMPRESS", "DEFLATE").upper()
    side, level = given.get("BLOCKSIZE", "512"), given.get("LEVEL", "")
    if name not in COMPRESSIONS:
        raise OptionError(f"--co COMPRESS={name}: OME-TIFF takes {', '.join(COMPRESSIONS)}")
    if not side.isdecimal() or int(side) % 16 or not int(side):
        raise OptionError(f"--co BLOCKSIZE={side}: expected a multiple of 16")
    if level and not level.isdecimal():
        raise OptionError(f"--co LEVEL={level}: expected a number")
    packed = name != "NONE"
    predictor: Any = False if not packed else 3 if np.dtype(profile.dtype).kind == "f" else 2
    return {
        "tile": (int(side), int(side)),
        "compression": COMPRESSIONS[name],
        "compressionargs": {"level": int(level)} if level and packed else None,
        "predictor": predictor,
    }


def _tiles(array: Any, side: int, check: Callable[[], None]) -> Iterator[NDArray[Any]]:
    """Tiles plane after plane, row by row; a row of them is read at once."""
    height, width = array.shape[-2:]
    for plane in np.ndindex(tuple(array.shape[:-2])):
        for row in range(0, height, side):
            check()
            lines = array[(*plane, slice(row, row + side), slice(0, width))]
            for col in range(0, width, side):
                part = lines[:, col : col + side]
                yield np.pad(part, ((0, side - part.shape[0]), (0, side - part.shape[1])))


def _metadata(grid: GeoBox, profile: RasterProfile, provenance: Mapping[str, str]) -> dict[str, Any]:
    told = json.dumps(described(grid, profile, provenance, variable="image"))
    names = [band.name for band in file_bands(profile)]
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": names}, "MapAnnotation": {KEY: told}}
    if grid.crs is not None and not grid.crs.geographic:
        metre = float(grid.crs.proj.axis_info[0].unit_conversion_factor)
        for axis, size in (("X", grid.resolution.x), ("Y", grid.resolution.y)):
            metadata |= {f"PhysicalSize{axis}": abs(float(size)) * metre, f"PhysicalSize{axis}Unit": "m"}
    return metadata


def is_raster_ome(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an OME-TIFF that `write_ome_tiff` wrote: a raster, with all that its profile says.

    Parameters
    ----------
    path
        Of a file.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            return _annotation(tiff.ome_metadata) is not None
    except FAULTS:
        return False


def open_ome_tiff(path: str | os.PathLike[str], *, bands: Sequence[str | int] | None = None) -> xr.DataArray:
    """Open an OME-TIFF that `write_ome_tiff` wrote as an image, lazily; see `sciddiff.open`.

    Parameters
    ----------
    path
        Of the file.
    bands
        Channels by name or 1-based number; None: all.

    Raises
    ------
    InputError
        It is damaged, or by others.
    """
    file = Path(path).absolute()
    try:
        with tifffile.TiffFile(file) as tiff:
            told = _annotation(tiff.ome_metadata)
    except FAULTS as error:
        raise InputError(f"{file}: cannot be opened as an OME-TIFF: {error}") from error
    if told is None:
        raise InputError(f"{file}: is no raster written as OME-TIFF; open it as a stack")
    grid, profile = recalled(told, str(file))
    return image_of(file, read_stored_ome, profile=profile, grid=grid, bands=bands)


def _annotation(text: str | None) -> dict[str, Any] | None:
    for annotation in elements(text, "M"):
        if annotation.get("K") == KEY and annotation.text:
            told: dict[str, Any] = json.loads(annotation.text)
            return told
    return None


def read_stored_ome(path: str | os.PathLike[str], rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return stored numbers, (bands, h, w), and the mask, (h, w), of a window.

    Parameters
    ----------
    path
        Of the file.
    rows, cols
        Of the window.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            pixels = _window(tiff.series[0], rows, cols)
            masks = [series for series in tiff.series[1:] if series.name == "mask"]
            mask = _window(masks[0], rows, cols)[0] if masks else None
        return pixels, mask
    except FAULTS as error:
        where = f"rows {rows.start} to {rows.stop}, columns {cols.start} to {cols.stop}"
        raise InputError(f"{path}: cannot be read at {where}, damaged: {error}") from error


def _window(series: Any, rows: slice, cols: slice) -> NDArray[Any]:
    array: Any = zarr.open_array(series.aszarr(level=0), mode="r")
    part = np.asarray(array[..., rows, cols])
    return part.reshape(-1, *part.shape[-2:])
