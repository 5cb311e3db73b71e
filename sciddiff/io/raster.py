"""Opening rasters as images: nothing is read but the header until pixels are asked for, and then their window only."""

import math
import os
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast
from xml.sax.saxutils import unescape

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window
from xarray.backends import BackendArray
from xarray.core import indexing

from sciddiff.errors import InputError
from sciddiff.io.image import assemble
from sciddiff.io.masks import validity
from sciddiff.io.metadata import gdal, grid_from, quiet, read_profile
from sciddiff.io.profile import RasterProfile, RasterWarning, Source
from sciddiff.io.radiometry import decode, value_dtype
from sciddiff.io.restated import axes_of, file_of

Location = str | os.PathLike[str]
TIFFS = (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".lsm")
VRT = "<VRTDataset"
"""How the text of a virtual raster begins."""
MEMO_BYTES = 2**26
"""Largest window that is remembered between the reading of its values and that of its validity."""
STRIP_BYTES = 2**26
"""Rows of a strided reading are taken in strips of about this size."""


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
    except (RasterioError, OSError, *more) as error:
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


class Pixels:
    """Reads windows of a file: values and validity together, each time from a fresh handle."""

    def __init__(
        self, source: Source, profile: RasterProfile, dtype: np.dtype[np.floating], shape: tuple[int, int]
    ) -> None:
        self.path, self.indexes, self.alpha = source.path, source.indexes, source.alpha
        self.profile, self.dtype = profile, dtype
        self.shape: tuple[int, ...] = (len(source.indexes), *shape)
        self.radiometry = profile.radiometry
        self.georeferenced = profile.georeferenced
        self._memo = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_memo"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._memo = threading.local()

    def take(self, key: tuple[slice, ...], layer: int) -> NDArray[Any]:
        """Layer 0 or 1, values or validity, of a window; the other one waits for the next call, which is for it."""
        memo = self._memo.__dict__.pop("window", None)
        if memo is not None and memo[:2] == (_plain(key), layer):
            waiting: NDArray[Any] = memo[2]
            return waiting
        both = self._read(key)
        other = both[1 - layer]
        if both[0].nbytes <= MEMO_BYTES:
            self._memo.window = (_plain(key), 1 - layer, other)
        return both[layer]

    def _read(self, key: tuple[slice, ...]) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        chosen = list(range(self.shape[0]))[key[0]]
        rows, cols = key[1].indices(self.shape[1]), key[2].indices(self.shape[2])
        sizes = [len(range(*rows)), len(range(*cols))]
        values = np.empty((len(chosen), *sizes), self.dtype)
        valid = np.zeros(values.shape, bool)
        if not values.size:
            return values, valid
        with self.opened() as src:
            for at, window in _strips(rows, cols, len(chosen)):
                part = self._window(src, chosen, window)
                step = slice(None, None, rows[2]), slice(None, None, cols[2])
                count = len(range(0, window.height, rows[2]))
                values[:, at : at + count], valid[:, at : at + count] = (layer[:, *step] for layer in part)
        return values, valid

    def _window(
        self, src: Any, chosen: Sequence[int], window: Window
    ) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        stored, opaque = self.stored(src, chosen, window)
        nodata = [self.profile.bands[at].nodata for at in chosen]
        valid = validity(stored, nodata=nodata, opaque=None if opaque is None else opaque > 0)
        radiometry = [self.radiometry[at] for at in chosen]
        try:
            return decode(stored, valid, radiometries=radiometry, dtype=self.dtype), valid
        except InputError as error:
            raise InputError(f"{label(self.path)}: {error}") from None

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Open the file for `stored`."""
        with opened(self.path, georeferenced=self.georeferenced) as src:
            if src.shape != self.shape[1:] or src.count < max(self.indexes):
                message = f"{label(self.path)}: has changed since it was opened: {src.shape} pixels; open it again"
                raise InputError(message)
            yield src

    def stored(self, src: Any, chosen: Sequence[int], window: Window) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return the stored numbers of the chosen bands in a window, (c, h, w), and what `read_opaque` gives."""
        numbers = read_stored(src, [self.indexes[at] for at in chosen], window, dtype=self.profile.dtype)
        return numbers, read_opaque(src, self.profile, self.alpha, window)


