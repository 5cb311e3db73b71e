"""Pixels that are read when they are asked for: windows of a raster, values and validity, as arrays of xarray."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from xarray.backends import BackendArray
from xarray.core import indexing

from sciddiff.errors import InputError
from sciddiff.io.dataset import label, opened, read_opaque, read_stored
from sciddiff.io.masks import validity
from sciddiff.io.profile import RasterProfile, Source
from sciddiff.io.radiometry import decode

MEMO_BYTES = 2**26
"""Largest window that is remembered between the reading of its values and that of its validity."""
STRIP_BYTES = 2**26
"""Rows of a strided reading are taken in strips of about this size."""


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
