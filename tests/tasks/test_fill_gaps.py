"""Filling gaps: which pixels get a value, known ones to the last bit, laws, and the baselines to be beaten."""

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.model import Model, build
from sciddiff.physics import gaps
from sciddiff.physics.change import draw_change
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import build_task, masked
from sciddiff.tasks.fill_gaps import FROM_DATE, GENERATED, OBSERVED, FillGaps, between

RECIPE = """
version: 1
name: gaps
task: {kind: fill_gaps, dates: 2, widest: 12}
bands: [red, nir]
optional_bands: [nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
training: {patch: 32}
"""
SIDE = 128


@pytest.fixture(scope="module")
def task() -> FillGaps:
    task = build_task(parse_recipe(RECIPE))
    assert isinstance(task, FillGaps)
    return task


@pytest.fixture(scope="module")
def model() -> Model:
    """A network whose every weight acts."""
    model = build(parse_recipe(RECIPE))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def scene(side: int = SIDE, bands: int = 2) -> torch.Tensor:
    return fractal_noise((bands, side, side), generator=torch.Generator().manual_seed(0), beta=2.6)[None]


def other_date(clean: torch.Tensor, seed: int = 2) -> torch.Tensor:
    return draw_change(0.25 + 0.06 * clean, generator=torch.Generator().manual_seed(seed))


def image_of(values: np.ndarray, valid: np.ndarray | None = None) -> xr.DataArray:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    seen = np.ones(values.shape, bool) if valid is None else np.broadcast_to(valid, values.shape)
    return io.from_array(values, grid=grid, bands=["red", "nir"][: len(values)], valid=seen)


def mask_of(where: np.ndarray) -> xr.DataArray:
    grid = GeoBox(where.shape, Affine.identity(), None)
    return io.from_array(where[None].astype("float32"), grid=grid, bands=["mask"])


# ---- which pixels get a value ----


def test_runs_between_known_pixels_count_up_to_the_widest() -> None:
    line = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 0], bool)
    assert between(line, 2, axis=0).astype(int).tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert between(line, 3, axis=0).astype(int).tolist() == [0, 0, 1, 1, 0, 1, 1, 1, 0, 0]
    assert not between(np.zeros((1, 9, 9), bool), 9, axis=1).any()


def test_gaps_are_filled_and_the_rim_of_a_scene_is_not(task: FillGaps) -> None:
    known = np.ones((2, 300, 300), bool)
    row, col = np.mgrid[:300, :300]
    known &= (row + col > 60) & (row + col < 540)  # a turned scene in its frame
    inside = known.copy()
    known[:, 100:112] = False  # 12 rows, the widest
    known[:, 150:163] = False  # 13 rows
    valid = task.valid({"image": known})
    assert not (valid & ~inside).any()
    assert valid[:, 100:112, 100:200].all()
    assert not valid[:, 150:163, 100:200].any()
    date = {"image": known, "date": np.ones((4, 300, 300), bool)}
    assert (task.valid(date) == inside).all()


def test_the_mask_is_filled_within_reach(task: FillGaps) -> None:
    known, mask = np.ones((1, 300, 300), bool), np.zeros((1, 300, 300), bool)
    mask[:, 40:260, 40:260] = True
    valid = task.valid({"image": known, "mask": mask})
    assert valid[0, 150, 103]
    assert not valid[0, 150, 104]
    assert valid[:, :104].all()


# ---- what they get ----


def test_known_pixels_come_out_bit_for_bit_and_gaps_closer_than_by_fillnodata(task: FillGaps) -> None:
    clean = scene(192)
    obs = task.simulate(clean, None)
    known = obs.inputs["image_known"] > 0
    assert 0.15 < 1 - known.float().mean() < 0.25
    base = task.base(obs)
    result = task.project(base + 1, obs)
    assert torch.equal(result[known].view(torch.int32), clean[known].view(torch.int32))
    errors = {name: float((method(obs) - clean)[~known].square().mean()) for name, method in task.baselines().items()}
    assert errors["linear"] < 0.97 * errors["fill_nodata"]
    assert all(torch.equal(method(obs)[known], clean[known]) for method in task.baselines().values())


def test_a_date_is_worth_more_than_the_surroundings_and_two_more_than_one(task: FillGaps) -> None:
    clean = scene(192)
    alone = task.simulate(clean, None)
    gap = alone.inputs["image_known"] == 0
    image = {name: alone.inputs[name] for name in ("image", "image_known")}
    changed = torch.cat([other_date(clean, seed) for seed in (2, 6)], 1)

    def error(dates: int) -> float:
        there = torch.ones_like(changed)
        there[:, 2 * dates :] = 0
        obs = task.observe({**image, "date": changed * there, "date_known": there})
        return float((task.base(obs) - clean)[gap].square().mean())

    assert error(2) < error(1) < 0.5 * error(0)
    torch.testing.assert_close(error(0), float((task.base(alone) - clean)[gap].square().mean()))


def test_towards_known_pixels_a_fitted_date_stays_as_it_was_fitted(task: FillGaps) -> None:
    clean = scene()
    alone = task.simulate(clean, None)
    image = {name: alone.inputs[name] for name in ("image", "image_known")}
    date = torch.cat([other_date(clean), torch.zeros_like(clean)], 1)
    there = torch.cat([torch.ones_like(clean), torch.zeros_like(clean)], 1)
    dated = task.observe({**image, "date": date, "date_known": there})
    known = image["image_known"]
    for obs, share in ((dated, masked.depth(known, masked.FADE)), (alone, 1 - known)):
        base = task.base(obs)
        torch.testing.assert_close(task.project(base + 1, obs) - base, share, rtol=0, atol=1e-5)


