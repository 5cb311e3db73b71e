"""`sciddiff predict` with a mask and other dates, and what can be wrong with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import Result
from rasterio.transform import from_origin

from sciddiff.model import build, write
from sciddiff.recipe import parse_recipe

Call = Callable[..., Result]

RECIPE = """
version: 1
name: clear
task: {kind: remove_clouds, dates: 2, pixel_size: [5, 100], detector: null}
bands: [red, nir]
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {patch: 16}
"""
CLOUD = (slice(12, 30), slice(20, 36))


def raster(
    path: Path, values: np.ndarray, *, bands: tuple[str, ...] = ("red", "nir"), scale: float = 1e-4, left: float = 5e5
) -> Path:
    """Write 16-bit numbers with their scale, zero where there is none."""
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2]}
    grid = {"crs": "EPSG:32631", "transform": from_origin(left, 4e6, 10, 10), "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", **profile, **grid) as file:
        file.write(values.astype("uint16"))
        file.descriptions = bands
        file.scales = (scale,) * len(values)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose every weight acts, a cloudy image with a hole, its mask, two dates of which one lacks a corner."""
    folder = tmp_path_factory.mktemp("clouds")
    model = build(parse_recipe(RECIPE))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    write(model, folder / "model.safetensors")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    clean = 1500 + 800 * np.stack([np.sin(x / 5), np.cos(y / 7)]) + rng.integers(0, 50, (2, 40, 48))
    cloudy = clean.copy()
    cloudy[:, *CLOUD] = 7000
    cloudy[:, :4, :4] = 0  # a hole outside the mask
    cloudy[:, 13:16, 21:24] = 0  # and one under it
    mask = np.zeros((1, 40, 48))
    mask[:, *CLOUD] = 5
    partly = 1.1 * clean
    partly[:, :, :28] = 0
    raster(folder / "image.tif", cloudy)
    raster(folder / "mask.tif", mask, bands=("clouds",), scale=1.0)
    raster(folder / "d1.tif", partly)
    raster(folder / "d2.tif", 0.9 * clean)
    return folder


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read()
        return values


def test_clear_numbers_are_kept_to_the_bit(call: Call, folder: Path, tmp_path: Path) -> None:
    output, flag = tmp_path / "out.tif", tmp_path / "flag.tif"
    given = ["-i", f"mask={folder / 'mask.tif'}", "-i", f"date={folder / 'd1.tif'}"]
    command = ["predict", folder / "model.safetensors", folder / "image.tif", "-o", output, *given]
    result = call(*command, "--also", f"flag={flag}", "--tile", 16)
    assert result.exit_code == 0, result.stderr
    before, after = read(folder / "image.tif"), read(output)
    clear = np.ones(before.shape, bool)
    clear[:, *CLOUD] = False
    assert after.dtype == before.dtype
    assert np.array_equal(after[clear], before[clear])
    assert (after[~clear] != 0).all()
    assert (after[~clear] < 4000).all()
    with rasterio.open(output) as file:
        assert file.scales == (1e-4, 1e-4)
        assert file.nodata == 0
    told = read(flag)[0]
    assert (told[:4, :4] == 255).all()  # invalid stays invalid
    assert set(np.unique(told[clear[0]])) <= {0, 255}
    assert (told[CLOUD][:, :8] == 2).all()
    assert (told[CLOUD][:, 8:] == 1).all()


def test_the_result_is_the_same_in_tiles_and_with_two_dates(call: Call, folder: Path, tmp_path: Path) -> None:
    given = [f"mask={folder / 'mask.tif'}", *(f"date={folder / name}" for name in ("d1.tif", "d2.tif"))]
    inputs = [part for name in given for part in ("-i", name)]
    for name, options in (("whole", []), ("tiles", ["--tile", 24])):
        output = tmp_path / f"{name}.tif"
        result = call("predict", folder / "model.safetensors", folder / "image.tif", "-o", output, *inputs, *options)
        assert result.exit_code == 0, result.stderr
    assert np.array_equal(read(tmp_path / "whole.tif"), read(tmp_path / "tiles.tif"))


