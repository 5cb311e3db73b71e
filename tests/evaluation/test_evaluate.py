"""Evaluation of images: figures are those of the metrics, read plane by plane, whatever dimensions there are."""

import json
import math
import sys

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import evaluate, metrics, micro, pairs, ssim
from sciddiff.evaluation.scores_report import write_evaluation

PLACE = Affine(10, 0, 500000, 0, -10, 4_000_000)
STAGE = Affine(0.1, 0, 0, 0, 0.1, 0)


def scene(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(plane, 2) for plane in rng.normal(0, 1, (math.prod(shape[:-2]), *shape[-2:]))]
    return (0.5 + 0.4 * np.stack(smooth).reshape(shape)).astype("float32")


def raster(values: np.ndarray, *, bands: list[str], grid: GeoBox | None = None) -> xr.DataArray:
    return io.from_array(values, grid=grid or GeoBox(values.shape[1:], PLACE, "EPSG:32631"), bands=bands)


def stack(values: np.ndarray, *, step: float = 0.5, affine: Affine = STAGE) -> xr.DataArray:
    """(band, t, z, y, x) of 0.1 um pixels and planes 0.5 um apart."""
    plane = io.from_array(values[:, 0, 0], grid=GeoBox(values.shape[-2:], affine, None), bands=["dna", "actin"])
    coords = {name: plane.coords[name] for name in ("band", "y", "x", "spatial_ref")}
    coords |= {"z": step * np.arange(values.shape[2]), "valid": (("band", "t", "z", "y", "x"), np.isfinite(values))}
    return xr.DataArray(values, dims=("band", "t", "z", "y", "x"), coords=coords)


def test_a_raster_has_the_figures_of_the_metrics():
    truth = scene((3, 140, 96))
    result = truth + np.random.default_rng(1).normal(0, 0.05, truth.shape).astype("float32")
    result[:, 50:60, 20:30] = np.nan
    names = ["B02", "B03", "B04"]
    found = evaluate(raster(result, bands=names), raster(truth, bands=names), peak=1.0)
    assert (found.kind, found.bands, found.planes) == ("raster", tuple(names), 1)
    rows = found.scores["prediction"]
    assert rows["overall"]["psnr"] == pytest.approx(metrics.psnr(result, truth, data_range=1))
    assert rows["overall"]["sam"] == pytest.approx(metrics.sam(result, truth))
    assert rows["overall"]["ergas"] == pytest.approx(metrics.ergas(result, truth, ratio=1))
    octaves = metrics.octave_difference(result, truth)
    for number, name in enumerate(names):
        band = result[number], truth[number]
        assert rows[name]["psnr"] == pytest.approx(metrics.psnr_bands(result, truth, data_range=1)[number])
        assert rows[name]["ssim"] == pytest.approx(ssim.ssim(*band, data_range=1))
        assert rows[name]["power_2-4_px"] == pytest.approx(octaves[number, 0])
    json.dumps(found.to_dict())


def test_strips_of_rows_give_the_figures_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    truth, names = scene((2, 90, 60)), ["red", "nir"]
    low = truth.reshape(2, 30, 3, 20, 3).mean((2, 4))
    images = raster(truth[:, ::-1].copy(), bands=names), raster(truth, bands=names)
    coarse = raster(low, bands=names, grid=GeoBox((30, 20), PLACE * Affine.scale(3), "EPSG:32631"))
    whole = evaluate(*images, others={"input": coarse}, peak=1.0).to_dict()
    monkeypatch.setattr(sys.modules["sciddiff.evaluation.evaluate"], "STRIP", 7)
    strips = evaluate(*images, others={"input": coarse}, peak=1.0).to_dict()
    for method in ("prediction", "input"):
        for band in ("red", "overall"):
            assert strips["scores"][method][band] == pytest.approx(whole["scores"][method][band], rel=1e-6)
    assert whole["scores"]["prediction"]["overall"]["ergas"] < metrics.ergas(images[0].values, truth, ratio=1)


def test_a_stack_is_scored_plane_by_plane_and_never_held_whole(monkeypatch: pytest.MonkeyPatch):
    truth = scene((2, 2, 9, 64, 48))
    result = 3 * truth + 7 + np.random.default_rng(1).normal(0, 0.1, truth.shape).astype("float32")
    sizes = []

    def read(image, rows, cols):
        values, valid = io.image.read_window(image, rows, cols)
        sizes.append(values.size)
        return values, valid

    monkeypatch.setattr(pairs.io, "read_window", read, raising=False)
    found = evaluate(stack(result), stack(truth))
    assert max(sizes) == 64 * 48
    assert (found.kind, found.planes, found.pixel, found.unit) == ("micro", 18, pytest.approx(0.1), "um")
    row = found.scores["prediction"]["dna"]
    assert row["psnr"] == pytest.approx(micro.range_invariant_psnr(result[0], truth[0]))
    planes = list(zip(result[0].reshape(-1, 64, 48), truth[0].reshape(-1, 64, 48)))
    fit = micro.fit_micro(planes)
    assert row["micro_ssim"] == pytest.approx(np.mean([micro.micro_ssim(*plane, fit=fit) for plane in planes]))
    assert 0.2 < row["resolution"] < 10
    assert row["resolution_z"] >= 1  # two planes
    assert row["truth_objects"] > 0
    assert len(found.curves["prediction"])


