"""Images: arrays of physical values that carry their grid, band names and validity."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from sciddiff.errors import InputError
from sciddiff.io.profile import RasterProfile, compose

DIMS = ("band", "y", "x")
STACK_DIMS = ("band", "t", "z", "y", "x")
"""Of an image with several planes in time or depth."""
GRID_COORD = "spatial_ref"
SNAP = 1e-5
"""Pixel positions recovered from coordinates are rounded to half pixels within this distance."""


def from_array(
    values: ArrayLike,
    *,
    grid: GeoBox,
    bands: Sequence[str],
    valid: ArrayLike | None = None,
    profile: RasterProfile | None = None,
    units: str | None = None,
) -> xr.DataArray:
    """Return an image of an array.

    Parameters
    ----------
    values
        (c, h, w) or, for one band, (h, w); physical values. Integers become float32, or float64 beyond 16 bit.
    grid
        Of shape (h, w).
    bands
        c different names.
    valid
        Broadcast against (c, h, w); None: all. Values that are not finite are invalid whatever it says.
    profile
        How to write the image later; of the same bands, for any grid of the same ground.
    units
        Unit of the values.

    Raises
    ------
    InputError
        Shapes that disagree, names that repeat, or complex values.
    """
    array = np.asarray(values)
    array = array[None] if array.ndim == 2 else array
    if array.dtype.kind not in "biuf":
        raise InputError(f"values are {array.dtype}; an image holds real numbers")
    if array.dtype.kind != "f" or array.dtype.itemsize == 2:
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    names = [str(name) for name in bands]
    expected = (len(names), *grid.shape)
    if array.shape != expected:
        raise InputError(f"values have shape {array.shape}; {len(names)} bands on this grid are {expected}")
    finite = np.isfinite(array)
    if valid is not None:
        mask = np.asarray(valid, dtype=bool)
        if np.broadcast_shapes(mask.shape, expected) != expected:
            raise InputError(f"valid has shape {mask.shape}, which does not fit {expected}")
        finite &= mask
    if not finite.all():
        array = np.where(finite, array, array.dtype.type(np.nan))
    return assemble(array, finite, grid=grid, bands=names, profile=profile, units=units)


def assemble(
    values: Any,
    valid: Any,
    *,
    grid: GeoBox,
    bands: Sequence[str],
    profile: RasterProfile | None = None,
    units: str | None = None,
    dims: Sequence[str] = DIMS,
) -> xr.DataArray:
    """Join values and validity (arrays, or lazy ones) and the grid into an image.

    Parameters
    ----------
    values, valid
        (c, h, w), or of further dims.
    grid
        Of shape (h, w).
    bands
        c different names.
    profile
        How to write the image later.
    units
        Unit of the values.
    dims
        Of the values: band first, y and x last.

    Raises
    ------
    InputError
        Names that repeat.
    """
    if len(set(bands)) < len(bands):
        raise InputError(f"band names repeat: {', '.join(bands)}; give each band its own name")
    coords = {
        "band": ("band", np.array(bands, dtype=np.str_) if bands else np.empty(0, "U1")),
        **grid_coords(grid),
        "valid": xr.Variable(dims, valid),
    }
    image = xr.DataArray(xr.Variable(dims, values), coords=coords, attrs={"units": units} if units else {})
    image.encoding["grid_mapping"] = GRID_COORD
    if profile is not None:
        image.encoding["raster"] = profile
    return image


def completed(image: xr.DataArray) -> xr.DataArray:
    """Return an array as an image: dims in their order, names of the bands, validity; itself where it has all these.

    Parameters
    ----------
    image
        With dims y and x and any of band, t and z, in any order; of integers or of floats, chunked or not. A scalar
        coordinate, such as the plane that was chosen of a stack, stays where its dim comes back.

    Returns
    -------
    xarray.DataArray
        (band, y, x), or (band, t, z, y, x) where there was t or z. Pixels that are not finite are invalid, whatever
        `valid` says; all others are valid where it is not there.

    Raises
    ------
    InputError
        Other dims, or complex values.
    """
    given = {str(dim) for dim in image.dims}
    if not {"y", "x"} <= given <= set(STACK_DIMS):
        told = ", ".join(f"{dim}={size}" for dim, size in image.sizes.items())
        raise InputError(
            f"the array has the dims {told}; an image has y and x, and of band, t and z those that it needs"
        )
    dims = STACK_DIMS if given & {"t", "z"} else DIMS
    named = "band" in image.coords and image.coords["band"].dtype.kind in "UO"
    if image.dims == dims and image.dtype.kind == "f" and named and "valid" in image.coords:
        return image
    if image.dtype.kind not in "biuf":
        raise InputError(f"values are {image.dtype}; an image holds real numbers")
    whole = image.expand_dims([dim for dim in dims if dim not in given]).transpose(*dims)
    if whole.dtype.kind != "f" or whole.dtype.itemsize == 2:
        whole = whole.astype(np.float32 if whole.dtype.itemsize <= 2 else np.float64)
    valid = np.isfinite(whole.variable)
    if "valid" in image.coords:
        valid = (valid & image.coords["valid"].variable).transpose(*dims)
    whole = whole.assign_coords(band=band_list(whole), valid=valid)
    whole.encoding = image.encoding
    return whole


def grid_coords(grid: GeoBox) -> dict[str, xr.Variable]:
    """Return x and y of pixel centres and the scalar that holds CRS and affine, as odc-geo and rioxarray read them.

    Of a rotated or sheared grid x and y are pixel centres in pixels, for no one-dimensional coordinates exist.

    Parameters
    ----------
    grid
        Any affine, with or without CRS.
    """
    height, width = grid.shape
    affine = grid.affine
    cols, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    if _aligned(affine):
        unit = axis_unit(grid.crs) if grid.crs is not None else "pixel" if affine.is_identity else ""
        x_attrs = {"units": unit, "resolution": affine.a}
        y_attrs = {"units": unit, "resolution": affine.e}
        cols, rows = affine.a * cols + affine.c, affine.e * rows + affine.f
    else:
        x_attrs, y_attrs = {"units": "pixel"}, {"units": "pixel"}
    attrs = {"GeoTransform": " ".join(repr(float(number)) for number in affine.to_gdal())}
    if grid.crs is not None:
        attrs["crs_wkt"] = attrs["spatial_ref"] = grid.crs.to_wkt()
    return {
        "y": xr.Variable("y", rows, y_attrs),
        "x": xr.Variable("x", cols, x_attrs),
        GRID_COORD: xr.Variable((), np.int32(0), attrs),
    }


def axis_unit(crs: CRS) -> str:
    """Return the unit of the axes of a CRS, also of one that odc-geo knows none of: local or geocentric coordinates.

    Parameters
    ----------
    crs
        Of a grid.
    """
    known = crs.geographic or crs.projected
    return str(crs.units[0] if known else crs.proj.axis_info[0].unit_name)


def grid_of(image: xr.DataArray) -> GeoBox:
    """Return the pixel grid of an image, also after slicing, striding or flipping.

    Positions come from the x and y coordinates and are put back on the pixels of the file, so that a crop has
    the affine that the file's implies, without the rounding of coordinates.

    Parameters
    ----------
    image
        With dims y and x. Without coordinates the grid is one of pixels.

    Raises
    ------
    InputError
        No y and x, coordinates that are not evenly spaced, or a CRS that is none.
    """
    missing = {"y", "x"} - {str(dim) for dim in image.dims}
    if missing:
        raise InputError(f"the image has dims {image.dims}; it needs y and x")
    attrs = image.coords[GRID_COORD].attrs if GRID_COORD in image.coords else {}
    whole = _affine_of(attrs.get("GeoTransform"))
    pixels = whole is not None and not _aligned(whole)
    x_start, x_step = _axis(image, "x", whole, pixels=pixels)
    y_start, y_step = _axis(image, "y", whole, pixels=pixels)
    inner = Affine(x_step, 0, x_start, 0, y_step, y_start)
    affine = inner if whole is None else whole if inner.is_identity else compose(whole, inner)
    wkt = attrs.get("spatial_ref") or attrs.get("crs_wkt")
    try:
        return GeoBox((image.sizes["y"], image.sizes["x"]), affine, wkt)
    except Exception as error:
        raise InputError(f"the CRS of the image cannot be read: {error}") from error


def read_window(image: xr.DataArray, rows: slice, cols: slice) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return values, NaN where invalid, and validity of a window, each yours to change.

    Parameters
    ----------
    image
        (band, y, x), or (band, t, z, y, x) of which all planes are read that it has; pixels without a `valid`
        coordinate are valid where finite.
    rows, cols
        In pixels of the image; cut to it.

    Raises
    ------
    InputError
        The file cannot be read there.
    """
    window = image.isel(y=rows, x=cols)
    values = np.array(window.values)
    valid = np.isfinite(values)
    if "valid" in window.coords:
        valid &= window.coords["valid"].values
    values[~valid] = np.nan
    return values, valid


