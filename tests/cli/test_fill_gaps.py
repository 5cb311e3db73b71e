"""Filling gaps as a user types it: a file with holes, a date and a mask in; what was measured stays bit for bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import Result
from rasterio.transform import from_origin

from sciddiff.model import build
from sciddiff.model import write as write_model
from sciddiff.physics import gaps
from sciddiff.recipe import parse_recipe

Call = Callable[..., Result]

RECIPE = """\
version: 1
name: tiny-gaps
task: {kind: fill_gaps, dates: 1, widest: 12}
bands: [red, nir]
optional_bands: [nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 4, embedding: 4}
training: {patch: 32}
"""
SHAPE = (60, 80)
NODATA = 0


def write(path: Path, values: np.ndarray, *, dtype: str = "uint16", names: tuple[str, ...] = ("red", "nir")) -> Path:
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": dtype}
    place = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, 30, 30), "nodata": NODATA}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values.astype(dtype))
        file.descriptions = names[: len(values)]
    return path


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read()
        return values


@pytest.fixture(scope="module")
def land() -> np.ndarray:
    """Digital numbers of a scene."""
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rng = np.random.default_rng(0)
    waves = np.stack([np.sin(row / 7) * np.cos(col / 9), np.sin(col / 5)])
    return np.round(9000 + 1500 * waves + rng.normal(0, 50, waves.shape))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose every weight acts."""
    model = build(parse_recipe(RECIPE))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(model, path)
    return path


@pytest.mark.filterwarnings("ignore:.* stay without a value")
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_gaps_are_filled_and_what_was_measured_stays(
    call: Call, model: Path, land: np.ndarray, tmp_path: Path, dtype: str
) -> None:
    missing = gaps.slc_off(SHAPE, period=20, edge_gap=9).numpy()
    missing[:, 50:63] = True  # 13 columns: wider than `widest`
    mask = np.zeros((1, *SHAPE))
    mask[:, 5:15, 5:15] = 7
    values = np.where(missing, NODATA, land + (0.37 if dtype == "float32" else 0))
    source = write(tmp_path / "image.tif", values, dtype=dtype)
    date = write(tmp_path / "date.tif", 0.5 * land + 300)
    covered = write(tmp_path / "mask.tif", mask, dtype="uint8", names=("mask",))
    output, flag = tmp_path / "out.tif", tmp_path / "flag.tif"
    common = ["predict", model, source, "--device", "cpu", "-q", "-i", f"mask={covered}"]
    result = call(*common, "-i", f"date={date}", "-o", output, "--also", f"flag={flag}")
    assert result.exit_code == 0, result.stderr
    before, after = read(source), read(output)
    kept = ~missing & (mask[0] == 0)
    assert after.dtype == before.dtype
    assert after[:, kept].tobytes() == before[:, kept].tobytes()
    hole = mask[0] != 0
    assert (after[:, missing & ~hole] != NODATA).mean() > 0.8  # not where a gap leaves the image
    assert (after[:, 40, 50:63] != NODATA).all()
    assert np.abs(after - land)[:, hole].mean() < 0.5 * np.abs(land.mean((1, 2))[:, None] - land[:, hole]).mean()
    with rasterio.open(flag) as file:
        assert (file.dtypes, file.nodata) == (("uint8",), 255)
        assert len(set(list(file.colormap(1).values())[:3])) == 3  # an average of classes is none: overviews take one
    assert "Warning" not in result.stderr
    told = read(flag)[0]
    assert (told[kept] == 0).all()
    assert (told[hole] == 1).all()
    if dtype == "uint16":
        alone = tmp_path / "alone.tif"
        assert call(*common, "-o", alone).exit_code == 0
        without = read(alone)
        assert (without[:, 40, 50:63] == NODATA).all()
        assert (without[:, hole] != NODATA).all()
        assert without[:, kept].tobytes() == before[:, kept].tobytes()


@pytest.mark.filterwarnings("always:.* stay without a value")
def test_how_much_stays_without_a_value_is_told(call: Call, model: Path, land: np.ndarray, tmp_path: Path) -> None:
    values = land.copy()
    values[:, 10:30, 20:40] = NODATA  # wider than `widest`
    values[0, 40:44, 60:64] = NODATA  # of one band, filled
    values[:, :6] = NODATA  # the rim of the scene
    source, output = write(tmp_path / "image.tif", values), tmp_path / "out.tif"
    common = ["predict", model, source, "-o", output, "--device", "cpu", "-q"]
    told = "Warning: out.tif: 400 pixels (8.33 %) stay without a value: only gaps of up to 12 pixels along a row"
    result = call(*common)
    assert result.exit_code == 0, result.stderr
    assert told in result.stderr
    assert int((read(output)[0] == NODATA).sum()) == 400 + 6 * SHAPE[1]

    shards = [call(*common, "--overwrite", "--tile", 32, "--shard", f"{number}/2") for number in range(2)]
    assert all("stay without" not in shard.stderr for shard in shards), "no shard knows of the others"
    assert told in call("assemble", output, "--overwrite").stderr

    values[:, 10:30, 20:40] = land[:, 10:30, 20:40]
    write(source, values)
    assert "Warning" not in call(*common, "--overwrite").stderr


def test_what_cannot_be_filled_is_refused(call: Call, model: Path, land: np.ndarray, tmp_path: Path) -> None:
    source = write(tmp_path / "image.tif", land)
    output = tmp_path / "out.tif"

    def refused(message: str, image: Path, *more: object) -> None:
        result = call("predict", model, image, "-o", output, "--device", "cpu", "-q", *more)
        assert result.exit_code == 3, result.stderr
        assert message in " ".join(result.stderr.split())
        assert not output.exists()

    refused("all pixels are invalid", write(tmp_path / "empty.tif", np.zeros((2, *SHAPE))))
    whole = write(tmp_path / "whole.tif", np.ones((1, *SHAPE)), dtype="uint8", names=("mask",))
    refused("the mask covers every valid pixel", source, "-i", f"mask={whole}")
    green = write(tmp_path / "green.tif", land, names=("green", "swir1"))
    refused("date needs red, nir; got green, swir1", source, "-i", f"date={green}")


@pytest.mark.filterwarnings("always:the image has no gap")
def test_an_image_without_nodata_or_mask_is_told(call: Call, model: Path, land: np.ndarray, tmp_path: Path) -> None:
    scene = land.copy()
    scene[:, 20:23] = 7  # gaps that the file does not say are such
    image = write(tmp_path / "scene.tif", scene)
    mask = write(tmp_path / "mask.tif", (scene[:1] == 7), dtype="uint8", names=("mask",))
    arguments = ("predict", model, image, "-o", tmp_path / "filled.tif", "--dry-run")
    told = call(*arguments)
    assert told.exit_code == 0, told.stderr
    assert "the image has no gap: none of its pixels is nodata" in told.stderr
    assert "no gap" not in call(*arguments, "-i", f"mask={mask}").stderr