def test_each_plane_of_a_stack_has_its_figures_and_the_worst_is_named():
    truth = scene((2, 2, 3, 48, 48))
    noise = np.array([[0.01, 0.02, 0.08], [0.03, 0.01, 0.02]])[None, ..., None, None]
    result = truth + noise * np.random.default_rng(1).normal(0, 1, truth.shape).astype("float32")
    result[1, 1, 1] = np.nan
    found = evaluate(stack(result), stack(truth))
    planes = found.by_plane["prediction"]
    assert [(row["t"], row["z"]) for row in planes["dna"]] == [(t, z) for t in range(2) for z in range(3)]
    assert [(row["t"], row["z"]) for row in planes["actin"]] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]
    fit = micro.fit_micro(list(zip(result[0].reshape(-1, 48, 48), truth[0].reshape(-1, 48, 48))))
    for row in planes["dna"]:
        pair = result[0, row["t"], row["z"]], truth[0, row["t"], row["z"]]
        assert row["psnr"] == pytest.approx(micro.range_invariant_psnr(*pair))
        assert row["micro_ssim"] == pytest.approx(micro.micro_ssim(*pair, fit=fit))
    mean = np.mean([row["micro_ssim"] for row in planes["actin"]])
    assert found.scores["prediction"]["actin"]["micro_ssim"] == pytest.approx(mean)
    worst = found.worst("prediction")
    assert worst is not None
    assert (worst[1]["t"], worst[1]["z"]) == (0, 2)
    assert json.loads(json.dumps(found.to_dict()))["by_plane"]["prediction"] == planes
    one = evaluate(stack(result[:, :1, :1]), stack(truth[:, :1, :1]))
    assert one.worst("prediction") is None
    assert "by_plane" not in one.to_dict()


def test_each_date_of_rasters_has_its_figures():
    truth = scene((2, 3, 1, 40, 40))
    result = truth + np.array([0.1, 0.2, 0.05], "float32")[None, :, None, None, None]
    found = evaluate(stack(result), stack(truth), kind="raster", peak=1.0)
    rmse = [row["rmse"] for row in found.by_plane["prediction"]["actin"]]
    assert rmse == pytest.approx([0.1, 0.2, 0.05], rel=1e-3)
    assert found.scores["prediction"]["actin"]["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(rmse))))
    assert found.worst("prediction")[1]["t"] == 1


def test_nothing_changes_for_an_equal_image():
    image = stack(scene((2, 1, 3, 64, 64)))
    row = evaluate(image, image).scores["prediction"]["overall"]
    assert row["psnr"] > 100
    assert row["micro_ssim"] == pytest.approx(1)
    assert row["resolution"] == pytest.approx(0.2)
    assert (row["spectral_distance"], row["ap50"]) == (pytest.approx(0, abs=1e-4), 1)
    assert evaluate(image, image).scores["prediction"]["dna"]["limited_by_pixels"] == 1


def test_bands_go_by_name_and_a_band_that_only_one_has_is_left_out():
    truth = scene((3, 40, 40))
    result = raster(truth[[2, 0]], bands=["B4", "B2"])
    with pytest.warns(io.RasterWarning, match="prediction lacks B03 of reference"):
        rows = evaluate(result, raster(truth, bands=["B02", "B03", "B04"]), peak=1.0).scores["prediction"]
    assert list(rows) == ["B02", "B04", "overall"]
    assert rows["overall"]["psnr"] == math.inf
    with pytest.warns(io.RasterWarning, match="in that order"):
        evaluate(raster(truth, bands=["one", "two", "three"]), raster(truth, bands=["B02", "B03", "B04"]), peak=1.0)
    with pytest.raises(InputError, match="none is the same"):
        evaluate(raster(truth[:2], bands=["one", "two"]), raster(truth, bands=["B02", "B03", "B04"]))


def test_a_flat_reference_is_named_as_such():
    truth = stack(scene((2, 1, 2, 40, 40)))
    with pytest.raises(InputError, match="the reference is flat"):
        evaluate(truth, truth * 0 + 7)


def test_what_does_not_lie_on_the_reference_is_refused_by_both_names():
    truth = scene((1, 40, 40))
    moved = GeoBox((40, 40), PLACE * Affine.translation(0.5, 0), "EPSG:32631")
    files = {"prediction": "a.tif", "reference": "b.tif"}
    for other in (moved, GeoBox((40, 40), PLACE, "EPSG:32632")):
        with pytest.raises(InputError, match=r"a\.tif is 40 x 40.*b\.tif is 40 x 40"):
            evaluate(raster(truth, bands=["a"], grid=other), raster(truth, bands=["a"]), names=files)
    image = scene((2, 2, 3, 32, 32))
    with pytest.raises(InputError, match="2 planes along z"):
        evaluate(stack(image[:, :, :2]), stack(image))
    with pytest.raises(InputError, match="do not match"):
        evaluate(stack(image, affine=STAGE * Affine.scale(2)), stack(image))
    with pytest.raises(InputError, match="nothing to compare"):
        evaluate(raster(np.full_like(truth, np.nan), bands=["a"]), raster(truth, bands=["a"]), peak=1.0)
    with pytest.raises(OptionError, match="peak"):
        evaluate(stack(image), stack(image), peak=1.0)
    evaluate(stack(image, affine=Affine.translation(5, 5) * STAGE), stack(image))  # moved on the stage


def test_the_page_holds_pictures_curve_and_figures(tmp_path):
    truth = scene((2, 1, 2, 64, 64))
    images = {"prediction": stack(truth + 0.01), "reference": stack(truth)}
    noisy = stack(truth + np.random.default_rng(0).normal(0, 0.2, truth.shape).astype("float32"))
    found = evaluate(**images, others={"input": noisy})
    write_evaluation(found, tmp_path / "r.html", **images, others={"input": noisy}, title="a < b")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "a &lt; b" in page
    assert page.count("<img ") == 5
    assert page.count("<polyline") == 2
    assert page.count("<table") == 2
    assert "$" not in page
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
