"""NetCDF files and Zarr stores (version 2 or 3) as images, through xarray and by the CF conventions.

The image is the one variable with axes y and x; where there are several, `store.nc#name` says which, `store.nc#B02,B03`
takes some as bands, and `store.nc#group/name` looks into a group. A third axis holds the bands; axes of length one
count for nothing. `scale_factor`, `add_offset` and `_FillValue` or `missing_value` are those of the stored numbers. The
grid comes from `grid_mapping`, from a `spatial_ref` as rioxarray writes it, or from latitude and longitude (WGS 84).
Rows run from north to south, whatever their order in the store.
"""

import os
import re
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import ProjError
from rasterio.windows import Window

from sciddiff.errors import InputError
from sciddiff.io.bands import band_names
from sciddiff.io.image import GRID_COORD, assemble, grid_of
from sciddiff.io.metadata import select_bands
from sciddiff.io.pixels import Pixels, lazy_layers
from sciddiff.io.profile import BandProfile, RasterProfile, RasterWarning, Source
from sciddiff.io.radiometry import value_dtype
from sciddiff.io.raster import units_of

SUFFIXES = (".nc", ".nc4", ".cdf")
ZARR_FILES = ("zarr.json", ".zgroup", ".zmetadata")
SEPARATOR = "#"
BLOCK = (512, 512)
"""Of stores that are not chunked."""
FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError)
"""What xarray and the libraries under it raise for stores that are damaged, or are none."""
CONVENTIONS = ("scale_factor", "add_offset", "_FillValue", "missing_value", "units", "grid_mapping", "_Unsigned")
UNNAMED = "__xarray_dataarray_variable__"
_AXES = {
    "y": re.compile(r"^(y|lat|latitude|northing|projection_y_coordinate|grid_latitude)$", re.IGNORECASE),
    "x": re.compile(r"^(x|lon|longitude|easting|projection_x_coordinate|grid_longitude)$", re.IGNORECASE),
}
_TIME = re.compile(r"^(t|time|date)$", re.IGNORECASE)
_DEGREES = re.compile(r"^degrees?_?(north|east|[NE])$", re.IGNORECASE)


class Plane(NamedTuple):
    """Where a band of the image stands in a store: a variable, and the place on its third axis if it has one."""

    variable: str
    axis: str | None
    place: int


def is_cube(where: str) -> bool:
    """Return whether a local path is a NetCDF file or a Zarr store, with or without `#variable`.

    Parameters
    ----------
    where
        Path.
    """
    path = _split(where)[0]
    if os.path.isdir(path):
        return any(os.path.exists(os.path.join(path, name)) for name in ZARR_FILES)
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


def files_of_cube(where: str) -> list[Path]:
    """Return the files behind a NetCDF file or Zarr store.

    Parameters
    ----------
    where
        Path, with or without `#variable`.
    """
    path = Path(_split(where)[0]).absolute()
    return [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())


def open_cube(where: str, *, bands: Sequence[str | int] | None = None) -> xr.DataArray:
    """Open a NetCDF file or Zarr store as an image, lazily; see `sciddiff.open`.

    Parameters
    ----------
    where
        Path, with `#variable` where it has several.
    bands
        By name or 1-based number; None: all.

    Raises
    ------
    InputError
        Unreadable store, no variable that is an image, several, or a grid that is none.
    """
    path, group, wanted = _split(where)
    path = os.path.abspath(path)
    with _opened(path, group) as data:
        variables = [data[name] for name in _chosen(data, wanted, path)]
        axes = _axes_of(variables, path)
        grid, flipped = _grid(data, variables[0], axes, path)
        planes, every = _planes(variables, axes, path)
        tags = _tags(data.attrs)
        dtype = np.result_type(*(_dtype(variable) for variable in variables))
        block = _block(variables[0], axes)
    names = [band.name for band in every]
    indexes = select_bands(names, bands, range(1, len(names) + 1), None, path)
    profile = RasterProfile(
        dtype=dtype.name,
        bands=tuple(every[index - 1] for index in indexes),
        transform=grid.affine,
        crs_wkt=None if grid.crs is None else str(grid.crs.to_wkt()),
        tags={"": tags} if tags else {},
        block=block,
        source=Source(path, None, None, tuple(indexes), None, grid.affine),
    )
    pixels = _Planes(profile, (grid.shape[0], grid.shape[1]), group, planes=planes, axes=axes, flipped=flipped)
    values, valid = lazy_layers(pixels, pixels.dtype)
    image = assemble(values, valid, grid=grid, bands=profile.names, profile=profile, units=units_of(profile))
    image.name = Path(path).stem
    image.encoding["source"] = where
    return image


