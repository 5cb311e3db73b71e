"""Whether a raster or a stack can be used: from its header, or by decoding every block."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from sciddiff.errors import InputError
from sciddiff.io.dataset import opened, reason
from sciddiff.io.image import grid_of, read_window
from sciddiff.io.metadata import quiet
from sciddiff.io.raster import open as open_image

ROWS = 512
COLUMNS = 4096
"""Windows in which pixels are read."""


def check_raster(path: str, *, deep: bool = False) -> dict[str, Any]:
    """Return what a raster is and what is wrong with it.

    Parameters
    ----------
    path
        Anything that `sciddiff.open` opens.
    deep
        Decode every pixel, mask and overview; else the header and a few windows.

    Returns
    -------
    dict
        `problems`, by which it cannot be used, and `notes`, each a list of sentences that say where.
    """
    problems: list[str] = []
    notes: list[str] = []
    result: dict[str, Any] = {"kind": "raster", "path": path, "problems": problems, "notes": notes}
    try:
        image = open_image(path)
    except InputError as error:
        problems.append(str(error))
        return result
    grid, profile = grid_of(image), image.encoding.get("raster")
    result["size"] = {"bands": image.shape[0], "height": image.shape[1], "width": image.shape[2]}
    if grid.crs is None:
        notes.append("has no coordinate system: pixel sizes are not known")
    if profile is not None and any(band.colormap for band in profile.bands):
        notes.append(
            "is a palette: its values are classes, which models of measurements refuse; expand it to RGB first"
        )
    valid, bad = _pixels(image, deep=deep)
    problems += bad
    if not valid and not bad and deep:
        problems.append("all pixels are invalid: there is nothing to predict")
    if deep and not bad and os.path.isfile(path):
        problems += _overviews(path)
        notes += _layout(path)
    return result


def _pixels(image: Any, *, deep: bool) -> tuple[bool, list[str]]:
    """Whether any pixel is valid, and the windows that cannot be read."""
    height, width = image.shape[1:]
    valid, problems = False, []
    places = [(row, col) for row in range(0, height, ROWS) for col in range(0, width, COLUMNS)]
    chosen = places if deep else sorted({places[0], places[len(places) // 2], places[-1]})
    for row, col in chosen:
        try:
            known = read_window(image, slice(row, row + ROWS), slice(col, col + COLUMNS))[1]
            valid |= bool(known.any())
        except InputError as error:
            problems.append(
                f"rows {row} to {min(row + ROWS, height)}, columns {col} to {min(col + COLUMNS, width)}: {error}"
            )
    return valid, problems


def _overviews(path: str) -> list[str]:
    """Overviews that cannot be read."""
    problems = []
    with opened(path) as src:
        levels = src.overviews(1) if src.count else []
    for level in range(len(levels)):
        try:
            with quiet(), rasterio.open(path, overview_level=level) as src:
                for row in range(0, src.height, ROWS):
                    for index in src.indexes:
                        src.read(index, window=Window(0, row, src.width, min(ROWS, src.height - row)))
        except (rasterio.errors.RasterioError, OSError) as error:
            problems.append(f"overview 1/{levels[level]}: {reason(error)}; make the overviews again")
    return problems


def _layout(path: str) -> list[str]:
    with opened(path) as src:
        if src.driver != "GTiff":
            return []
        cloud = src.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
    return ["is a cloud-optimised GeoTIFF" if cloud else "is a GeoTIFF that is not cloud-optimised"]


def check_stack(path: str, *, deep: bool = False, axes: str | None = None) -> dict[str, Any]:
    """Return what a microscopy stack is and what is wrong with it.

    Parameters
    ----------
    path
        Of a TIFF or the folder of an OME-Zarr.
    deep
        Decode every plane.
    axes
        Where the file does not say them; see `sciddiff.open`.
    """
    from sciddiff.io.stack import SATURATED, open_stack, saturated_share
    from sciddiff.io.stack_files import stack_file

    problems: list[str] = []
    notes: list[str] = []
    result: dict[str, Any] = {"kind": "stack", "path": path, "problems": problems, "notes": notes}
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            image = open_stack(path, axes=axes)
    except InputError as error:
        problems.append(str(error))
        return result
    notes += [str(warning.message) for warning in told]
    profile = image.encoding["stack"]
    shape = stack_file(image.encoding["source"]).array.shape
    result |= {"axes": profile.axes, "shape": list(shape), "dtype": profile.dtype}
    if not profile.calibrated:
        notes.append("does not say its pixel size")
    problems += _planes(image.encoding["source"], profile.axes, shape) if deep else []
    if not problems:
        try:
            share = saturated_share(image)
        except InputError as error:
            problems.append(str(error))
        else:
            notes += [f"{share:.1%} of the pixels of a channel are saturated"] if share > SATURATED else []
    return result


def _planes(path: str, axes: str, shape: Sequence[int]) -> list[str]:
    """Planes that cannot be decoded, numbered in the order of the file."""
    from sciddiff.io.stack_files import read_stack_window

    problems = []
    leading = [axis for axis in axes if axis not in "YX"]
    sizes = tuple(size for axis, size in zip(axes, shape, strict=True) if axis not in "YX")
    for number, place in enumerate(np.ndindex(sizes)):
        at = dict(zip(leading, place, strict=True))
        t, c, z = (at.get(axis, 0) for axis in "TCZ")
        try:
            read_stack_window(path, t, c, z, slice(None), slice(None), axes=axes)
        except InputError as error:
            problems.append(f"plane {number}: cannot be decoded: {error}; fetch the file again")
    return problems
