"""Synthesis: what the network is told, what is hidden, what comes back, what is refused, and the laws."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.labels import instance_maps
from sciddiff.model import Model
from sciddiff.model.request import Guidance
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import build_task, known_name
from sciddiff.tasks.style import FLAT, OCTAVES, PER_BAND, QUANTILES, SIDE, style_numbers, style_of
from sciddiff.tasks.synthesis import ALL_HIDDEN, BLUR, Synthesis
from tests.synthesis import LAND, RECIPE, cells, image_of, land, task_of, toy, write_raster

BOTH = "labels: instances, classes: {nucleus: 1, debris: 4}, image_classes: [one, two, three], style: false"


def task(settings: str, bands: str = "nuclei") -> Synthesis:
    built = build_task(parse_recipe(RECIPE % (settings, bands)))
    assert isinstance(built, Synthesis)
    return built


def tensor(mask: NDArray[Any], dtype: type = np.float64) -> Tensor:
    return torch.from_numpy((mask if mask.ndim == 3 else mask[None])[None].astype(dtype))


@pytest.fixture(scope="module")
def model() -> Model:
    return toy()


@pytest.fixture(scope="module")
def mapper() -> Model:
    return toy(LAND, "B03, B08")


# ---- what the network sees ----


def test_of_an_instance_mask_it_sees_the_maps_of_objects() -> None:
    cell, mask = task("style: false"), cells()
    obs = cell.observe({"mask": tensor(mask)})
    maps = cell.condition(obs, cell.base(obs)).maps[0].numpy()
    assert len(maps) == cell.maps == 5
    assert (maps[0] == 1).all()
    assert np.array_equal(maps[1:], instance_maps(mask.astype(np.int64), reach=4))


def test_of_a_class_mask_it_sees_each_class() -> None:
    mapper, mask = task(LAND, "B03, B08"), land()
    obs = mapper.observe({"mask": tensor(mask)})
    maps = mapper.condition(obs, mapper.base(obs)).maps[0].numpy()
    assert np.array_equal(maps, np.stack([np.ones(mask.shape), mask == 1, mask == 6]))
    assert mapper.radius == 0


def test_objects_may_have_classes_in_a_second_band() -> None:
    both = task(BOTH)
    mask = np.stack([cells(), np.where(cells() > 2, 4, cells() > 0)])
    obs = both.observe({"mask": tensor(mask)})
    maps = both.condition(obs, both.base(obs)).maps[0].numpy()
    assert np.array_equal(maps[1:5], instance_maps(cells().astype(np.int64), reach=4))
    assert np.array_equal(maps[5:], np.stack([mask[1] == 1, mask[1] == 4]))


def test_a_hidden_mask_is_zero_with_a_zero_flag() -> None:
    cell = task("style: false")
    obs = cell.observe({"mask": tensor(cells())}, {"mask": (0.0,)})
    assert not cell.condition(obs, cell.base(obs)).maps.any()
    assert not obs.numbers.any()


def test_large_numbers_of_objects_are_told_apart_exactly(model: Model, tmp_path: Path) -> None:
    small, cell = cells(), task_of(model)
    expected = cell.condition(obs := cell.observe({"mask": tensor(small)}), cell.base(obs)).maps
    for first in (2**16, 2**24 - 1, 2**32 - 6):
        path = write_raster(tmp_path / f"{first}.tif", cells(first=first))
        values, _ = io.read_window(io.open(path), slice(None), slice(None))
        assert np.array_equal(values[0], cells(first=first))
        obs = cell.observe({"mask": torch.from_numpy(values)[None]})
        assert torch.equal(cell.condition(obs, cell.base(obs)).maps, expected)
        found = model.predict(io.open(path), steps=2)["sample"].values
        assert np.array_equal(found, model.predict(small, steps=2)["sample"].values)


# ---- numbers ----


def test_each_number_has_its_place_and_a_flag() -> None:
    cell = task("image_classes: [a, b, c], numbers: {gsd: [5, 60], month: [1, 12]}")
    mask = tensor(np.zeros((8, 8)))
    style = [round(0.1 * at, 3) for at in range(1, PER_BAND + 1)]
    given = {"image_class": (1.0,), "gsd": (60.0,), "month": (6.5,), "style": style, "mask": (1.0,)}
    full = cell.observe({"mask": mask}, given).numbers[0]
    assert full.shape == (cell.numbers,)
    torch.testing.assert_close(full, torch.tensor([0, 1, 0, 1, 1, 1, 0, 1, *style, 1, 1], dtype=torch.float32))
    places = {"image_class": [0, 1, 2, 3], "gsd": [4, 5], "month": [6, 7], "style": range(8, 9 + PER_BAND)}
    for name, place in places.items():
        numbers = cell.observe({"mask": mask}, {key: value for key, value in given.items() if key != name}).numbers[0]
        expected = full.clone()
        expected[list(place)] = 0
        assert torch.equal(numbers, expected), name
    assert torch.equal(cell.observe({"mask": mask}, {**given, "mask": (0.0,)}).numbers[0, :-1], full[:-1])
    low = cell.observe({"mask": mask}, {"gsd": (5.0,), "month": (1.0,)}).numbers[0]
    assert low[[4, 5, 6, 7]].tolist() == [-1, 1, -1, 1]


def test_a_class_of_number_zero_is_not_an_unknown_class() -> None:
    cell, mask = task("image_classes: [a, b], style: false"), tensor(np.zeros((8, 8)))
    told, untold = (cell.observe({"mask": mask}, given).numbers[0] for given in ({"image_class": (0.0,)}, {}))
    assert told.tolist() == [1, 0, 1, 0, 1]
    assert untold.tolist() == [0, 0, 0, 0, 1]


def test_everything_hidden_is_the_unconditional_observation() -> None:
    cell = task("image_classes: [a, b], numbers: {gsd: [5, 60]}")
    inputs = {"mask": tensor(cells())}
    told = cell.observe(inputs, {"image_class": (1.0,), "gsd": (7.0,), "style": [0.5] * PER_BAND})
    nothing, hidden = cell.unconditional(told), cell.observe(inputs, {"mask": (0.0,)})
    assert nothing is not None
    assert torch.equal(nothing.numbers, hidden.numbers)
    assert not nothing.numbers.any()
    maps = [cell.condition(obs, cell.base(obs)).maps for obs in (nothing, hidden)]
    assert torch.equal(*maps)
    assert not maps[0].any()
    assert told.numbers.any()  # it was not changed in place


# ---- there and back ----


def test_truth_and_project_are_inverse() -> None:
    cell = task("knee: 0.1, style: false")
    levels = torch.cat([torch.linspace(-0.5, 1.5, 240), torch.logspace(0, 2, 16)]).view(1, 1, 16, 16)
    clean = torch.cat([levels, torch.zeros(1, 2, 16, 16)], 1)
    obs = cell.simulate(clean, None)
    learned = cell.truth(clean, obs)
    torch.testing.assert_close(learned, torch.asinh(levels / 0.1))
    torch.testing.assert_close(cell.project(learned, obs), levels, rtol=1e-5, atol=1e-6)


def test_levels_become_numbers_of_the_unit_asked_for() -> None:
    cell = task("style: false", "dapi, actin")
    told = {"dark": (100.0, 20.0), "bright": (1100.0, 60.0)}
    obs = cell.observe({"mask": tensor(np.zeros((8, 8)))}, told)
    half = cell.transformed(torch.full((1, 2, 8, 8), 0.5))
    torch.testing.assert_close(cell.project(half, obs)[0, :, 0, 0], torch.tensor([600.0, 40.0]), rtol=1e-5, atol=0)


def test_a_changed_image_sets_out_from_its_own_levels() -> None:
    cell = task("style: false")
    image = torch.linspace(50, 450, 64).view(1, 1, 8, 8)
    inputs = {"mask": tensor(np.zeros((8, 8))), "image": image, known_name("image"): torch.ones_like(image)}
    obs = cell.observe(inputs, {"dark": (50.0,), "bright": (250.0,)})
    edit = cell.edited(obs)
    assert edit is not None
    assert not edit.keep.any()
    torch.testing.assert_close(edit.start, torch.asinh((image - 50) / 200 / 0.1))
    torch.testing.assert_close(cell.project(edit.start, obs), image, rtol=1e-4, atol=1e-3)


def test_the_base_is_the_mean_that_the_recipe_tells() -> None:
    cell = task("centre: [0.5, -1], style: false", "dapi, actin")
    base = cell.base(cell.observe({"mask": tensor(np.zeros((8, 8)))}))
    assert base[0, :, 3, 4].tolist() == [0.5, -1.0]
    assert base.std((2, 3)).max() == 0


# ---- style ----


def test_style_is_quantiles_and_octaves_of_detail() -> None:
    rows, cols = np.indices((32, 32))
    for octave in range(OCTAVES):
        board = np.where((rows // 2**octave + cols // 2**octave) % 2, 0.3, -0.3)
        numbers = style_numbers(torch.from_numpy(board)[None, None])[0]
        detail = torch.full((OCTAVES,), math.log(FLAT))
        detail[octave] = math.log(0.3 + FLAT)
        torch.testing.assert_close(numbers[len(QUANTILES) :], detail, rtol=0, atol=0.01)
    ramp = torch.linspace(0, 1, 1024).view(1, 1, 32, 32)
    torch.testing.assert_close(style_numbers(ramp)[0, : len(QUANTILES)], torch.tensor(QUANTILES), rtol=0, atol=1e-5)


def test_a_gain_of_detail_moves_the_numbers_of_detail_by_its_logarithm() -> None:
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, strong = (style_numbers(5 + gain * noise).view(2, 3, PER_BAND) for gain in (1.0, 2.5))
    change = (strong - plain)[..., len(QUANTILES) :]
    torch.testing.assert_close(change, torch.full_like(change, math.log(2.5)), rtol=0, atol=5e-3)
    moved = style_numbers(6 + noise).view(2, 3, PER_BAND) - plain
    torch.testing.assert_close(moved[..., : len(QUANTILES)], torch.ones(2, 3, len(QUANTILES)), rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[..., len(QUANTILES) :], torch.zeros(2, 3, OCTAVES), rtol=0, atol=1e-4)


def test_windows_of_any_size_have_a_style() -> None:
    """A held-out place is cut to the stride of the network, not to that of the octaves."""
    image = torch.rand(1, 2, 30, 28, generator=torch.Generator().manual_seed(0))
    numbers, cut = (style_numbers(each).view(2, PER_BAND) for each in (image, image[..., :24, :24]))
    assert torch.equal(numbers[:, len(QUANTILES) :], cut[:, len(QUANTILES) :])


def test_the_style_of_an_image_of_equal_windows_is_that_of_the_window() -> None:
    window = np.random.default_rng(0).gamma(2, 0.1, (2, SIDE, SIDE)).astype(np.float32)
    cell = task("knee: 0.1", "dapi, actin")
    expected = style_numbers(cell.transformed(torch.from_numpy(window)[None]))[0]
    for times in ((1, 1), (2, 2), (4, 3)):
        tiled = image_of(np.tile(window, (1, *times)), ["dapi", "actin"])
        np.testing.assert_allclose(style_of(tiled, cell.transformed), expected, atol=2e-4)


def test_a_reference_of_style_needs_a_whole_window() -> None:
    cell, values = task(""), np.ones((1, SIDE, 2 * SIDE), np.float32)
    values[:, :, SIDE:] = 0.2
    valid = np.ones(values.shape, bool)
    valid[0, 3, 5] = False
    found = style_of(image_of(values, valid=valid), cell.transformed)
    assert found[0] == pytest.approx(math.asinh(0.2 / 0.1), abs=1e-4)  # only the second window is whole
    valid[0, 3, SIDE + 5] = False
    for image in (image_of(values, valid=valid), image_of(np.ones((SIDE - 1, 400), np.float32))):
        with pytest.raises(InputError, match="needs a window of 96 x 96 pixels without invalid ones"):
            style_of(image, cell.transformed)


# ---- training ----


def scene(batch: int, *facts: float) -> Tensor:
    noise = torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = (noise > 0.7).float()
    return torch.cat([noise, labels, *(torch.full_like(noise, fact) for fact in facts)], 1)


def test_training_hides_each_condition_in_its_share() -> None:
    cell, batch, dropout = task("image_classes: [a, b], numbers: {gsd: [5, 60]}"), 4000, 0.25
    clean = scene(batch, 1.0, 30.0)
    obs = cell.simulate(clean, torch.Generator().manual_seed(3), instrument_dropout=dropout)
    flags = {"class": 2, "gsd": 4, "style": -2, "mask": -1}
    hidden = {name: obs.numbers[:, at] == 0 for name, at in flags.items()}
    alone = ALL_HIDDEN + (1 - ALL_HIDDEN) * dropout
    for name, share in hidden.items():
        assert abs(share.float().mean() - alone) < 0.025, name
    every = torch.stack(list(hidden.values())).all(0)
    assert abs(every.float().mean() - (ALL_HIDDEN + (1 - ALL_HIDDEN) * dropout**4)) < 0.015
    for one, two in (("class", "gsd"), ("style", "mask"), ("class", "mask")):
        both = (hidden[one] & hidden[two]).float().mean()
        assert abs(both - (ALL_HIDDEN + (1 - ALL_HIDDEN) * dropout**2)) < 0.02
    assert torch.equal(obs.instrument["mask"] == 0, hidden["mask"])
    assert not obs.numbers[every].any()
    assert not obs.numbers[hidden["class"]][:, :3].any()
    assert not obs.numbers[hidden["style"]][:, 5:-1].any()
    few = replace(obs, inputs={"mask": obs.inputs["mask"][:60]}, instrument={"mask": obs.instrument["mask"][:60]})
    maps = cell.condition(few, cell.base(few)).maps
    assert torch.equal(maps.any(1).any(1).any(1), ~hidden["mask"][:60])
    told = ~hidden["style"]
    departure = (obs.numbers[told] - cell.simulate(clean, None).numbers[told])[:, 5 : 5 + PER_BAND]
    assert abs(departure.std() - BLUR) < 0.005
    assert abs(departure.mean()) < 0.005


def test_without_a_generator_everything_is_told() -> None:
    cell = task("image_classes: [a, b], numbers: {gsd: [5, 60]}")
    clean = scene(2, 1.0, 60.0)
    numbers = cell.simulate(clean, None, instrument_dropout=0.9).numbers
    assert numbers[0, :5].tolist() == [0, 1, 1, 1, 1]
    torch.testing.assert_close(numbers[:, 5:-2], style_numbers(torch.asinh(clean[:, :1] / 0.1)))
    assert (numbers[:, -2:] == 1).all()


def test_facts_that_a_source_does_not_tell_are_unknown() -> None:
    cell = task("image_classes: [a, b], numbers: {gsd: [5, 60], month: [1, 12]}, style: false")
    numbers = cell.simulate(scene(1, math.nan, 5.0, math.nan), None).numbers[0]
    assert numbers.tolist() == [0, 0, 0, -1, 1, 0, 0, 0, 1]
    assert not torch.isnan(numbers).any()


# ---- what is refused ----


@pytest.mark.parametrize(
    ("settings", "mask", "told"),
    [
        ("style: false", np.array([[0, -3.0]]), "holds -3; labels are whole numbers from 0 on"),
        ("style: false", np.array([[0, 1.5]]), "holds 1.5; labels are whole numbers"),
        (LAND, np.array([[0, 2, 6]]), r"holds the classes \[2\]; the model knows water 1, forest 6"),
        (BOTH, np.array([[[3, 0]], [[2, 0]]]), r"the classes \[2\]; the model knows nucleus 1, debris 4"),
    ],
)
def test_masks_that_say_what_no_model_knows_are_refused(settings: str, mask: NDArray[Any], told: str) -> None:
    cell = task(settings, "B03, B08" if settings == LAND else "nuclei")
    with pytest.raises(InputError, match=told):
        cell.check(image_of(mask, cell.inputs[0].bands), {})
    with pytest.raises(InputError, match=told):
        cell.observe({"mask": tensor(mask)})


def test_every_part_of_a_large_mask_is_looked_at() -> None:
    mask = np.zeros((300, 600), np.float32)
    mask[299, 0] = 0.5
    with pytest.raises(InputError, match=r"holds 0\.5"):
        task("").check(image_of(mask), {})
    stack = np.zeros((1, 2, 3, 20, 20), np.float32)
    stack[0, 1, 2, 19, 3] = -1
    planes = xr.DataArray(stack, dims=("band", "t", "z", "y", "x"), coords={"band": ["labels"]})
    with pytest.raises(InputError, match="holds -1"):
        task("").check(planes, {})


def test_a_lazy_mask_is_refused_when_it_is_computed(model: Model) -> None:
    mask = np.zeros((20, 20), np.float32)
    mask[3, 4] = 2.5
    found = model.predict(image_of(mask).chunk({"y": 10}), steps=2)
    with pytest.raises(InputError, match=r"holds 2\.5"):
        found.compute()


def test_georeferenced_models_want_to_know_where(mapper: Model) -> None:
    placed = toy(f"{LAND}, georeferenced: true", "B03, B08")
    with pytest.raises(InputError, match="no coordinate reference system"):
        placed.predict(image_of(land()))
    assert placed.predict(image_of(land(), crs="EPSG:32631"), steps=2)["sample"].shape == (2, 46, 53)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"image_class": (2.0,)}, "image_class is"),
        ({"image_class": (0.5,)}, "whole numbers"),
        ({"mask": (0.5,)}, "whole numbers"),
        ({"gsd": (61.0,)}, "gsd is .*5 to 60"),
        ({"gsd": (math.nan,)}, "gsd is"),
        ({"month": (3.0,)}, "knows no 'month'"),
        ({"style": (1.0,)}, "style has 1 numbers, this model follows 7"),
        ({"dark": (5.0,), "bright": (5.0,)}, "needs to be above"),
    ],
)
def test_what_nobody_can_ask_for_is_refused(model: Model, given: dict[str, tuple[float, ...]], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        model.predict(cells(), instrument=given)


def test_a_model_without_classes_refuses_one() -> None:
    with pytest.raises(OptionError, match="no classes of images"):
        task("").observe({"mask": tensor(cells())}, {"image_class": (0.0,)})


def test_masks_of_another_number_of_bands_are_refused(model: Model) -> None:
    with pytest.raises(InputError, match="the mask has 2 bands"):
        model.predict(image_of(np.stack([cells()] * 2), ["a", "b"]))


def test_options_without_an_effect_are_refused(model: Model) -> None:
    region = image_of(cells() > 0)
    with pytest.raises(OptionError, match="strength says how far"):
        model.predict(cells(), strength=0.5)
    with pytest.raises(InputError, match="give the image, too"):
        model.predict(image_of(cells()), inputs={"region": region})
    for more in ({"interval": (0.1, 2.0)}, {"negative": {"image_class": (0.0,)}}, {"weaker": "other.safetensors"}):
        with pytest.raises(OptionError, match="scale 1 is the model itself"):
            Guidance(1.0, **more)
    for wrong in ({"scale": -1.0}, {"scale": math.nan}, {"scale": 2.0, "interval": (3.0, 0.2)}):
        with pytest.raises(OptionError, match="guidance is"):
            Guidance(**wrong)


def test_an_image_of_other_pixels_cannot_be_changed(model: Model) -> None:
    mask = image_of(cells(), crs="EPSG:32631")
    for image in (image_of(cells()[1:], ["nuclei"], crs="EPSG:32631"), image_of(cells(), ["nuclei"])):
        with pytest.raises(InputError, match="has other pixels than its mask"):
            model.predict(mask, inputs={"image": image})
