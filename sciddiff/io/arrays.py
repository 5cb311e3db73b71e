"""Images over stored numbers that are read by other means than GDAL."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff.errors import InputError
from sciddiff.io.image import assemble
from sciddiff.io.masks import validity
from sciddiff.io.metadata import select_bands
from sciddiff.io.pixels import Pixels, lazy_layers
from sciddiff.io.profile import RasterProfile, Source
from sciddiff.io.radiometry import decode, value_dtype
from sciddiff.io.raster import units_of

Reader = Callable[[str, slice, slice], tuple[NDArray[Any], NDArray[Any] | None]]
"""From path, rows and columns to the numbers of all bands of the file, (bands, h, w), and the mask, (h, w), if any."""


def image_of(
    path: Path, read: Reader, *, profile: RasterProfile, grid: GeoBox, bands: Sequence[str | int] | None
) -> xr.DataArray:
    """Return a lazy image of stored numbers.

    Parameters
    ----------
    path
        Of the file or folder.
    read
        Gives windows of it; a function of a module, so that the image may be pickled.
    profile
        Of the file.
    grid
        Of the image.
    bands
        By name or 1-based number; None: all but alpha.
    """
    count = len(profile.bands) + (profile.alpha is not None)
    alpha = None if profile.alpha is None else profile.alpha_at + 1
    numbers = [index for index in range(1, count + 1) if index != alpha]
    names = list(profile.names)
    chosen = select_bands(names, bands, range(1, len(names) + 1), None, str(path))
    indexes = tuple(numbers[index - 1] for index in chosen)
    source = Source(str(path), None, None, indexes, alpha, profile.transform)
    profile = replace(profile.select([names[index - 1] for index in chosen]), source=source)
    try:
        dtype = value_dtype(profile.dtype, profile.radiometry)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    pixels = _Arrays(source, profile, dtype, (grid.shape[0], grid.shape[1]), read)
    values, valid = lazy_layers(pixels, dtype)
    image = assemble(values, valid, grid=grid, bands=profile.names, profile=profile, units=units_of(profile))
    image.name = path.stem or None
    image.encoding["source"] = str(path)
    return image


class _Arrays(Pixels):
    """Windows of stored numbers as values and validity."""

    def __init__(
        self,
        source: Source,
        profile: RasterProfile,
        dtype: np.dtype[np.floating],
        shape: tuple[int, int],
        read: Reader,
    ) -> None:
        super().__init__(source, profile, dtype, shape)
        self.read = read

    def _read(self, key: tuple[slice, ...]) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        chosen = list(range(self.shape[0]))[key[0]]
        ranges = [range(*part.indices(size)) for part, size in zip(key[1:], self.shape[1:], strict=True)]
        rows, cols = (slice(part[0], part[-1] + 1) if len(part) else slice(0, 0) for part in ranges)
        steps = tuple(slice(None, None, part.step) for part in ranges)
        everything, mask = self.read(self.path, rows, cols)
        stored = everything[[self.indexes[at] - 1 for at in chosen]][:, *steps]
        opaque = None if self.alpha is None else everything[self.alpha - 1][steps]
        if mask is not None:
            opaque = mask[steps] if opaque is None else np.where(mask[steps] == 0, 0, opaque)
        nodata = [self.profile.bands[at].nodata for at in chosen]
        valid = validity(stored, nodata=nodata, opaque=None if opaque is None else opaque > 0)
        radiometry = [self.radiometry[at] for at in chosen]
        return decode(stored, valid, radiometries=radiometry, dtype=self.dtype), valid
