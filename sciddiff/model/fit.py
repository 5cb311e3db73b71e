"""Whether images fit a model: bands, pixel size, kind of value, grids; both sides named where they do not."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.io.align import aligned, refuse_apart
from sciddiff.io.image import grid_coords
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Input, Task
from sciddiff.tasks.base import CHANGED, NEIGHBOUR

METRES_PER_DEGREE = 111_320.0
"""Of latitude, on the mean sphere."""
MOST_DRIFT = 0.1
"""Target pixels by which two grids may come apart from one end of the image to the other."""


@dataclass(frozen=True)
class Fitted:
    """Images laid out for a model.

    Attributes
    ----------
    image
        The main one, reduced to the model's bands in the file's own order.
    positions
        The model's position of each of these bands.
    grid
        The target grid.
    offset
        Target pixels (row, column) from the main image's first corner to that of the target grid.
    others
        The other inputs by name, on the target grid, in the order given.
    own_bands
        Bands of the result where they are not the main image's: it says another quantity.
    own_positions
        The model's position of each of these; all of them in the model's order where not given.
    neighbours
        The axis of a stack along which a plane sees others, and how many on each side.
    """

    image: xr.DataArray
    positions: tuple[int, ...]
    grid: GeoBox
    offset: tuple[float, float] = (0.0, 0.0)
    others: Mapping[str, tuple["Fitted | None", ...]] = field(default_factory=dict)
    own_bands: tuple[str, ...] = ()
    own_positions: tuple[int, ...] = ()
    neighbours: tuple[str, int] | None = None

    def frame(self, number: int) -> "Fitted":
        """The images of one plane of a stack, those next to it as the input `neighbour`; itself where it is no stack.

        Parameters
        ----------
        number
            Of the plane: those of all times, one after the other.
        """
        if not is_stack(self.image):
            return self
        t, z = divmod(number, self.image.sizes["z"])
        others = {name: tuple(each and each.frame(number) for each in given) for name, given in self.others.items()}
        if self.neighbours is not None:
            others[NEIGHBOUR] = tuple(self._neighbours(t, z))
        return replace(self, image=self.image.isel(t=t, z=z), others=others, neighbours=None)

    def _neighbours(self, t: int, z: int) -> Iterator["Fitted | None"]:
        along, reach = self.neighbours or ("z", 0)
        for step in (n for n in range(-reach, reach + 1) if n):
            place = {"t": t, "z": z}
            place[along] += step
            there = 0 <= place[along] < self.image.sizes[along]
            yield replace(self, image=self.image.isel(place), others={}, neighbours=None) if there else None

    @property
    def results(self) -> tuple[int, ...]:
        """The model's position of each band of the result."""
        return self.own_positions or tuple(range(len(self.own_bands))) or self.positions

    @property
    def result_bands(self) -> tuple[str, ...]:
        """Names of the result's bands."""
        return self.own_bands or tuple(str(name) for name in self.image.band.values)

    @property
    def changed(self) -> "Fitted | None":
        """The image that is to be changed rather than made, where there is one."""
        return next((each for each in self.others.get(CHANGED, ()) if each is not None), None)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the result: that of the main image, or one that holds the pixels of a changed image, too."""
        own: np.dtype[np.floating] = self.image.dtype
        return own if self.changed is None else np.result_type(own, self.changed.image.dtype)


def of_any_size(recipe: Recipe) -> Recipe:
    """A recipe whose task takes pixels of any size: those of a simulated image are what they are.

    Parameters
    ----------
    recipe
        Of a model.
    """
    return recipe.model_copy(update={"task": recipe.task.model_copy(update={"pixel_size": None})})


def is_stack(image: xr.DataArray) -> bool:
    """Whether an image has times and planes."""
    return "z" in image.dims


def planes_of(image: xr.DataArray) -> Iterator[xr.DataArray]:
    """The planes of a stack, time by time, each (band, y, x); of an image itself."""
    if not is_stack(image):
        yield image
        return
    for t in range(image.sizes["t"]):
        for z in range(image.sizes["z"]):
            yield image.isel(t=t, z=z)


def pixel_size(image: xr.DataArray) -> float | None:
    """Geometric mean of the pixel's sides in metres; None where neither a coordinate system nor a microscope tells."""
    grid = io.grid_of(image)
    side = math.sqrt(abs(grid.affine.determinant))
    if grid.crs is None:
        stack = image.encoding.get("stack")
        return side * 1e-6 if stack is not None and stack.calibrated else None
    if not grid.crs.geographic:
        return side * grid.crs.proj.axis_info[0].unit_conversion_factor
    latitude = (grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2))[1]
    return side * METRES_PER_DEGREE * math.sqrt(max(math.cos(math.radians(latitude)), 1e-3))


