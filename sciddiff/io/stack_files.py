"""The files of stacks: whether one is, its axes, and windows of its stored numbers, read from a handle by path.

A handle stays open for the next reading of the same file by this process; files that changed are opened anew.
"""

import logging
import os
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from sciddiff.errors import InputError
from sciddiff.io.restated import with_axes
from sciddiff.io.stack_ngff import images_in, open_ngff, profile_from_ngff
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.stack_tiff import profile_from_tiff, text_apart

AXES = "TCZYX"
GEOREFERENCES = (
    "ModelPixelScaleTag",
    "ModelTiepointTag",
    "ModelTransformationTag",
    "GeoKeyDirectoryTag",
    "RPCCoefficientTag",
)
SPLIT = "RGB where channels are expected"
FAULTS = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(struct.error, tifffile.TiffFileError),
)
"""What tifffile, zarr and codecs raise for files that are damaged."""


class StackFile(NamedTuple):
    """An open file: its first image, with the axes that the file says."""

    axes: str
    """One letter a dimension of the array, slowest first; S are the samples of RGB, others but TCZYX are unknown."""
    array: Any
    """Of Zarr, read chunk by chunk."""
    owner: Any
    """Keeps the file open."""


class _Tiff:
    """A TIFF that is closed when nothing reads from it any more."""

    def __init__(self, path: str) -> None:
        self.tiff = tifffile.TiffFile(path)
        if (text := text_apart(path, self.tiff)) is not None:
            self.tiff.close()
            self.tiff = tifffile.TiffFile(path, omexml=text)

    def __del__(self) -> None:
        if "tiff" in self.__dict__:
            self.tiff.close()


def is_stack_tiff(path: str) -> bool:
    """Return whether a TIFF is for the reader of stacks: OME, ImageJ, with axes, or with pages that are no overviews.

    GeoTIFFs never are, nor is a single page of which nothing is said but its pixels.

    Parameters
    ----------
    path
        Of a local file.
    """
    try:
        with _listening() as _, tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            if any(name in first.tags for name in GEOREFERENCES):
                return False
            if tiff.is_ome or tiff.is_imagej or tiff.is_lsm or tiff.is_stk or first.is_volumetric:
                return True
            said = first.shaped_description
            if said is not None and '"axes"' in said:
                return bool(set(tiff.series[0].axes) & set("TZC"))
            return sum(not page.is_reduced and not page.is_mask for page in _some(tiff.pages)) > 1
    except FAULTS:
        return False


def _some(pages: Any) -> Iterator[Any]:
    """The first pages: no file has so many overviews that a stack would not show among them."""
    for at in range(min(len(pages), 16)):
        page = pages[at]
        yield page if isinstance(page, tifffile.TiffPage) else page.keyframe


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What tifffile logs in this thread instead of raising."""
    said: list[str] = []
    thread = threading.get_ident()

    def heard(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        said.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(heard)
    try:
        yield said
    finally:
        logger.removeFilter(heard)


def stack_file(path: str) -> StackFile:
    """Open a stack, or give the handle that is open.

    Parameters
    ----------
    path
        TIFF, or folder of an OME-Zarr.

    Raises
    ------
    InputError
        Missing, damaged or truncated file, or pages of several shapes.
    """
    try:
        stat = os.stat(path)
    except OSError:
        raise InputError(f"{path}: no such file") from None
    identity = (stat.st_ino, stat.st_size, stat.st_mtime_ns, os.getpid())
    if not os.path.isdir(path):
        return _tiff(path, identity)
    told = (os.path.join(path, name) for name in ("zarr.json", ".zattrs"))
    return _zarr(path, identity + tuple(os.stat(name).st_mtime_ns for name in told if os.path.exists(name)))


@lru_cache(maxsize=16)
def _zarr(path: str, identity: tuple[int, ...]) -> StackFile:  # noqa: ARG001 - a key of the cache
    axes, array = open_ngff(path)
    return StackFile(axes, array, None)


@lru_cache(maxsize=16)
def _tiff(path: str, identity: tuple[int, ...]) -> StackFile:  # noqa: ARG001 - a key of the cache
    try:
        with _listening() as said:
            owner = _Tiff(path)
            series = _images(path, owner.tiff)[0]
            array = zarr.open_array(series.aszarr(level=0), mode="r")
        bad = [text for text in said if "invalid" in text or "missing" in text]
        if bad:
            raise InputError(f"{path}: truncated or damaged: {bad[0].rpartition('> ')[2]}; fetch the file again")
        _refuse_short(path, series)
    except FAULTS as error:
        raise InputError(f"{path}: cannot be opened as a stack: {str(error) or repr(error)}") from error
    return StackFile(series.axes, array, owner)


def _images(path: str, tiff: Any) -> list[Any]:
    """The images with pixels in this file, of a set of files too; pages that were written one by one are one."""
    found = tiff.series
    full = [item for item in found if not item.keyframe.is_reduced and not item.keyframe.is_mask]
    if tiff.is_ome and len(found) > 1:
        return [item for item in found if _is_in(item, tiff)] or found
    if tiff.is_ome or tiff.is_imagej:
        return found
    if len(full) < 2:
        return full or found
    pages = [page for page in tiff.pages if not page.keyframe.is_reduced]
    first = pages[0].keyframe
    for number, page in enumerate(pages, 1):
        if (page.keyframe.shape, page.keyframe.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{path}: page {number} holds {page.keyframe.shape} pixels of {page.keyframe.dtype}, page 1 "
                f"{first.shape} of {first.dtype}: no stack; give a file with pages of one shape"
            )
    shape = (len(pages), *first.shape)
    return [tifffile.TiffPageSeries(pages, shape, first.dtype, "I" + first.axes)]


def _is_in(series: Any, tiff: Any) -> bool:
    """Whether some of an image's pages are in this file; of a set all files stand in one folder."""
    return any(page is not None and page.parent.filehandle.name == tiff.filehandle.name for page in series.pages)


