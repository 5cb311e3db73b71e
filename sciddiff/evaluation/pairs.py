"""Images laid side by side for scoring, one plane in memory at a time: same grid, same bands, same planes."""

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io.image import axis_unit

PLANE_DIMS = ("y", "x")
NEAR = 1e-2
"""Share of a pixel by which the corners of two grids, or without a CRS the sizes of pixels, may differ."""

LARGEST = 2048
"""Side of the middle of a larger plane, from which spectra and objects come."""

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Pairs:
    """An image and a reference of the same planes.

    Attributes
    ----------
    image, reference
        With dims band, y, x and any others, such as t and z.
    bands
        For each band of the reference, the place of the image's, None where it has none.
    ratio
        Pixels of the reference along one of the image; 1 for one grid.
    """

    image: xr.DataArray
    reference: xr.DataArray
    bands: tuple[int | None, ...]
    ratio: int = 1

    @property
    def places(self) -> list[dict[str, int]]:
        """Where the planes of one band are, by further dimension; one empty place for an image without."""
        names = [str(dim) for dim in self.reference.dims if dim not in ("band", *PLANE_DIMS)]
        numbers = itertools.product(*(range(self.reference.sizes[name]) for name in names))
        return [dict(zip(names, place)) for place in numbers]

    def plane(self, band: int, place: Mapping[str, int]) -> tuple[Array, Array]:
        """Image and reference of a plane, (h, w), NaN where either is invalid."""
        own = self.bands[band]
        if own is None:
            raise InputError(f"there is no band {band} in the image")
        image, truth = _values(self.image, own, place), _values(self.reference, band, place)
        if self.ratio != 1:
            image = _enlarged(image, truth.shape)
        invalid = np.isnan(image) | np.isnan(truth)
        image[invalid], truth[invalid] = np.nan, np.nan
        return image, truth

    def planes(self, band: int) -> Iterator[tuple[Array, Array]]:
        """Every plane of a band, see `plane`; none for a band that the image lacks."""
        if self.bands[band] is not None:
            for place in self.places:
                yield self.plane(band, place)

    def strips(self, place: Mapping[str, int], rows: int) -> Iterator[tuple[Array, Array]]:
        """All bands that both have, (c, rows, w) at a time, of image and reference."""
        both = [(own, band) for band, own in enumerate(self.bands) if own is not None]
        height, width = self.reference.sizes["y"], self.reference.sizes["x"]
        rows = -(-rows // self.ratio) * self.ratio
        for start in range(0, height, rows):
            part = slice(start, min(start + rows, height))
            truth = np.stack([_values(self.reference, band, place, part) for _, band in both])
            yield np.stack([self._rows(own, place, part, width) for own, _ in both]), truth

    def _rows(self, own: int, place: Mapping[str, int], rows: slice, width: int) -> Array:
        """Rows of a band of the image on the reference's grid; one low row beyond makes them those of the whole."""
        if self.ratio == 1:
            return _values(self.image, own, place, rows)
        first = max(0, rows.start // self.ratio - 1)
        low = _values(self.image, own, place, slice(first, rows.stop // self.ratio + 1))
        start = rows.start - first * self.ratio
        return _enlarged(low, (len(low) * self.ratio, width))[start : start + rows.stop - rows.start]


def pair(image: xr.DataArray, reference: xr.DataArray, *, name: str, reference_name: str, coarser: bool) -> Pairs:
    """Lay an image on a reference.

    Parameters
    ----------
    image, reference
        As `sciddiff.open` gives them.
    name, reference_name
        For messages: the files.
    coarser
        Whether the image may have larger pixels, by a whole number, over the same ground.

    Raises
    ------
    InputError
        Grids, planes or bands that do not match; both are named.
    """
    for dim in reference.dims:
        if dim not in PLANE_DIMS and dim != "band" and image.sizes.get(dim) != reference.sizes[dim]:
            raise InputError(
                f"{name} has {image.sizes.get(dim, 'no')} planes along {dim}, {reference_name} has "
                f"{reference.sizes[dim]}: give both for the same planes"
            )
    further = {str(dim) for dim in image.dims} - {str(dim) for dim in reference.dims}
    if further:
        raise InputError(f"{name} has planes along {', '.join(sorted(further))}, {reference_name} has none")
    ratio = _ratio(image, reference)
    if ratio is None or (ratio != 1 and not coarser):
        raise InputError(
            f"the grids do not match: {name} is {describe_grid(image)}; "
            f"{reference_name} is {describe_grid(reference)}. Cut or resample one to the grid of the other"
        )
    bands = match_bands(image, reference, name, reference_name)
    lacking = [band for band, own in zip(_names(reference), bands, strict=True) if own is None]
    if lacking and not coarser:
        message = f"{name} lacks {', '.join(lacking)} of {reference_name}: nothing is said of them"
        warnings.warn(message, io.RasterWarning, stacklevel=2)
    return Pairs(image, reference, bands, ratio)


def pixel_size(image: xr.DataArray) -> tuple[float, str]:
    """Length of a pixel and its unit: `px` where the file does not say, `um` without a CRS.

    Parameters
    ----------
    image
        With a grid.
    """
    grid = io.grid_of(image)
    if grid.affine.is_identity:
        return 1.0, "px"
    length = math.sqrt(abs(grid.affine.determinant))
    return length, "um" if grid.crs is None else axis_unit(grid.crs)


def plane_distance(image: xr.DataArray) -> float | None:
    """Distance of planes along z in the unit of the z coordinates; None where there is none.

    Parameters
    ----------
    image
        With or without a dimension z.
    """
    if "z" not in image.dims or "z" not in image.coords or image.sizes["z"] < 2:
        return None
    places = np.asarray(image.coords["z"].values, np.float64)
    return float(abs(places[-1] - places[0]) / (places.size - 1)) or None


def middle(plane: Array, side: int = LARGEST) -> Array:
    """The middle of a plane, at most `side` pixels high and wide.

    Parameters
    ----------
    plane
        (h, w).
    side
        In pixels.
    """
    starts = [max(0, (length - side) // 2) for length in plane.shape]
    return plane[tuple(slice(start, start + side) for start in starts)]


def _values(image: xr.DataArray, band: int, place: Mapping[str, int], rows: slice = slice(None)) -> Array:
    return io.read_window(image.isel({"band": band, **place}), rows, slice(None))[0]


def _enlarged(plane: Array, shape: tuple[int, ...]) -> Array:
    """Bilinear, on pixel areas; invalid wherever an invalid pixel takes part."""
    factors = [side / own for side, own in zip(shape, plane.shape)]
    return np.asarray(ndimage.zoom(plane, factors, order=1, mode="nearest", grid_mode=True))


def _ratio(image: xr.DataArray, reference: xr.DataArray) -> int | None:
    """Pixels of the reference along one of the image; None where that is no whole number on the same ground."""
    own, other = io.grid_of(image), io.grid_of(reference)
    ratio = round(other.shape[0] / own.shape[0])
    if ratio < 1 or (own.shape[0] * ratio, own.shape[1] * ratio) != tuple(other.shape):
        return None
    if own.crs != other.crs:
        return None
    across = ~other.affine * own.affine
    if own.crs is None:  # of stacks the size of pixels counts where both say it, not the place on the stage
        unknown = own.affine.is_identity or other.affine.is_identity
        sides = math.hypot(across.a, across.d), math.hypot(across.b, across.e)
        return ratio if unknown or max(abs(side / ratio - 1) for side in sides) < NEAR else None
    corners = [(x, y) for x in (0, own.shape[1]) for y in (0, own.shape[0])]
    apart = [math.dist(across * corner, (ratio * corner[0], ratio * corner[1])) for corner in corners]
    return ratio if max(apart) < NEAR else None


def match_bands(image: xr.DataArray, reference: xr.DataArray, name: str, other: str) -> tuple[int | None, ...]:
    """For each band of a reference the place of the image's, None where it has none.

    Where no name is shared, as many bands are taken in their order, with a warning.

    Parameters
    ----------
    image, reference
        As `sciddiff.open` gives them.
    name, other
        Of both, for messages.

    Raises
    ------
    InputError
        No band is the same.
    """
    own, wanted = (_names(part) for part in (image, reference))
    found: list[int | None] = []
    for band in wanted:
        try:
            found.append(own.index(band) if band in own else io.match_bands([band], own)[0])
        except InputError:
            found.append(None)
    if all(place is None for place in found):
        if len(own) == len(wanted):
            if len(own) > 1:
                told = f"{', '.join(own)} of {name} are taken for {', '.join(wanted)} of {other}, in that order"
                warnings.warn(f"bands have other names: {told}", io.RasterWarning, stacklevel=3)
            return tuple(range(len(own)))
        raise InputError(f"{name} has the bands {', '.join(own)}; {other} has {', '.join(wanted)}: none is the same")
    return tuple(found)


def _names(image: xr.DataArray) -> list[str]:
    if "band" not in image.coords:
        return [f"band_{at + 1}" for at in range(image.sizes["band"])]
    return [str(name) for name in image.band.values]


def describe_grid(image: xr.DataArray) -> str:
    """Size, geotransform and coordinate system of an image, for messages.

    Parameters
    ----------
    image
        With a grid.
    """
    grid = io.grid_of(image)
    numbers = ", ".join(f"{number:.8g}" for number in list(grid.affine)[:6])
    crs = "no CRS" if grid.crs is None else f"EPSG:{grid.crs.epsg}" if grid.crs.epsg else "a CRS without a code"
    return f"{grid.shape[0]} x {grid.shape[1]} pixels, affine ({numbers}), {crs}"
