"""Files as GDAL opens them: what a path leads to, errors that name it, the stored numbers of a window."""

import math
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from xml.sax.saxutils import unescape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sciddiff.errors import InputError
from sciddiff.io.metadata import gdal, quiet
from sciddiff.io.profile import RasterProfile

Location = str | os.PathLike[str]
TIFFS = (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".lsm")
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins, the last two of more than 4 GB."""
VRT = "<VRTDataset"
"""How the text of a virtual raster begins."""


def is_tiff(path: str) -> bool:
    """Return whether a path is that of a TIFF, by its suffix, or of a local file that begins as one.

    Parameters
    ----------
    path
        Of a file.
    """
    if path.lower().endswith(TIFFS):
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) in MAGIC
    except OSError:  # who reads it says why
        return False


@contextmanager
def opened(path: str, *, georeferenced: bool = False) -> Iterator[Any]:
    """Open a raster for reading; all that goes wrong inside is an InputError that names the file and why.

    Parameters
    ----------
    path
        Anything that GDAL opens.
    georeferenced
        Known to be, so that no warning need be silenced: silencing is not safe in threads.

    Raises
    ------
    InputError
        Missing, truncated or unreadable file.
    """
    with gdal():
        with (
            _refusing(path, "cannot be opened as a raster", ValueError, TypeError),
            nullcontext() if georeferenced else quiet(),
        ):
            src = rasterio.open(path)
        with src, _refusing(path, "cannot be read, truncated or damaged"):
            yield src


@contextmanager
def _refusing(path: str, what: str, *more: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError, *more) as error:
        if not remote(path) and not os.path.exists(path):
            raise InputError(f"{path}: no such file") from None
        raise InputError(f"{label(path)}: {what}: {reason(error)}{_inside(path)}") from error


def _inside(path: str) -> str:
    """What a zip holds that is no raster itself."""
    archive = path.removeprefix("/vsizip/")
    if archive == path or not zipfile.is_zipfile(archive):
        return ""
    with zipfile.ZipFile(archive) as zipped:
        names = [name for name in zipped.namelist() if name.lower().endswith((*TIFFS, ".jp2", ".img", ".vrt"))]
    return f" It holds {len(names)} rasters: give one as {path}/{names[0]}, or unpack them all" if names else ""


def check_length(src: Any, path: str) -> None:
    """Refuse a GeoTIFF whose last blocks lie beyond its end: better now than after hours.

    Parameters
    ----------
    src
        Open rasterio dataset.
    path
        Where it is.

    Raises
    ------
    InputError
        It is truncated.
    """
    if src.driver != "GTiff" or remote(path):
        return
    size = os.path.getsize(path)
    height, width = src.block_shapes[0]
    row, col = math.ceil(src.height / height) - 1, math.ceil(src.width / width) - 1
    for index in {1, src.count}:
        place = [src.get_tag_item(f"{item}_{col}_{row}", "TIFF", bidx=index) for item in ("BLOCK_OFFSET", "BLOCK_SIZE")]
        if None not in place and sum(int(number) for number in place) > size:
            message = f"{path}: truncated: its last block ends at byte {sum(map(int, place))}, the file at {size}"
            raise InputError(message)


def reason(error: BaseException) -> str:
    """Return what GDAL said first: rasterio's own message is often just `Read failed`.

    Parameters
    ----------
    error
        As caught.
    """
    cause: BaseException | None = error
    while cause is not None and (cause.__cause__ or cause.__context__) is not None:
        cause = cause.__cause__ or cause.__context__
    return str(cause or error).strip() or type(error).__name__


def read_stored(src: Any, indexes: Sequence[int], window: Window, *, dtype: str) -> NDArray[Any]:
    """Return the numbers of a window as they stand in the file, (c, h, w).

    Parameters
    ----------
    src
        Open rasterio dataset.
    indexes
        1-based bands.
    window
        Within the raster.
    dtype
        One type that holds those of all bands.
    """
    if len({src.dtypes[index - 1] for index in indexes}) > 1:  # rasterio reads bands of one type at a time
        return np.stack([src.read(index, window=window, out_dtype=dtype) for index in indexes])
    stored: NDArray[Any] = src.read(list(indexes), window=window, out_dtype=dtype)
    return stored


def read_opaque(src: Any, profile: RasterProfile, alpha: int | None, window: Window) -> NDArray[Any] | None:
    """Return alpha, or the per-dataset mask, or the lesser of both, (h, w); None if the file has neither.

    Parameters
    ----------
    src
        Open rasterio dataset.
    profile
        Of the file.
    alpha
        1-based band that holds validity.
    window
        Within the raster.
    """
    opaque: NDArray[Any] | None = None
    if alpha is not None:
        opaque = src.read(alpha, window=window)
    if profile.mask:
        mask = src.read_masks(1, window=window)
        opaque = mask if opaque is None else np.where(mask == 0, opaque.dtype.type(0), opaque)
    return opaque


def location(path: Location) -> str:
    """Return where a path leads: absolute if it is local and there, into the archive if it is a zip.

    Parameters
    ----------
    path
        Path, pattern or address.
    """
    where = os.fspath(path)
    if remote(where) or not os.path.exists(where):
        return where
    zipped = where.lower().endswith(".zip") and os.path.isfile(where)
    return ("/vsizip/" if zipped else "") + os.path.abspath(where)


def remote(where: str) -> bool:
    """Return whether a path is no local one: an address, a /vsi path, or the text of a VRT.

    Parameters
    ----------
    where
        Path or address.
    """
    return where.startswith("/vsi") or "://" in where or where.lstrip().startswith(VRT)


def label(path: str) -> str:
    """Return what a message calls a raster: the files of a virtual one.

    Parameters
    ----------
    path
        What GDAL opens.
    """
    files = list(dict.fromkeys(re.findall(r"<SourceFilename[^>]*>(.*?)</SourceFilename>", path)))
    if not files:
        return path
    return unescape(files[0]) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
