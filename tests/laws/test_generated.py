"""Laws 1 to 4 of images that are made: tiles, nodata, what is kept of a changed image; guidance end to end."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import OptionError
from sciddiff.inference import assemble_file, predict_file
from sciddiff.model import Model, build, write
from sciddiff.model.request import Guidance
from sciddiff.recipe import parse_recipe
from sciddiff.tasks.style import PER_BAND
from tests.synthesis import LAND, cells, image_of, land, task_of, toy, write_raster
from tests.zoo import compare_rasters


@pytest.fixture(scope="module")
def model() -> Model:
    return toy()


@pytest.fixture(scope="module")
def mapper() -> Model:
    return toy(LAND, "B03, B08")


def test_no_data_is_background_of_objects_and_nothing_of_classes(model: Model, mapper: Model) -> None:
    valid = np.ones((1, 46, 53), bool)
    valid[0, 30:38, :40] = False
    mask = cells()
    found = model.predict(image_of(mask, valid=valid), steps=2)["sample"]
    assert np.array_equal(found.values, model.predict(np.where(valid[0], mask, 0), steps=2)["sample"].values)
    classes = land()
    results = [
        mapper.predict(image_of(np.where(valid[0], classes, under), valid=valid), steps=2)["sample"]
        for under in (0, 1, 99, -5)
    ]
    for each in results:
        assert np.array_equal(np.isnan(each.values), ~np.broadcast_to(valid, (2, 46, 53)))
        assert np.array_equal(each.values, results[0].values, equal_nan=True)


@pytest.mark.parametrize("guidance", [Guidance(), Guidance(2.0, (0.2, 3.0))], ids=["plain", "guided"])
def test_tiles_equal_the_whole(model: Model, guidance: Guidance) -> None:
    asked = {"image_class": (1.0,), "gsd": (30.0,), "style": [0.3] * PER_BAND}
    whole, *tiled = (
        model.predict(cells(), steps=4, tile=tile, tolerance=None, guidance=guidance, instrument=asked)
        for tile in (64, 16, 24)
    )
    assert whole["sample"].std() > 0.05
    for each in tiled:
        for name in ("mean", "sample"):
            np.testing.assert_allclose(each[name].values, whole[name].values, rtol=0, atol=2e-5)


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_tiles_equal_the_whole_of_a_changed_image(model: Model, strength: float) -> None:
    inputs = {"image": picture("nuclei"), "region": image_of(edges() > 0)}
    whole, *tiled = (
        model.predict(image_of(cells()), inputs=inputs, steps=4, tile=tile, tolerance=None, strength=strength)["sample"]
        for tile in (64, 16, 24)
    )
    changed = (edges() > 0)[None]
    assert np.abs(whole.values - inputs["image"].values)[changed].mean() > 20
    for each in tiled:
        assert np.array_equal(each.values[~changed], inputs["image"].values[~changed])
        np.testing.assert_allclose(each.values, whole.values, rtol=0, atol=0.02)  # of levels 900 apart


def test_parts_of_a_region_that_say_nothing_keep_the_image(model: Model) -> None:
    """A tile in which a region has no valid pixel must not be taken for one without a region."""
    image, region = picture("nuclei"), edges()
    told = image_of(region, valid=(region > 0)[None])  # as GDAL opens one whose nodata is 0
    for tile in (64, 16):
        found = model.predict(image_of(cells()), inputs={"image": image, "region": told}, steps=3, tile=tile)["sample"]
        assert np.array_equal(found.values[0][region == 0], image.values[0][region == 0])
        assert not np.array_equal(found.values[0][region > 0], image.values[0][region > 0])


def test_changing_everywhere_is_what_no_region_means(model: Model) -> None:
    inputs = {"image": picture("nuclei")}
    bare = model.predict(image_of(cells()), inputs=inputs, steps=3)["sample"].values
    assert (bare != inputs["image"].values).mean() > 0.99
    few = model.predict(image_of(cells()), inputs=inputs, steps=3, strength=0.05)["sample"].values
    assert np.abs(few - inputs["image"].values).mean() < 0.5 * np.abs(bare - inputs["image"].values).mean()


def picture(*bands: str) -> xr.DataArray:
    """Some image of the masks' size, far from levels."""
    rng = np.random.default_rng(5)
    return image_of(300 + 200 * rng.gamma(2, 1, (len(bands), 46, 53)), bands)


