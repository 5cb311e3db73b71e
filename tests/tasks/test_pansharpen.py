"""Pan-sharpening: exact places of the grids, local injection, the laws, what does not fit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.metrics import ergas
from sciddiff.io.align import aligned
from sciddiff.model import Model, build, restore
from sciddiff.model.fit import fit_all
from sciddiff.model.reading import observe_whole
from sciddiff.physics import sensor
from sciddiff.recipe import load_recipe, parse_recipe, shipped_recipes
from sciddiff.tasks import Observation, build_task
from sciddiff.tasks.pansharpen import Pansharpen
from sciddiff.training.patches import draw_batch, open_scenes

RECIPE = """
version: 1
name: sharp
task: {kind: pansharpen, ratio: %d, guide: [%s], sensor: landsat8, projections: 1}
bands: [B4, B5]
network: {widths: [8, 12], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {patch: 48}
"""
OFFSETS = [(0.0, 0.0), (-0.5, 0.5), (0.25, -1.0)]


def make_task(ratio: int = 2, guide: str = "pan") -> Pansharpen:
    task = build_task(parse_recipe(RECIPE % (ratio, guide)))
    assert isinstance(task, Pansharpen)
    return task


@pytest.fixture(scope="module")
def task() -> Pansharpen:
    return make_task()


def fractal(seed: int, size: int = 128) -> np.ndarray:
    f = np.fft.fftfreq(size)
    power = (f[:, None] ** 2 + f[None] ** 2 + 1e-5) ** -0.65
    image = np.fft.ifft2(np.fft.fft2(np.random.default_rng(seed).normal(size=(size, size))) * power).real
    return (image - image.mean()) / image.std()


def scene(size: int = 128) -> Tensor:
    """Two bands and a guide: in the left half the second band follows it, in the right half it opposes it."""
    pan, other = fractal(0, size), fractal(1, size)
    side = np.where(np.arange(size) < size // 2, 1.0, -1.0)
    bands = [10 + pan + 0.2 * other, 10 + side * pan + 0.2 * other, 500 + 100 * pan]
    return torch.from_numpy(np.stack(bands))[None].float()


def observed(task: Pansharpen, clean: Tensor, offset: tuple[float, float]) -> Observation:
    bands, guide = clean[:, :2], clean[:, 2:]
    low = clean.new_zeros(1, 2, clean.shape[2] // task.ratio, clean.shape[3] // task.ratio)
    obs = task.observe({"image": low, "pan": guide}, {"offset": offset})
    return replace(obs, inputs={**obs.inputs, "image": task.degrade(bands, obs)})


def mse(estimate: Tensor, clean: Tensor) -> float:
    return float((estimate - clean[:, :2])[..., 24:-24, 24:-24].square().mean())


# ---- physics ----


@pytest.mark.parametrize("ratio", [2, 3, 4])
@pytest.mark.parametrize("offset", OFFSETS)
def test_low_pixels_are_read_at_their_exact_centres(ratio: int, offset: tuple[float, float]) -> None:
    """A wave keeps its phase and has the MTF's gain, wherever the grids lie."""
    task, side = make_task(ratio), 24 * ratio
    f = 1 / (3 * ratio)
    x = (torch.arange(side) + 0.5).double()
    wave = torch.cos(2 * torch.pi * f * x[None, :] + 1) * torch.cos(2 * torch.pi * f * x[:, None])
    obs = observed(task, wave.expand(1, 3, -1, -1), offset)
    rows, cols = (ratio * (torch.arange(24) + 0.5).double() - o for o in offset)
    sigma = sensor.mtf_sigma(torch.tensor(0.3, dtype=torch.float64), ratio)
    gain = torch.exp(-4 * torch.pi**2 * sigma**2 * f**2)
    expected = gain * torch.cos(2 * torch.pi * f * cols[None, :] + 1) * torch.cos(2 * torch.pi * f * rows[:, None])
    inner = slice(7, -7)
    torch.testing.assert_close(
        obs.inputs["image"][0, 0, inner, inner], expected[inner, inner], atol=2e-4 * float(gain), rtol=0
    )


def test_simulations_are_keyed_and_lie_at_half_pixels(task: Pansharpen) -> None:
    clean = scene(48).expand(3, -1, -1, -1)
    first, again, other = (
        task.simulate(clean, torch.Generator().manual_seed(seed), instrument_dropout=0.5) for seed in (1, 1, 2)
    )
    assert torch.equal(first.inputs["image"], again.inputs["image"])
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    offset = first.instrument["offset"]
    assert torch.equal(2 * offset, (2 * offset).round())
    assert offset.abs().max() <= 1
    assert (offset == offset[:1]).all()
    assert not torch.equal(first.inputs["pan"], clean[:, 2:])


# ---- engine ----


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_base_beats_every_classical_fusion(ratio: int, offset: tuple[float, float]) -> None:
    task, clean = make_task(ratio), scene()
    obs = observed(task, clean, offset)
    errors = {name: mse(method(obs), clean) for name, method in task.baselines().items()}
    base = errors.pop("linear")
    assert base == pytest.approx(mse(task.base(obs), clean), rel=1e-6)
    assert base < 0.6 * min(errors.values())


def test_a_wrong_place_is_worse(task: Pansharpen) -> None:
    clean = scene()
    obs = observed(task, clean, (-0.5, -0.5))
    wrong = task.observe(obs.inputs, {"offset": (0.5, 0.5)})
    assert mse(task.base(obs), clean) < 0.5 * mse(task.base(wrong), clean)


def test_several_guides_tell_more_than_one() -> None:
    clean = scene()
    both = torch.cat([clean, torch.from_numpy(fractal(1)).float()[None, None]], 1)
    one, two = make_task(), make_task(guide="red, nir")
    errors = [mse(task.base(observed(task, image, (0, 0))), clean) for task, image in ((one, clean), (two, both))]
    assert errors[1] < 0.8 * errors[0]


def test_projection_brings_any_estimate_to_agreement(task: Pansharpen) -> None:
    clean = scene()
    obs = observed(task, clean, (-0.5, 0.5))
    estimate = clean[:, :2].flip(3)
    before, after = (
        float((task.degrade(x, obs) - obs.inputs["image"]).square().mean())
        for x in (estimate, task.project(estimate, obs))
    )
    assert after < 3e-3 * before
    assert mse(task.project(clean[:, :2], obs), clean) < 1e-6


def test_the_guide_may_come_in_any_unit(task: Pansharpen) -> None:
    obs = observed(task, scene(), (0.5, -0.5))
    other = replace(obs, inputs={**obs.inputs, "pan": 1e-3 * obs.inputs["pan"] - 5})
    base, again = task.base(obs), task.base(other)
    torch.testing.assert_close(again, base, atol=2e-3, rtol=0)
    maps, same = task.condition(obs, base).maps, task.condition(other, base).maps
    assert float((maps - same).abs().mean()) < 2e-3


def test_a_flat_guide_leaves_the_interpolated_image(task: Pansharpen) -> None:
    obs = observed(task, scene(), (0.0, 0.0))
    flat = replace(obs, inputs={**obs.inputs, "pan": torch.full_like(obs.inputs["pan"], 9000.0)})
    torch.testing.assert_close(task.base(flat), task._interpolate(obs.inputs["image"], obs), atol=1e-4, rtol=0)


@pytest.mark.parametrize("offset", OFFSETS)
def test_an_edge_beyond_which_the_guide_goes_on_is_as_good_as_the_middle(
    task: Pansharpen, offset: tuple[float, float]
) -> None:
    clean = scene()
    whole = observed(task, clean, offset)
    measured = whole.inputs["image"][..., 16:-16, 16:-16].numpy()
    around = ((0, 0), (0, 0), (16, 16), (16, 16))
    inputs = {
        "image": torch.from_numpy(np.pad(measured, around, mode="symmetric")),
        "image_known": torch.from_numpy(np.pad(np.ones_like(measured), around)),
        "pan": whole.inputs["pan"],
        "pan_known": torch.ones_like(whole.inputs["pan"]),
    }
    part = task.observe(inputs, {"offset": offset})
    ring = torch.zeros_like(clean[0, 0], dtype=torch.bool)
    ring[33:-33, 33:-33] = True
    ring[37:-37, 37:-37] = False
    for method in (task.base, lambda obs: task.project(task.base(obs), obs)):
        wrong, least = (float((method(obs) - clean[:, :2])[..., ring].square().mean()) for obs in (part, whole))
        assert wrong < 1.5 * least


def test_a_whole_guide_that_ends_within_a_pixel_of_the_image_is_fused() -> None:
    model = random_model()
    image, guide = pair(2)  # 75 x 93 pixels of the guide
    obs = observe_whole(model, fit_all(model.recipe, model.task, image, {"pan": [guide]}))
    for name, method in model.task.baselines().items():
        assert method(obs).shape[2:] == guide.shape[1:], name


def test_unknown_and_impossible_numbers_are_refused(task: Pansharpen) -> None:
    inputs = {"image": torch.zeros(1, 2, 8, 8), "pan": torch.zeros(1, 1, 16, 16)}
    with pytest.raises(OptionError, match="knows no 'psf' of an instrument; it knows mtf, noise, offset"):
        task.observe(inputs, {"psf": (1.0,)})
    with pytest.raises(OptionError, match=r"mtf is \[0\.9\]; needs 1 or 2 numbers from"):
        task.observe(inputs, {"mtf": (0.9,)})


# ---- laws ----


def random_model(ratio: int = 2) -> Model:
    """A network whose every weight acts."""
    model = build(parse_recipe(RECIPE % (ratio, "pan")))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def pair(
    ratio: int, *, begin: tuple[float, float] = (-0.5, 0.5), fine: tuple[int, int] = (75, 93), shift: float = 0.0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Image, with holes, and pan; the pan's grid begins `begin` of its pixels after the image's."""
    rng = np.random.default_rng(0)
    whole = ndimage.gaussian_filter(rng.normal(size=(2, 160, 160)), (0, 1.2, 1.2)) * 50 + 100
    side = 160 // ratio
    cut = whole[:, : side * ratio, : side * ratio]
    low = cut.reshape(2, side, ratio, side, ratio).mean((2, 4))
    low = low[:, : fine[0] // ratio + 2, : fine[1] // ratio + 2]
    valid = np.ones(low.shape, bool)
    valid[:, 9:13, 4:11] = False
    valid[0, 20, 20] = False
    sharp = ndimage.shift(whole[0], [-begin[0], -begin[1] + shift], order=3, mode="nearest")[: fine[0], : fine[1]]
    across = Affine(30, 0, 500000, 0, -30, 4000000)
    grid = across * Affine.scale(1 / ratio) * Affine.translation(begin[1], begin[0])
    image = io.from_array(
        low.astype("float32"), grid=GeoBox(low.shape[1:], across, "EPSG:32631"), bands=["B4", "B5"], valid=valid
    )
    pan = io.from_array(sharp.astype("float32"), grid=GeoBox(fine, grid, "EPSG:32631"), bands=["B8"])
    return image, pan


@pytest.mark.parametrize("ratio", [2, 3])
def test_tiles_equal_the_whole(ratio: int) -> None:
    model = random_model(ratio)
    image, pan = pair(ratio)
    whole = model.predict(image, inputs={"pan": pan}, steps=2, tile=10_000, tolerance=None)
    assert whole["mean"].shape == (2, 75, 93)
    for tile in (48, 72):
        tiled = model.predict(image, inputs={"pan": pan}, steps=2, tile=tile, tolerance=None)
        for name in ("mean", "sample"):
            np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=1e-3)
            assert np.array_equal(np.isnan(tiled[name].values), np.isnan(whole[name].values))
    assert np.isnan(whole["mean"].values).any()


def test_the_declared_radius_bounds_what_a_pixel_can_change() -> None:
    model = random_model()
    side = (2 * model.radius + 24) // 8 * 8
    rng = torch.Generator().manual_seed(0)
    inputs = {
        "image": torch.randn(1, 2, side // 2, side // 2, generator=rng),
        "pan": torch.randn(1, 1, side, side, generator=rng),
    }

    def result(name: str, bump: float) -> Tensor:
        changed = {**inputs, name: inputs[name].clone()}
        changed[name][..., 0, 0] += bump
        obs = model.task.observe(changed, {"offset": (-0.5, 0.5)})
        return next(restore(model, obs, origins=[(0, 0)]))

    for name in inputs:
        changed = (result(name, 0.0) != result(name, 1.0)).any(1)[0].nonzero().amax().item()
        assert 0 < changed <= model.radius + 2


def test_holes_of_the_guide_are_holes_of_the_result() -> None:
    image, pan = pair(2)
    pan.coords["valid"].values[0, 40, 50] = False
    mean = random_model().predict(image, inputs={"pan": pan})["mean"].values
    assert np.isnan(mean[:, 40, 50]).all()
    assert np.isfinite(mean[:, 41, 50]).all()
    rows, cols = 2 * 9 + 1, 2 * 4 - 1  # the first pixels under the image's hole
    assert np.isnan(mean[:, rows : rows + 6, cols + 1 : cols + 12]).all()


# ---- registration ----


@pytest.mark.parametrize("begin", [(0.0, 0.0), (-0.5, 0.5), (-3.5, 2.0)])
@pytest.mark.parametrize(("shift", "warned"), [(0.0, False), (1.5, True)])
def test_misregistration_is_measured_and_warned_about(begin: Sequence[float], shift: float, warned: bool) -> None:
    task = make_task()
    image, pan = pair(2, begin=(begin[0], begin[1]), fine=(110, 120), shift=shift)
    image.coords["valid"].values[...] = True
    if not warned:
        task.check(image, {"pan": [pan]})
        return
    with pytest.warns(UserWarning, match="off the pan") as caught:
        task.check(image, {"pan": [pan]})
    words = next(str(one.message) for one in caught if "off the pan" in str(one.message)).split()
    assert (float(words[3]), float(words[6])) == pytest.approx((0.0, -shift), abs=0.2)


def test_images_that_share_nothing_are_not_judged(task: Pansharpen) -> None:
    image, pan = pair(2, fine=(110, 120))
    other = pan.copy(data=np.random.default_rng(5).normal(size=pan.shape).astype("float32"))
    task.check(image, {"pan": [other]})
    task.check(image.isel(y=slice(0, 9)), {"pan": [pan]})


# ---- what does not fit ----


def test_other_ratios_and_places_are_refused() -> None:
    model = random_model()
    image, pan = pair(2)

    def moved(scale: float, right: float) -> xr.DataArray:
        grid = io.grid_of(pan)
        other = GeoBox(grid.shape, grid.affine * Affine.translation(right, 0) * Affine.scale(scale), grid.crs)
        return io.from_array(pan.values, grid=other, bands=["B8"])

    with pytest.raises(InputError, match="the grids do not overlap"):
        model.predict(image, inputs={"pan": moved(1.0, 9000)})
    with pytest.raises(InputError, match="ratio of the grids is not the model's whole number"):
        model.predict(image, inputs={"pan": moved(0.9, 0)})
    with pytest.raises(InputError, match="needs another input: -i pan=PATH"):
        model.predict(image)


# ---- real scenes and shipped recipes ----


def test_the_base_beats_classical_fusions_on_a_real_pair(realdata: Path) -> None:
    ms = io.open(str(realdata / "rs/l8_l1tp_p020r039_20150804_ms8_30m.tif"), bands=[4, 5])
    pan = io.open(str(realdata / "rs/l8_l1tp_p020r039_20150804_pan_15m.tif"))
    part = slice(490, 602), slice(100, 300)
    truth, _ = io.read_window(ms, *part)
    guide, _ = io.read_window(aligned(pan, io.grid_of(ms), resampling="average"), *part)
    clean = torch.from_numpy(np.concatenate([truth, guide]).astype("float32"))[None]
    task = make_task()
    obs = observed(task, clean, (-0.5, -0.5))
    scores = {
        name: ergas(method(obs)[0].numpy()[:, 16:-16, 16:-16], truth[:, 16:-16, 16:-16], ratio=2)
        for name, method in task.baselines().items()
    }
    assert scores.pop("linear") < 0.9 * min(scores.values())


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if "sharpen" in name])
def test_shipped_recipes_build_and_draw(realdata: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SCIDDIFF_REALDATA", str(realdata))
    recipe = load_recipe(shipped_recipes()[name])
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"batch": 2})})
    task = build_task(recipe)
    batch = torch.from_numpy(draw_batch(open_scenes(recipe, task, recipe.data.train), recipe, task, step=0))
    obs = task.simulate(batch, torch.Generator().manual_seed(0))
    base = task.base(obs)
    assert base.shape == task.truth(batch, obs).shape
    assert torch.isfinite(base).all()
    condition = task.condition(obs, base)
    assert condition.maps.shape[1] == task.maps
    assert obs.numbers.shape[1] == task.numbers