def test_any_gain_and_offset_of_image_and_date_passes_through(task: FillGaps) -> None:
    clean = scene().double()
    alone = task.simulate(clean, None)
    image, known = alone.inputs["image"], alone.inputs["image_known"]
    date = torch.cat([other_date(clean.float()).double(), torch.zeros_like(clean)], 1)
    there = torch.cat([torch.ones_like(clean), torch.zeros_like(clean)], 1)

    def run(gain: float, offset: float) -> tuple[torch.Tensor, ...]:
        shown = (7000 if gain > 1 else 1) * date * there
        moved = gain * image + offset
        obs = task.observe({"image": moved, "image_known": known, "date": shown, "date_known": there})
        base = task.base(obs)
        condition = task.condition(obs, base)
        return base, condition.scale, condition.maps

    plain, moved = run(1, 0), run(30, 9000)
    torch.testing.assert_close(moved[0], 30 * plain[0] + 9000)
    torch.testing.assert_close(moved[1], 30 * plain[1])
    torch.testing.assert_close(moved[2], plain[2], rtol=0, atol=1e-6)


def test_a_band_that_is_missing_is_no_gap(task: FillGaps) -> None:
    clean = scene()
    clean[:, 1] = 0
    obs = task.simulate(clean, None)
    base = task.base(obs)
    condition = task.condition(obs, base)
    assert not base[:, 1].any()
    assert condition.scale.isfinite().all()
    assert condition.maps.isfinite().all()
    gap = obs.inputs["image_known"][:, 0] == 0
    flag = task.extra_results(base, obs)["flag"][:, 0]
    assert torch.equal(flag == GENERATED, gap)
    assert torch.equal(flag == OBSERVED, ~gap)


def test_simulations_are_keyed_by_their_generator(task: FillGaps) -> None:
    clean = scene().expand(6, -1, -1, -1)
    first, again, other = (task.simulate(clean, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for name in first.inputs:
        assert torch.equal(first.inputs[name], again.inputs[name])
    assert not torch.equal(first.inputs["image_known"], other.inputs["image_known"])
    given = first.inputs["date_known"].view(6, 2, -1).amax(2).sum(1)
    assert len(given.unique()) > 1


# ---- laws ----


def damaged(side: tuple[int, int] = (71, 58)) -> tuple[xr.DataArray, dict[str, list[xr.DataArray]]]:
    clean = scene(96)[0, :, : side[0], : side[1]].numpy()
    missing = gaps.slc_off(side, period=17, edge_gap=9).numpy()
    missing[:6, :9] = True
    date = other_date(scene(96))[0, :, : side[0], : side[1]].numpy()
    seen = ~gaps.dropped_lines(side, generator=None, share=0.2).numpy()
    mask = np.zeros(side)
    mask[30:44, 20:31] = 1
    return image_of(clean, ~missing), {"date": [image_of(date, seen)], "mask": [mask_of(mask)]}


def test_tiles_equal_the_whole(model: Model) -> None:
    image, others = damaged()
    whole = model.predict(image, inputs=others, steps=3, tile=10_000, tolerance=None)
    tiled = model.predict(image, inputs=others, steps=3, tile=64, tolerance=None)
    for name in ("mean", "sample"):
        np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=1e-5)
    flag = whole["flag"].values[0]
    assert (tiled["flag"].values[0] == flag)[np.isfinite(flag)].all()
    known = image.coords["valid"].values & ~(others["mask"][0].values != 0)
    assert np.array_equal(whole["sample"].values[known], image.values[known])
    assert set(np.unique(flag[np.isfinite(flag)])) == {OBSERVED, FROM_DATE, GENERATED}
    assert (flag[known.all(0)] == OBSERVED).all()


def test_what_stands_in_gaps_changes_nothing(model: Model) -> None:
    image, _ = damaged()
    dirty = image.copy(data=np.where(image.coords["valid"].values, image.values, 1e4))
    first, second = (model.predict(each)["mean"].values for each in (image, dirty))
    assert np.array_equal(first, second, equal_nan=True)
    assert np.isnan(first).any()
    assert np.isfinite(first).mean() > image.coords["valid"].values.mean()


# ---- bad input ----


def test_what_cannot_be_filled_is_refused(model: Model) -> None:
    image, others = damaged()
    everything = mask_of(np.ones(image.shape[1:]))
    with pytest.raises(InputError, match="the mask covers every valid pixel"):
        model.predict(image, inputs={"mask": everything})
    with pytest.raises(InputError, match="all pixels are invalid"):
        model.predict(image_of(image.values, np.zeros(image.shape, bool)))
    with pytest.raises(InputError, match=r"mask has 20 x 20 pixels, the image .*, and does not say where"):
        model.predict(image, inputs={"mask": mask_of(np.ones((20, 20)))})
    green = others["date"][0].assign_coords(band=["green", "swir1"])
    with pytest.raises(InputError, match="date needs red, nir; got green, swir1"):
        model.predict(image, inputs={"date": green})
    with pytest.raises(OptionError, match="knows no mtf of an instrument"):
        model.predict(image, instrument={"mtf": (0.3,)})
