"""A small model whose every weight acts, and a raster with holes."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from sciddiff.model import Model, build
from sciddiff.recipe import parse_recipe

RECIPE = """
version: 1
name: small
task: {kind: super_resolution, ratio: 2}
bands: [red, nir]
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {patch: 16}
"""


def small_model() -> Model:
    model = build(parse_recipe(RECIPE))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def write_scene(path: Path, *, height: int = 70, width: int = 90) -> Path:
    rng = np.random.default_rng(0)
    values = 30000 + 40 * rng.normal(size=(2, height, width)).cumsum(1)
    values[:, 20:31, 40:52] = 0
    values[:, -20:, -33:] = 0
    profile = {"driver": "GTiff", "count": 2, "height": height, "width": width, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=from_origin(5e5, 4e6, 10, 10), **profile) as file:
        file.write(values.clip(0, 60000).astype("uint16"))
        file.descriptions = ("red", "nir")
    return path


def decoded(path: Path) -> bytes:
    with rasterio.open(path) as file:
        return file.read().tobytes() + file.dataset_mask().tobytes()


@pytest.fixture(scope="session")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif")
