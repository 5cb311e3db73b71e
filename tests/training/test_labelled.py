"""Learning to make images from masks: labels and facts arrive whole, and what is learned shows in the samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, RecipeError
from sciddiff.labels import CLASSES
from sciddiff.model import load
from sciddiff.model.request import Guidance
from sciddiff.recipe import load_recipe
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task
from sciddiff.training import train
from sciddiff.training.begin import with_centre
from sciddiff.training.halo import halo_table
from sciddiff.training.loop import covariance_root, start, step_once
from sciddiff.training.patches import Prefetched, draw_batch, open_scenes
from sciddiff.training.validation import score
from sciddiff.training.windows import Fresh
from tests.synthesis import LAND, cells, task_of, toy, write_raster

RECIPE = """
version: 1
name: tiny
task: {kind: synthesis, reach: 4, %s}
bands: [%s]
data: {train: [%s], valid: [%s]}
network: {widths: [8, 16], encoder_blocks: [0, 1], denoiser_blocks: [1, 1], stem: 2, embedding: 16}
diffusion: {regression_share: 0.125, instrument_dropout: 0.25}
sampler: {steps: 4}
training: {steps: 2, batch: 4, patch: 24, warmup: 1, validate_every: 2, checkpoint_every: 2, learning_rate: 0.004}
"""
SETTINGS = "image_classes: [one, two], numbers: {gsd: [5, 60]}, style: false, unit: physical, knee: 1"


def recipe_of(folder: Path, source: str, *, settings: str = SETTINGS, bands: str = "nuclei", valid: str = "") -> Recipe:
    (folder / "recipe.yaml").write_text(RECIPE % (settings, bands, source, valid))
    return load_recipe(folder / "recipe.yaml")


def drawn(recipe: Recipe, steps: int = 4) -> NDArray[np.float32]:
    task = build_task(recipe)
    scenes = open_scenes(recipe, task, recipe.data.train)
    return np.concatenate([draw_batch(scenes, recipe, task, step=step) for step in range(steps)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image whose every pixel tells its label, and labels with numbers of 32 bit and a nodata value."""
    mask = np.random.default_rng(0).integers(1, 9, (10, 12)).repeat(6, 0).repeat(6, 1)
    mask[mask == 8] = 0
    write_raster(tmp_path / "image.tif", (mask / 10).astype(np.float32)[None], ["nuclei"])
    write_raster(tmp_path / "mask.tif", mask.astype(np.uint32), nodata=0)
    return tmp_path


# ---- what a window holds ----


def test_labels_and_facts_arrive_with_their_image(folder: Path) -> None:
    source = "{path: image.tif, labels: mask.tif, image_class: two, numbers: {gsd: 10}}"
    windows = drawn(recipe_of(folder, source))
    image, labels, number, gsd = windows.swapaxes(0, 1)
    np.testing.assert_allclose(labels, image * 10, atol=1e-5)  # turned and mirrored together
    assert {0, 1, 7} <= set(np.unique(labels)) <= set(range(8))
    assert (number == 1).all()
    assert (gsd == 10).all()
    turns = {tuple(np.sign([window[:, :12].sum() - window[:, 12:].sum()])) for window in labels}
    assert len(turns) == 2


def test_facts_that_a_source_does_not_tell_are_not_numbers(folder: Path) -> None:
    windows = drawn(recipe_of(folder, "{path: image.tif, labels: mask.tif, numbers: {gsd: 60}}"), steps=1)
    assert np.isnan(windows[:, 2]).all()
    assert (windows[:, 3] == 60).all()


@pytest.mark.parametrize("factor", [2, 3])
def test_labels_are_never_averaged(folder: Path, factor: int) -> None:
    """Blocks of 2 or 3 that lie across an edge have a mean that is no label."""
    image = io.open(folder / "image.tif").values[:, 1:, 1:]
    mask = io.open(folder / "mask.tif").values[0, 1:, 1:]
    write_raster(folder / "image.tif", image, ["nuclei"])
    write_raster(folder / "mask.tif", np.nan_to_num(mask).astype(np.uint32))
    settings = f"{{path: image.tif, labels: mask.tif, coarsen: [{factor}]}}"
    recipe = recipe_of(folder, settings)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"patch": 16})})
    windows = drawn(recipe)
    assert set(np.unique(windows[:, 1])) <= set(range(8))
    assert not set(np.round(np.unique(10 * windows[:, 0]), 3)) <= set(range(8))
    same = np.isclose(10 * windows[:, 0], windows[:, 1], atol=1e-4)
    assert same.mean() > 0.35  # inside the blocks of six pixels they agree: they are of one place


def test_objects_with_numbers_beyond_floats_are_not_joined(folder: Path) -> None:
    mask = np.zeros((60, 72), np.uint32)
    mask[:, :36], mask[:, 36:] = 2**31, 2**31 + 1
    write_raster(folder / "mask.tif", mask)
    labels = drawn(recipe_of(folder, "{path: image.tif, labels: mask.tif}"))[:, 1]
    assert max(len(np.unique(window)) for window in labels) == 2
    assert len(np.unique(labels)) == 2
    assert labels.min() > 0


