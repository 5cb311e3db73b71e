"""Training as a user runs it: it learns, it resumes exactly, it stops on a signal, it says what is wrong."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, InterruptedRun, ModelFileError, OptionError
from sciddiff.model import build, load, write
from sciddiff.networks.unet import UNet
from sciddiff.recipe import load_recipe, parse_recipe
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task
from sciddiff.training import train
from sciddiff.training.begin import begun_with
from sciddiff.training.loop import learning_rate, start
from sciddiff.training.patches import draw_batch, open_scenes
from sciddiff.training.validation import calibration, validation_set

RECIPE = """
version: 1
name: tiny
task: {kind: super_resolution, ratio: 2}
bands: [red, nir]
optional_bands: [nir]
data:
  train:
    - {path: full.tif, coarsen: [1, 2], weight: 2}
    - {path: red.tif, bands: [red, null]}
  valid: [{path: full.tif, window: [0, 0, 48, 48]}]
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {steps: 6, batch: 4, patch: 24, warmup: 2, validate_every: 3, checkpoint_every: 2}
"""


BLOCKS: dict[str, Any] = {"encoder_blocks": [0, 1], "denoiser_blocks": [0, 1], "stem": 2}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 80, 90)).cumsum(1).cumsum(2).astype(np.float32)
    valid = np.ones(values.shape, bool)
    valid[:, 60:, :20] = False
    grid = GeoBox((80, 90), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
    image = io.from_array(values, grid=grid, bands=["red", "nir"], valid=valid)
    io.save(image, tmp_path / "full.tif")
    io.save(image.isel(band=[0]), tmp_path / "red.tif")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "recipe.yaml")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).network.state_dict()


def test_a_stopped_run_continues_to_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.model_copy(update={"diffusion": recipe.diffusion.model_copy(update={"excess_share": 0.7})})
    whole = train(recipe, tmp_path / "whole")

    def stop(step: int, steps: int, figures: dict[str, float]) -> None:
        if step in (1, 4):
            os.kill(os.getpid(), signal.SIGTERM)

    for _ in range(2):
        with pytest.raises(InterruptedRun, match="continues"):
            train(recipe, tmp_path / "parts", progress=stop)
        assert not (tmp_path / "parts" / "model.safetensors").exists()
    parts = train(recipe, tmp_path / "parts")
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name]), name
    assert load(whole).record["metrics"] == load(parts).record["metrics"]


def test_a_run_writes_its_curves_and_model(recipe: Recipe, tmp_path: Path) -> None:
    path = train(recipe, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert {"mean", "valid mean", "valid bicubic", "learning_rate"} <= set(lines[-1])
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 2
    assert all(name in page for name in ("mean: ", "bicubic: ", "back projection: ", "sigma&lt;="))
    model = load(path)
    assert model.record["provenance"]["trained_on"] == ["full.tif", "red.tif"]
    assert set(model.record["metrics"]["validation"]) >= {"mean", "bicubic", "back_projection"}
    assert model.residual_root.diagonal().gt(0).all()


def test_it_learns(recipe: Recipe, tmp_path: Path) -> None:
    """A residual that the base cannot know, the same for every window, is learnt in a few seconds."""
    longer = recipe.training.model_copy(update={"steps": 60, "validate_every": 60, "learning_rate": 1e-2, "batch": 8})
    train(recipe.model_copy(update={"training": longer}), tmp_path / "run")
    last = json.loads((tmp_path / "run" / "curves.jsonl").read_text().splitlines()[-1])
    noisy = [value for name, value in last.items() if name.startswith("sigma<=")]
    assert min(noisy) < 0.97


def test_another_recipe_in_the_same_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run")
    with pytest.raises(OptionError, match="another recipe"):
        train(recipe.model_copy(update={"seed": 5}), tmp_path / "run")


def test_a_broken_checkpoint_is_named(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelFileError, match="delete it to start again"):
        train(recipe, tmp_path / "run")


def test_max_time_stops_with_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRun) as stopped:
        train(recipe, tmp_path / "run", max_seconds=0.0)
    assert stopped.value.exit_code == 75
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_batches_are_functions_of_the_step(recipe: Recipe) -> None:
    scenes = open_scenes(recipe, build_task(recipe), recipe.data.train)
    first, again, other = (draw_batch(scenes, recipe, build_task(recipe), step=step) for step in (3, 3, 4))
    assert first.shape == (4, 2, 24, 24)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def changed(recipe: Recipe, *overrides: str) -> Recipe:
    """The recipe with other values, its data found where they were."""
    folder = Path(recipe.data.train[0].files()[0]).parent
    return load_recipe(folder / "recipe.yaml", overrides=overrides)


@pytest.fixture
def first(recipe: Recipe, tmp_path: Path) -> Path:
    """A model file to start from, with weights of its own."""
    model = build(recipe.model_copy(update={"seed": 7}))
    record = {"provenance": {"trained_on": ["elsewhere.tif"]}}
    write(replace(model, residual_root=torch.tensor([[2.0, 0.5], [0.5, 1.0]]), record=record), tmp_path / "first.model")
    return tmp_path / "first.model"


def test_a_run_begins_with_a_models_weights(recipe: Recipe, first: Path, tmp_path: Path) -> None:
    old = load(first)
    begun = changed(recipe, f"training.start={first}", "training.steps=2", "training.learning_rate=1e-9")
    new = load(train(begun, tmp_path / "second"))
    for name, value in old.network.state_dict().items():
        torch.testing.assert_close(new.network.state_dict()[name], value, atol=1e-4, rtol=0)
    assert torch.equal(new.residual_root, old.residual_root)
    assert new.record["provenance"]["trained_on"] == ["elsewhere.tif", "full.tif", "red.tif"]


def test_inputs_that_the_model_lacks_begin_without_effect(recipe: Recipe, first: Path) -> None:
    old = load(first)
    new = build(recipe)
    with torch.random.fork_rng():
        wider = UNet(2, new.task.maps, new.task.numbers + 3, widths=[8, 8], **BLOCKS, embedding=8)
        wider = replace(new, network=wider)
    wider = begun_with(wider, old)
    maps, numbers = torch.randn(1, new.task.maps, 24, 24), torch.randn(1, new.task.numbers + 3)
    expected = old.network.encode(maps, numbers[:, : new.task.numbers]).pyramid
    for ours, theirs in zip(wider.network.encode(maps, numbers).pyramid, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_volume_that_the_model_does_not_see_begins_without_effect() -> None:
    text = RECIPE.replace("task: {kind: super_resolution, ratio: 2}", "task: {kind: denoise}")
    text = text.replace("bands: [red, nir]\n", "bands: [red]\n").replace("optional_bands: [nir]", "optional_bands: []")
    seen = "task.neighbours={along: z, planes: %d}"
    old, deep, deeper, channels = (
        build(parse_recipe(text[: text.index("data:")] + text[text.index("network:") :], overrides=overrides))
        for overrides in (
            ["seed=7"],
            [seen % 1, "network.dims=3"],
            [seen % 2, "network.dims=3"],
            [seen % 1],
        )
    )
    begun = begun_with(deep, old)
    maps, numbers = torch.randn(1, deep.task.maps, 24, 24), torch.randn(1, deep.task.numbers)
    expected = old.network.encode(maps[:, : old.task.maps], numbers).pyramid
    for ours, theirs in zip(begun.network.encode(maps, numbers).pyramid, expected, strict=True):
        assert torch.equal(ours, theirs)
    begun.network.encode(maps, numbers).pyramid[0].sum().backward()
    assert begun.network.slab.joins[0].weight.grad.any()  # but not for long
    for new, other in ((deeper, deep), (deep, deeper), (channels, deep), (deep, channels)):
        with pytest.raises(OptionError, match=r"^training\.start: "):
            begun_with(new, other)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.widths=[8, 16]", r"is \(8,\), needs to be \(16,\)"),
        ("network.embedding=4", r"is \(8, 5\), needs to be \(4, 5\)"),
        ("network.encoder_blocks=[0, 2]", "not there"),
        ("network.encoder_blocks=[0, 0]", "no place for"),
        ("training.start=nowhere", "neither a file nor a shipped name"),
    ],
)
def test_a_model_that_does_not_fit_is_no_start(recipe: Recipe, first: Path, override: str, message: str) -> None:
    with pytest.raises((OptionError, ModelFileError), match=message):
        start(changed(recipe, f"training.start={first}", override), "cpu")


def test_optional_bands_are_lacking_now_and_then(recipe: Recipe) -> None:
    scenes = open_scenes(recipe, build_task(recipe), recipe.data.train)
    batches = np.concatenate([draw_batch(scenes, recipe, build_task(recipe), step=step) for step in range(20)])
    lacking = ~batches.any((2, 3))
    assert not lacking[:, 0].any()
    assert 0.2 < lacking[:, 1].mean() < 0.9


def test_windows_never_hold_invalid_pixels(recipe: Recipe, tmp_path: Path) -> None:
    image = io.open(tmp_path / "full.tif")
    holes = image.copy(data=np.full(image.shape, 1.0, np.float32))
    holes.coords["valid"] = (("band", "y", "x"), np.arange(90)[None, None] % 20 + np.zeros((2, 80, 1)) > 0)
    io.save(holes, tmp_path / "holes.tif")
    source = recipe.data.train[0].model_copy(update={"path": str(tmp_path / "holes.tif")})
    with pytest.raises(InputError, match="without invalid"):
        draw_batch(open_scenes(recipe, build_task(recipe), [source]), recipe, build_task(recipe), step=0)


def test_a_raster_smaller_than_a_window_is_named(recipe: Recipe, tmp_path: Path) -> None:
    small = io.open(tmp_path / "full.tif").isel(y=slice(0, 20))
    io.save(small, tmp_path / "small.tif")
    source = recipe.data.train[0].model_copy(update={"path": str(tmp_path / "small.tif")})
    with pytest.raises(InputError, match=r"small.tif: 20 x 90"):
        open_scenes(recipe, build_task(recipe), [source])


def test_the_learning_rate_rises_holds_and_falls(recipe: Recipe) -> None:
    training = recipe.training.model_copy(update={"steps": 100, "warmup": 10, "learning_rate": 1.0})
    rates = [learning_rate(recipe.model_copy(update={"training": training}), step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:60] == [1.0] * 50
    assert rates[80] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.03


def test_the_spread_of_samples_is_calibrated(recipe: Recipe, tmp_path: Path) -> None:
    path = train(recipe, tmp_path / "run")
    model = load(path)
    windows = validation_set(recipe, model)
    assert model.record["calibration"] != 1.0
    assert calibration(model, windows) == pytest.approx(1.0, abs=0.01)
