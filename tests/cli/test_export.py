"""`export`: a package that is whole, says the truth and runs elsewhere."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from click.testing import Result
from PIL import Image
from ruamel.yaml import YAML

from sciddiff.model import build, load, restore, write
from sciddiff.model.graph import run_torchscript
from sciddiff.recipe import parse_recipe

Call = Callable[..., Result]
RECIPE = """
version: 1
name: small
description: A small model
task: {kind: super_resolution, ratio: 2, sensor: sentinel2, pixel_size: [5, 20]}
bands: [B02, B03, B04]
optional_bands: [B04]
network: {widths: [8, 12], encoder_blocks: [1, 1], denoiser_blocks: [1, 1], stem: 2, embedding: 16}
training: {patch: 96}
"""
RECORD = {
    "halo": {"16": 0.1, "32": 5e-4, "64": 1e-6},
    "metrics": {"validation": {"mean": 31.254, "bicubic": 29.5}, "test": {"scene.tif": {"posterior mean": 30.125}}},
    "provenance": {"trained_on": ["field.tif"], "steps": 700},
}
FILES = {
    "rdf.yaml", "weights.pt", "README.md", "recipe.yaml", "cover.png",
    "test_input.npy", "test_output.npy", "sample_input.tif", "sample_output.tif",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write(replace(build(parse_recipe(RECIPE)), record=RECORD), path)
    return path


@pytest.fixture
def package(call: Call, model: Path, tmp_path: Path) -> Path:
    result = call("export", model, "-o", tmp_path / "package", "--author", "Jane Doe", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["halo"] == 32
    assert told["difference"] < 1e-5
    return tmp_path / "package"


def described(package: Path) -> dict[str, Any]:
    return YAML(typ="safe").load((package / "rdf.yaml").read_text())


def test_every_file_is_there_as_the_description_says(package: Path):
    told = described(package)
    assert {path.name for path in package.iterdir()} == FILES
    (image,), (result,) = told["inputs"], told["outputs"]
    listed = [image["test_tensor"], image["sample_tensor"], result["test_tensor"], result["sample_tensor"]]
    for file in [*listed, *told["attachments"], told["weights"]["torchscript"]]:
        assert hashlib.sha256((package / file["source"]).read_bytes()).hexdigest() == file["sha256"]
    assert (told["authors"], told["license"]) == ([{"name": "Jane Doe"}], "Apache-2.0")
    assert "&" not in (package / "rdf.yaml").read_text()


def test_axes_are_those_of_the_graph(package: Path):
    told = described(package)
    (image,), (result,) = told["inputs"], told["outputs"]
    _, channel, rows, cols = image["axes"]
    assert channel["channel_names"] == ["B02", "B03", "B04"]
    assert rows["size"] == cols["size"] == {"min": 34, "step": 2}
    assert [axis["scale"] for axis in (rows, result["axes"][2])] == [2, 1]
    assert [axis["halo"] for axis in result["axes"][2:]] == [32, 32]
    weights = (package / "weights.pt").read_bytes()
    for side in (34, 36, 42):
        assert run_torchscript(weights, torch.rand(2, 3, side, 34)).shape == (2, 3, 2 * side, 68)


def test_the_test_tensors_are_what_the_engine_gives(package: Path, model: Path):
    image, expected = (np.load(package / f"test_{role}.npy") for role in ("input", "output"))
    loaded = load(model)
    found = next(restore(loaded, loaded.task.observe({"image": torch.from_numpy(image)}), origins=[(0, 0)]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)
    assert np.array_equal(tifffile.imread(package / "sample_output.tif"), expected[0])


def test_cropped_by_its_halo_a_window_is_what_predict_gives(package: Path, model: Path):
    """As the zoo's programs do: continued by the last pixel, restored, cropped."""
    image = np.load(package / "test_input.npy")
    whole = load(model).predict(image[0], tolerance=None)["mean"].values
    halo = described(package)["outputs"][0]["axes"][2]["halo"]
    padded = np.pad(image, ((0, 0), (0, 0), (halo // 2,) * 2, (halo // 2,) * 2), mode="symmetric")
    found = run_torchscript((package / "weights.pt").read_bytes(), torch.from_numpy(padded)).numpy()
    np.testing.assert_allclose(found[0, :, halo:-halo, halo:-halo], whole, rtol=0, atol=1e-4)


def test_the_page_has_scores_scenes_and_needs(package: Path):
    page = (package / "README.md").read_text()
    assert all(part in page for part in ("| mean | 31.25 |", "| posterior mean | 30.12 |", "- field.tif", "700 steps"))
    assert all(part in page for part in ("zero where missing: B04", "5 to 20 m", "Sides: 34 pixels", "Jane Doe"))
    assert parse_recipe((package / "recipe.yaml").read_text()).name == "small"


def test_the_cover_is_twice_as_wide_as_high(package: Path):
    with Image.open(package / "cover.png") as cover:
        assert cover.size == (512, 256)
    assert (package / "cover.png").stat().st_size < 500_000


def test_a_zip_holds_the_same(call: Call, model: Path, package: Path, tmp_path: Path):
    assert call("export", model, "-o", tmp_path / "p.zip", "--author", "Jane Doe").exit_code == 0
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == FILES
        assert np.array_equal(
            np.load(io.BytesIO(archive.read("test_output.npy"))), np.load(package / "test_output.npy")
        )


def test_nothing_is_replaced_without_overwrite(call: Call, model: Path, package: Path):
    (package / "README.md").write_text("mine")
    result = call("export", model, "-o", package)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert (package / "README.md").read_text() == "mine"
    assert call("export", model, "-o", package, "--overwrite").exit_code == 0
    assert "not given" in (package / "README.md").read_text()
    assert [path.name for path in package.parent.iterdir()] == ["package"]


def test_a_folder_that_is_no_package_is_never_replaced(call: Call, model: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    result = call("export", model, "-o", tmp_path / "mine", "--overwrite")
    assert (result.exit_code, (tmp_path / "mine" / "thesis.tex").exists()) == (1, True)
    assert "is no package" in result.stderr


def test_a_failed_write_leaves_nothing(call: Call, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = call("export", model, "-o", tmp_path / "package")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_requests(call: Call, model: Path, tmp_path: Path):
    several = call("export", "pansharpen-landsat8", "-o", tmp_path / "p")
    assert (several.exit_code, "takes pan beside its image" in several.stderr) == (2, True)
    unknown = call("export", model, "-o", tmp_path / "p", "--instrument", "psf=2")
    assert (unknown.exit_code, "knows no 'psf'" in unknown.stderr) == (2, True)
    nowhere = call("export", model, "-o", tmp_path / "missing" / "p")
    assert (nowhere.exit_code, "does not exist" in nowhere.stderr) == (1, True)
    assert call("export", model, "-o", tmp_path / "p", "--format", "onnx").exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_the_zoos_own_library_takes_the_package(package: Path):
    """Release 0.5.14 at least: earlier ones fail on any package with pydantic 2.14."""
    spec = pytest.importorskip("bioimageio.spec", minversion="0.5.14", reason="needs bioimageio.spec 0.5.14")
    summary = spec.load_description(package).validation_summary
    assert summary.status in ("valid-format", "passed"), summary.format()


@pytest.mark.filterwarnings("ignore")
def test_the_zoos_own_runner_reproduces_the_test_tensors(package: Path):
    pytest.importorskip("bioimageio.spec", minversion="0.5.14", reason="needs bioimageio.spec 0.5.14")
    core = pytest.importorskip("bioimageio.core")
    summary = core.test_model(package)
    assert summary.status == "passed", summary.format()