def test_a_window_of_a_source_cuts_labels_too(folder: Path) -> None:
    windows = drawn(recipe_of(folder, "{path: image.tif, labels: mask.tif, window: [13, 20, 37, 44]}"), steps=1)
    np.testing.assert_allclose(windows[:, 1], windows[:, 0] * 10, atol=1e-5)
    expected = io.open(folder / "image.tif").values[0, 13:37, 20:44]
    assert all(np.isclose(window.sum(), expected.sum(), rtol=1e-5) for window in windows[:, 0])


def test_labels_of_many_images_are_found_by_their_names(folder: Path) -> None:
    for number, name in enumerate(("a", "b", "c.d"), start=1):
        write_raster(folder / "images" / f"{name}.tif", np.full((1, 30, 30), number, np.float32), ["nuclei"])
        write_raster(folder / "labels" / f"{name}.tif", np.full((30, 30), number, np.uint16))
    recipe = recipe_of(folder, "{path: images, labels: labels}")
    windows = drawn(recipe)
    assert np.array_equal(windows[:, 0], windows[:, 1])
    assert set(np.unique(windows[:, 1])) == {1, 2, 3}
    (folder / "labels" / "b.tif").unlink()
    with pytest.raises(RecipeError, match="labels names 2 rasters, none of them called b"):
        drawn(recipe)
    (folder / "labels" / "c.d.tif").unlink()
    with pytest.raises(RecipeError, match="labels names 1 rasters, none of them called b"):
        drawn(recipe)  # those of one image are not those of all


def test_landcover_is_made_by_rule(tmp_path: Path) -> None:
    values = np.full((4, 30, 60), 500.0)
    values[:, :, 30:] = np.array([800, 400, 4000, 2300])[:, None, None]  # closed vegetation beside water
    values[:, :, :30] = np.array([600, 400, 100, 50])[:, None, None]
    write_raster(tmp_path / "scene.tif", values.astype(np.uint16), ["B03", "B04", "B08", "B11"])
    told = ", ".join(f"{name}: {value}" for name, value in CLASSES.items())
    settings = f"labels: classes, classes: {{{told}}}, unit: physical, style: false"
    source = "{path: scene.tif, label_rule: landcover, scale: 1.0e-4, numbers: {}}"
    windows = drawn(recipe_of(tmp_path, source, settings=settings, bands="B03, B04, B08, B11"))
    water = windows[:, 2] < 0.1
    assert (windows[:, 4][water] == CLASSES["water"]).all()
    assert (windows[:, 4][~water] == CLASSES["grass"]).all()
    np.testing.assert_allclose(windows[:, 2][~water], 0.4, rtol=1e-5)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("source", "error", "told"),
    [
        ("image_class: three", RecipeError, "image_class is three; the task has one, two"),
        ("numbers: {month: 3}", RecipeError, "numbers names month; the task has gsd"),
        ("numbers: {gsd: 99}", RecipeError, "gsd is 99; the task takes 5 to 60"),
        (
            "labels: small.tif",
            InputError,
            r"labels of image\.tif are \(1, 20, 20\); expected \(1, 60, 72\)",
        ),
        ("labels: image.tif", InputError, r"image\.tif: the mask holds 0\.\d+; labels are whole numbers"),
        ("labels: gone.tif", RecipeError, "finds nothing"),
        ("labels: null", InputError, "a synthesis learns from labelled images; give the source labels or a label_rule"),
        (
            "labels: null, label_rule: landcover",
            InputError,
            "makes class of B03, B04, B08, B11; .* learns instance",
        ),
        ("label_rule: nuclei", RecipeError, "labels are drawn or made by a rule"),
    ],
)
def test_sources_that_do_not_fit_are_refused(folder: Path, source: str, error: type[Exception], told: str) -> None:
    write_raster(folder / "small.tif", np.zeros((20, 20), np.uint8))
    labels = "" if source.startswith("labels") else "labels: mask.tif, "
    with pytest.raises(error, match=told):
        drawn(recipe_of(folder, f"{{path: image.tif, {labels}{source}}}"))


def test_labels_of_unknown_classes_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"mask\.tif: the mask holds the classes \[2, 3, 4, 5, 7\]"):
        drawn(recipe_of(folder, "{path: image.tif, labels: mask.tif}", settings=LAND.replace(", 2.5]", "]")))