def _refuse_short(path: str, series: Any) -> None:
    """Raise if pages that the file speaks of are not there, or pixels lie beyond its end."""
    size = os.path.getsize(path)
    pages = list(series.pages) if series.dataoffset is None else []
    end = 0 if series.dataoffset is None else series.dataoffset + series.nbytes
    needed = series.size // max(series.keyframe.size, 1)
    if end == 0 and len(pages) < needed:
        raise InputError(f"{path}: truncated: has {len(pages)} of {needed} pages; fetch the file again")
    for number, page in enumerate(pages, 1):
        if page is None:
            raise InputError(f"{path}: page {number} of {len(pages)} is not there; fetch the file, and those beside it")
    for page in pages[-1:]:
        if page.parent is series.keyframe.parent:
            end = max((offset + length for offset, length in zip(page.dataoffsets, page.databytecounts)), default=0)
    if end > size:
        raise InputError(f"{path}: truncated: pixels end at byte {end}, the file at {size}; fetch the file again")


def settled_axes(path: str, asked: str | None = None) -> str:
    """Return the letter of each dimension of a file.

    Parameters
    ----------
    path
        Of the file.
    asked
        What the user says that they are; dimensions of length one need not be named.

    Raises
    ------
    InputError
        The file does not say, or they are none, or too few or many.
    """
    file = stack_file(path)
    shape = file.array.shape
    told = ", ".join(f"{axis} {size}" for axis, size in zip(file.axes, shape, strict=True))
    if asked is not None:
        return _asked_axes(path, asked, shape, told)
    if "S" in file.axes:
        raise InputError(
            f"{path}: {SPLIT}: its axes are {told}; pass axes with C in the place of S ({_ways(path, file.axes)}), or "
            "split the colours into channels"
        )
    unknown = [axis for axis, size in zip(file.axes, shape, strict=True) if axis not in AXES and size > 1]
    if unknown or len(set(file.axes)) < len(file.axes):
        way = f"pass axes=, one letter of TCZYX for each (such as {_ways(path, file.axes)})"
        way = "mend the axes of its multiscales" if file.owner is None else way
        raise InputError(f"{path}: does not say what its axes are ({told}): {way}")
    return file.axes


def _ways(path: str, axes: str) -> str:
    """How the axes are told on the command line: not every command has the option."""
    return f"--axes {_guess(axes)} on the command line, or {with_axes(path, _guess(axes))} in the place of the path"


def _guess(axes: str) -> str:
    """Axes that a file may have, as an example: S are channels, the unknown is depth, then time, then channels."""
    letters = ["C" if axis == "S" else axis if axis in "TZYX" else "" for axis in axes]
    spare = [letter for letter in "ZTC" if letter not in letters]
    return "".join(letter or (spare.pop(0) if spare else "?") for letter in letters)


