"""What several tests of synthesis share: small models whose every weight acts, masks, files."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from sciddiff import io
from sciddiff.model import Model, build
from sciddiff.recipe import parse_recipe
from sciddiff.tasks.synthesis import Synthesis

RECIPE = """
version: 1
name: toy
task: {kind: synthesis, reach: 4, %s}
bands: [%s]
network: {widths: [8], encoder_blocks: [1], denoiser_blocks: [1], stem: 2, embedding: 8}
sampler: {steps: 3}
training: {patch: 16}
"""
CELLS = "image_classes: [one, two], numbers: {gsd: [5, 60]}, centre: [2.5]"
LAND = "labels: classes, classes: {water: 1, forest: 6}, unit: physical, style: false, knee: 0.05, centre: [2.0, 2.5]"
NORTH_UP = from_origin(5e5, 4e6, 10, 10)


def toy(settings: str = CELLS, bands: str = "nuclei", *, seed: int = 1) -> Model:
    """A model with random weights, also where a fresh one has zeros, and bands that are mixed."""
    model = build(parse_recipe(RECIPE % (settings, bands)))
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=source)
        model.residual_root.mul_(0.3).add_(0.05)
    return model


def task_of(model: Model) -> Synthesis:
    """Its task."""
    assert isinstance(model.task, Synthesis)
    return model.task


def cells(height: int = 46, width: int = 53, *, first: int = 1) -> NDArray[np.uint32]:
    """Objects, two of which touch, some at the edges; numbers from `first` on."""
    mask = np.zeros((height, width), np.uint32)
    mask[4:15, 6:17], mask[4:15, 17:25] = first, first + 1
    mask[20:40, 30:44], mask[-7:, :9], mask[:3, -12:] = first + 2, first + 3, first + 4
    return mask


def land(height: int = 46, width: int = 53) -> NDArray[np.uint8]:
    """Classes 1 and 6, and a corner of 0."""
    rows, cols = np.indices((height, width))
    return np.where(rows + cols < 20, 0, np.where(rows > cols, 1, 6)).astype(np.uint8)


def image_of(
    values: NDArray[np.generic],
    bands: Sequence[str] = ("labels",),
    *,
    crs: str | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> xr.DataArray:
    """An image in memory, (h, w) or (c, h, w)."""
    values = values if values.ndim == 3 else values[None]
    grid = GeoBox(values.shape[1:], Affine.identity() if crs is None else NORTH_UP, crs)
    return io.from_array(values, grid=grid, bands=list(bands), valid=valid)


def write_raster(
    path: Path,
    values: NDArray[np.generic],
    bands: Sequence[str] = ("labels",),
    *,
    crs: str | None = "EPSG:32631",
    **said: object,
) -> Path:
    """A GeoTIFF of (h, w) or (c, h, w) values."""
    values = values if values.ndim == 3 else values[None]
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype.name}
    place = {} if crs is None else {"crs": crs, "transform": NORTH_UP}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **place, **said) as file:
            file.write(values)
            file.descriptions = tuple(bands)
    return path
