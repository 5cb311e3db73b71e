"""One image on the grid of another, lazily: by whole pixels without a change, else resampled window by window."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from sciddiff.errors import InputError
from sciddiff.io.dataset import opened, read_stored
from sciddiff.io.image import assemble, grid_of
from sciddiff.io.pixels import Pixels, lazy_layers
from sciddiff.io.profile import RasterProfile, RasterWarning, Source

WHOLE = 1e-3
"""Pixels by which two grids may be apart and still count as the same."""


def offset_of(image: xr.DataArray, grid: GeoBox) -> tuple[float, float] | None:
    """Row and column of a grid's first pixel corner in pixels of an image; None where the grids are turned apart.

    Parameters
    ----------
    image
        The image.
    grid
        Another grid, of any pixel size.
    """
    own = grid_of(image)
    if own.crs != grid.crs:
        return None
    across = ~own.affine * grid.affine
    if max(abs(across.b), abs(across.d)) > 1e-9:
        return None
    return across.f, across.c


def aligned(image: xr.DataArray, grid: GeoBox, *, resampling: str = "bilinear") -> xr.DataArray:
    """Return an image on another grid, read lazily; invalid where it does not reach.

    Parameters
    ----------
    image
        As `sciddiff.open` gives it.
    grid
        Wanted grid.
    resampling
        `bilinear`, `nearest` or `average`, where grids differ by more than whole pixels; such a resampling is told by
        a warning, but for `average`.

    Raises
    ------
    InputError
        The grids do not overlap, or differ and the image is not of a file that GDAL opens.
    """
    own = grid_of(image)
    if own.shape == grid.shape and own.crs == grid.crs and own.affine.almost_equals(grid.affine, 1e-9):
        return image
    refuse_apart(own, grid)
    profile = image.encoding.get("raster")
    if profile is None or profile.source is None:
        raise InputError(
            f"an image of {own.shape} pixels is on another grid than the main one of {grid.shape}, and not of a raster "
            "file that could be warped: give all images on one grid"
        )
    if not _by_whole_pixels(image, grid):
        if resampling != "average":
            message = f"{profile.source.path} is on another grid: it is resampled ({resampling})"
            warnings.warn(message, RasterWarning, stacklevel=2)
    else:
        resampling = "nearest"
    pixels = _Warped(cast(Source, profile.source), profile, image.dtype, grid=grid, resampling=resampling)
    values, valid = lazy_layers(pixels, pixels.dtype)
    names = [str(name) for name in image.band.values]
    kept = replace(profile, source=None)
    result = assemble(values, valid, grid=grid, bands=profile.names, profile=kept, units=image.attrs.get("units"))
    chosen = [profile.names.index(name) for name in names]
    return result if chosen == list(range(len(profile.names))) else result.isel(band=chosen)


def refuse_apart(one: GeoBox, other: GeoBox) -> None:
    """Raise unless two grids lie on the same ground, at least in part.

    Raises
    ------
    InputError
        They do not overlap, only one of them says where it is, or their coordinates have nothing in common.
    """
    if (one.crs is None) != (other.crs is None):
        raise InputError(
            "one image has a coordinate reference system and another has none: they cannot be laid together"
        )
    extents = one.extent, other.extent
    if other.crs is not None and one.crs != other.crs:
        try:
            extents = extents[0].to_crs(other.crs), extents[1]
        except ProjError as error:
            names = " to ".join(str(grid.crs and grid.crs.proj.name) for grid in (one, other))
            raise InputError(
                f"no transformation leads from {names}: give the images in one coordinate reference system"
            ) from error
    if not extents[0].intersects(extents[1]) or extents[0].intersection(extents[1]).area == 0:
        told = [", ".join(f"{number:.8g}" for number in extent.boundingbox.bbox) for extent in extents]
        raise InputError(f"the grids do not overlap: {told[0]} and {told[1]} (left, bottom, right, top)")


def _by_whole_pixels(image: xr.DataArray, grid: GeoBox) -> bool:
    own = grid_of(image)
    offset = offset_of(image, grid)
    if offset is None:
        return False
    across = ~own.affine * grid.affine
    sides = max(abs(across.a - 1) * grid.shape[1], abs(across.e - 1) * grid.shape[0])
    return sides < WHOLE and all(abs(number - round(number)) < WHOLE for number in offset)


class _Warped(Pixels):
    """Reads windows of a raster on another grid."""

    def __init__(
        self, source: Source, profile: RasterProfile, dtype: np.dtype[Any], *, grid: GeoBox, resampling: str
    ) -> None:
        super().__init__(source, profile, dtype, (grid.shape[0], grid.shape[1]))
        self.grid, self.resampling = grid, resampling
        self.told = any(band.nodata is not None for band in profile.bands) or profile.mask or self.alpha is not None

    @contextmanager
    def opened(self) -> Iterator[Any]:
        with opened(self.path, georeferenced=self.georeferenced) as src:
            options: dict[str, Any] = {} if self.alpha is not None else {"add_alpha": not self._numbers_tell(src)}
            crs = None if self.grid.crs is None else self.grid.crs.to_wkt()
            with WarpedVRT(
                src,
                src_crs=src.crs or crs,
                crs=crs,
                transform=self.grid.affine,
                height=self.grid.shape[0],
                width=self.grid.shape[1],
                resampling=Resampling[self.resampling],
                **options,
            ) as warped:
                yield warped

    def _numbers_tell(self, src: Any) -> bool:
        return src.nodata is not None

    def stored(self, src: Any, chosen: Sequence[int], window: Window) -> tuple[NDArray[Any], NDArray[Any] | None]:
        numbers = read_stored(src, [self.indexes[at] for at in chosen], window, dtype=self.profile.dtype)
        if self.alpha is not None:
            return numbers, src.read(self.alpha, window=window)
        return numbers, None if self._numbers_tell(src) else src.read(src.count, window=window)
