"""The cloud mask: its tests of pixels, its simulated truth, the laws, and what its results say."""

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.baselines.cloud_tests import cloud_guess, haze_optimised, shadow_guess
from sciddiff.errors import InputError, OptionError
from sciddiff.model import Model, build
from sciddiff.physics import cloud as sky
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import build_task
from sciddiff.tasks.cloud_mask import CLEAR, CLOUD, SHADOW, CloudMask
from sciddiff.tasks.reflectance import refuse_numbers

RECIPE = """
version: 1
name: toy-mask
task: {kind: cloud_mask, sensor: sentinel2, dilate: %d}
bands: [%s]
optional_bands: [%s]
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {patch: 16}
"""
FOUR = "blue, green, red, nir"
SIX = f"{FOUR}, swir1, swir2"


def make_task(bands: str = SIX, dilate: int = 2) -> CloudMask:
    task = build_task(parse_recipe(RECIPE % (dilate, bands, "swir1, swir2" if bands == SIX else "")))
    assert isinstance(task, CloudMask)
    return task


def land(b: int = 1, side: int = 64, bands: int = 6) -> torch.Tensor:
    """Vegetation with some texture, (b, bands, side, side)."""
    level = torch.tensor([0.03, 0.05, 0.04, 0.30, 0.18, 0.09])[:bands, None, None]
    rough = torch.randn(b, 1, side, side, generator=torch.Generator().manual_seed(0))
    return (level * (1 + 0.1 * rough)).clamp(min=0.01)


def random_model(bands: str = SIX, dilate: int = 1) -> Model:
    """A network whose every weight acts."""
    model = build(parse_recipe(RECIPE % (dilate, bands, "swir1, swir2" if bands == SIX else "")))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def as_image(values: torch.Tensor, names: str = SIX) -> xr.DataArray:
    grid = GeoBox((values.shape[1], values.shape[2]), Affine(10, 0, 5e5, 0, -10, 4e6), "EPSG:32631")
    return io.from_array(values.numpy(), grid=grid, bands=names.split(", "))


# ---- the tests of pixels ----


@pytest.mark.parametrize(
    ("surface", "colour", "cloudy"),
    [
        ("thick cloud", (0.60, 0.60, 0.60), True),
        ("thin cloud over forest", (0.20, 0.20, 0.18), True),
        ("forest", (0.03, 0.05, 0.03), False),
        ("sand", (0.18, 0.25, 0.33), False),
        ("deep water", (0.05, 0.04, 0.02), False),
    ],
)
def test_clouds_are_bright_white_and_blue(surface: str, colour: tuple[float, ...], cloudy: bool) -> None:
    guess = cloud_guess(*(torch.tensor(each) for each in colour))
    assert (float(guess) > 0.8) if cloudy else (float(guess) < 0.1), surface


def test_land_of_any_brightness_has_no_haze() -> None:
    soil = torch.linspace(0.05, 0.5, 10)
    assert haze_optimised(0.5 * soil, soil).abs().max() < 1e-7


def test_shadows_are_dark_land() -> None:
    nir, green, around = (
        torch.tensor(each) for each in ([0.10, 0.30, 0.02, 0.05], [0.03, 0.06, 0.05, 0.04], [0.3, 0.3, 0.3, 0.05])
    )
    shaded, lit, water, open_sea = shadow_guess(nir, green, around=around)
    assert shaded > 0.8
    assert max(lit, water, open_sea) < 0.1


# ---- what is simulated ----


def test_the_truth_is_where_the_simulation_put_them() -> None:
    task, clean = make_task(), land()
    obs = task.simulate(clean, None)
    drawn = sky.draw_clouds(clean, task.wavelengths, generator=None, cover=(0.3, 0.3), gsd=20.0)
    cloud, shadow = task.truth(clean, obs)[0] > 0
    assert torch.equal(obs.inputs["image"], drawn.cloudy)
    thick = drawn.alpha > sky.THIN_FROM
    assert torch.equal(cloud, thick[0, 0])
    assert torch.equal(shadow, ((drawn.shadow > sky.SHADOW_FROM) & ~thick)[0, 0])
    assert 0.2 < cloud.float().mean() < 0.4
    untouched = ((drawn.alpha == 0) & (drawn.shadow == 0))[0, 0]
    assert torch.equal(obs.inputs["image"][0, :, untouched], clean[0, :, untouched])