def _aligned(affine: Affine) -> bool:
    return bool(affine.b == 0 and affine.d == 0)


def _affine_of(text: Any) -> Affine | None:
    try:
        affine = Affine.from_gdal(*(float(part) for part in str(text).split()))
    except (TypeError, ValueError):
        return None
    return None if affine.is_degenerate else affine


def _axis(image: xr.DataArray, name: str, whole: Affine | None, *, pixels: bool) -> tuple[float, float]:
    """Start and step of an axis, in pixels of `whole` (in world units if there is none)."""
    if name not in image.coords:
        return 0.0, 1.0
    centres = np.asarray(image.coords[name].values, dtype=np.float64)
    if whole is not None and not pixels:
        unit, start = (whole.a, whole.c) if name == "x" else (whole.e, whole.f)
        centres = (centres - start) / unit
    if not centres.size:
        return 0.0, 1.0
    step = 1.0 if centres.size == 1 else float((centres[-1] - centres[0]) / (centres.size - 1))
    if whole is not None:
        step = _snapped(step, centres.size)
    if centres.size > 2 and np.abs(np.diff(centres) - step).max() > 1e-3 * abs(step):
        raise InputError(f"the {name} coordinates are not evenly spaced: the image has no grid")
    begin = float(centres[0]) - step / 2
    return (_snapped(begin, 1) if whole is not None else begin), step


def _snapped(number: float, count: int) -> float:
    near = round(number * 2) / 2
    return near if abs(number - near) * count < SNAP else number


def band_list(image: xr.DataArray) -> list[str]:
    """Return the band names of an image; bands without names are band_1 ...

    Parameters
    ----------
    image
        (band, y, x).
    """
    if "band" not in image.coords:
        return [f"band_{at + 1}" for at in range(image.sizes["band"])]
    names = image.coords["band"].values
    named = names.dtype.kind in "UO"
    return [str(name) if named else f"band_{name}" for name in names]
