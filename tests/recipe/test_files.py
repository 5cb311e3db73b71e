"""Sources: files, folders, globs and environment variables, relative to the recipe."""

from pathlib import Path

import pytest

from sciddiff.errors import RecipeError
from sciddiff.recipe import Recipe, Source, load_recipe, shipped_recipes, to_yaml

HEAD = "version: 1\nname: a\ntask: {kind: super_resolution, ratio: 2}\nbands: [a]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of empty files that look like rasters and others."""
    (tmp_path / "deep").mkdir()
    for name in ("b.tif", "a.TIF", "notes.txt", "deep/c.tif"):
        (tmp_path / name).touch()
    return tmp_path


def recipe_in(folder: Path, path: str) -> Recipe:
    (folder / "r.yaml").write_text(f"{HEAD}data:\n  train:\n    - {path}\n")
    return load_recipe(folder / "r.yaml")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("b.tif", ["b.tif"]),
        (".", ["a.TIF", "b.tif"]),
        ("./deep", ["deep/c.tif"]),
        ("'**/*.tif'", ["b.tif", "deep/c.tif"]),
        ("${PLACE}/c.tif", ["deep/c.tif"]),
    ],
)
def test_a_path_finds_its_rasters(folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, names: list[str]):
    monkeypatch.setenv("PLACE", str(folder / "deep"))
    monkeypatch.chdir("/")
    assert recipe_in(folder, path).data.train[0].files() == [folder / name for name in names]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("${NOWHERE_1}/${NOWHERE_2}/x.tif", "NOWHERE_1 and NOWHERE_2 are not set in the environment"),
        ("c*.tif", "finds nothing at .*c\\*.tif; expected a file, a folder or a glob"),
        ("empty", "expected rasters"),
    ],
)
def test_what_is_not_there_is_said_with_its_line(folder: Path, path: str, message: str):
    (folder / "empty").mkdir()
    recipe = recipe_in(folder, path)
    with pytest.raises(RecipeError, match=f"r.yaml:7:7: got .*{message}"):
        recipe.data.train[0].files()


def test_a_recipe_is_written_with_its_variables_not_with_this_computers_folders(folder: Path):
    assert 'path: "${PLACE}/c.tif"' in to_yaml(recipe_in(folder, "${PLACE}/c.tif"))


def test_where_a_source_was_written_is_no_part_of_what_it_says(folder: Path):
    assert recipe_in(folder, "b.tif").data.train == [Source(path="b.tif")]
    assert Source(path="b.tif") != Source(path="c.tif")


TEST_PLACES = {"rufiji", "naip_va_3607717", "neon", "hagen_mito60x", "hagen_nucleus"}
TAKEN_FOR_TEXTURE = {"denoise_fluorescence": {"naip_va_3607717"}}
"""Where a recipe of another kind of image learns from a place at which it is not tested itself."""


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_shipped_recipe_finds_its_data_and_leaves_the_test_places_alone(
    realdata: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv("SCIDDIFF_REALDATA", str(realdata))
    data = load_recipe(shipped_recipes()[name]).data
    names = {path.name for source in [*data.train, *data.valid] for path in source.files()}
    assert data.train
    assert data.valid
    places = TEST_PLACES - TAKEN_FOR_TEXTURE.get(name, set())
    assert not [each for each in names if any(place in each for place in places)]
