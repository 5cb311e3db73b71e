"""`recipe`, `models` and `info` on what is shipped and on what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import Result
from rasterio.transform import from_origin

from sciddiff.recipe import load_recipe, shipped_recipes, to_yaml

Call = Callable[..., Result]


def test_recipe_list_tells_what_each_does(call: Call):
    assert "sr_landsat_x2: Landsat 8/9" in call("recipe", "list").stdout
    assert list(json.loads(call("recipe", "list", "--json").stdout)) == list(shipped_recipes())


def test_what_recipe_show_prints_is_a_valid_recipe(call: Call, tmp_path: Path):
    own = tmp_path / "own.yaml"
    own.write_text(call("recipe", "show", "sr_aerial_x4").stdout)
    result = call("recipe", "validate", own)
    assert (result.exit_code, result.stdout) == (0, f"{own}: valid\n")


def test_recipe_validate_reports_every_fault_of_every_file(call: Call, tmp_path: Path):
    text = shipped_recipes()["sr_aerial_x4"].read_text()
    good, bad, worse = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    good.write_text(text)
    bad.write_text(text.replace("ratio:", "ratoi:").replace("warmup:", "warmpu:").replace("stem:", "stme:"))
    worse.write_text("name: [")
    result = call("recipe", "validate", good, bad, worse)
    assert result.exit_code == 2
    assert result.stdout == f"{good}: valid\n"
    assert f"{bad} has 3 faults:" in result.stderr
    assert all(hint in result.stderr for hint in ("'ratio'?", "'warmup'?", "'stem'?"))
    assert f"{worse}:1:8: not YAML" in result.stderr


def test_recipe_validate_takes_overrides(call: Call):
    result = call("recipe", "validate", "sr_aerial_x4", "--set", "training.ema=3")
    assert result.exit_code == 2
    assert "--set training.ema=3: training.ema: got 3, expected a number below 1" in result.stderr


def test_recipe_schema_is_a_json_schema(call: Call):
    assert json.loads(call("recipe", "schema").stdout)["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("command", [("recipe", "show"), ("recipe", "validate"), ("simulate",)])
def test_an_unknown_recipe_names_the_near_one(call: Call, command: tuple[str, ...]):
    rest = ("a.tif", "-o", "d") if command == ("simulate",) else ()
    result = call(*command, "sr_landsat_x4", *rest)
    assert result.exit_code == 2
    assert "did you mean 'sr_landsat_x2'?" in result.stderr


@pytest.fixture
def model(stand_in: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped model of which only the header is read."""
    path = tmp_path / "toy.safetensors"
    path.touch()
    recipe = to_yaml(load_recipe(shipped_recipes()["sr_aerial_x4"]))
    header: dict[str, Any] = {"format": 1, "name": "toy", "recipe": recipe, "bands": ["red"], "parameters": 12}
    stand_in("model", read_header=lambda file: {**header, "metrics": {"psnr": 31.25}, "read_from": file.name})
    monkeypatch.setattr("sciddiff.recipe.shipped_models", lambda: {"toy": path})
    monkeypatch.setattr("sciddiff.recipe.catalogue.shipped_models", lambda: {"toy": path})
    return path


def test_models_list_tells_what_each_does_and_needs(call: Call, model: Path):
    (summary,) = json.loads(call("models", "list", "--json").stdout).values()
    assert summary == {
        "description": "Aerial red, green, blue and optional near infrared, 4 times finer",
        "task": "super_resolution",
        "bands": ["red", "green", "blue", "nir"],
        "optional_bands": ["nir"],
        "parameters": 12,
        "metrics": {"psnr": 31.25},
    }
    assert "toy:\n  description: Aerial" in call("models", "list").stdout


@pytest.mark.parametrize("by_name", [True, False])
def test_info_of_a_model_is_its_header(call: Call, model: Path, by_name: bool):
    told = json.loads(call("info", "toy" if by_name else model, "--json").stdout)
    assert (told["kind"], told["path"], told["parameters"]) == ("model", str(model), 12)
    assert told["recipe"]["task"]["ratio"] == 4


def test_info_of_a_missing_model_exits_with_3(call: Call):
    assert call("info", "missing.safetensors").exit_code == 3


def test_info_of_a_raster_tells_grid_storage_and_statistics(call: Call, tmp_path: Path):
    path = tmp_path / "a.tif"
    values = np.arange(2 * 6 * 5, dtype="uint16").reshape(2, 6, 5)
    profile = {"driver": "GTiff", "count": 2, "height": 6, "width": 5, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=from_origin(500000, 4e6, 10, 20), **profile) as file:
        file.write(values)
        file.descriptions = ("red", "nir")
        file.scales, file.offsets = (0.5, 1.0), (1.0, 0.0)
    told = json.loads(call("info", path, "--json").stdout)
    assert told["size"] == {"bands": 2, "height": 6, "width": 5}
    assert (told["crs"], told["affine"]) == ("EPSG:32631", [10, 0, 500000, 0, -20, 4e6])
    assert (told["pixel_size"], told["dtype"], told["nodata"]) == ([10, 20], "uint16", 0)
    red, nir = told["bands"]
    valid = values[0].ravel()[1:] * 0.5 + 1
    assert red == {
        "name": "red", "scale": 0.5, "offset": 1.0, "min": valid.min(), "mean": pytest.approx(valid.mean()),
        "max": valid.max(), "valid": pytest.approx(29 / 30),
    }  # fmt: skip
    assert (nir["name"], nir["min"], nir["valid"]) == ("nir", 30, 1)
    assert "name=red" in call("info", path).stdout


def test_info_of_what_is_no_raster_exits_with_3(call: Call, tmp_path: Path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 no more")
    assert call("info", tmp_path / "a.tif").exit_code == 3
    assert call("info", tmp_path / "missing.tif").exit_code == 3
