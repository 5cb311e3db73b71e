"""Translation: levels on both sides, the linear map in closed form, the laws."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.cli import cli
from sciddiff.errors import InputError, OptionError, RecipeError
from sciddiff.model import build, load
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import load_recipe, parse_recipe
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task
from sciddiff.tasks.translate import Translate
from sciddiff.training import train
from sciddiff.training.begin import with_linear_map
from sciddiff.training.patches import draw_batch, open_scenes

HEAD = """
version: 1
name: stain
task: {kind: translate, targets: [nuclei, actin]%s}
bands: [phase, membrane]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
"""
LINEAR = ", linear: [[0.5, 0.25, 0.1], [0, -1, 1]]"


def task_of(more: str = LINEAR) -> Translate:
    task = build_task(parse_recipe(HEAD % more + "training: {patch: 32}\n"))
    assert isinstance(task, Translate)
    return task


def fields(side: int = 96, count: int = 2) -> np.ndarray:
    return fractal_noise((count, side, side), generator=torch.Generator().manual_seed(0), beta=2.4).numpy()


def image_of(values: np.ndarray, bands: list[str], valid: np.ndarray | None = None) -> xr.DataArray:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    seen = np.ones(values.shape, bool) if valid is None else valid
    return io.from_array(values.astype(np.float32), grid=grid, bands=bands, valid=seen)


def stained(side: int = 160) -> np.ndarray:
    """Two bands and two stains that follow from them: one linearly, one where the first band is bright."""
    phase, membrane = fields(side)
    return np.stack([phase, membrane, 0.6 * phase - 0.3 * membrane, (phase > 0.5) * 1.0])


# ---- levels and base ----


def test_the_base_is_the_linear_map_of_levels() -> None:
    task, image = task_of(), torch.from_numpy(fields())[None].double()
    obs = task.observe({"image": 10 * image + 5}, {"dark": (5.0, 15.0), "bright": (15.0, 25.0)})
    levels = torch.stack([image[:, 0], image[:, 1] - 1], 1)
    wanted = torch.stack([0.5 * levels[:, 0] + 0.25 * levels[:, 1] + 0.1, 1 - levels[:, 1]], 1)
    torch.testing.assert_close(task.base(obs), wanted)
    assert not task_of("").base(obs).any()


def test_the_survey_measures_levels_whatever_the_camera_and_the_order_of_bands() -> None:
    task, values = task_of(), fields(128)
    found = task.survey(image_of(values, ["phase", "membrane"]))
    turned = task.survey(image_of(3 * values[::-1] + 100, ["membrane", "phase"]))
    for name, numbers in found.items():
        np.testing.assert_allclose(turned[name], 3 * np.array(numbers) + 100, rtol=1e-5)
    flat = np.sort(values[0], None)
    assert found["dark"][0] == pytest.approx(np.quantile(flat, 0.01), abs=1e-5)
    assert found["bright"][0] == pytest.approx(np.quantile(flat, 0.995), abs=1e-5)


def test_any_gain_and_offset_of_the_camera_gives_the_same() -> None:
    task, image = task_of(), torch.from_numpy(fields())[None].double()
    one = task.observe({"image": image}, {"dark": (-1.0,), "bright": (2.0,)})
    two = task.observe({"image": 3 * image + 100}, {"dark": (97.0,), "bright": (106.0,)})
    base = task.base(one)
    torch.testing.assert_close(task.base(two), base)
    first, second = task.condition(one, base), task.condition(two, base)
    torch.testing.assert_close(second.scale, first.scale)
    torch.testing.assert_close(second.maps, first.maps)


def test_simulated_levels_are_off_and_keyed() -> None:
    task, clean = task_of(), torch.from_numpy(stained(32))[None].float().repeat(64, 1, 1, 1)
    obs = task.simulate(clean, torch.Generator().manual_seed(0))
    assert torch.equal(obs.inputs["image"], clean[:, :2])
    assert torch.equal(task.truth(clean, obs), clean[:, 2:])
    assert obs.instrument["dark"].std() == pytest.approx(0.03, rel=0.2)
    spread = (obs.instrument["bright"] - obs.instrument["dark"]).log()
    assert spread.std() == pytest.approx(0.15, rel=0.2)
    nominal = task.simulate(clean, None)
    assert not nominal.instrument["dark"].any()
    assert (nominal.instrument["bright"] == 1).all()


def test_what_it_cannot_do_is_refused() -> None:
    task, blank = task_of(), {"image": torch.zeros(1, 2, 8, 8)}
    with pytest.raises(OptionError, match="needs the levels dark and bright"):
        task.observe(blank, {"dark": (0.0,)})
    with pytest.raises(OptionError, match="needs to be above it"):
        task.observe(blank, {"dark": (1.0,), "bright": (0.0, 2.0)})
    with pytest.raises(OptionError, match="3 numbers a target"):
        task_of(", linear: [[1, 2], [1, 2]]")
    with pytest.raises(RecipeError, match="got 1 rows, expected 2: one a target"):
        task_of(", linear: [[1, 2, 3]]")
    with pytest.raises(OptionError, match="phase: a target that is an input"):
        build_task(parse_recipe((HEAD % "").replace("[nuclei, actin]", "[nuclei, phase]")))


# ---- laws ----


def test_nothing_beyond_the_radius_counts() -> None:
    task = task_of()
    side = 2 * (task.radius + 8) // 8 * 8
    image = torch.from_numpy(fields(side))[None]
    other = image.clone()
    other[..., 0, :] += 10
    results = []
    for each in (image, other):
        obs = task.observe({"image": each}, {"dark": (0.0,), "bright": (1.0,)})
        base = task.base(obs)
        results.append(torch.cat([base, *vars(task.condition(obs, base)).values()], 1))
    change = (results[0] - results[1]).abs().amax((0, 1, 3))
    assert not change[task.radius + 1 :].any()


def test_tiles_equal_the_whole_and_invalid_pixels_stay() -> None:
    model = build(parse_recipe(HEAD % LINEAR + "training: {patch: 32}\n"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    valid = np.ones((2, 71, 58), bool)
    valid[0, 20:30, 11:25] = False
    image = image_of(fields()[:, :71, :58], ["phase", "membrane"], valid)
    whole, tiled = (model.predict(image, tile=tile, tolerance=None)["mean"] for tile in (10_000, 32))
    assert [str(name) for name in whole.band.values] == ["nuclei", "actin"]
    np.testing.assert_allclose(tiled.values, whole.values, rtol=0, atol=1e-4)
    assert np.array_equal(np.isfinite(whole.values[1]), valid.all(0))
    samples = model.predict(image, steps=3, samples=4, seed=1)
    assert 0 < float(samples["std"].mean()) < 20


# ---- training ----


def recipe_of(folder: Path, source: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(
        HEAD % ""
        + f"data: {{train: [{source}], valid: [{source}]}}\n"
        + "training: {patch: 32, batch: 4, steps: 200, warmup: 5, ema: 0.9, learning_rate: 0.01, validate_every: 200}\n"
    )
    return load_recipe(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stains")
    values = stained()
    io.save(image_of(values * 50 + 300, ["phase", "membrane", "nuclei", "actin"]), folder / "all.tif")
    io.save(image_of(values[:2], ["phase", "membrane"]), folder / "in.tif")
    io.save(image_of(values[2:] * 7, ["a", "b"]), folder / "out.tif")
    return folder


@pytest.mark.parametrize("source", ["{path: all.tif}", "{path: in.tif, guide: {path: out.tif, bands: [a, b]}}"])
def test_the_linear_map_is_found_in_closed_form_from_one_file_or_two(folder: Path, source: str) -> None:
    recipe = with_linear_map(recipe_of(folder, source))
    (first, second, _), _ = recipe.task.linear  # type: ignore[union-attr]
    phase, membrane, nuclei = (
        np.quantile(band, 0.995) - np.quantile(band, 0.01) for band in stained()[:3].astype(np.float32)
    )
    assert first == pytest.approx(0.6 * phase / nuclei, rel=0.01)
    assert second == pytest.approx(-0.3 * membrane / nuclei, rel=0.01)
    task = build_task(recipe)
    windows = torch.from_numpy(draw_batch(open_scenes(recipe, task, recipe.data.train), recipe, task, step=0))
    base = task.base(task.simulate(windows, None))
    torch.testing.assert_close(base[:, 0], windows[:, 2], atol=0.02, rtol=0)
    assert with_linear_map(recipe) is recipe


def test_it_learns_and_a_file_comes_out_with_the_targets(folder: Path, tmp_path: Path) -> None:
    model = load(path := train(recipe_of(folder, "{path: all.tif}"), tmp_path))
    scores = model.record["metrics"]["validation"]
    assert scores["mean"] > scores["linear"] + 0.5
    assert model.recipe.task.linear is not None  # type: ignore[union-attr]
    io.save(image_of(fields()[::-1] * 5, ["membrane", "phase"]), tmp_path / "new.tif")
    result = CliRunner().invoke(
        cli, ["predict", str(path), str(tmp_path / "new.tif"), "-o", str(tmp_path / "stains.tif")], prog_name="sciddiff"
    )
    assert result.exit_code == 0, result.output
    made = io.open(str(tmp_path / "stains.tif"))
    assert [str(name) for name in made.band.values] == ["nuclei", "actin"]
    wanted = model.predict(image_of(fields()[::-1] * 5, ["membrane", "phase"]))["mean"].values
    np.testing.assert_allclose(made.values, wanted, atol=1e-5)


def test_mixed_targets_are_refused(folder: Path) -> None:
    recipe = recipe_of(folder, "{path: in.tif, guide: {path: out.tif, bands: [a, b], weights: [1, 1]}}")
    with pytest.raises(InputError, match="each has levels of its own"):
        open_scenes(recipe, build_task(recipe), recipe.data.train)
