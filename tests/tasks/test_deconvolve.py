"""Deconvolution: the base on its own spectrum, numbers of the instrument told or read off the file, the laws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import OptionError, RecipeError
from sciddiff.io.stack_profile import Channel, Objective, Spatial, StackProfile
from sciddiff.model import Model, build, load
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import load_recipe, parse_recipe
from sciddiff.tasks import build_task
from sciddiff.tasks.deconvolve import Deconvolve
from sciddiff.training import train

HEAD = """
version: 1
name: sharp
task: {kind: deconvolve%s}
bands: [intensity]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
"""


def task_of(more: str = "") -> Deconvolve:
    task = build_task(parse_recipe(HEAD % more))
    assert isinstance(task, Deconvolve)
    return task


def scene(side: int = 128, count: int = 1) -> torch.Tensor:
    return fractal_noise((count, side, side), generator=torch.Generator().manual_seed(0), beta=2.6)[:, None]


def image_of(values: np.ndarray, valid: np.ndarray | None = None) -> xr.DataArray:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    bands = [f"channel_{n}" for n in range(len(values))]
    return io.from_array(values, grid=grid, bands=bands, valid=np.ones(values.shape, bool) if valid is None else valid)


# ---- forward model and base ----


@pytest.mark.parametrize("ratio", [1, 2])
def test_the_base_beats_the_classical_answers_on_its_own_spectrum(ratio: int) -> None:
    task, clean = task_of(f", ratio: {ratio}"), scene(64 * ratio)
    obs = task.simulate(clean, None)
    inner = slice(12 * ratio, -12 * ratio)
    errors = {
        name: float((method(obs) - clean)[..., inner, inner].square().mean())
        for name, method in task.baselines().items()
    }
    assert errors["linear"] < 0.95 * min(error for name, error in errors.items() if name != "linear")
    assert errors["richardson_lucy"] < errors["as_measured"]


def test_light_is_blurred_by_the_width_and_added_up() -> None:
    task = task_of(", ratio: 2")
    point = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    point[..., 31:33, 31:33] = 1
    obs = task.observe({"image": torch.zeros(1, 1, 32, 32)}, {"psf": (1.2,)})
    seen = task.degrade(point, obs)[0, 0]
    assert seen.sum() == pytest.approx(4 / 4)  # a mean over four pixels, of four
    place = torch.arange(32) - 15.5
    variance = (seen.sum(1) * place**2).sum() / seen.sum()
    # in input pixels: that of the width, of the two lit pixels (1/16), of the pixel's own block (1/16)
    assert variance == pytest.approx(1.2**2 + 1 / 16 + 1 / 16, rel=5e-3)


def test_the_scale_is_the_error_of_the_base_for_any_width_and_noise() -> None:
    task, clean = task_of(), scene(96, 8)
    obs = task.simulate(clean, torch.Generator().manual_seed(3))
    base = task.base(obs)
    told = obs.numbers[:, 3] > 0
    spread = ((clean - base) / task.condition(obs, base).scale).std((1, 2, 3))[told]
    assert ((spread > 0.5) & (spread < 2)).all()


def test_noise_has_the_level_that_is_told() -> None:
    task, clean = task_of(", noise: [0.1, 0.1], psf_range: [1.5, 1.5]"), scene(128, 4)
    for source in (None, torch.Generator().manual_seed(1)):
        obs = task.simulate(clean, source)
        without = task.degrade(clean, obs)
        level = (obs.inputs["image"] - without).std((1, 2, 3)) / without.std((1, 2, 3))
        torch.testing.assert_close(level, torch.full((4,), 0.1), atol=0.01, rtol=0)


def test_any_gain_and_offset_of_the_camera_gives_the_same() -> None:
    task = task_of()
    image = task.simulate(scene(64), None).inputs["image"].double()
    one, two = (task.observe({"image": each}, {"psf": (1.4,), "noise": (0.05,)}) for each in (image, 3 * image + 100))
    base = task.base(one)
    torch.testing.assert_close(task.base(two), 3 * base + 100)
    first, second = task.condition(one, base), task.condition(two, task.base(two))
    torch.testing.assert_close(second.scale, 3 * first.scale)
    torch.testing.assert_close(second.maps, first.maps)


def test_hidden_numbers_are_hidden_and_flagged() -> None:
    task, clean = task_of(), scene(32, 16)
    hidden = task.simulate(clean, torch.Generator().manual_seed(0), instrument_dropout=1.0)
    assert not hidden.numbers[:, :2].any()
    assert (hidden.instrument["width"] == 1.5).all()
    assert 0 < hidden.numbers[:, 3].mean() < 1
    assert not hidden.numbers[hidden.numbers[:, 3] == 0, 2].any()
    told = task.observe({"image": clean}, {"psf": (2.0,)})
    assert told.numbers[0].tolist() == [0.5, 1, 0, 0]


def test_what_no_optics_have_is_refused() -> None:
    task, blank = task_of(), {"image": torch.zeros(1, 1, 8, 8)}
    with pytest.raises(OptionError, match=r"psf is \[9.0\]; needs 1 or 1 numbers from 0.6 to 3"):
        task.observe(blank, {"psf": (9.0,)})
    with pytest.raises(OptionError, match="knows no 'mtf'"):
        task.observe(blank, {"mtf": (0.3,)})
    with pytest.raises(OptionError, match="one band"):
        build_task(parse_recipe((HEAD % "").replace("[intensity]", "[red, green]")))
    with pytest.raises(RecipeError, match="expected a width within psf_range"):
        task_of(", psf: 4")


# ---- survey ----


def test_the_survey_reads_the_optics_and_measures_the_noise() -> None:
    task = task_of()
    noisy = 100 + 20 * task.simulate(scene(256), None).inputs["image"][0].numpy()
    image = image_of(np.concatenate([noisy, noisy]))
    assert set(task.survey(image)) == {"noise"}
    channels = (Channel("a", emission=525.0), Channel("b", emission=600.0))
    profile = StackProfile(
        "float32", channels, pixel_size=Spatial(0.065, 0.065, None), objective=Objective(na=1.4, refractive_index=1.515)
    )
    image.encoding["stack"] = profile
    found = task.survey(image)
    assert found["psf"][0] == pytest.approx(0.0815 / 0.065, rel=0.01)  # Zhang et al. 2007
    assert found["psf"][1] == pytest.approx(600 / 525 * found["psf"][0])
    level = np.sqrt(3e-3 * 0.5)
    assert all(0.7 * level < each < 1.4 * level for each in found["noise"])
    image.encoding["stack"] = replace(profile, channels=(channels[0], Channel("b")))
    assert set(task.survey(image)) == {"noise"}
    assert task.survey(image_of(np.ones((1, 64, 64), np.float32)))["noise"] == (0.0,)


# ---- laws ----


@pytest.mark.parametrize("ratio", [1, 2])
def test_nothing_beyond_the_radius_counts(ratio: int) -> None:
    task = task_of(f", ratio: {ratio}, psf_range: [0.6, 1.6]")
    side = 2 * (task.radius + 8) // 8 * 8
    image = torch.randn(1, 1, side // ratio, side // ratio, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[..., 0, :] += 10
    first, second = (task.observe({"image": each}, {"psf": (1.6,)}) for each in (image, other))
    results = []
    for obs in (first, second):
        base = task.base(obs)
        results.append(torch.cat([base, *vars(task.condition(obs, base)).values()], 1))
    change = (results[0] - results[1]).abs().amax((0, 1, 3))
    assert not change[task.radius + ratio :].any()
    assert change[: ratio * 4].any()


def test_tiles_equal_the_whole_channel_by_channel() -> None:
    model = build(parse_recipe(HEAD % ", psf_range: [0.6, 1.5]"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    image = image_of(100 + scene(72, 2)[:, 0, :, :58].numpy())
    told = {"psf": (1.4, 0.9), "noise": (0.05,)}
    whole, tiled = (
        model.predict(image, instrument=told, tile=tile, tolerance=None)["mean"].values for tile in (10_000, 32)
    )
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)
    swapped = model.predict(image, instrument={**told, "psf": (1.4, 1.4)}, tolerance=None)["mean"].values
    np.testing.assert_array_equal(swapped[0], whole[0])
    assert np.abs(swapped[1] - whole[1]).max() > 1e-3


# ---- training ----


def test_it_learns_and_what_it_learnt_is_loaded(tmp_path: Path) -> None:
    edges = (scene(160) > 0).float() + 0.2 * scene(160)  # edges: more than any linear filter can know
    io.save(image_of(edges[0].numpy()), tmp_path / "sharp.tif")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        HEAD % ", psf_range: [1, 2], noise: [0.01, 0.05]"
        + "data: {train: [sharp.tif], valid: [sharp.tif]}\n"
        + "training: {patch: 32, batch: 4, steps: 150, warmup: 5, ema: 0.9, learning_rate: 0.01, validate_every: 60}\n"
    )
    model = load(train(load_recipe(path), tmp_path / "run"))
    assert isinstance(model, Model)
    scores = model.record["metrics"]["validation"]
    assert scores["mean"] > scores["linear"] + 0.1
