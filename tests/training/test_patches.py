"""Windows drawn from rasters."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from sciddiff.errors import InputError
from sciddiff.recipe import load_recipe
from sciddiff.tasks import build_task
from sciddiff.training.patches import draw_batch, open_scenes

RECIPE = """
version: 1
name: small
task: {{kind: {kind}}}
bands: [blue, green, red]
data:
  train:
    - {{path: image.tif, bands: [1, 2, 3], scale: 0.001, gain_spread: {spread}}}
network: {{widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}}
training: {{steps: 1, batch: 64, patch: 32, warmup: 0}}
"""


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Windows of a raster in which every pixel of a band has one value."""
    with rasterio.open(
        tmp_path / "image.tif", "w", driver="GTiff", dtype="uint16", count=3, height=64, width=64
    ) as file:
        file.write(np.broadcast_to(np.array([100, 200, 300], np.uint16)[:, None, None], (3, 64, 64)))

    def draw(spread: float, kind: str = "dehaze") -> np.ndarray:
        (tmp_path / "recipe.yaml").write_text(RECIPE.format(kind=kind, spread=spread))
        recipe = load_recipe(tmp_path / "recipe.yaml")
        task = build_task(recipe)
        return draw_batch(open_scenes(recipe, task, recipe.data.train), recipe, task, step=0)

    return draw


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gains_have_the_spread_that_the_recipe_says_and_bands_much_in_common(batch):
    assert np.unique(batch(0.0)[:, 0]).tolist() == [np.float32(0.1)]
    windows = batch(0.2)
    gains = np.log(windows[:, :, 0, 0] / np.array([0.1, 0.2, 0.3]))
    assert np.ptp(windows, (2, 3)).max() == 0  # one gain for all pixels of a band
    assert gains.std() == pytest.approx(0.2 * np.sqrt(1.25), rel=0.25)
    assert np.corrcoef(gains.T)[0, 1] == pytest.approx(0.8, abs=0.15)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_gains_are_refused_where_reflectance_means_nothing(batch):
    with pytest.raises(InputError, match="gain_spread"):
        batch(0.2, kind="fill_gaps")