class _Planes(Pixels):
    """Reads windows of the variables of a store."""

    def __init__(
        self,
        profile: RasterProfile,
        shape: tuple[int, int],
        group: str,
        *,
        planes: Sequence[Plane],
        axes: tuple[str, str],
        flipped: bool,
    ) -> None:
        source = cast(Source, profile.source)
        try:
            dtype = value_dtype(profile.dtype, profile.radiometry)
        except InputError as error:
            raise InputError(f"{source.path}: {error}") from None
        super().__init__(source, profile, dtype, shape)
        self.group, self.planes, self.axes, self.flipped = group, planes, axes, flipped

    @contextmanager
    def opened(self) -> Iterator[xr.Dataset]:
        with _opened(self.path, self.group) as data:
            for name in {plane.variable for plane in self.planes}:
                found = data.get(name)
                if found is None or tuple(found.sizes.get(axis) for axis in self.axes) != self.shape[1:]:
                    raise InputError(f"{self.path}: has changed since it was opened: {name}; open it again")
            yield data

    def stored(self, src: xr.Dataset, chosen: Sequence[int], window: Window) -> tuple[NDArray[Any], None]:
        planes = [self.planes[self.indexes[at] - 1] for at in chosen]
        first = self.shape[1] - window.row_off - window.height if self.flipped else window.row_off
        rows = slice(first, first + window.height)
        cols = slice(window.col_off, window.col_off + window.width)
        numbers = np.empty((len(planes), window.height, window.width), self.profile.dtype)
        for name in dict.fromkeys(plane.variable for plane in planes):
            places = [at for at, plane in enumerate(planes) if plane.variable == name]
            try:
                numbers[places] = self._part(src[name], [planes[at] for at in places], rows, cols)
            except FAULTS as error:
                at = f"rows {rows.start} to {rows.stop}, columns {cols.start} to {cols.stop}"
                message = f"{self.path}: {name} cannot be read at {at}, truncated or damaged: {error}"
                raise InputError(message) from error
        return numbers[:, ::-1] if self.flipped else numbers, None

    def _part(self, variable: xr.DataArray, planes: Sequence[Plane], rows: slice, cols: slice) -> NDArray[Any]:
        axis, indexes = planes[0].axis, [plane.place for plane in planes]
        run = slice(indexes[0], indexes[-1] + 1)
        third: dict[Hashable, Any] = {} if axis is None else {axis: run if run == _run(indexes) else indexes}
        single = {dim: 0 for dim in variable.dims if dim not in {*self.axes, axis}}
        part = variable.isel({**single, **third, self.axes[0]: rows, self.axes[1]: cols})
        return part.transpose(*third, *self.axes).values.astype(self.profile.dtype, copy=False)


def _run(indexes: Sequence[int]) -> slice | None:
    """The slice that indexes are, if they are one."""
    start = indexes[0]
    return slice(start, start + len(indexes)) if list(indexes) == list(range(start, start + len(indexes))) else None


def _split(where: str) -> tuple[str, str, list[str]]:
    """Path, group and variables."""
    if os.path.exists(where) or SEPARATOR not in where:
        return where, "", []
    path, _, inside = where.rpartition(SEPARATOR)
    group, _, names = inside.rpartition("/")
    return path, group, names.split(",")


@contextmanager
def _opened(path: str, group: str) -> Iterator[xr.Dataset]:
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if os.path.isdir(path) else {}
    try:
        data = xr.open_dataset(
            path, group=group or None, mask_and_scale=False, decode_times=False, cache=False, **options
        )
    except FAULTS as error:
        inside = f", group {group}," if group else ""
        raise InputError(f"{path}:{inside} cannot be opened by xarray: {error}") from error
    with data:
        yield data