def test_what_only_a_synthesis_learns_is_refused_elsewhere(folder: Path) -> None:
    text = (RECIPE % ("", "nuclei", "{path: image.tif, labels: mask.tif, numbers: {gsd: 4}}", "")).replace(
        "{kind: synthesis, reach: 4, }", "{kind: super_resolution, ratio: 2}"
    )
    (folder / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match="labels, numbers is for synthesis, the task is super_resolution"):
        drawn(load_recipe(folder / "recipe.yaml"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("labels: classes", "expected names and values: labels are classes"),
        ("classes: {a: 1, b: 1}", "classes"),
        ("image_classes: [a, a]", "image_classes"),
        ("numbers: {style: [0, 1]}", "expected other names"),
        ("numbers: {gsd: [60, 5]}", "expected the smaller number first"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(folder: Path, settings: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe_of(folder, "image.tif", settings=settings)


def test_a_synthesis_has_no_optional_bands(folder: Path) -> None:
    text = (RECIPE % ("", "a, b", "image.tif", "")).replace("bands: [a, b]", "bands: [a, b]\noptional_bands: [b]")
    (folder / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match="a synthesis makes all bands"):
        load_recipe(folder / "recipe.yaml")


# ---- what is learned ----


def test_the_centre_is_the_mean_of_what_is_learned(folder: Path) -> None:
    values = np.random.default_rng(1).gamma(2, 0.2, (2, 60, 72)).astype(np.float32)
    values[1] += 3
    write_raster(folder / "image.tif", values, ["red", "nir"])
    source = "{path: image.tif, labels: mask.tif}"
    recipe = recipe_of(folder, source, settings="unit: physical, style: false, knee: 0.5", bands="red, nir")
    found = with_centre(recipe)
    assert found.task.centre is not None
    np.testing.assert_allclose(found.task.centre, np.arcsinh(values / 0.5).mean((1, 2)), rtol=0.05)
    assert with_centre(found) == found
    assert with_centre(recipe) == found  # the same whenever it is measured
    residual = drawn(found, steps=16)[:, :2]
    base = np.array(found.task.centre)[:, None, None]
    assert np.abs((np.arcsinh(residual / 0.5) - base).mean((0, 2, 3))).max() < 1e-3
    (folder / "other.yaml").write_text(
        "{version: 1, name: a, task: {kind: super_resolution, ratio: 2}, bands: [a], network: {stem: 2}}"
    )
    other = load_recipe(folder / "other.yaml")
    assert with_centre(other) is other


def test_a_model_learns_that_objects_are_bright(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    masks = [cells(60, 72)[::turn, ::flip] for turn in (1, -1) for flip in (1, -1)]
    for number, mask in enumerate(masks):
        image = 0.2 + 0.6 * (mask > 0) + 0.05 * rng.normal(size=mask.shape)
        write_raster(tmp_path / "images" / f"{number}.tif", image.astype(np.float32)[None], ["nuclei"])
        write_raster(tmp_path / "labels" / f"{number}.tif", mask)
    recipe = with_centre(recipe_of(tmp_path, "{path: images, labels: labels, image_class: one}"))
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 90, "batch": 8})})
    torch.manual_seed(0)
    state = start(recipe, "cpu")
    scenes = open_scenes(recipe, state.model.task, recipe.data.train)
    with Prefetched(scenes, recipe, state.model.task) as drawn:
        batches = Fresh(state.model, drawn)
        state.model = replace(state.model, residual_root=covariance_root(state.model, batches))
        losses = [float(step_once(state, batches)[1].mean()) for _ in range(recipe.training.steps)]
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:5])
    inside = np.zeros((40, 48), bool)
    inside[8:20, 12:30] = True

    def contrast(guidance: Guidance) -> float:
        found = [
            state.model.predict(inside.astype(int), steps=12, seed=seed, guidance=guidance)["sample"].values[0]
            for seed in range(2)
        ]
        return float(np.mean([each[inside].mean() - each[~inside].mean() for each in found]))

    told, untold = contrast(Guidance()), contrast(Guidance(0.0))
    assert told > 0.3
    assert abs(untold) < 0.15
    assert contrast(Guidance(2.0)) > told


def test_training_ends_with_a_model_that_says_what_it_was_trained_on(folder: Path) -> None:
    source = "{path: image.tif, labels: mask.tif, image_class: one}"
    path = train(recipe_of(folder, source, valid=source, settings="image_classes: [one]"), folder / "run")
    model = load(path)
    assert model.recipe.task.centre is not None  # type: ignore[union-attr]
    assert model.record["provenance"]["trained_on"] == ["image.tif"]
    assert model.record["calibration"] == 1.0
    assert set(model.record["metrics"]["validation"]) == {"mean", "linear"}
    assert train(recipe_of(folder, source, valid=source, settings="image_classes: [one]"), folder / "run") == path


def test_the_halo_is_measured_with_labels(folder: Path) -> None:
    table = halo_table(toy())
    assert table["320"] < 1e-5 < table["16"]


def test_scores_are_those_of_images_in_their_unit() -> None:
    model = toy("unit: physical, style: false, knee: 0.1")
    clean = torch.cat([torch.rand(1, 1, 16, 16), torch.zeros(1, 2, 16, 16)], 1)
    assert task_of(model).scene_bands == ("nuclei", "instance", "image_class")
    truth = clean[:, :1] / clean[:, :1].std()
    base = torch.full_like(truth, float(0.1 * np.sinh(0.0))) / clean[:, :1].std()
    expected = 10 * torch.log10(1 / (base - truth).square().mean())
    assert score(model, [clean])["linear"] == pytest.approx(float(expected), abs=0.01)