class Layers(Protocol):
    """What `lazy_layers` reads from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w), or of further dims."""
        ...

    def take(self, key: tuple[slice, ...], layer: int) -> NDArray[Any]:
        """Return layer 0 or 1, values or validity, of a window."""
        ...


class _Layer(BackendArray):
    """Values or validity of a raster, as xarray indexes them."""

    def __init__(self, pixels: Layers, dtype: np.dtype[Any], layer: int) -> None:
        self.pixels, self.dtype, self.layer = pixels, dtype, layer
        self.shape = pixels.shape

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        result: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._basic
        )
        return result

    def _basic(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        ranges = tuple(part if isinstance(part, slice) else slice(part, part + 1) for part in key)
        squeezed = tuple(slice(None) if isinstance(part, slice) else 0 for part in key)
        result: NDArray[Any] = self.pixels.take(ranges, self.layer)[squeezed]
        return result


def lazy_layers(pixels: Layers, dtype: np.dtype[np.floating]) -> tuple[Any, Any]:
    """Return values and validity as arrays that are read when they are asked for.

    Parameters
    ----------
    pixels
        Where they come from.
    dtype
        Of the values.
    """
    return _lazy(_Layer(pixels, dtype, 0)), _lazy(_Layer(pixels, np.dtype(bool), 1))


def _lazy(layer: _Layer) -> Any:
    lazy: Any = indexing.LazilyIndexedArray(layer)
    return indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))


def _strips(rows: tuple[int, int, int], cols: tuple[int, int, int], bands: int) -> Iterator[tuple[int, Window]]:
    """Windows whose rows and columns, thinned by the steps, make up the whole; with the row where each goes."""
    col, width = cols[0], len(range(*cols)) * cols[2] - cols[2] + 1
    count = len(range(*rows))
    if rows[2] == 1 and cols[2] == 1:
        yield 0, Window(col, rows[0], width, count)
        return
    height = max(1, STRIP_BYTES // (8 * bands * width)) // rows[2]
    taken = max(1, height)
    for at in range(0, count, taken):
        part = min(taken, count - at)
        yield at, Window(col, rows[0] + at * rows[2], width, (part - 1) * rows[2] + 1)


def _plain(key: tuple[slice, ...]) -> tuple[tuple[Any, Any, Any], ...]:
    return tuple((part.start, part.stop, part.step) for part in key)


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


def _with_tags(profile: RasterProfile, whole: RasterProfile) -> RasterProfile:
    """A profile with the tags of the file behind it, of which GDAL's connection keeps one namespace."""
    bands = tuple(replace(band, tags=own.tags) for band, own in zip(profile.bands, whole.bands, strict=True))
    if profile.units != whole.units:
        message = "the units of the bands are not kept: they are those of another scale and offset"
        warnings.warn(message, RasterWarning, stacklevel=3)
    return replace(profile, bands=bands, tags=whole.tags)


def _open_with_axes(where: str, *, bands: Sequence[str | int] | None, axes: str) -> xr.DataArray:
    from sciddiff.io.stack import open_stack

    if remote(where) or not where.lower().endswith(TIFFS):
        raise InputError(f"{label(where)}: axes={axes} goes with a local TIFF; other files say what their axes are")
    return open_stack(where, bands=bands, axes=axes)


def _reader(where: str) -> Callable[..., xr.DataArray] | None:
    """Return what opens a local file or store that is not for GDAL."""
    from sciddiff.io.cube import is_cube, open_cube

    if remote(where):
        return None
    if where.lower().endswith(TIFFS) and os.path.isfile(where):
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