def _chosen(data: xr.Dataset, wanted: Sequence[str], path: str) -> list[str]:
    """Names of the variables that make the image."""
    images = [str(name) for name, item in data.data_vars.items() if _axes(item) and item.dtype.kind in "iuf"]
    listed = ", ".join(f"{name} {dict(data[name].sizes)}" for name in images)
    missing = [name for name in wanted if name not in images]
    if missing:
        raise InputError(
            f"{path}: {', '.join(missing)} is no variable with axes y and x; there are: {listed or 'none'}"
        )
    if wanted:
        return list(wanted)
    if not images:
        others = ", ".join(map(str, data.variables)) or "nothing"
        message = f"{path}: no variable with axes y and x among {others}; one in a group is {path}#group/variable"
        raise InputError(message)
    if len(images) > 1:
        several = ",".join(images[:2])
        message = f"{path}: several variables are images: {listed}; say which: {path}#{images[0]} or {path}#{several}"
        raise InputError(message)
    return images


def _axes(variable: xr.DataArray) -> tuple[str, str] | None:
    """Names of the y and x axes of a variable: by their own names, or by what their coordinates say."""
    found: dict[str, str] = {}
    for dim in variable.dims:
        attrs = variable.coords[dim].attrs if dim in variable.coords else {}
        for axis, pattern in _AXES.items():
            spoken = (str(dim), str(attrs.get("standard_name", "")))
            if any(pattern.match(word) for word in spoken) or str(attrs.get("axis", "")).lower() == axis:
                found.setdefault(axis, str(dim))
    return (found["y"], found["x"]) if len(found) == 2 else None


def _axes_of(variables: Sequence[xr.DataArray], path: str) -> tuple[str, str]:
    """Axes that all variables share."""
    every = {variable.name: _axes(variable) for variable in variables}
    if len(set(every.values())) > 1:
        listed = ", ".join(f"{name} on {axes}" for name, axes in every.items())
        raise InputError(f"{path}: {listed}: variables of one image are on the same axes")
    return cast(tuple[str, str], every[variables[0].name])


def _planes(
    variables: Sequence[xr.DataArray], axes: tuple[str, str], path: str
) -> tuple[list[Plane], list[BandProfile]]:
    """Bands in the order of the store, and their profiles."""
    planes, described = [], []
    for variable in variables:
        third = [str(dim) for dim in variable.dims if dim not in axes and variable.sizes[dim] > 1]
        times = [dim for dim in third if _is_time(variable, dim)]
        if len(third) > 1 or times:
            message = f"{path}: {variable.name} has axes {dict(variable.sizes)}; an image has y, x and one of bands"
            raise InputError(f"{message}: write one {times[0] if times else 'slice'} to a store of its own")
        axis = third[0] if third else None
        labels = _labels(variable, axis)
        planes += [Plane(str(variable.name), axis, index) for index in range(len(labels))]
        described += [_described(variable, label) for label in labels]
    spoken = [band.description for band in described]
    names = band_names(spoken, tagged=[None] * len(spoken), colours=["undefined"] * len(spoken))
    return planes, [replace(band, name=name) for band, name in zip(described, names, strict=True)]


def _is_time(variable: xr.DataArray, dim: str) -> bool:
    units = variable.coords[dim].attrs.get("units", "") if dim in variable.coords else ""
    return bool(_TIME.match(dim)) or " since " in str(units)


def _labels(variable: xr.DataArray, axis: str | None) -> list[str | None]:
    """Names of bands: of the variable, of its long_name if it has one a band (rioxarray), or on its third axis."""
    if axis is None:
        return [None if variable.name == UNNAMED else str(variable.name)]
    count = variable.sizes[axis]
    spoken = variable.attrs.get("long_name")
    if not isinstance(spoken, str) and spoken is not None and len(spoken) == count:
        return [str(text) for text in spoken]
    known = variable.coords[axis].values if axis in variable.coords else np.arange(count)
    if known.dtype.kind == "f":
        return [f"{number:g}" for number in known]
    return [None] * count if known.dtype.kind in "iu" else [str(text) for text in known]


