"""`sciddiff evaluate` as a user types it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from click.testing import Result
from rasterio.transform import from_origin
from scipy import ndimage

from sciddiff.evaluation import fusion_metrics as metrics

Call = Callable[..., Result]


def write(path: Path, values: np.ndarray, *, pixel: float = 10) -> Path:
    names = ("B02", "B03", "B04")[: len(values)]
    options = {"crs": "EPSG:32631", "transform": from_origin(500000, 4e6, pixel, pixel), "nodata": 0}
    size = {"count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype="uint16", **size, **options) as file:
        file.write(values.astype("uint16"))
        file.descriptions = names
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    truth = np.stack([ndimage.gaussian_filter(band, 1.5) for band in rng.uniform(500, 9000, (3, 72, 80))])
    low = truth.reshape(3, 36, 2, 40, 2).mean((2, 4))
    result = truth + rng.normal(0, 20, truth.shape)
    return {
        "truth": write(tmp_path / "truth.tif", truth),
        "result": write(tmp_path / "result.tif", result),
        "low": write(tmp_path / "low.tif", low, pixel=20),
    }


@pytest.fixture
def cells(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(1)
    truth = 200 + 60 * ndimage.gaussian_filter(rng.normal(0, 1, (96, 96)), 3) * 10
    paths = {}
    for name, values in (("truth", truth), ("result", truth + rng.normal(0, 4, truth.shape)), ("noisy", truth / 2)):
        paths[name] = tmp_path / f"{name}.tif"
        tifffile.imwrite(paths[name], (values + (name == "noisy") * rng.normal(0, 30, truth.shape)).astype("uint16"))
    return paths


def test_a_raster_is_scored_by_band_beside_its_input(call: Call, scenes: dict[str, Path]):
    result = call("evaluate", "-q", scenes["result"], scenes["truth"], "-i", f"input={scenes['low']}")
    assert (result.exit_code, result.stderr) == (0, "")
    for text in ("prediction", "input", "B02", "B04", "overall", "PSNR dB", "SSIM", "SAM deg", "ERGAS", "2-4 px dB"):
        assert text in result.stdout
    assert "PSNR with a peak of" in result.stdout


def test_json_goes_to_stdout_alone_and_progress_to_stderr(call: Call, scenes: dict[str, Path]):
    result = call(
        "evaluate", scenes["result"], scenes["truth"], "-i", f"input={scenes['low']}", "--peak", 1e4, "--json"
    )
    told = json.loads(result.stdout)
    assert "scoring: 6 of 6" in result.stderr
    assert (told["kind"], told["peak"], told["prediction"]) == ("raster", 1e4, str(scenes["result"]))
    scores = told["scores"]
    assert scores["prediction"]["overall"]["rmse"] == pytest.approx(20, rel=0.03)
    assert scores["prediction"]["overall"]["psnr"] == pytest.approx(20 * np.log10(1e4 / 20), abs=0.3)
    assert scores["input"]["overall"]["psnr"] < scores["prediction"]["overall"]["psnr"]
    assert scores["input"]["overall"]["power_2-4_px"] < -3


def test_microscopy_is_scored_by_its_own_metrics(call: Call, cells: dict[str, Path], tmp_path: Path):
    page = tmp_path / "report.html"
    arguments = ("evaluate", "-q", cells["result"], cells["truth"], "-i", f"noisy={cells['noisy']}", "-o", page)
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    for text in ("MicroSSIM", "resolution px", "AP@0.5", "true objects", str(page)):
        assert text in result.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = call(*arguments)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    told = json.loads(call(*arguments, "--overwrite", "--json").stdout)
    assert told["report"] == str(page)
    rows = told["scores"]
    assert rows["prediction"]["overall"]["micro_ssim"] > rows["noisy"]["overall"]["micro_ssim"]
    assert rows["prediction"]["overall"]["true_up_to"] > rows["noisy"]["overall"]["true_up_to"]


def test_of_a_stack_the_worst_plane_is_told(call: Call, tmp_path: Path):
    rng = np.random.default_rng(1)
    truth = np.stack([ndimage.gaussian_filter(rng.normal(300, 900, (64, 64)), 3) for _ in range(3)]) + 500
    noise = np.array([2, 20, 2])[:, None, None] * rng.normal(0, 1, truth.shape)
    for name, values in (("truth", truth), ("result", truth + noise)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values.astype("uint16"), imagej=True, metadata={"axes": "ZYX"})
    arguments = ("evaluate", "-q", tmp_path / "result.tif", tmp_path / "truth.tif")
    shown = call(*arguments).stdout
    assert "Figures are of 3 planes a band; --json has those of each." in shown
    planes = json.loads(call(*arguments, "--json").stdout)["by_plane"]["prediction"]
    ((band, rows),) = planes.items()
    assert [row["z"] for row in rows] == [0, 1, 2]
    assert f"prediction: lowest PSNR of a plane {rows[1]['psnr']:.2f} dB, {band} at t=0, z=1." in shown


def test_the_kind_can_be_told(call: Call, cells: dict[str, Path]):
    told = json.loads(call("evaluate", "-q", cells["result"], cells["truth"], "--kind", "raster", "--json").stdout)
    assert told["scores"]["prediction"]["overall"]["rmse"] == pytest.approx(4, rel=0.1)
    assert call("evaluate", cells["result"], cells["truth"], "--peak", 255).exit_code == 2


def test_grids_that_differ_exit_with_3_naming_both(call: Call, scenes: dict[str, Path]):
    result = call("evaluate", scenes["low"], scenes["truth"])
    assert result.exit_code == 3
    assert str(scenes["low"]) in result.stderr
    assert str(scenes["truth"]) in result.stderr
    assert "36 x 40" in result.stderr


@pytest.mark.parametrize("text", ["noisy.tif", "=a.tif", "input=", "reference=a.tif"])
def test_an_input_without_name_or_path_is_a_usage_error(call: Call, scenes: dict[str, Path], text: str):
    result = call("evaluate", scenes["result"], scenes["truth"], "-i", text)
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_folder_that_is_not_there_is_told_before_any_work(call: Call, tmp_path: Path):
    result = call("evaluate", "a.tif", "b.tif", "-o", tmp_path / "none" / "r.html")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


@pytest.fixture
def fusion(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(2)
    fused = 4000 + 9000 * np.stack([ndimage.gaussian_filter(band, 1.5) for band in rng.normal(size=(3, 80, 96))])
    low = fused.reshape(3, 40, 2, 48, 2).mean((2, 4))
    return {
        "fused": write(tmp_path / "fused.tif", fused),
        "ms": write(tmp_path / "ms.tif", low, pixel=20),
        "pan": write(tmp_path / "pan.tif", fused.mean(0, keepdims=True)),
    }


def fusion_arguments(paths: dict[str, Path], *more: object) -> tuple[object, ...]:
    pan = f"pan={paths['pan']}"
    return ("evaluate", "-q", paths["fused"], paths["ms"], "-i", pan, "--kind", "fusion", *more)


def test_a_fused_image_is_scored_without_a_truth(call: Call, fusion: dict[str, Path]):
    shown = call(*fusion_arguments(fusion))
    assert (shown.exit_code, shown.stderr) == (0, "")
    for text in ("D_lambda", "D_s", "HQNR", "toolbox", "physical", "Re-projection: ERGAS", "B02 0.3, B03 0.3"):
        assert text in shown.stdout
    assert "Of 64 x 96 pixels from row 0, column 0" in shown.stdout
    told = json.loads(call(*fusion_arguments(fusion, "--json", "--sensor", "sentinel2")).stdout)
    assert (told["kind"], told["ratio"], told["offset"], told["window"]) == ("fusion", 2, [0, 0], [0, 0, 64, 96])
    assert (told["pan"], told["mtf"]["B04"]) == (str(fusion["pan"]), 0.25)
    values = {}
    for name, path in fusion.items():
        with rasterio.open(path) as file:
            values[name] = file.read().astype(np.float64)
    fused, ms, pan = values["fused"][:, :64], values["ms"][:, :32], values["pan"][0, :64]
    options = {"ratio": 2, "gains": [0.275, 0.28, 0.25]}
    scores = told["scores"]
    assert scores["toolbox"] == metrics.hqnr(fused, ms, pan, **options)._asdict()
    exact = {**options, "mode": "physical", "offset": (0, 0)}
    assert scores["physical"] == metrics.hqnr(fused, ms, pan, **exact)._asdict()
    assert scores["reprojection"] == metrics.reprojection(fused, ms, border=4, **exact)._asdict()


def test_reflectance_has_no_published_scores(call: Call, fusion: dict[str, Path]):
    for path in fusion.values():
        with rasterio.open(path, "r+") as file:
            file.scales = [1e-4] * file.count
    shown = call(*fusion_arguments(fusion))
    assert shown.exit_code == 0
    assert f"No toolbox: it rounds to digital numbers, and {fusion['ms']} holds others" in shown.stdout


def test_fusion_without_what_it_needs_or_with_what_has_no_effect_exits_with_2(call: Call, fusion: dict[str, Path]):
    def refused(message: str, *arguments: object) -> None:
        result = call(*arguments)
        assert result.exit_code == 2, result.stderr
        assert message in " ".join(result.stderr.split())

    bare = ("evaluate", fusion["fused"], fusion["ms"])
    refused("--kind fusion needs the sharp band: -i pan=PATH", *bare, "--kind", "fusion")
    refused("-i input: --kind fusion takes pan alone", *fusion_arguments(fusion, "-i", f"input={fusion['ms']}"))
    refused("-o has no effect with --kind fusion", *fusion_arguments(fusion, "-o", "page.html"))
    refused("--peak has no effect with --kind fusion", *fusion_arguments(fusion, "--peak", 255))
    refused("--overwrite has no effect with --kind fusion", *fusion_arguments(fusion, "--overwrite"))
    refused("--sensor has an effect with --kind fusion alone", *bare, "--sensor", "sentinel2")
    refused("unknown sensor 'mine'; known are generic", *fusion_arguments(fusion, "--sensor", "mine"))


def test_images_that_were_not_fused_exit_with_3_naming_both(call: Call, fusion: dict[str, Path], tmp_path: Path):
    values = np.full((3, 40, 48), 500)

    def refused(message: str, **changed: Path) -> None:
        result = call(*fusion_arguments({**fusion, **changed}))
        assert result.exit_code == 3, result.stderr
        told = " ".join(result.stderr.split())
        assert message in told
        for path in (fusion["fused"], *changed.values()):
            assert str(path) in told

    refused("are not larger than those of", ms=write(tmp_path / "fine.tif", values, pixel=10))
    refused("is no whole number", ms=write(tmp_path / "odd.tif", values, pixel=25))
    refused("has not the pixels of the fused image", pan=write(tmp_path / "wide.tif", values[:1], pixel=20))
    refused("lacks B03, B04 of", ms=write(tmp_path / "one.tif", values[:1], pixel=20))
    far = tmp_path / "far.tif"
    far.write_bytes(fusion["ms"].read_bytes())
    with rasterio.open(far, "r+") as file:
        file.transform = from_origin(600000, 4e6, 20, 20)
    refused("the grids do not overlap", ms=far)