def describe(image: xr.DataArray) -> str:
    """Such as "B02, B03 at 10 m", "3 unnamed bands at 0.5 m" or "DAPI at 0.25 µm"."""
    bands = io.describe_bands([str(name) for name in image.band.values])
    size = pixel_size(image)
    return bands if size is None else f"{bands} at {_length(size)}"


def _length(metres: float) -> str:
    return f"{metres:.4g} m" if metres >= 1e-3 else f"{1e6 * metres:.4g} µm"


def wanted(recipe: Recipe) -> str:
    """The model's side of the comparison."""
    bands = ", ".join(recipe.bands)
    limits = recipe.task.pixel_size
    return bands if limits is None else f"{bands} at {_length(limits[0])} to {_length(limits[1])}"


def fit_all(
    recipe: Recipe, task: Task, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]] | None = None
) -> Fitted:
    """Lay the images that are given out for a task, on one target grid.

    Parameters
    ----------
    recipe
        The model's.
    task
        Its task.
    image
        The main image.
    others
        The other inputs by name.

    Raises
    ------
    InputError
        See `fit`; or an input that is missing, or lies elsewhere.
    OptionError
        An input that the task does not take.
    """
    others = others or {}
    if task.inputs[0].is_labels:
        main = fit_labels(recipe, image, task.inputs[0])
    else:
        main = fit(recipe, image, categorical=task.categorical, channelwise=task.channelwise)
    _refuse_unasked(recipe, task, others)
    ratio = task.inputs[0].ratio
    finer = main.grid if ratio == 1 else main.grid.zoom_to((main.grid.shape[0] * ratio, main.grid.shape[1] * ratio))
    guide = next((spec for spec in task.inputs[1:] if spec.sets_grid), None)
    if guide is None:
        grid, offset = finer, (0.0, 0.0)
    else:
        grid = io.grid_of(others[guide.name][0])
        offset = _offset(finer, grid, guide.name)
    if task.generative and others.get(CHANGED):
        _refuse_other_pixels(image, others[CHANGED][0])
    laid = {
        spec.name: tuple(_fit_other(recipe, spec, each, grid) for each in others[spec.name])
        for spec in task.inputs[1:]
        if spec.name in others
    }
    same_quantity = task.bands == task.inputs[0].bands and not task.inputs[0].is_labels
    own_bands = () if task.channelwise or same_quantity else task.bands
    neighbours = task.neighbours if is_stack(image) else None
    fitted = replace(main, grid=grid, offset=offset, others=laid, own_bands=own_bands, neighbours=neighbours)
    if (changed := fitted.changed) is not None:
        fitted = replace(fitted, own_bands=changed.result_bands, own_positions=changed.positions)
    task.check(fitted.image, {name: [each.image for each in given] for name, given in laid.items()})
    return fitted


