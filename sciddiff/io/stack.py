"""Microscopy stacks as images, lazily: TIFF, ImageJ hyperstacks, OME-TIFF and OME-Zarr.

A stack is an image with the dims (band, t, z, y, x) where it has several planes in time or depth, else (band, y, x);
its bands are the channels.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff.errors import InputError
from sciddiff.io.image import DIMS, STACK_DIMS, assemble
from sciddiff.io.metadata import select_bands
from sciddiff.io.pixels import Pixels, lazy_layers
from sciddiff.io.profile import RasterProfile, RasterWarning, Source, plain_profile
from sciddiff.io.radiometry import value_dtype
from sciddiff.io.stack_files import (
    FAULTS,
    GEOREFERENCES,
    extent,
    images_of,
    profile_of,
    read_stack_window,
    settled_axes,
)
from sciddiff.io.stack_profile import StackProfile

PLANES = 8
SIDE = 1024
"""Saturation is looked for in about this many planes of a channel, in the middle of each."""
SATURATED = 1e-3
"""Share of saturated pixels from which on it is worth a warning."""


def open_stack(
    path: str | os.PathLike[str], *, bands: Sequence[str | int] | None = None, axes: str | None = None
) -> xr.DataArray:
    """Open a microscopy file as an image, lazily; see `sciddiff.open`.

    Parameters
    ----------
    path
        A TIFF or the folder of an OME-Zarr.
    bands
        Channels by name or 1-based number; None: all.
    axes
        Letters of TCZYX, slowest first, where the file does not say what its axes are.

    Returns
    -------
    xarray.DataArray
        As `sciddiff.open` gives it. Coordinates z (micrometres) and t (seconds) where the file says them. The affine of
        the grid is the pixel size in micrometres, without CRS, or the identity where that is not known.
        `encoding["stack"]` has what the file says (`StackProfile`), `encoding["raster"]` how its pixels are stored.

    Raises
    ------
    InputError
        Missing, truncated or damaged file, axes that are not known, RGB, or complex pixels.
    """
    file = str(Path(path).absolute())
    if axes is not None:
        _refuse_georeferenced(file)
    letters = settled_axes(file, axes)
    shape, stack = extent(file, letters), profile_of(file, letters)
    if np.dtype(stack.dtype).kind not in "biuf":
        raise InputError(f"{file}: pixels are {stack.dtype}; write amplitude or phase as real planes")
    if not all(shape):
        raise InputError(f"{file}: is empty: {letters} {shape}")
    images = images_of(file)
    if len(images) > 1:
        warnings.warn(f"{file}: has {len(images)} images; the first is read", RasterWarning, stacklevel=2)
    chosen = select_bands(list(stack.names), bands, range(1, shape[1] + 1), None, file)
    stack = stack.select([stack.names[index - 1] for index in chosen])
    grid = GeoBox(shape[3:], _affine(stack), None)
    source = Source(file, None, None, tuple(chosen), None, grid.affine)
    pixels = _Planes(source, stack, shape, letters)
    values, valid = lazy_layers(pixels, pixels.dtype)
    image = assemble(values, valid, grid=grid, bands=stack.names, profile=pixels.profile, dims=pixels.dims)
    image = image.assign_coords(_depth_and_time(stack, shape)) if pixels.dims == STACK_DIMS else image
    image.encoding |= {"raster": pixels.profile, "stack": stack, "source": file, "grid_mapping": "spatial_ref"}
    image.name = Path(file).name.partition(".")[0] or None
    return image


def _refuse_georeferenced(file: str) -> None:
    import tifffile

    if not os.path.isfile(file):
        return
    try:
        with tifffile.TiffFile(file) as tiff:
            placed = any(name in tiff.pages.first.tags for name in GEOREFERENCES)
    except FAULTS:  # who opens it says why
        return
    if placed:
        raise InputError(f"{file}: is a georeferenced raster, whose axes are known; leave axes out")


def _affine(stack: StackProfile) -> Affine:
    x, y = stack.pixel_size.x, stack.pixel_size.y
    return Affine.identity() if x is None or y is None else Affine.scale(x, y)


def _depth_and_time(stack: StackProfile, shape: Sequence[int]) -> dict[str, xr.Variable]:
    coords = {}
    if stack.pixel_size.z is not None:
        coords["z"] = xr.Variable("z", np.arange(shape[2]) * stack.pixel_size.z, {"units": "micrometer"})
    if stack.times:
        coords["t"] = xr.Variable("t", np.array(stack.times), {"units": "s"})
    elif stack.time_increment:
        coords["t"] = xr.Variable("t", np.arange(shape[0]) * stack.time_increment, {"units": "s"})
    return coords


class _Planes(Pixels):
    """Windows of a stack as values and validity; in pickles there is the path."""

    def __init__(self, source: Source, stack: StackProfile, extent: tuple[int, int, int, int, int], axes: str) -> None:
        frames, _, depth, height, width = extent
        profile = _raster_profile(stack, source)
        super().__init__(source, profile, value_dtype(profile.dtype, profile.radiometry), (height, width))
        self.axes, self.extent = axes, extent
        self.dims = STACK_DIMS if frames > 1 or depth > 1 else DIMS
        if self.dims == STACK_DIMS:
            self.shape = (len(source.indexes), frames, depth, height, width)

    def take(self, key: tuple[slice, ...], layer: int) -> NDArray[Any]:
        """Layer 0 or 1, values or validity, of a window; integers are valid without being read."""
        if layer == 1 and np.dtype(self.profile.dtype).kind != "f":
            return np.ones([len(range(*part.indices(size))) for part, size in zip(key, self.shape, strict=True)], bool)
        return super().take(key, layer)

    def _read(self, key: tuple[slice, ...]) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        ranges = [range(*part.indices(size)) for part, size in zip(key, self.shape, strict=True)]
        planes = ranges[1:-2] or [range(1), range(1)]
        values = np.empty([len(part) for part in (ranges[0], *planes, *ranges[-2:])], self.dtype)
        if values.size:
            self._fill(values, ranges[0], planes, ranges[-2:])
        valid = np.isfinite(values)
        values[~valid] = np.nan
        shape = [len(part) for part in ranges]
        return values.reshape(shape), valid.reshape(shape)

    def _fill(
        self, values: NDArray[np.floating], bands: range, planes: Sequence[range], lines: Sequence[range]
    ) -> None:
        if extent(self.path, self.axes) != self.extent:
            raise InputError(f"{self.path}: has changed since it was opened; open it again")
        rows, cols = (slice(part[0], part[-1] + 1) for part in lines)
        thin = tuple(slice(None, None, part.step) for part in lines)
        runs = product(enumerate(bands), *(_runs(part) for part in planes))
        for (at, band), (frames, t), (levels, z) in runs:
            stored = read_stack_window(self.path, t, self.indexes[band] - 1, z, rows, cols, axes=self.axes)
            values[at, frames, levels] = stored[:, :, *thin]


def _raster_profile(stack: StackProfile, source: Source) -> RasterProfile:
    from dataclasses import replace

    return replace(plain_profile(stack.names, dtype=stack.dtype), transform=source.transform, source=source)


def _runs(part: range) -> Iterator[tuple[slice, slice]]:
    """Where neighbours go, and where they stand: all at once, or one by one where some are left out."""
    if part.step == 1:
        yield slice(0, len(part)), slice(part.start, part.stop)
        return
    for at, place in enumerate(part):
        yield slice(at, at + 1), slice(place, place + 1)


def saturated_share(image: xr.DataArray) -> float:
    """Return the share of pixels at the largest number of their type, of the channel that has most of them.

    Parameters
    ----------
    image
        As `sciddiff.open` gives it, of integers; of a stack some planes are read, of each its middle. 0 for floats.
    """
    stack, raster = image.encoding.get("stack"), image.encoding.get("raster")
    largest = stack.largest if isinstance(stack, StackProfile) else _largest(raster)
    if largest is None:
        return 0.0
    spans = {str(dim): _middle(image.sizes[dim]) for dim in ("y", "x")}
    shares = np.zeros(image.sizes["band"])
    places = list(_some_planes(image))
    for place in places:
        values = image.isel({**spans, **place}).values.reshape(len(shares), -1)
        shares += (values >= largest).mean(1) / len(places)
    return float(shares.max())


def warn_saturated(image: xr.DataArray) -> float:
    """Warn if more than 0.1 % of the pixels of a channel are saturated; return the share.

    Parameters
    ----------
    image
        See `saturated_share`.
    """
    share = saturated_share(image)
    if share > SATURATED:
        where = image.encoding.get("source", "the image")
        message = f"{where}: {share:.1%} of the pixels of a channel are saturated: what was brighter cannot be restored"
        warnings.warn(message, RasterWarning, stacklevel=2)
    return share


def _largest(profile: Any) -> int | None:
    if not isinstance(profile, RasterProfile) or np.dtype(profile.dtype).kind not in "iu":
        return None
    return np.iinfo(profile.dtype).max


def _middle(size: int) -> slice:
    start = max(0, (size - SIDE) // 2)
    return slice(start, min(size, start + SIDE))


def _some_planes(image: xr.DataArray) -> Iterator[dict[str, int]]:
    """Evenly spread planes."""
    sizes = {str(dim): image.sizes[dim] for dim in ("t", "z") if dim in image.dims}
    count = int(np.prod([*sizes.values(), 1]))
    for number in np.unique(np.linspace(0, count - 1, min(PLANES, count)).round().astype(int)):
        places = np.unravel_index(int(number), tuple(sizes.values())) if sizes else ()
        yield {dim: int(at) for dim, at in zip(sizes, places, strict=True)}