def _asked_axes(path: str, asked: str, shape: Sequence[int], told: str) -> str:
    axes = asked.upper()
    unknown = sorted(set(axes) - set(AXES))
    if unknown or len(set(axes)) < len(axes) or not set("YX") <= set(axes):
        what = f"unknown letters {', '.join(unknown)}" if unknown else "letters that repeat, or no Y and X"
        raise InputError(f"{path}: axes={asked} has {what}; give each of its axes once, from TCZYX")
    if len(axes) != len(shape):
        raise InputError(f"{path}: axes={asked} has {len(axes)} letters; the file has {len(shape)} axes: {told}")
    return axes


def extent(path: str, axes: str) -> tuple[int, int, int, int, int]:
    """Return the shape of a stack as (t, c, z, h, w).

    Parameters
    ----------
    path
        Of the file.
    axes
        See `settled_axes`.
    """
    sizes = dict(zip(axes, stack_file(path).array.shape, strict=True))
    frames, channels, depth, height, width = (sizes.get(axis, 1) for axis in AXES)
    return frames, channels, depth, height, width


def profile_of(path: str, axes: str) -> StackProfile:
    """Return what a file says beside its pixels.

    Parameters
    ----------
    path
        Of the file.
    axes
        See `settled_axes`.
    """
    file = stack_file(path)
    dtype = np.dtype(file.array.dtype).newbyteorder("=").name
    dtype = "float32" if dtype == "float16" else dtype  # which OME-TIFF lacks
    shape: Mapping[str, int] = dict(zip(axes, file.array.shape, strict=True))
    if file.owner is None:
        return profile_from_ngff(path, axes=axes, dtype=dtype, count=shape.get("C", 1))
    return profile_from_tiff(file.owner.tiff, axes=axes, dtype=dtype, shape=shape)


def images_of(path: str) -> list[str]:
    """Return the names of the images of a file; the first is the one that is read.

    Parameters
    ----------
    path
        Of the file.
    """
    owner = stack_file(path).owner
    return images_in(path) if owner is None else [str(series.name) for series in _images(path, owner.tiff)]


def read_stack_window(
    path: str | os.PathLike[str],
    t: int | slice,
    c: int | slice,
    z: int | slice,
    rows: slice,
    cols: slice,
    *,
    axes: str | None = None,
) -> NDArray[Any]:
    """Return stored numbers of a stack, as `pixels[t, c, z, rows, cols]` of an array (t, c, z, h, w) would.

    Only the chunks (strips or tiles of pages) that the window touches are read.

    Parameters
    ----------
    path
        Of the file.
    t, c, z
        Numbers, whose axis goes away, or slices with step 1.
    rows, cols
        Slices with step 1.
    axes
        Of the file, where it does not say; see `settled_axes`.

    Raises
    ------
    InputError
        The file is damaged there.
    """
    where = str(path)
    letters = axes or settled_axes(where)
    file, key = stack_file(where), dict(zip(AXES, (t, c, z, rows, cols), strict=True))
    spans = {name: slice(part, part + 1) if isinstance(part, int) else part for name, part in key.items()}
    index = tuple(spans.get(letter, slice(None)) for letter in letters)
    try:
        part = np.asarray(file.array[index])
    except FAULTS as error:
        place = ", ".join(f"{name.lower()} {_told(key[name])}" for name in AXES)
        what = str(error) or repr(error)
        raise InputError(f"{where}: cannot be read at {place}, damaged or truncated: {what}") from error
    missing = [name for name in AXES if name not in letters]
    kept = [at for at, letter in enumerate(letters) if letter in AXES]
    part = part.reshape([part.shape[at] for at in kept] + [1] * len(missing))
    order = [letters[at] for at in kept] + missing
    whole = part.transpose([order.index(name) for name in AXES])
    whole = whole[tuple(spans[name] if name in missing else slice(None) for name in AXES)]
    result: NDArray[Any] = whole[tuple(0 if isinstance(key[name], int) else slice(None) for name in AXES)]
    return result.astype(result.dtype.newbyteorder("="), copy=False)


def _told(part: int | slice) -> str:
    return str(part) if isinstance(part, int) else f"{part.start or 0} to {'end' if part.stop is None else part.stop}"