def _refuse_unasked(recipe: Recipe, task: Task, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
    known = {spec.name: spec for spec in task.inputs[1:]}
    unknown = [name for name in others if name not in known]
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "it takes none beside its main image"
        raise OptionError(f"{recipe.name} knows no input {', '.join(unknown)}; {takes}")
    for name, spec in known.items():
        count = len(others.get(name, ()))
        if spec.required and not count:
            raise InputError(f"{recipe.name} needs another input: -i {name}=PATH ({', '.join(spec.bands)})")
        if count > spec.most:
            raise OptionError(f"{count} images are given as {name}; {recipe.name} takes {spec.most} at most")


def _refuse_other_pixels(mask: xr.DataArray, image: xr.DataArray) -> None:
    """Raise unless an image that is to be changed has just the pixels of its mask."""
    one, other = io.grid_of(mask), io.grid_of(image)
    planes = [tuple(each.sizes.get(axis, 1) for axis in "tz") for each in (mask, image)]
    alike = one.shape == other.shape and one.crs == other.crs and one.affine.almost_equals(other.affine, 1e-6)
    if not alike or is_stack(mask) != is_stack(image) or planes[0] != planes[1]:
        told = [
            f"{dict(each.sizes)} from {tuple(round(number, 6) for number in grid.affine[:6])}"
            for each, grid in ((mask, one), (image, other))
        ]
        raise InputError(f"the image that is to be changed has other pixels than its mask: {told[1]}, mask {told[0]}")


def _offset(finer: GeoBox, grid: GeoBox, name: str) -> tuple[float, float]:
    """Where a target grid begins on the main image's own refined grid, in its pixels."""
    refuse_apart(finer, grid)
    across = ~finer.affine * grid.affine
    told = f"{name} has pixels of {grid.resolution.x:g} x {grid.resolution.y:g}, the image makes some of "
    told += f"{finer.resolution.x:g} x {finer.resolution.y:g}"
    if finer.crs != grid.crs:
        raise InputError(f"{name} is in another coordinate reference system than the image: warp one of them first")
    drift = max(abs(across.a - 1), abs(across.e - 1), abs(across.b), abs(across.d)) * max(grid.shape)
    if drift > MOST_DRIFT:
        raise InputError(
            f"{told} for this model: the ratio of the grids is not the model's whole number, or one is turned"
        )
    return round(across.f, 6), round(across.c, 6)


def _laid(mask: xr.DataArray, grid: GeoBox, name: str) -> xr.DataArray:
    """A mask of a file that says nothing of where it lies on the pixels of an image, whatever their size is.

    Raises
    ------
    InputError
        It has more or fewer.
    """
    own = io.grid_of(mask)
    part = not grid.affine.is_identity and grid.affine.a == grid.affine.e == 1  # of an image that says nothing, either
    if own.crs is not None or grid.crs is not None or part or not own.affine.is_identity:
        return mask
    if own.shape != grid.shape:
        told = [f"{shape[0]} x {shape[1]}" for shape in (own.shape, grid.shape)]
        raise InputError(
            f"{name} has {told[0]} pixels, the image {told[1]}, and does not say where among these it lies"
        )
    return mask.assign_coords(grid_coords(grid))


def _fit_other(recipe: Recipe, spec: Input, image: xr.DataArray, grid: GeoBox) -> Fitted:
    names = [str(name) for name in image.band.values]
    if spec.is_mask:
        if len(names) != 1:
            raise InputError(f"{spec.name} has {len(names)} bands, expected one: zero where clear")
        return Fitted(aligned(_laid(image, grid, spec.name), grid, resampling="nearest"), (0,), grid)
    if len(spec.bands) == len(names) == 1:
        return Fitted(aligned(image, grid), (0,), grid)
    if _in_order(spec.bands, names, whose=f"the input {spec.name}"):
        return Fitted(aligned(image, grid), tuple(range(len(names))), grid)
    found: list[tuple[int, int]] = []
    for position, band in enumerate(spec.bands):
        try:
            found.append((io.match_bands([band], names, sensor=recipe.task.sensor)[0], position))
        except InputError as error:
            if band not in recipe.optional_bands:
                wants = ", ".join(spec.bands)
                raise InputError(f"{spec.name} needs {wants}; got {describe(image)} ({error})") from error
    found.sort()
    image = image.isel(band=[index for index, _ in found])
    return Fitted(aligned(image, grid), tuple(position for _, position in found), grid)


def fit(recipe: Recipe, image: xr.DataArray, *, categorical: bool = False, channelwise: bool = False) -> Fitted:
    """Choose the model's bands of an image.

    Parameters
    ----------
    recipe
        The model's.
    image
        (band, y, x), as `io.open` gives it.
    categorical
        Whether class images may pass.
    channelwise
        Whether the model takes each channel for itself, whatever its name.

    Raises
    ------
    InputError
        Where a band is missing, the pixel size is out of the model's range (or a microscope's file does not say it), or
        the values are classes.
    """
    profile = image.encoding.get("raster")
    if profile is not None and any(band.colormap for band in profile.bands) and not categorical:
        raise InputError("the image is a palette: its values are classes, not measurements; expand it to RGB first")
    names = [str(name) for name in image.band.values]
    indices = list(range(len(names))) if channelwise else _match(recipe, image, names)
    _refuse_size(recipe, image)
    pairs = sorted((index, position) for position, index in enumerate(indices) if index is not None)
    chosen = [index for index, _ in pairs]
    dropped = [name for index, name in enumerate(names) if index not in chosen]
    if dropped:
        warnings.warn(f"bands that the model does not know are left out: {', '.join(dropped)}", stacklevel=2)
    if chosen != list(range(len(names))):
        image = image.isel(band=chosen)
    return Fitted(image, tuple(position for _, position in pairs), io.grid_of(image))


def fit_labels(recipe: Recipe, image: xr.DataArray, spec: Input) -> Fitted:
    """Take a mask as the main image: it has as many bands as the model's labels, whatever their names.

    Parameters
    ----------
    recipe
        The model's.
    image
        (band, [t, z,] y, x).
    spec
        The task's main input.

    Raises
    ------
    InputError
        It has another number of bands, or pixels of a size that the model is not for.
    """
    if len(image.band) != len(spec.bands):
        names = [str(name) for name in image.band.values]
        coloured = names[:3] == ["red", "green", "blue"]
        raise InputError(
            f"the mask has {len(names)} bands ({io.describe_bands(names)}); {recipe.name} needs {len(spec.bands)}: "
            f"{', '.join(spec.bands)}{'; labels are numbers, save them as such, not as colours' if coloured else ''}"
        )
    _refuse_size(recipe, image)
    if image.dtype.kind != "f":  # an array of integers that came from no file
        told = image.encoding
        image = image.astype(np.float32 if image.dtype.itemsize <= 2 else np.float64)
        image.encoding = told
    return Fitted(image, tuple(range(len(spec.bands))), io.grid_of(image))


def _refuse_size(recipe: Recipe, image: xr.DataArray) -> None:
    """Raise unless the pixels are of the size that the model is for; a raster without a coordinate system may pass."""
    limits, size = recipe.task.pixel_size, pixel_size(image)
    if limits is None:
        return
    if size is None and "stack" in image.encoding:
        raise InputError(
            f"the model needs {wanted(recipe)}; got {describe(image)} of a size that the file does not say: "
            "state it there, in ImageJ under Image > Properties"
        )
    if size is not None and not limits[0] * 0.99 <= size <= limits[1] * 1.01:
        raise InputError(f"the model needs {wanted(recipe)}; got {describe(image)}")


def _in_order(bands: Sequence[str], names: list[str], *, whose: str) -> bool:
    """Whether a file names no band and has as many as are wanted; a warning says that they are taken in order."""
    if "unnamed" not in io.describe_bands(names) or len(names) != len(bands):
        return False
    told = f"{whose} does not name its bands; they are taken as {', '.join(bands)}, in this order"
    warnings.warn(told, stacklevel=4)
    return True


def _match(recipe: Recipe, image: xr.DataArray, names: list[str]) -> list[int | None]:
    if _in_order(recipe.bands, names, whose="the image"):
        return list(range(len(names)))
    required = [band for band in recipe.bands if band not in recipe.optional_bands]
    try:
        found = dict(zip(required, io.match_bands(required, names, sensor=recipe.task.sensor), strict=True))
    except InputError as error:
        said = str(error).removeprefix(f"needs {', '.join(required)}; got {io.describe_bands(names)}").strip(" ()")
        more = f" ({said})" if said else ""
        raise InputError(f"the model needs {wanted(recipe)}; got {describe(image)}{more}") from error
    for band in recipe.optional_bands:
        try:
            found[band] = io.match_bands([band], names, sensor=recipe.task.sensor)[0]
        except InputError:
            continue
    return [found.get(band) for band in recipe.bands]
