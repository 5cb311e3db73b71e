"""OME-TIFF: written with a pyramid from a store, streamed; read as images, lazily."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff.errors import InputError, OptionError, OutputError
from sciddiff.io.arrays import image_of
from sciddiff.io.metadata import file_bands
from sciddiff.io.profile import RasterProfile, plain_profile
from sciddiff.io.pyramid import add_levels
from sciddiff.io.zarr import described, recalled

KEY = "sciddiff"
TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
"""Pixel types that OME-XML 2016-06 knows and NumPy has."""
COMPRESSIONS = {"DEFLATE": "zlib", "ZSTD": "zstd", "LZW": "lzw", "NONE": None}
TO_MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "nm": 1e-3}
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
    side = layout["tile"][0]
    scratch = path.with_name(f"{path.name}.levels.zarr")
    shutil.rmtree(scratch, ignore_errors=True)
    group = zarr.create_group(scratch, zarr_format=3)
    try:
        levels = add_levels(group, pixels, mask, profile=profile, name=str, axes=("c", "y", "x"), check=check)
        big = pixels.shape[0] * pixels.shape[1] * pixels.shape[2] * np.dtype(profile.dtype).itemsize > BIG
        with tifffile.TiffWriter(path, bigtiff=big, ome=True) as writer:
            writer.write(
                _tiles(pixels, side, check),
                shape=pixels.shape,
                dtype=profile.dtype,
                photometric="minisblack",
                subifds=len(levels),
                metadata=_metadata(grid, profile, provenance),
                **layout,
            )
            for level in levels:
                writer.write(
                    _tiles(level, side, check),
                    shape=level.shape,
                    dtype=profile.dtype,
                    photometric="minisblack",
                    subfiletype=1,
                    metadata=None,
                    **layout,
                )
            if mask is not None:
                _write_mask(writer, mask, layout, check)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def layout_of(path: Path, profile: RasterProfile, options: Mapping[str, str]) -> dict[str, Any]:
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
        raise OutputError(f"{path}: OME-TIFF has no pixels of type {profile.dtype}; write .tif or .zarr")
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
    planes = range(array.shape[0]) if len(array.shape) == 3 else [None]
    height, width = array.shape[-2:]
    for plane in planes:
        for row in range(0, height, side):
            check()
            lines = array[row : row + side] if plane is None else array[plane, row : row + side]
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


def open_ome_tiff(path: str | os.PathLike[str], *, bands: Sequence[str | int] | None = None) -> xr.DataArray:
    """Open a two-dimensional OME-TIFF as an image, lazily; see `sciddiff.open`.

    Parameters
    ----------
    path
        Of the file.
    bands
        Channels by name or 1-based number; None: all.

    Raises
    ------
    InputError
        It is damaged, has planes in depth or time, or several images.
    """
    file = Path(path).absolute()
    try:
        with tifffile.TiffFile(file) as tiff:
            text = tiff.ome_metadata
            told = _annotation(text)
            series = tiff.series[0]
            axes, shape, dtype = series.axes, series.shape, series.dtype
    except (OSError, ValueError, tifffile.TiffFileError, IndexError, KeyError) as error:
        raise InputError(f"{file}: cannot be opened as an OME-TIFF: {error}") from error
    if told is not None:
        grid, profile = recalled(told, str(file))
        return image_of(file, read_stored_ome, profile=profile, grid=grid, bands=bands)
    if axes not in {"YX", "CYX"}:
        sizes = ", ".join(f"{axis}={size}" for axis, size in zip(axes, shape, strict=True))
        raise InputError(f"{file}: is a stack ({sizes}); only images with the axes YX or CYX can be used")
    names, pixel = _foreign(text or "", count=shape[0] if axes == "CYX" else 1)
    grid = GeoBox((shape[-2], shape[-1]), Affine.scale(*pixel), None)
    return image_of(file, read_stored_ome, profile=plain_profile(names, dtype=str(dtype)), grid=grid, bands=bands)


def _annotation(text: str | None) -> dict[str, Any] | None:
    for annotation in _elements(text, "M"):
        if annotation.get("K") == KEY and annotation.text:
            told: dict[str, Any] = json.loads(annotation.text)
            return told
    return None


def _elements(text: str | None, name: str) -> list[Any]:
    from xml.etree import ElementTree as ET

    if not text:
        return []
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities are not expanded by this parser's default
    except ET.ParseError:
        return []
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == name]


def _foreign(text: str, *, count: int) -> tuple[list[str], tuple[float, float]]:
    """Channel names and pixel size in micrometres of a file by others; pixels where it does not say."""
    found = [element.get("Name") for element in _elements(text, "Channel")][:count]
    names = [name or f"band_{at + 1}" for at, name in enumerate([*found, *[None] * (count - len(found))])]
    if len(set(names)) < len(names):
        names = [f"band_{at + 1}" for at in range(count)]
    sizes = [1.0, 1.0]
    for element in _elements(text, "Pixels")[:1]:
        for at, axis in enumerate("XY"):
            unit = TO_MICROMETRES.get(element.get(f"PhysicalSize{axis}Unit", "µm"))
            size = element.get(f"PhysicalSize{axis}")
            sizes[at] = float(size) * unit if size is not None and unit is not None else 1.0
    return names, (sizes[0], sizes[1])


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
    except (OSError, ValueError, RuntimeError, tifffile.TiffFileError) as error:
        where = f"rows {rows.start} to {rows.stop}, columns {cols.start} to {cols.stop}"
        raise InputError(f"{path}: cannot be read at {where}, damaged: {error}") from error


def _window(series: Any, rows: slice, cols: slice) -> NDArray[Any]:
    array: Any = zarr.open_array(series.aszarr(level=0), mode="r")
    part = np.asarray(array[..., rows, cols])
    return part.reshape(-1, *part.shape[-2:])