def test_simulations_are_keyed_and_keep_absent_bands_absent() -> None:
    task, clean = make_task(), land(12, 40)
    clean[:, 4:] = 0
    first, again, other = (task.simulate(clean, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for name in ("image", "truth"):
        assert torch.equal(first.inputs[name], again.inputs[name])
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    assert not first.inputs["image"][:, 4:].any()
    truth = first.inputs["truth"]
    assert set(truth.unique().tolist()) == {0.0, 1.0}
    assert truth.sum(1).max() == 1
    covers = truth[:, 0].mean((1, 2))
    assert (covers == 0).any()
    assert (covers > 0.3).any()


def test_the_tests_find_most_of_it() -> None:
    task, clean = make_task(), land(side=96)
    obs = task.simulate(clean, None)
    truth, guess = task.truth(clean, obs)[0] > 0, task.base(obs)[0] > 0.5
    for found, wanted in zip(guess, truth, strict=True):
        assert (found & wanted).sum() / (found | wanted).sum() > 0.6


def test_the_inside_of_a_cloud_wider_than_the_network_looks_is_cloud() -> None:
    task = make_task()
    obs = task.observe({"image": torch.full((1, 6, 32, 32), 0.6)})
    cloud, shadow = task.project(torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 32, 32), obs)[0]
    assert cloud.min() > 0.9
    assert shadow.max() < 0.1
    plain = task.project(
        torch.tensor([1.3, -0.2]).view(1, 2, 1, 1).expand(1, 2, 64, 64), task.observe({"image": land()})
    )
    assert torch.equal(plain[0, :, 0, 0], torch.tensor([1.0, 0.0]))


# ---- results ----


def test_the_mask_has_classes_and_a_margin() -> None:
    task = make_task(dilate=2)
    x = torch.zeros(1, 2, 32, 32)
    x[0, 0, 8, 8] = 0.9
    x[0, 1, 7:10, 11:14] = x[0, 1, 23:26, 23:26] = 0.9  # wide enough for their middle alone
    x[0, 1, 20] = 0.9  # a line is no shadow
    x[0, 0, 4, 20] = 0.1
    obs = task.observe({"image": land(side=32)})
    mask = task.extra_results(x, obs)["mask"][0, 0]
    expected = torch.full((32, 32), float(CLEAR))
    for row, col in ((8, 12), (24, 24)):  # the mean of 3 x 3 passes 0.4 at the middle and beside it
        expected[row - 3 : row + 4, col - 2 : col + 3] = SHADOW
        expected[row - 2 : row + 3, col - 3 : col + 4] = SHADOW
    expected[6:11, 6:11] = CLOUD
    assert torch.equal(mask, expected)


def test_tiles_equal_the_whole() -> None:
    model = random_model()
    image = as_image(make_task().simulate(land(side=72), None).inputs["image"][0, :, :70, :61])
    whole = model.predict(image, tile=10_000, tolerance=None)
    assert list(whole["mean"].band.values) == ["cloud", "shadow"]
    assert 0 <= whole["mean"].min() < whole["mean"].max() <= 1
    assert len(np.unique(whole["mask"])) > 1
    for each, tile in ((image, 32), (image.chunk({"y": 40, "x": 60}), 48)):
        tiled = model.predict(each, tile=tile, tolerance=None)
        np.testing.assert_allclose(tiled["mean"].values, whole["mean"].values, rtol=0, atol=1e-5)
        assert (tiled["mask"].values != whole["mask"].values).mean() < 1e-3


def test_a_pixel_without_one_of_its_bands_has_no_probability() -> None:
    values = land(side=40)[0]
    values[4, 10:13, 20] = torch.nan
    result = random_model().predict(as_image(values))
    holes = np.isnan(values.numpy()).any(0)
    assert np.array_equal(np.isnan(result["mean"].values), np.stack([holes, holes]))
    assert np.array_equal(np.isnan(result["mask"].values[0]), holes)


@pytest.mark.filterwarnings("ignore:.*left out")
def test_bands_are_optional_and_known_by_name() -> None:
    model, values = random_model(), land(side=32)[0]
    four = model.predict(as_image(values[:4], FOUR))
    again = model.predict(as_image(values[[3, 2, 1, 0]], "B08, B04, B03, B02"))
    np.testing.assert_allclose(again["mean"].values, four["mean"].values, atol=1e-6)
    assert four["mean"].shape == (2, 32, 32)


# ---- bad input ----


def test_digital_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="digital numbers, where reflectance from 0 to 1 is needed"):
        random_model().predict(as_image(10_000 * land(side=32)[0]))


def test_missing_bands_are_named() -> None:
    with pytest.raises(InputError, match=r"needs blue, green, red, nir, swir1, swir2; got green, red, nir"):
        random_model().predict(as_image(land(side=32)[0, 1:4], "green, red, nir"))
    with pytest.raises(OptionError, match="needs blue, green, red and near infrared; got green, red, nir"):
        make_task("green, red, nir")


def test_an_instrument_is_refused() -> None:
    with pytest.raises(OptionError, match="knows no mtf of an instrument"):
        random_model().predict(as_image(land(side=32)[0]), instrument={"mtf": (0.3,)})


def test_an_image_with_empty_edges_and_a_mirror_of_the_sun_is_reflectance() -> None:
    values = torch.full((4, 300, 600), torch.nan)
    values[:, 20:80, 30:90] = 0.2
    values[:, 40, 40] = 5.0
    refuse_numbers(as_image(values, FOUR), "the image")
    with pytest.raises(InputError, match="the image holds values up to 5000"):
        refuse_numbers(as_image(1000 * values, FOUR), "the image")
