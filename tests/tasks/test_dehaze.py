"""Dehazing: what the model of haze allows in closed form, the laws, and images that are refused."""

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.model import Model, build
from sciddiff.physics import haze
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import build_task, known_name
from sciddiff.tasks.dehaze import T_MIN, Dehaze

RECIPE = """
version: 1
name: haze
task: {kind: dehaze}
bands: [blue, green, red, nir, swir1]
optional_bands: [nir, swir1]
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 0], stem: 4, embedding: 8}
training: {patch: 32}
"""


def make(**settings: object) -> Dehaze:
    recipe = parse_recipe(RECIPE, overrides=[f"task.{key}={value}" for key, value in settings.items()])
    task = build_task(recipe)
    assert isinstance(task, Dehaze)
    return task


@pytest.fixture(scope="module")
def task() -> Dehaze:
    return make()


def land(task: Dehaze, *, side: int = 96, dark: bool = True) -> Tensor:
    """Bright ground with texture (1, c, h, w); with dark objects, the darkest there are in two pixels of each cell."""
    source = torch.Generator().manual_seed(0)
    texture = 0.5 + torch.rand(1, 1, side, side, generator=source)
    scene = torch.tensor([0.08, 0.11, 0.12, 0.25, 0.3])[:, None, None] * texture
    if dark:
        for down in (0, 1):
            for along in (0, 1):
                scene[..., 2 + down :: 8, 2 + along :: 8] = task.dark[:, None, None]
    return scene


def hazy(task: Dehaze, clean: Tensor, t1: Tensor | float, *, level: float = 1.0) -> tuple[Tensor, Tensor]:
    """The scene under haze of one thickness or a field of it, and the transmissions."""
    field = torch.as_tensor(t1).expand(1, 1, *clean.shape[2:])
    through = haze.transmission(field, task.wavelengths)
    return haze.scatter(clean, through, light=level * task.mean_light), through


def rmse(estimate: Tensor, truth: Tensor) -> float:
    return float((estimate - truth).square().mean().sqrt())


# ---- closed forms ----


@pytest.mark.parametrize("t1", [1.0, 0.9, 0.6, 0.3])
def test_the_base_is_exact_where_dark_objects_are_as_dark_as_expected(task: Dehaze, t1: float) -> None:
    clean = land(task)
    image, _ = hazy(task, clean, t1)
    obs = task.observe({"image": image})
    assert rmse(task.base(obs), clean) < 1e-3
    assert rmse(task.base(obs), clean) <= 0.02 * rmse(image, clean) + 1e-6


def test_brighter_ground_than_expected_counts_as_haze_only_as_far_as_every_band_allows(task: Dehaze) -> None:
    clean = land(task, dark=False)
    clean[:, 0] = task.dark[0]  # the blue band is as dark as can be: so there is no haze
    obs = task.observe({"image": clean})
    torch.testing.assert_close(task.base(obs), clean, atol=1e-5, rtol=0)


def test_the_truth_is_its_own_projection_and_tells_the_transmission(task: Dehaze) -> None:
    clean = land(task)
    field = 0.75 + 0.2 * torch.sin(torch.linspace(0, 3, 96))[:, None].expand(96, 96)
    image, _ = hazy(task, clean, field)
    obs = task.observe({"image": image})
    assert rmse(task.project(clean, obs), clean) < 5e-4
    told = task.extra_results(clean, obs)["transmission"]
    assert told.shape == (1, 1, 96, 96)
    assert float((told[0, 0] - field)[4:-4, 4:-4].abs().max()) < 5e-3


def test_projection_brings_any_estimate_under_one_smooth_haze(task: Dehaze) -> None:
    clean = land(task)
    image, _ = hazy(task, clean, 0.7)
    obs = task.observe({"image": image})
    noise = 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    projected = task.project(clean + noise, obs)
    assert rmse(projected, clean) < 0.4 * rmse(clean + noise, clean)
    light = task.mean_light[:, None, None]
    through = (light - image) / (light - projected)
    implied = haze.reference_transmission(through, task.wavelengths)[:, :3]
    assert float((implied - implied.mean(1, keepdim=True)).abs().max()) < 2e-3


def test_nothing_is_extrapolated_where_no_light_comes_through(task: Dehaze) -> None:
    clean = land(task)
    image, through = hazy(task, clean, 0.05)
    assert float(through[:, :3].max()) < T_MIN
    obs = task.observe({"image": image})
    estimate = clean + 0.03
    torch.testing.assert_close(task.project(estimate, obs)[:, :3], estimate[:, :3], atol=1e-6, rtol=0)
    assert float(task.base(obs).abs().max()) < 2