def _described(variable: xr.DataArray, name: str | None) -> BandProfile:
    attrs = variable.attrs
    empty = [attrs[key] for key in ("_FillValue", "missing_value") if key in attrs and np.size(attrs[key]) == 1]
    kind = _dtype(variable)
    nodata = [np.asarray(number).reshape(()).astype(variable.dtype).astype(kind).item() for number in empty]
    if len(nodata) == 2 and repr(nodata[0]) != repr(nodata[1]):
        message = f"{variable.name}: missing_value {nodata[1]} is taken as a value, for _FillValue is {nodata[0]}"
        warnings.warn(message, RasterWarning, stacklevel=2)
    tags = _tags({key: value for key, value in attrs.items() if key not in CONVENTIONS})
    return BandProfile(
        name or "",
        description=name,
        nodata=nodata[0] if nodata else None,
        scale=float(attrs.get("scale_factor", 1)),
        offset=float(attrs.get("add_offset", 0)),
        units=None if attrs.get("units") is None else str(attrs["units"]),
        tags={"": tags} if tags else {},
    )


def _tags(attrs: Mapping[Any, Any]) -> dict[str, str]:
    return {str(key): str(value.tolist() if hasattr(value, "tolist") else value) for key, value in attrs.items()}


def _dtype(variable: xr.DataArray) -> np.dtype[Any]:
    """Type of the stored numbers: rasters have no half floats, and old NetCDF says apart that bytes have no sign."""
    if variable.dtype.kind == "i" and str(variable.attrs.get("_Unsigned", "")).lower() == "true":
        return np.dtype(f"u{variable.dtype.name}")
    return np.dtype("float32" if variable.dtype.name == "float16" else variable.dtype.name)


def _block(variable: xr.DataArray, axes: tuple[str, str]) -> tuple[int, int]:
    """Chunk of the store along y and x."""
    sizes = variable.encoding.get("preferred_chunks") or {}
    return sizes.get(axes[0], BLOCK[0]), sizes.get(axes[1], BLOCK[1])


def _grid(data: xr.Dataset, variable: xr.DataArray, axes: tuple[str, str], path: str) -> tuple[GeoBox, bool]:
    """Pixel grid, and whether the rows of the store run from south to north."""
    attrs = _mapping(data, variable)
    coords = {axis: ("yx"[at], data[axis].values) for at, axis in enumerate(axes) if axis in data.coords}
    crs = _crs(attrs, path) or _degrees(data, axes)
    odd = [axis for axis in coords if str(data[axis].attrs.get("units", "")) in {"km", "rad", "radian"}]
    if odd and crs is not None:
        units = ", ".join(f"{axis} is in {data[axis].attrs['units']}" for axis in odd)
        raise InputError(f"{path}: {units}; the coordinates of a grid are in units of its CRS: convert them")
    placed = {"yx"[axes.index(axis)]: xr.Variable(*known) for axis, known in coords.items()}
    told = {key: attrs[key] for key in ("GeoTransform",) if key in attrs} | ({"crs_wkt": crs} if crs else {})
    height, width = (variable.sizes[axis] for axis in axes)
    blank = xr.DataArray(
        np.broadcast_to(np.False_, (height, width)), dims=("y", "x"), coords={**placed, GRID_COORD: ((), 0, told)}
    )
    try:
        grid = grid_of(blank)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    affine = grid.affine
    if crs is None or affine.b or affine.d or affine.e < 0:
        return grid, False
    return GeoBox(grid.shape, Affine(affine.a, 0, affine.c, 0, -affine.e, affine.f + affine.e * height), grid.crs), True


def _mapping(data: xr.Dataset, variable: xr.DataArray) -> Mapping[Any, Any]:
    """Attributes of the variable that says the CRS."""
    named = str(variable.attrs.get("grid_mapping", GRID_COORD)).partition(":")[0].strip()
    return next((data.variables[name].attrs for name in (named, GRID_COORD) if name in data.variables), {})


def _crs(attrs: Mapping[Any, Any], path: str) -> str | None:
    if not attrs.keys() & {"crs_wkt", "spatial_ref", "grid_mapping_name"}:
        return None
    try:
        return str(CRS.from_cf(dict(attrs)).to_wkt())
    except (ProjError, KeyError, ValueError) as error:
        raise InputError(f"{path}: the CRS of its grid_mapping cannot be read: {error}") from error


def _degrees(data: xr.Dataset, axes: tuple[str, str]) -> str | None:
    """Latitude and longitude without a datum are taken as WGS 84."""
    units = [str(data[axis].attrs.get("units", "")) if axis in data.coords else "" for axis in axes]
    return str(CRS.from_epsg(4326).to_wkt()) if all(_DEGREES.match(unit) for unit in units) else None
