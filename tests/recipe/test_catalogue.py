"""The catalogue: shipped names and own paths."""

from pathlib import Path

import pytest

from sciddiff.errors import ModelFileError, RecipeError
from sciddiff.recipe import catalogue


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with one model, one recipe and one sample beside the package."""
    package = tmp_path / "site" / "sciddiff"
    for file in (package / "models/sr-toy-x4.safetensors", tmp_path / "site/recipes/sr_toy_x4.yaml"):
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setattr(catalogue, "_PACKAGE", package)
    return package


def test_names_and_paths_find_models(package: Path, tmp_path: Path):
    own = tmp_path / "own.safetensors"
    own.touch()
    shipped = package / "models/sr-toy-x4.safetensors"
    assert catalogue.find_model("sr-toy-x4") == catalogue.find_model("sr_toy_x4") == shipped
    assert catalogue.find_model(own) == own
    assert catalogue.find_recipe("sr-toy-x4") == package.parent / "recipes/sr_toy_x4.yaml"


def test_an_unknown_name_lists_the_known_ones(package: Path):
    with pytest.raises(ModelFileError, match=r"no model sr-toi-x4: .* \(sr-toy-x4\); did you mean 'sr-toy-x4'\?"):
        catalogue.find_model("sr-toi-x4")
    with pytest.raises(RecipeError, match=r"no recipe nothing.yaml: .* \(sr_toy_x4\)$"):
        catalogue.find_recipe("nothing.yaml")


def test_an_installed_wheel_has_its_recipes_inside(package: Path):
    inside = package / "_recipes"
    inside.mkdir()
    (inside / "other.yaml").touch()
    assert catalogue.shipped_recipes() == {"other": inside / "other.yaml"}


def test_the_sample_is_there():
    assert catalogue.sample_path().suffix == ".tif"
