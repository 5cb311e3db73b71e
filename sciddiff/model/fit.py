"""Whether an image fits a model: bands, pixel size, kind of value; both sides named where it does not."""

import math
import warnings
from dataclasses import dataclass

import xarray as xr

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.recipe.schema import Recipe

METRES_PER_DEGREE = 111_320.0
"""Of latitude, on the mean sphere."""


@dataclass(frozen=True)
class Fitted:
    """An image reduced to the model's bands in the file's own order, and the model's position of each."""

    image: xr.DataArray
    positions: tuple[int, ...]


def pixel_size(image: xr.DataArray) -> float | None:
    """Geometric mean of the pixel's sides in metres; None without a coordinate system to tell."""
    grid = io.grid_of(image)
    if grid.crs is None:
        return None
    side = math.sqrt(abs(grid.affine.determinant))
    if not grid.crs.geographic:
        return side * grid.crs.proj.axis_info[0].unit_conversion_factor
    latitude = (grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2))[1]
    return side * METRES_PER_DEGREE * math.sqrt(max(math.cos(math.radians(latitude)), 1e-3))


def describe(image: xr.DataArray) -> str:
    """Such as "B02, B03 at 10 m" or "3 unnamed bands at 0.5 m"."""
    bands = io.describe_bands([str(name) for name in image.band.values])
    size = pixel_size(image)
    return bands if size is None else f"{bands} at {size:.4g} m"


def wanted(recipe: Recipe) -> str:
    """The model's side of the comparison."""
    bands = ", ".join(recipe.bands)
    limits = recipe.task.pixel_size
    return bands if limits is None else f"{bands} at {limits[0]:g} to {limits[1]:g} m"


def fit(recipe: Recipe, image: xr.DataArray, *, categorical: bool = False) -> Fitted:
    """Choose the model's bands of an image.

    Parameters
    ----------
    recipe
        The model's.
    image
        (band, y, x), as `io.open` gives it.
    categorical
        Whether class images may pass.

    Raises
    ------
    InputError
        Where a band is missing, the pixel size is out of the model's range, or the values are classes.
    """
    profile = image.encoding.get("raster")
    if profile is not None and any(band.colormap for band in profile.bands) and not categorical:
        raise InputError("the image is a palette: its values are classes, not measurements; expand it to RGB first")
    names = [str(name) for name in image.band.values]
    indices = _match(recipe, image, names)
    limits, size = recipe.task.pixel_size, pixel_size(image)
    if limits is not None and size is not None and not limits[0] * 0.99 <= size <= limits[1] * 1.01:
        raise InputError(f"the model needs {wanted(recipe)}; got {describe(image)}")
    pairs = sorted((index, position) for position, index in enumerate(indices) if index is not None)
    chosen = [index for index, _ in pairs]
    dropped = [name for index, name in enumerate(names) if index not in chosen]
    if dropped:
        warnings.warn(f"bands that the model does not know are left out: {', '.join(dropped)}", stacklevel=2)
    if chosen != list(range(len(names))):
        image = image.isel(band=chosen)
    return Fitted(image, tuple(position for _, position in pairs))


def _match(recipe: Recipe, image: xr.DataArray, names: list[str]) -> list[int | None]:
    if "unnamed" in io.describe_bands(names) and len(names) == len(recipe.bands):
        order = ", ".join(recipe.bands)
        warnings.warn(f"the image does not name its bands; they are taken as {order}, in this order", stacklevel=3)
        return list(range(len(names)))
    required = [band for band in recipe.bands if band not in recipe.optional_bands]
    try:
        found = dict(zip(required, io.match_bands(required, names, sensor=recipe.task.sensor), strict=True))
    except InputError as error:
        raise InputError(f"the model needs {wanted(recipe)}; got {describe(image)} ({error})") from error
    for band in recipe.optional_bands:
        try:
            found[band] = io.match_bands([band], names, sensor=recipe.task.sensor)[0]
        except InputError:
            continue
    return [found.get(band) for band in recipe.bands]
