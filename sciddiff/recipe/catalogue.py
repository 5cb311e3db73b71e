"""The recipes, models and the sample that come with the package, found in a checkout and in an installed wheel."""

from pathlib import Path

from sciddiff.errors import InputError, ModelFileError, RecipeError
from sciddiff.recipe.hints import did_you_mean

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    return {path.stem: path for path in sorted(_shipped("_recipes", "recipes").glob("*.yaml"))}


def shipped_models() -> dict[str, Path]:
    """Return the shipped model files by name."""
    return {path.stem: path for path in sorted((_PACKAGE / "models").glob("*.safetensors"))}


SCENE, CELLS = "sentinel2_like_10m.tif", "cells_like.ome.tif"
"""Shipped samples: a scene as of a satellite, a stack as of a microscope."""


def sample_path(name: str = SCENE) -> Path:
    """
    Return a shipped sample.

    Parameters
    ----------
    name : str
        `SCENE` or `CELLS`.

    Raises
    ------
    InputError
        When the installation lacks it.
    """
    path = _shipped("_data", "data") / name
    if not path.exists():
        raise InputError(f"no sample {path}: the installation is incomplete; reinstall sciddiff")
    return path


def find_recipe(name_or_path: str | Path) -> Path:
    """
    Find a recipe by its shipped name or its path.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        `sr_sentinel2_x4`, or a YAML file.

    Raises
    ------
    RecipeError
        When it is neither; the message lists the shipped names.
    """
    found = _find(name_or_path, shipped_recipes())
    if isinstance(found, str):
        raise RecipeError(f"no recipe {name_or_path}: neither a file nor a shipped name{found}")
    return found


def find_model(name_or_path: str | Path) -> Path:
    """
    Find a model by its shipped name or its path.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        `sr-sentinel2-x4`, or a `.safetensors` file.

    Raises
    ------
    ModelFileError
        When it is neither; the message lists the shipped names.
    """
    found = _find(name_or_path, shipped_models())
    if isinstance(found, str):
        raise ModelFileError(f"no model {name_or_path}: neither a file nor a shipped name{found}")
    return found


def _find(name_or_path: str | Path, shipped: dict[str, Path]) -> Path | str:
    """Return the file, or the end of the message that says what there is instead."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    alike = {name.replace("_", "-"): found for name, found in shipped.items()}
    word = str(name_or_path).replace("_", "-")
    if word in alike:
        return alike[word]
    return f" ({', '.join(shipped) or 'none is shipped'}){did_you_mean(str(name_or_path), shipped)}"


def _shipped(installed: str, checkout: str) -> Path:
    """Return the folder inside the package (a wheel), else beside it (a checkout or an editable install)."""
    inside = _PACKAGE / installed
    return inside if inside.is_dir() else _PACKAGE.parent / checkout
