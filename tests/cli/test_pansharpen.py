"""Simulate, train and predict with an image and a guide, as a user types it; and what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from rasterio.transform import from_origin
from scipy import ndimage

from sciddiff.cli import cli

Call = Callable[..., Result]

RECIPE = """\
version: 1
name: tiny-pan
task: {kind: pansharpen, ratio: 2, pixel_size: [5, 100], projections: 1}
bands: [red, nir]
data:
  train: [{path: image.tif, guide: {path: pan.tif, bands: [1]}}]
  valid: [{path: image.tif, guide: {bands: [red, nir], weights: [0.5, 0.5]}}]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}
training: {steps: 2, batch: 2, patch: 16, warmup: 0, validate_every: 2, checkpoint_every: 2}
"""
EAST, NORTH = 5e5, 4e6


def write(
    path: Path, values: np.ndarray, names: tuple[str, ...], *, pixel: float, east: float = EAST, north: float = NORTH
) -> Path:
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "uint16", "nodata": 0}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32631", transform=from_origin(east, north, pixel, pixel), **shape
    ) as file:
        file.write(values.round().astype("uint16"))
        file.descriptions = names
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 20 m, a pan of 10 m that begins half its pixel before, and the model that was trained on both."""
    folder = tmp_path_factory.mktemp("pan")
    rng = np.random.default_rng(0)
    fine = 1000 + 900 * ndimage.gaussian_filter(rng.normal(size=(2, 120, 120)), (0, 1.5, 1.5))
    (folder / "tiny.yaml").write_text(RECIPE)
    low = fine.reshape(2, 60, 2, 60, 2).mean((2, 4))
    write(folder / "image.tif", low, ("red", "nir"), pixel=20)
    pan = ndimage.shift(fine.mean(0), 0.5, order=3, mode="nearest")[None, :100, :111]
    write(folder / "pan.tif", pan, ("B8",), pixel=10, east=EAST - 5, north=NORTH + 5)
    arguments = ["train", str(folder / "tiny.yaml"), "-o", str(folder / "run"), "--device", "cpu"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return folder


def arguments(folder: Path, output: Path, *more: object) -> tuple[object, ...]:
    model = folder / "run" / "model.safetensors"
    return ("predict", model, folder / "image.tif", "-o", output, "-q", "--device", "cpu", *more)


def test_the_result_lies_on_the_pan(call: Call, folder: Path, tmp_path: Path):
    whole, tiles = tmp_path / "fine.tif", tmp_path / "tiles.tif"
    for output, more in ((whole, ()), (tiles, ("--tile", 16))):
        result = call(*arguments(folder, output, "-i", f"pan={folder / 'pan.tif'}", *more))
        assert result.exit_code == 0, result.stderr
    with rasterio.open(whole) as fine, rasterio.open(folder / "pan.tif") as pan, rasterio.open(tiles) as other:
        assert (fine.transform, fine.shape, fine.crs) == (pan.transform, pan.shape, pan.crs)
        assert fine.descriptions == ("red", "nir")
        assert fine.dtypes == ("uint16", "uint16")
        values = fine.read()
        assert (np.abs(other.read().astype(int) - values.astype(int)) <= 1).all()
        # the pan begins half a pixel before the image, but its first centres lie on the image
        assert (values[:, 1:-1, 1:-1] > 0).all()
    assert np.corrcoef(values.mean(0).ravel(), rasterio.open(folder / "pan.tif").read(1).ravel())[0, 1] > 0.95


def test_the_pan_may_come_in_other_units(call: Call, folder: Path, tmp_path: Path):
    with rasterio.open(folder / "pan.tif") as file:
        values, profile = file.read(), file.profile
    other = tmp_path / "toa.tif"
    with rasterio.open(other, "w", **{**profile, "dtype": "float32", "nodata": None}) as file:
        file.write((2e-5 * values - 0.1).astype("float32"))
    results = []
    for name, path in (("dn", folder / "pan.tif"), ("reflectance", other)):
        assert call(*arguments(folder, tmp_path / f"{name}.tif", "-i", f"pan={path}")).exit_code == 0
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            results.append(file.read().astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1


def test_the_plan_tells_the_pan(call: Call, folder: Path, tmp_path: Path):
    result = call(*arguments(folder, tmp_path / "out.tif", "-i", f"pan={folder / 'pan.tif'}", "--dry-run", "--json"))
    assert result.exit_code == 0, result.stderr
    assert str(folder / "pan.tif") in json.dumps(json.loads(result.stdout))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_does_not_fit_is_refused_by_name(call: Call, folder: Path, tmp_path: Path):
    values = np.full((1, 100, 111), 500)

    def refused(code: int, message: str, *more: object) -> None:
        result = call(*arguments(folder, tmp_path / "out.tif", *more))
        assert result.exit_code == code, result.stderr
        assert message in " ".join(result.stderr.split())
        assert not list(tmp_path.glob("out*"))

    refused(3, "needs another input: -i pan=PATH (pan)")
    far = write(tmp_path / "far.tif", values, ("B8",), pixel=10, east=EAST + 90_000)
    refused(3, "far.tif: the grids do not overlap", "-i", f"pan={far}")
    odd = write(tmp_path / "odd.tif", values, ("B8",), pixel=7.5)
    refused(3, "the ratio of the grids is not the model's whole number", "-i", f"pan={odd}")
    refused(2, "knows no input guide; it takes pan", "-i", f"pan={folder / 'pan.tif'}", "-i", f"guide={odd}")


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_shifted_pan_is_told(call: Call, folder: Path, tmp_path: Path):
    with rasterio.open(folder / "pan.tif") as file:
        values = file.read()
    moved = write(tmp_path / "moved.tif", values, ("B8",), pixel=10, east=EAST + 15, north=NORTH + 5)
    result = call(*arguments(folder, tmp_path / "out.tif", "-i", f"pan={moved}"))
    assert result.exit_code == 0
    assert "off the pan, in pixels of the pan: edges will show twice" in " ".join(result.stderr.split())


def test_simulate_follows_walds_protocol(call: Call, folder: Path, tmp_path: Path):
    output = tmp_path / "pair"
    simulated = call(
        "simulate", folder / "tiny.yaml", folder / "image.tif", "--guide", folder / "pan.tif", "-o", output
    )
    assert simulated.exit_code == 0, simulated.stderr
    with (
        rasterio.open(output / "image.tif") as image,
        rasterio.open(output / "pan.tif") as pan,
        rasterio.open(output / "target.tif") as target,
    ):
        assert (image.shape, image.res) == ((30, 30), (40, 40))
        assert (pan.shape, pan.res, pan.descriptions) == ((60, 60), (20, 20), ("pan",))
        assert (target.shape, target.res) == ((60, 60), (20, 20))
