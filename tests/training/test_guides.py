"""Where the further bands of a training scene come from."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from sciddiff.errors import InputError, RecipeError
from sciddiff.recipe import load_recipe
from sciddiff.tasks import build_task
from sciddiff.training.patches import open_scenes, read_scene

RECIPE = """\
version: 1
name: guided
task: {kind: pansharpen, ratio: 2, guide: [%s]}
bands: [red, nir]
data: {train: [%s]}
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}
training: {patch: 16}
"""


def scene_of(folder: Path, guide: str, source: str) -> np.ndarray:
    (folder / "guided.yaml").write_text(RECIPE % (guide, source))
    recipe = load_recipe(folder / "guided.yaml")
    task = build_task(recipe)
    (scene,) = open_scenes(recipe, task, recipe.data.train)
    whole = slice(None)
    return read_scene(scene, whole, whole, bands=len(task.scene_bands), absolute=True)[0]


@pytest.fixture
def values(tmp_path: Path) -> np.ndarray:
    values = np.random.default_rng(0).integers(1, 900, (4, 20, 24)).astype("float32")
    profile = {"count": 4, "height": 20, "width": 24, "dtype": "float32"}
    where = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, 10, 10)}
    with rasterio.open(tmp_path / "all.tif", "w", driver="GTiff", **profile, **where) as file:
        file.write(values)
        file.descriptions = ("red", "green", "blue", "nir")
    return values


def test_bands_are_mixed_into_one(tmp_path: Path, values: np.ndarray) -> None:
    found = scene_of(tmp_path, "pan", "{path: all.tif, guide: {bands: [red, 2], weights: [0.25, 0.5]}}")
    np.testing.assert_allclose(found, [values[0], values[3], 0.25 * values[0] + 0.5 * values[1]], rtol=1e-6)


def test_a_source_is_its_own_guide_by_names(tmp_path: Path, values: np.ndarray) -> None:
    assert np.array_equal(scene_of(tmp_path, "blue, green", "{path: all.tif}"), values[[0, 3, 2, 1]])


def test_what_is_missing_is_told(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"all\.tif: .*pan"):
        scene_of(tmp_path, "pan", "{path: all.tif}")
    with pytest.raises(InputError, match=r"all\.tif: the task needs a guide of 1 bands: pan"):
        scene_of(tmp_path, "pan", "{path: all.tif, guide: {bands: [1, 2]}}")
    with pytest.raises(RecipeError, match="got 1 numbers, expected 2: as many as bands"):
        scene_of(tmp_path, "pan", "{path: all.tif, guide: {bands: [1, 2], weights: [1]}}")