def test_what_does_not_fit_ends_with_code_3(call: Call, folder: Path, tmp_path: Path) -> None:
    clean = read(folder / "d2.tif")
    mask = f"mask={folder / 'mask.tif'}"
    other = raster(tmp_path / "other.tif", clean, bands=("red", "swir1"))
    numbers = raster(tmp_path / "numbers.tif", clean, scale=1.0)
    far = raster(tmp_path / "far.tif", clean, left=9e5)
    bits = raster(tmp_path / "bits.tif", clean[:, :1].repeat(40, 1), bands=("a", "b"), scale=1.0)
    all_cloud = raster(tmp_path / "all.tif", np.ones((1, 40, 48)), bands=("clouds",), scale=1.0)

    def refused(match: str, *inputs: str, image: Path = folder / "image.tif") -> None:
        given = [part for name in inputs for part in ("-i", name)]
        result = call("predict", folder / "model.safetensors", image, "-o", tmp_path / "out.tif", *given)
        assert result.exit_code == 3, result.stderr
        assert match in " ".join(result.stderr.split())

    refused("give -i mask=PATH")
    refused("date needs red, nir; got red, swir1", mask, f"date={other}")
    refused(f"date 1 ({numbers}) holds values up to", mask, f"date={numbers}")
    refused("--scale 0.0001", mask, image=numbers)
    refused("the grids do not overlap", mask, f"date={far}")
    refused("the grids do not overlap", f"mask={far_mask(tmp_path)}")
    refused("mask has 2 bands, expected one", f"mask={bits}")
    refused("no other date is given: nothing to fill from; give -i date=PATH", f"mask={all_cloud}")
    classes = raster(tmp_path / "scl.tif", np.where(np.eye(40, 48), 9, 4)[None], bands=("SCL",), scale=1.0)
    refused("values such as 4, 9: it looks like a classification", f"mask={classes}", f"date={folder / 'd1.tif'}")
    assert not (tmp_path / "out.tif").exists()


def far_mask(folder: Path) -> Path:
    return raster(folder / "far_mask.tif", np.ones((1, 40, 48)), bands=("clouds",), scale=1.0, left=9e5)


@pytest.mark.filterwarnings("always:.*holds shares")
@pytest.mark.parametrize("dates", [1, 2])
def test_a_mask_of_probabilities_is_told(call: Call, folder: Path, tmp_path: Path, dates: int) -> None:
    likely = np.where(np.eye(40, 48), 0, 7)[None]
    shares = raster(tmp_path / "shares.tif", likely, bands=("cloud",), scale=0.1)
    given = {1: (f"mask={shares}",), 2: (f"mask={folder / 'mask.tif'}", f"date_mask={shares}")}[dates]
    inputs = [part for name in (*given, f"date={folder / 'd1.tif'}") for part in ("-i", name)]
    arguments = ("predict", folder / "model.safetensors", folder / "image.tif", "-o", tmp_path / "out.tif", "--dry-run")
    result = call(*arguments, *inputs)
    assert result.exit_code == 0, result.stderr
    told = " ".join(result.stderr.split())
    assert f"{('mask', 'date_mask')[dates - 1]} holds shares such as 0.7, as of probabilities" in told
    plain = call(*arguments, "-i", f"mask={folder / 'mask.tif'}", "-i", f"date={folder / 'd1.tif'}")
    assert "holds shares" not in plain.stderr


@pytest.mark.filterwarnings("always:.*does not name its bands")
def test_a_date_that_names_no_bands_is_taken_in_order_and_told(call: Call, folder: Path, tmp_path: Path) -> None:
    unnamed = raster(tmp_path / "unnamed.tif", read(folder / "d2.tif"), bands=("", ""))
    inputs = ("-i", f"mask={folder / 'mask.tif'}", "-i", f"date={unnamed}")
    arguments = ("predict", folder / "model.safetensors", folder / "image.tif", "-o", tmp_path / "out.tif", "--dry-run")
    result = call(*arguments, *inputs)
    assert result.exit_code == 0, result.stderr
    assert "the input date does not name its bands; they are taken as red, nir, in this order" in result.stderr
