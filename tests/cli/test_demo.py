"""`sciddiff demo` as a newcomer calls it, on a small sample with random weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from rasterio.windows import Window

Call = Callable[..., Result]
WRITTEN = {"target.tif", "image.tif", "mean.tif", "sample.tif", "panel.png", "report.html"}
PROVENANCE = {"mean.tif.json", "sample.tif.json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for the bands of the sample."""
    from sciddiff.model import build, write
    from sciddiff.recipe import Network, Recipe, SuperResolution

    task = SuperResolution(kind="super_resolution", ratio=4, sensor="sentinel2", pixel_size=(5, 60))
    network = Network(widths=[8, 8], encoder_blocks=[0, 1], denoiser_blocks=[0, 1], stem=2, embedding=8)
    recipe = Recipe(version=1, name="tiny", task=task, bands=["B02", "B03", "B04", "B08"], network=network)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write(build(recipe), path)
    return path


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corner of the sample with some of its nodata, in its place."""
    from sciddiff import recipe

    window = Window(350, 150, 128, 128)
    path = tmp_path / "small.tif"
    with rasterio.open(recipe.sample_path()) as file:
        profile = file.profile | {"width": 128, "height": 128, "transform": file.window_transform(window)}
        with rasterio.open(path, "w", **profile) as out:
            out.write(file.read(window=window))
            out.descriptions, out.scales, out.units = file.descriptions, file.scales, file.units
    monkeypatch.setattr(recipe, "sample_path", lambda: path)
    return path


def test_the_demo_writes_everything_and_says_what_to_open(call: Call, model: Path, small: Path, tmp_path: Path):
    folder = tmp_path / "demo"
    result = call("demo", "-o", folder, "--model", model, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in folder.iterdir()} == WRITTEN | PROVENANCE
    for name in WRITTEN:
        assert str(folder / name) in result.stdout
    assert str((folder / "report.html").resolve()) in result.stdout.splitlines()[-1]
    for method in ("bicubic", "back-projection", "posterior mean", "sample"):
        assert method in result.stdout
    with (
        rasterio.open(folder / "target.tif") as target,
        rasterio.open(folder / "image.tif") as low,
        rasterio.open(folder / "mean.tif") as mean,
        rasterio.open(folder / "sample.tif") as sample,
    ):
        assert low.shape == (32, 32)
        assert mean.transform == target.transform
        assert mean.descriptions == target.descriptions
        assert mean.tags(ns="SCIDDIFF")["PRODUCT"] == "mean"
        assert sample.tags(ns="SCIDDIFF")["PRODUCT"] == "sample"
        assert np.isfinite(mean.read()).any()


def test_quiet_tells_only_the_result(call: Call, model: Path, small: Path, tmp_path: Path):
    result = call("demo", "-o", tmp_path / "demo", "--model", model, "--device", "cpu", "-q")
    assert (result.exit_code, result.stderr) == (0, "")


def test_what_is_there_is_kept_without_overwrite(call: Call, model: Path, small: Path, tmp_path: Path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "mean.tif").write_text("precious")
    (folder / "notes.txt").write_text("mine")
    arguments = ("demo", "-o", folder, "--model", model, "--device", "cpu", "-q")
    refused = call(*arguments)
    assert refused.exit_code == 2
    assert "mean.tif" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert (folder / "mean.tif").read_text() == "precious"
    assert {path.name for path in folder.iterdir()} == {"mean.tif", "notes.txt"}
    assert call(*arguments, "--overwrite").exit_code == 0
    assert (folder / "notes.txt").read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {*WRITTEN, *PROVENANCE, "notes.txt"}


def test_a_file_in_the_place_of_the_folder_is_told(call: Call, model: Path, tmp_path: Path):
    (tmp_path / "demo").write_text("a file")
    result = call("demo", "-o", tmp_path / "demo", "--model", model)
    assert result.exit_code == 1
    assert "is a file" in result.stderr


def test_an_unknown_task_and_an_unknown_model_are_told(call: Call, tmp_path: Path):
    assert call("demo", "fog", "-o", tmp_path / "demo").exit_code == 2
    result = call("demo", "-o", tmp_path / "demo", "--model", "no-such-model")
    assert result.exit_code == 3
    assert "no-such-model" in result.stderr
    assert not (tmp_path / "demo").exists()
