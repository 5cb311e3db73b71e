"""Cloud removal: what is clear survives to the bit, what is hidden comes from dates or from what is around."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.masked import seam_index
from sciddiff.model import Model, build, restore
from sciddiff.model.layout import lay_out
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import Observation, build_task, known_name, masked
from sciddiff.tasks.remove_clouds import RemoveClouds, grown_mask

RECIPE = """
version: 1
name: clear
task: {{kind: remove_clouds, dates: {dates}, guide: [{guide}], detector: null}}
bands: [red, nir]
optional_bands: [nir]
network: {{widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}}
training: {{patch: 32}}
"""
CRS = "EPSG:32631"


def random_model(dates: int = 2, guide: str = "") -> Model:
    """A network whose every weight acts: the zeros of a fresh one are filled."""
    model = build(parse_recipe(RECIPE.format(dates=dates, guide=guide)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model()


@pytest.fixture(scope="module")
def task(model: Model) -> RemoveClouds:
    assert isinstance(model.task, RemoveClouds)
    return model.task


def scene(height: int = 96, width: int = 96, *, seed: int = 0) -> torch.Tensor:
    """Reflectance of two bands, (1, 2, h, w): vegetation and soil."""
    fields = fractal_noise((2, height, width), generator=torch.Generator().manual_seed(seed), beta=2.5)
    vegetation = torch.sigmoid(3 * fields[0])
    red = 0.15 - 0.1 * vegetation + 0.005 * fields[1]
    return torch.stack([red, 0.2 + 0.2 * vegetation + 0.01 * fields[1]])[None]


def hole(height: int = 96, width: int = 96) -> torch.Tensor:
    """A round cloud, (1, 1, h, w)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (((y - 40) ** 2 + (x - 50) ** 2) < 20**2).float()[None, None]


def observed(
    task: RemoveClouds, clean: torch.Tensor, mask: torch.Tensor, *dates: torch.Tensor, cloud: float = 0.7
) -> Observation:
    """The clean scene with a cloud where masked, and other dates that are clear."""
    room = len(task.bands) * task.settings.dates
    shown = torch.cat([*dates, clean.new_zeros(1, room - len(dates) * 2, *clean.shape[2:])], 1)
    known = torch.zeros_like(shown)
    known[:, : 2 * len(dates)] = 1
    image = torch.where(mask > 0, cloud, clean)
    return task.observe({"image": image, "mask": mask, "date": shown, known_name("date"): known})


def error(estimate: torch.Tensor, clean: torch.Tensor, mask: torch.Tensor) -> float:
    """Root mean square error where masked."""
    return float((estimate - clean)[(mask > 0).expand_as(clean)].square().mean().sqrt())


# ---- what is clear, what is hidden ----