def edges() -> NDArray[np.uint8]:
    """A region that reaches an edge, set by any number but 0."""
    region = np.zeros((46, 53), np.uint8)
    region[10:30, 25:] = 7
    region[35:40, 3:9] = 255
    return region


@pytest.mark.filterwarnings("ignore:out.tif. .* values were clipped")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_what_is_kept_of_an_image_is_that_image_bit_for_bit(mapper: Model, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shape = (2, 46, 53)
    if dtype.startswith("float"):
        values = rng.normal(0.2, 0.1, shape).astype(dtype)
        values[:, 5, 5:9] = [-0.0, np.nan, np.inf, 1e-30]
    else:
        values = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    said = {} if dtype.startswith("float") else {"nodata": 3}
    image = write_raster(tmp_path / "image.tif", values, ["B08", "B03"], **said)
    mask = write_raster(tmp_path / "mask.tif", land(), nodata=0)
    region = write_raster(tmp_path / "region.tif", edges(), nodata=0)
    inputs = {"image": [str(image)], "region": [str(region)]}
    out = tmp_path / "out.tif"
    predict_file(mapper, str(mask), out, inputs=inputs, steps=3, tile=16)
    changed = edges() > 0
    found, was = (read(path) for path in (out, image))
    assert found.dtype == was.dtype
    same = found.view(np.uint8).reshape(2, 46, 53, -1) == was.view(np.uint8).reshape(2, 46, 53, -1)
    assert same.all(-1)[:, ~changed].all()
    assert not same.all(-1)[:, changed].all()
    assert [str(name) for name in io.open(out).band.values] == ["B08", "B03"]


def read(path: Path) -> NDArray[np.generic]:
    with rasterio.open(path) as file:
        return file.read()


def test_nothing_to_change_gives_the_file_with_all_that_it_says(mapper: Model, tmp_path: Path) -> None:
    image = tmp_path / "image.tif"
    values = np.random.default_rng(2).integers(0, 9000, (2, 46, 53), dtype=np.uint16)
    write_raster(image, values, ["B08", "B03"], nodata=0)
    with rasterio.open(image, "r+") as file:
        file.scales, file.offsets, file.units = (1e-4, 2e-4), (-0.1, 0.0), ("1", "reflectance")
        file.update_tags(TITLE="two bands")
        file.update_tags(2, GAIN="high")
    mask = write_raster(tmp_path / "mask.tif", land(), nodata=0)
    region = write_raster(tmp_path / "region.tif", np.zeros((46, 53), np.uint8))
    out = tmp_path / "out.tif"
    predict_file(mapper, str(mask), out, inputs={"image": [str(image)], "region": [str(region)]}, steps=3)
    compare_rasters(image, out)


def test_bands_of_a_changed_image_may_have_any_order() -> None:
    model = toy("style: false", "dapi, actin")
    image = picture("dapi", "actin")
    image[1] += 4000
    mask, region = image_of(cells()), image_of(edges())
    found, turned = (
        model.predict(mask, inputs={"image": each, "region": region}, steps=3)["sample"]
        for each in (image, image.isel(band=[1, 0]))
    )
    assert turned.band.values.tolist() == ["actin", "dapi"]
    assert np.array_equal(found.values, turned.values[::-1])
    assert np.abs(found.values[1] - 4600).mean() < 1500


@pytest.mark.parametrize("steps", [1, 4])
def test_a_scale_of_zero_is_a_model_that_was_told_nothing(model: Model, steps: int) -> None:
    asked = {"image_class": (1.0,), "gsd": (30.0,), "style": [0.3] * PER_BAND}
    none = model.predict(np.zeros((46, 53)), steps=steps, instrument={"mask": (0.0,)})
    zero = model.predict(cells(), steps=steps, instrument=asked, guidance=Guidance(0.0))
    told = model.predict(cells(), steps=steps, instrument=asked)
    hidden = model.predict(cells(), steps=steps, instrument={"mask": (0.0,)})
    for name in none:
        np.testing.assert_allclose(zero[name].values, none[name].values, rtol=0, atol=1e-6)
        np.testing.assert_allclose(hidden[name].values, none[name].values, rtol=0, atol=1e-6)
        assert np.abs(told[name].values - none[name].values).max() > 0.01


def test_guidance_is_linear_in_the_mean(model: Model) -> None:
    """The mean of one evaluation goes on in a straight line, in the space where images are learned."""
    cell = task_of(model)
    zero, one, three = (
        cell.transformed(torch.from_numpy(model.predict(cells(), steps=1, guidance=Guidance(scale))["mean"].values))
        for scale in (0.0, 1.0, 3.0)
    )
    torch.testing.assert_close(three - zero, 3 * (one - zero), rtol=0, atol=1e-5)


def test_what_is_not_wanted_stands_at_the_origin(model: Model) -> None:
    wanted, other = {"image_class": (0.0,)}, {"image_class": (1.0,)}
    away = Guidance(0.0, negative=other)
    found = model.predict(cells(), steps=3, instrument=wanted, guidance=away)["sample"].values
    expected = model.predict(cells(), steps=3, instrument=other)["sample"].values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_weaker_model_stands_at_the_origin(model: Model, tmp_path: Path) -> None:
    paths = {}
    for name, weaker in (("same", model), ("other", toy(seed=2)), ("task", toy("style: false"))):
        paths[name] = str(tmp_path / f"{name}.safetensors")
        write(weaker, Path(paths[name]))
    plain = model.predict(cells(), steps=3)["sample"].values
    same = model.predict(cells(), steps=3, guidance=Guidance(2.5, weaker=paths["same"]))["sample"].values
    np.testing.assert_allclose(same, plain, rtol=0, atol=0.02)  # weights on disk are rounded
    zero = model.predict(cells(), steps=3, guidance=Guidance(0.0, weaker=paths["other"]))["sample"].values
    np.testing.assert_allclose(zero, toy(seed=2).predict(cells(), steps=3)["sample"].values, rtol=0, atol=0.02)
    with pytest.raises(OptionError, match="another task"):
        model.predict(cells(), steps=3, guidance=Guidance(2.0, weaker=paths["task"]))


def test_another_weaker_model_at_the_same_path_is_another_run(model: Model, tmp_path: Path) -> None:
    mask, weaker, out = (tmp_path / name for name in ("mask.tif", "weaker.safetensors", "out.tif"))
    write_raster(mask, cells())
    asked = {"steps": 2, "tile": 16, "guidance": Guidance(2.0, weaker=str(weaker))}
    write(toy(seed=2), weaker)
    predict_file(model, str(mask), out, shard=(0, 2), **asked)
    write(toy(seed=3), weaker)
    with pytest.raises(OptionError, match=r"unfinished run whose weaker is \w{64}; this command has \w{64}"):
        predict_file(model, str(mask), out, shard=(1, 2), **asked)
    write(toy(seed=2), weaker)
    predict_file(model, str(mask), out, shard=(1, 2), **asked)
    assemble_file(out)


def test_a_weaker_model_is_the_one_that_lies_there_now(model: Model, tmp_path: Path) -> None:
    guidance, found = Guidance(2.0, weaker=str(tmp_path / "weaker.safetensors")), []
    for seed in (2, 3, 2):
        write(toy(seed=seed), Path(str(guidance.weaker)))
        found.append(model.predict(cells(), steps=2, guidance=guidance)["sample"].values)
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_restoration_cannot_be_guided() -> None:
    plain = build(
        parse_recipe(
            "{version: 1, name: sr, task: {kind: super_resolution, ratio: 2}, bands: [a], network: {widths: [8], "
            "encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}, training: {patch: 16}}"
        )
    )
    with pytest.raises(OptionError, match="cannot be guided"):
        plain.predict(np.ones((1, 16, 16), np.float32), guidance=Guidance(2.0))