def test_clear_snow_is_not_made_brighter_than_white(task: Dehaze) -> None:
    texture = 0.97 + 0.06 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    snow = torch.tensor([0.9, 0.9, 0.88, 0.8, 0.1])[:, None, None] * texture
    obs = task.observe({"image": snow})
    assert task.base(obs).max() <= 1 + 1e-6  # though the darkest objects are taken for haze
    result = task.project(2 * snow, obs)
    assert result.max() <= max(1.0, float(snow.max()))
    assert rmse(result, snow) < 0.07
    assert float(task.extra_results(result, obs)["transmission"].min()) > 0.8


def test_an_over_corrected_pixel_does_not_vouch_for_clear_air(task: Dehaze) -> None:
    clean = land(task)
    image, _ = hazy(task, clean, 0.6)
    broken = image.clone()
    broken[..., 40:44, 40:44] = -0.15  # beside clouds
    whole, damaged = (task.base(task.observe({"image": each})) for each in (image, broken))
    kept = torch.ones_like(image, dtype=torch.bool)
    kept[..., 40:44, 40:44] = False
    assert rmse(damaged[kept], whole[kept]) < 0.01
    dark = task.observe({"image": torch.where(kept, image, -0.01)})  # clear water may be as dark as that
    assert rmse(task.base(dark)[kept], whole[kept]) > 0.02
    assert task.base(task.observe({"image": torch.full_like(image, -0.1)})).isfinite().all()


