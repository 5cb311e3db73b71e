"""The cloud mask as a user asks for it: found, written, used by itself; and everything that can be wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import Result
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from sciddiff.model import build, write
from sciddiff.physics.cloud import CLEAR, SHADOW, draw_clouds
from sciddiff.recipe import parse_recipe

Call = Callable[..., Result]

BANDS = ("B02", "B03", "B04", "B08")
REMOVER = """
version: 1
name: toy-remover
task: {kind: remove_clouds, sensor: sentinel2, dates: 1, detector: cloud-mask}
bands: [blue, green, red, nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 4}
training: {patch: 16}
"""


def write_scene(path: Path, *, bands: tuple[str, ...] = BANDS, scale: float = 1e-4, offset: float = -0.1) -> Path:
    """Fields, a lake and clouds, 96 x 96 pixels of 10 m, stored as Sentinel-2 does, with all that a file can say."""
    image, _ = cloudy_scene()
    stored = np.round((image[: len(bands)] + 0.1) / 1e-4)
    stored[:, :5, :7] = 0
    shape = {"count": len(bands), "height": 96, "width": 96, "dtype": "uint16", "nodata": 0}
    grid = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", photometric="rgb", **grid, **shape) as file:
        file.write(stored.astype("uint16"))
        file.descriptions = bands
        file.scales, file.offsets = [scale] * len(bands), [offset] * len(bands)
        file.units = ["reflectance"] * len(bands)
        file.update_tags(CLOUDY_PIXEL_PERCENTAGE="25")
        file.update_tags(1, STATISTICS_MEAN="1200")
    return path


def cloudy_scene() -> tuple[np.ndarray, np.ndarray]:
    """Reflectance, and classes of the clouds."""
    source = torch.Generator().manual_seed(5)
    clean = torch.tensor([0.04, 0.06, 0.05, 0.32])[None, :, None, None] * torch.ones(1, 1, 96, 96)
    clean = clean * (1 + 0.05 * torch.randn(1, 1, 96, 96, generator=source))
    clean[:, :, 60:80, 10:30] = torch.tensor([0.06, 0.05, 0.03, 0.01])[None, :, None, None]
    drawn = draw_clouds(clean, [0.49, 0.56, 0.66, 0.84], generator=source, cover=(0.15, 0.15), gsd=20.0, cirrus=0.0)
    return drawn.cloudy[0].numpy(), drawn.classes[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    write_scene(folder / "scene.tif")
    write(build(parse_recipe(REMOVER)), folder / "remover.safetensors")
    return folder


def test_the_mask_is_found_and_its_file_says_what_it_is(call: Call, folder: Path, tmp_path: Path) -> None:
    output, mask = tmp_path / "probabilities.tif", tmp_path / "mask.tif"
    done = call("predict", "cloud-mask", folder / "scene.tif", "-o", output, "--also", f"mask={mask}", "-q", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["mask"] == str(mask)
    with rasterio.open(folder / "scene.tif") as scene, rasterio.open(output) as file:
        assert (file.transform, file.crs, file.shape) == (scene.transform, scene.crs, scene.shape)
        assert (file.descriptions, file.dtypes) == (("cloud", "shadow"), ("float32", "float32"))
        assert (file.scales, file.offsets, file.units) == ((1.0, 1.0), (0.0, 0.0), (None, None))
        assert np.isnan(file.nodata)
        assert ColorInterp.red not in file.colorinterp
        assert "CLOUDY_PIXEL_PERCENTAGE" not in file.tags()
        assert "STATISTICS_MEAN" not in file.tags(1)
        found, valid = file.read(), file.dataset_mask() > 0
        assert (valid == (scene.dataset_mask() > 0)).all()
    _, classes = cloudy_scene()
    assert ((found[:, valid] >= 0) & (found[:, valid] <= 1)).all()
    for at, there in enumerate([(classes != CLEAR) & (classes != SHADOW), classes == SHADOW]):
        hit = (found[at] > 0.4) & valid
        assert (hit & there).sum() / ((hit | there) & valid).sum() > 0.55
    with rasterio.open(mask) as file:
        classes_found = file.read(1)
        assert (file.descriptions, file.dtypes, file.nodata) == (("mask",), ("uint8",), 255)
        assert set(np.unique(classes_found[valid])) == {0, 1, 2}
        assert (classes_found[valid & (found[0] > 0.2)] == 1).all()


@pytest.mark.filterwarnings("ignore:the STATISTICS_ tags are not kept")
def test_clouds_are_removed_without_a_mask(call: Call, folder: Path, tmp_path: Path) -> None:
    output, flag = tmp_path / "out.tif", tmp_path / "flag.tif"
    arguments = (
        "predict",
        folder / "remover.safetensors",
        folder / "scene.tif",
        "-o",
        output,
        "--also",
        f"flag={flag}",
    )
    plan = call(*arguments, "--dry-run", "--json")
    assert json.loads(plan.stdout)["input_mask"] == ["found by cloud-mask in scene.tif"]
    assert not list(tmp_path.iterdir())
    done = call(*arguments, "-q")
    assert done.exit_code == 0, done.stderr
    with rasterio.open(folder / "scene.tif") as scene, rasterio.open(output) as file, rasterio.open(flag) as flags:
        kept = flags.read(1) == 0
        assert 0.2 < kept.mean() < 0.9
        assert (file.read()[:, kept] == scene.read()[:, kept]).all()
        assert file.tags(ns="SCIDDIFF")["INPUT_MASK"] == "mask_0_cloud-mask.tif"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".tif", ".tif"]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("numbers", "digital numbers, where reflectance from 0 to 1 is needed"),
        ("bands", "needs blue, green, red, nir, swir1, swir2"),
        ("instrument", "knows no mtf of an instrument"),
        ("extra", "gives no flag; beside its image it gives mask"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_left(
    call: Call, folder: Path, tmp_path: Path, case: str, told: str
) -> None:
    source, more = folder / "scene.tif", []
    if case == "numbers":
        source = write_scene(tmp_path / "in.tif", scale=1.0, offset=0.0)
    elif case == "bands":
        source = write_scene(tmp_path / "in.tif", bands=BANDS[:3])
    elif case == "instrument":
        more = ["--instrument", "mtf=0.2"]
    else:
        more = ["--also", f"flag={tmp_path / 'out_flag.tif'}"]
    done = call("predict", "cloud-mask", source, "-o", tmp_path / "out.tif", "-q", *more)
    assert done.exit_code == (3 if case in ("numbers", "bands") else 2)
    assert told in done.stderr
    assert not list(tmp_path.glob("out*"))


def test_training_and_simulation_know_the_truth(call: Call, folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        REMOVER.replace("toy-remover", "tiny-mask")
        .replace("remove_clouds, sensor: sentinel2, dates: 1, detector: cloud-mask", "cloud_mask, sensor: sentinel2")
        .replace("{patch: 16}", "{steps: 2, batch: 2, patch: 16, warmup: 0}")
    )
    scene = folder / "scene.tif"
    done = call("train", recipe, "-o", tmp_path / "run", "--train", scene, "--valid", scene, "--device", "cpu", "-q")
    assert done.exit_code == 0, done.stderr
    told = json.loads(call("info", tmp_path / "run" / "model.safetensors", "--json").stdout)
    assert set(told["metrics"]["validation"]) == {"mean", "cloud_tests"}
    done = call("simulate", recipe, scene, "-o", tmp_path / "pair")
    assert done.exit_code == 0, done.stderr
    with (
        rasterio.open(tmp_path / "pair" / "target.tif") as target,
        rasterio.open(tmp_path / "pair" / "image.tif") as image,
    ):
        assert target.descriptions == ("cloud", "shadow")
        assert set(np.unique(target.read()[:, 10:])) == {0, 1}
        assert image.descriptions == BANDS