def test_clear_pixels_survive_to_the_bit(model: Model, task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    obs = observed(task, clean, mask, clean * 1.2)
    for result in restore(model, obs, origins=[(0, 0)], steps=3, samples=2):
        clear = (mask == 0).expand_as(clean)
        assert torch.equal(result[clear], clean[clear])
        assert (result[~clear] != obs.inputs["image"][~clear]).all()


def test_what_stands_under_the_cloud_has_no_part(model: Model, task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    results = [
        next(restore(model, observed(task, clean, mask, clean * 0.9, cloud=cloud), origins=[(0, 0)]))
        for cloud in (0.7, -1.0)
    ]
    assert torch.equal(results[0], results[1])


def test_what_a_date_hides_has_no_part(model: Model, task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    results = []
    for value in (0.0, 0.9):
        obs = observed(task, clean, mask, clean * 0.9)
        inputs = {name: obs.inputs[name].clone() for name in ("image", "mask", "date", known_name("date"))}
        inputs["date"][:, :2, 30:60] = value
        inputs[known_name("date")][:, :2, 30:60] = 0
        results.append(next(restore(model, task.observe(inputs), origins=[(0, 0)])))
    assert torch.equal(results[0], results[1])


def test_the_flag_says_where_a_pixel_comes_from(task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    inputs = dict(observed(task, clean, mask, clean).inputs)
    inputs = {name: inputs[name].clone() for name in ("image", "mask", "date", known_name("date"))}
    inputs[known_name("date")][:, :2, :, :50] = 0
    obs = task.observe(inputs)
    flag = task.extra_results(clean, obs)["flag"]
    left = torch.arange(96).expand(1, 1, 96, 96) < 50
    assert torch.equal(flag, torch.where(mask == 0, 0.0, torch.where(left, 2.0, 1.0)))


def test_holes_of_the_image_are_filled_only_where_masked(task: RemoveClouds) -> None:
    image = np.array([[[True, True, False, False]]] * 2)
    masked = np.array([[[False, True, True, False]]])
    assert task.valid({"image": image, "mask": masked}).tolist() == [[[True, True, True, False]]] * 2
    assert task.valid({"image": image}).tolist() == image.tolist()


def test_towards_clear_pixels_a_fitted_date_stays_as_it_was_fitted(task: RemoveClouds) -> None:
    """The network once made seams at real clouds: its change of the pixels at the rim was as large as within."""
    clean, mask = scene(), hole()
    obs = observed(task, clean, mask, clean * 0.9)
    change = task.project(task.base(obs) + 0.01, obs) - task.base(obs)
    share = masked.depth(1 - mask, masked.FADE)
    torch.testing.assert_close(change, (0.01 * share).expand_as(clean), rtol=0, atol=1e-6)
    assert set(share.unique().tolist()) == {step / masked.FADE for step in range(masked.FADE + 1)}
    alone = observed(task, clean, mask)
    change = task.project(task.base(alone) + 0.01, alone) - task.base(alone)
    torch.testing.assert_close(change, (0.01 * mask).expand_as(clean), rtol=0, atol=1e-6)


def test_the_truth_is_the_scene_up_to_the_rim(task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    assert torch.equal(task.truth(clean, observed(task, clean, mask, clean * 0.9)), clean)


# ---- the base ----


def test_a_date_under_other_light_is_taken_back(task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    gain, offset = torch.tensor([1.4, 0.7])[None, :, None, None], torch.tensor([0.02, -0.03])[None, :, None, None]
    obs = observed(task, clean, mask, gain * clean + offset)
    assert error(task.base(obs), clean, mask) < 0.002
    assert error(gain * clean + offset, clean, mask) > 0.03


def test_surfaces_that_changed_in_different_ways_are_told_apart(task: RemoveClouds) -> None:
    """A season: what is green has become brighter in the near infrared, bright soil has not. No one band tells that."""
    fields = fractal_noise((2, 96, 96), generator=torch.Generator().manual_seed(5), beta=2.5)
    green, soil = torch.sigmoid(2 * fields[0]), torch.sigmoid(2 * fields[1])
    clean = torch.stack([0.03 + 0.3 * soil * (1 - green), 0.05 + 0.3 * green + 0.4 * soil * (1 - green)])[None]
    date = torch.cat([clean[:, :1], clean[:, 1:] + 0.6 * (clean[:, 1:] - clean[:, :1])], 1)
    mask = hole()
    obs = observed(task, clean, mask, date)
    base, line = (error(task.baselines()[name](obs), clean, mask) for name in ("linear", "normalised_date"))
    assert base < 0.3 * line


def test_the_better_date_counts_more(task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    noise = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    good, both = (observed(task, clean, mask, *dates) for dates in ((clean,), (clean + noise, clean)))
    assert error(task.base(both), clean, mask) < error(task.base(good), clean, mask) + 0.002


def test_the_seam_does_not_show(task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    y = torch.linspace(-1, 1, 96)[:, None]
    date = clean * (1.2 + 0.2 * y) + 0.03 * y
    result = task.base(observed(task, clean, mask, date))[0].numpy()
    pasted = torch.where(mask > 0, date, clean)[0].numpy()
    assert abs(seam_index(result, mask[0, 0].numpy() > 0) - 1) < 0.1
    assert seam_index(pasted, mask[0, 0].numpy() > 0) > 1.3


def test_alone_a_hole_continues_its_surroundings(task: RemoveClouds) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    clean, mask = torch.stack([0.1 + 0.05 * y, 0.3 - 0.1 * x])[None], hole()
    assert error(task.base(observed(task, clean, mask)), clean, mask) < 0.01
    flat = torch.full_like(clean, 0.123)
    assert error(task.base(observed(task, flat, mask)), flat, mask) < 1e-4


def test_far_from_all_that_is_known_stands_a_plausible_surface(task: RemoveClouds) -> None:
    clean = scene(16, 640)
    mask = torch.ones(1, 1, 16, 640)
    mask[..., :8] = 0
    base = task.base(observed(task, clean, mask))
    assert base.isfinite().all()
    torch.testing.assert_close(base[0, :, 8, -1], task.prior)


def test_a_missing_band_is_neutral(task: RemoveClouds) -> None:
    clean, mask = scene(), hole()
    image, known = clean.clone(), torch.ones_like(clean)
    image[:, 1] = known[:, 1] = 0
    obs = task.observe({"image": image, "mask": mask, known_name("image"): known})
    base = task.base(obs)
    assert not base[:, 1].any()
    assert task.condition(obs, base).maps.isfinite().all()
    full = task.base(task.observe({"image": clean, "mask": mask}))
    assert torch.equal(base[:, 0], full[:, 0])


# ---- local, exact ----


def picture(
    values: torch.Tensor, *, bands: tuple[str, ...] = ("red", "nir"), valid: NDArray[np.bool_] | None = None
) -> xr.DataArray:
    """An image of 10 m pixels."""
    height, width = values.shape[-2:]
    grid = GeoBox((height, width), Affine(10, 0, 5e5, 0, -10, 4e6), CRS)
    return io.from_array(values.numpy(), grid=grid, bands=list(bands), valid=valid)


def test_tiles_equal_the_whole(model: Model) -> None:
    clean = scene(52, 90)[0]
    mask = hole(52, 90)[0]
    seen = np.broadcast_to(np.arange(90) < 55, clean.shape)
    holes = np.ones(clean.shape, bool)
    holes[:, :6, :9] = holes[:, 30:35, 48:52] = False
    image = picture(torch.where(mask > 0, 0.8, clean), valid=holes)
    inputs: dict[str, list[xr.DataArray]] = {
        "mask": [picture(mask, bands=("mask",))],
        "date": [picture(clean * 1.1, valid=seen), picture(clean * 0.8 + 0.02)],
    }
    whole = model.predict(image, inputs=inputs, steps=2, tile=1000, tolerance=None)
    tiled = model.predict(image, inputs=inputs, steps=2, tile=48, tolerance=None)
    for name in whole:
        np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=1e-5)
    invalid = ~holes & (mask.numpy() == 0)
    assert np.array_equal(np.isnan(whole["mean"].values), invalid)
    assert np.array_equal(np.unique(whole["flag"].values[~np.isnan(whole["flag"].values)]), [0, 1])


def test_the_declared_radius_bounds_what_a_pixel_can_change(task: RemoveClouds) -> None:
    length = task.radius + 64
    clean = scene(16, length)
    mask = torch.ones(1, 1, 16, length)
    mask[..., ::40] = 0
    changed = clean.clone()
    changed[..., 0] += 0.2

    def result(image: torch.Tensor) -> torch.Tensor:
        obs = observed(task, image, mask, clean * 1.1 + 0.1 * clean.roll(3, 3))
        base = task.base(obs)
        condition = task.condition(obs, base)
        return torch.cat([base, condition.scale, condition.maps], 1)

    columns = (result(clean) != result(changed)).any(2).any(1)[0].nonzero()
    assert 100 < columns.max() <= task.radius


def test_a_measured_halo_is_never_narrower_than_holes_ask_for(model: Model) -> None:
    from dataclasses import replace

    from sciddiff.model.fit import fit_all

    measured = replace(model, record={"halo": {"16": 1e-5, "24": 0.0}})
    image = picture(scene(16, 16)[0])
    fitted = fit_all(model.recipe, model.task, image, {"mask": [picture(hole(16, 16)[0], bands=("mask",))]})
    assert lay_out(measured, fitted, tile=None).halo >= model.task.reach + 16


# ---- simulation ----


def test_simulations_are_keyed_by_their_generator(task: RemoveClouds) -> None:
    clean = scene(64, 64).expand(6, -1, -1, -1)
    first, again, other = (task.simulate(clean, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for name, image in first.inputs.items():
        assert torch.equal(image, again.inputs[name])
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    given = first.inputs[known_name("date")].amax((2, 3)).view(6, 2, 2).amax(2).sum(1)
    assert set(given.tolist()) <= {0.0, 1.0, 2.0}
    assert given.max() > given.min()


def test_simulated_clear_pixels_are_those_of_the_scene(task: RemoveClouds) -> None:
    clean = scene(64, 64).expand(4, -1, -1, -1)
    for generator in (None, torch.Generator().manual_seed(3)):
        obs = task.simulate(clean, generator)
        clear = (obs.inputs["mask"] == 0).expand_as(clean)
        assert torch.equal(obs.inputs["image"][clear], clean[clear])
        assert 0.2 < float((~clear).float().mean()) < 0.95
        assert torch.equal(task.truth(clean, obs), clean)


def test_the_base_beats_the_classical_answers(task: RemoveClouds) -> None:
    clean = scene(128, 128)
    obs = task.simulate(clean, None)
    errors = {name: error(method(obs), clean, obs.inputs["mask"]) for name, method in task.baselines().items()}
    assert list(errors) == ["telea", "biharmonic", "median", "nearest_date", "normalised_date", "linear"]
    assert errors["linear"] < 0.9 * min(value for name, value in errors.items() if name != "linear")


def test_masks_in_training_are_never_too_small() -> None:
    masks = hole().expand(8, -1, -1, -1)
    grown = grown_mask(masks, generator=torch.Generator().manual_seed(0))
    assert (grown >= masks).all()
    sizes = grown.sum((1, 2, 3)).unique()
    assert 2 <= len(sizes) <= 4


# ---- settings ----


def test_without_dates_and_with_a_guide() -> None:
    model = random_model(dates=0, guide="vv, vh")
    clean = torch.cat([scene(64, 64), scene(64, 64, seed=1)], 1)
    obs = model.task.simulate(clean, torch.Generator().manual_seed(0))
    plain = next(restore(model, obs, origins=[(0, 0)]))
    assert plain.isfinite().all()
    inputs = {**obs.inputs, "guide": obs.inputs["guide"].flip(2)}
    other = next(restore(model, model.task.observe(inputs), origins=[(0, 0)]))
    hidden = (obs.inputs["mask"] > 0).expand_as(plain)
    assert (plain != other)[hidden].any()
    assert torch.equal(plain[~hidden], other[~hidden])
    assert list(model.task.baselines()) == ["telea", "biharmonic", "linear"]


def test_no_number_of_an_instrument_is_known(task: RemoveClouds) -> None:
    with pytest.raises(OptionError, match="knows no mtf of an instrument"):
        task.observe({"image": scene()}, {"mtf": (0.3,)})


# ---- bad input ----


def refused(
    model: Model, match: str, *, image: xr.DataArray | None = None, **inputs: xr.DataArray | list[xr.DataArray]
) -> None:
    with pytest.raises(InputError, match=match):
        model.predict(picture(scene(24, 24)[0]) if image is None else image, inputs=inputs)


def small_mask(value: float | None = None) -> xr.DataArray:
    """A mask of 24 x 24 pixels: a square, or one value everywhere."""
    values = torch.zeros(1, 24, 24)
    values[:, 8:16, 8:16] = 1
    return picture(values if value is None else torch.full_like(values, value), bands=("mask",))


def test_what_cannot_be_used_is_named(model: Model) -> None:
    clean = scene(24, 24)[0]
    refused(model, "needs to know where the clouds are: give -i mask=PATH")
    refused(
        model,
        r"date 1 has other bands than the image: red; the image has red, nir",
        mask=small_mask(),
        date=picture(clean[:1], bands=("red",)),
    )
    refused(model, "date needs red, nir; got swir1", mask=small_mask(), date=picture(clean[:1], bands=("swir1",)))
    refused(
        model,
        "the image holds values up to .*: digital numbers, where reflectance",
        image=picture(clean * 1e4),
        mask=small_mask(),
    )
    refused(model, "date 2 holds values up to", mask=small_mask(), date=[picture(clean), picture(clean * 1e4)])
    refused(model, "mask has 2 bands, expected one", mask=picture(clean))
    refused(model, "is on another grid than the main one", mask=picture(torch.zeros(1, 20, 24), bands=("mask",)))
    far = picture(clean)
    far = io.from_array(far.values, grid=GeoBox((24, 24), Affine(10, 0, 9e5, 0, -10, 4e6), CRS), bands=["red", "nir"])
    refused(model, "the grids do not overlap", mask=small_mask(), date=far)


def test_all_cloud_needs_a_date(model: Model) -> None:
    refused(model, "the mask covers every valid pixel and no other date is given", mask=small_mask(1.0))
    clean = scene(24, 24)[0]
    with pytest.warns(UserWarning, match="made of the other dates alone"):
        result = model.predict(
            picture(torch.full_like(clean, 0.7)), inputs={"mask": small_mask(1.0), "date": picture(clean)}
        )
    assert np.isfinite(result["mean"].values).all()
    assert (result["flag"].values == 1).all()


# ---- real scenes ----


def test_real_years_of_one_place(realdata: Path) -> None:
    """Four bands of one tile, years apart: the base errs a fifth less than a global line for each band."""
    task = build_task(
        parse_recipe(RECIPE.format(dates=1, guide="").replace("[red, nir]\nopt", "[blue, green, red, nir]\nopt"))
    )
    years = []
    for day in ("20140720", "20170827"):
        image = io.open(str(realdata / f"rs/naip_nd_4709963_se_{day}_rgbn_5m.tif"), bands=[3, 2, 1, 4])
        years.append(torch.from_numpy(np.nan_to_num(image.values[None, :, :256, :256])).float() / 255)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 60:130, 60:160] = 1
    obs = task.observe({"image": years[0], "mask": mask, "date": years[1]})
    base, line = (error(task.baselines()[name](obs), years[0], mask) for name in ("linear", "normalised_date"))
    assert base < 0.8 * line