def test_a_known_light_is_used(task: Dehaze) -> None:
    clean = land(task)
    image, _ = hazy(task, clean, 0.5, level=0.8)
    blind, told = (
        task.observe({"image": image}),
        task.observe({"image": image}, {"light": (0.8 * task.mean_light).tolist()}),
    )
    assert rmse(task.base(told), clean) < 1e-3 < rmse(task.base(blind), clean)
    assert not blind.numbers.any()
    torch.testing.assert_close(told.numbers, torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize(
    ("instrument", "message"),
    [
        ({"mtf": (0.3,)}, "dehazing knows no 'mtf'"),
        ({"light": (0.5, 0.5)}, "needs 1 or 5"),
        ({"light": (12.0,)}, "light is"),
    ],
)
def test_what_is_no_light_is_refused(task: Dehaze, instrument: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        task.observe({"image": torch.zeros(1, 5, 8, 8)}, instrument)


# ---- bands ----


def test_bands_without_wavelength_are_named_all() -> None:
    with pytest.raises(OptionError, match=r"for thermal, lidar of sensor 'generic' .*give the bands' wavelengths"):
        build_task(parse_recipe(RECIPE.replace("[blue, green,", "[thermal, lidar,")))
    with pytest.raises(OptionError, match="names B99; the recipe's bands are blue"):
        make(wavelengths="{B99: 0.5}")
    assert make(wavelengths="{nir: 0.9}").wavelengths == [0.49, 0.56, 0.665, 0.9, 1.61]


def test_a_band_that_is_not_there_says_nothing(task: Dehaze) -> None:
    clean = land(task)
    image, _ = hazy(task, clean, 0.7)
    image[:, 3:] = 0
    obs = task.observe({"image": image})
    assert rmse(task.base(obs)[:, :3], clean[:, :3]) < 1e-3
    maps = task.condition(obs, task.base(obs)).maps
    assert (maps[:, 3:5] == maps[:, 3:4, :1, :1]).all()
    told = task.observe({"image": image, known_name("image"): torch.ones_like(image)})
    assert rmse(task.base(told)[:, :3], image[:, :3]) < 1e-6  # black infrared: then there is no haze
    for method in task.baselines().values():
        assert method(obs).shape == image.shape


def test_classical_methods_leave_absent_bands_alone(task: Dehaze) -> None:
    image, _ = hazy(task, land(task), 0.6)
    image[:, 4] = 0
    obs = task.observe({"image": image})
    for name, method in task.baselines().items():
        if name != "linear":
            result = method(obs)
            assert not result[:, 4].any(), name
            assert (result[:, :4] != image[:, :4]).any(), name


# ---- simulation ----


def test_simulations_are_keyed_and_a_share_is_clear() -> None:
    task = make(clear=0.5)
    clean = land(task, side=32).expand(24, -1, -1, -1)
    first, again, other = (
        task.simulate(clean, torch.Generator().manual_seed(seed), instrument_dropout=0.5) for seed in (1, 1, 2)
    )
    assert torch.equal(first.inputs["image"], again.inputs["image"])
    assert torch.equal(first.numbers, again.numbers)
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    unchanged = [torch.equal(one, scene) for one, scene in zip(first.inputs["image"], clean)]
    assert 4 < sum(unchanged) < 20
    assert 4 < int(first.numbers[:, 1].sum()) < 20
    nominal = task.simulate(clean[:1], None)
    assert (nominal.inputs["image"] != clean[:1]).any()
    assert torch.equal(nominal.inputs["image"], task.simulate(clean[:1], None).inputs["image"])


def test_the_truth_of_bare_ground_is_the_bare_ground() -> None:
    task = make(bare=1.0, clear=0.5)
    clean = land(task).repeat(32, 1, 1, 1)
    obs = task.simulate(clean, torch.Generator().manual_seed(0))
    truth = task.truth(clean, obs)
    assert truth.amin((2, 3)).mean() > 2 * clean.amin((2, 3)).mean()
    kept = (obs.inputs["image"] == truth).flatten(1).all(1)
    assert 0.2 < kept.double().mean() < 0.8
    assert torch.equal(make().truth(clean, make().simulate(clean, torch.Generator().manual_seed(0))), clean)


def test_the_residual_of_bright_ground_is_not_blown_up(task: Dehaze) -> None:
    """Where the ground is as bright as the haze its contrast to it is nothing, yet the light is not known that well."""
    clean = task.mean_light[None, :, None, None] * (1 + 0.02 * torch.randn(1, 5, 96, 96, generator=torch.Generator()))
    image, _ = hazy(task, clean, 0.7, level=1.15)
    obs = task.observe({"image": image})
    base = task.base(obs)
    scaled = (clean - base) / task.condition(obs, base).scale
    assert scaled.square().mean().sqrt() < 3


def test_the_residual_of_an_absent_band_goes_with_the_others() -> None:
    task = make(clear=0.0, strength="[0.4, 0.6]")
    clean = land(task, side=64).clone()
    clean[:, 3] = 0
    obs = task.simulate(clean, torch.Generator().manual_seed(3), instrument_dropout=0.0)
    assert obs.inputs["image"][:, 3].any()
    residual = ((clean - task.base(obs)) / task.condition(obs, task.base(obs)).scale)[0]
    pairs = np.corrcoef(residual[[2, 3]].flatten(1).numpy())
    assert pairs[0, 1] > 0.9


def test_digital_numbers_and_no_pixel_are_refused(model: Model) -> None:
    image = scene(32, 32)
    with pytest.raises(InputError, match="digital numbers"):
        model.predict(image * 10_000)
    with pytest.raises(InputError, match="all pixels are invalid"):
        model.predict(image.where(False).assign_coords(valid=(image.dims, np.zeros(image.shape, bool))))


# ---- laws ----


@pytest.fixture(scope="module")
def model() -> Model:
    """A network whose every weight acts."""
    model = build(parse_recipe(RECIPE))
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=source)
    return model


def scene(height: int, width: int) -> xr.DataArray:
    """Hazy reflectance with holes and without its last band."""
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(4, height, width)).cumsum(1).cumsum(2)
    values = 0.15 + 0.04 * walk / walk.std() + 0.01 * rng.normal(size=walk.shape)
    values = np.maximum(values, 0.01).astype(np.float32)
    valid = np.ones(values.shape, bool)
    valid[:, 20:30, 5:12] = False
    valid[2, :9, -20:] = False
    grid = GeoBox((height, width), Affine.identity(), None)
    return io.from_array(values, grid=grid, bands=["blue", "green", "red", "nir"], valid=valid)


@pytest.mark.parametrize(("steps", "sides"), [(1, (40, 64)), (3, (64,))])
def test_tiles_equal_the_whole(model: Model, steps: int, sides: tuple[int, ...]) -> None:
    image = scene(131, 83)
    whole = model.predict(image, steps=steps, tile=10_000, tolerance=None)
    assert set(whole) >= {"mean", "transmission"}
    assert float(np.nanstd(whole["transmission"])) > 0
    assert (np.isnan(whole["mean"].values) == ~image.coords["valid"].values).all()
    for tile in sides:
        tiled = model.predict(image, steps=steps, tile=tile, tolerance=None)
        for name in whole:
            np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=2e-6)


def test_holes_do_not_leak(model: Model) -> None:
    image = scene(64, 64)
    other = image.copy(data=np.where(image.coords["valid"].values, image.values, 0.9).astype(np.float32))
    for name, values in model.predict(image).items():
        np.testing.assert_array_equal(values, model.predict(other)[name])


def test_a_few_saturated_pixels_are_no_digital_numbers(model: Model) -> None:
    image = scene(48, 48)
    image.values[:, 40, 40] = 6.5535
    assert np.isfinite(model.predict(image)["mean"].values[:, 36:, 30:]).any()
