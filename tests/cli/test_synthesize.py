"""`sciddiff synthesize` and `predict` on a model of synthesis, as a user calls them; all that can be wrong."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result

import sciddiff
from sciddiff import io
from sciddiff.inference.manifest import COLUMNS
from sciddiff.model import build, write
from sciddiff.recipe import parse_recipe
from tests.synthesis import LAND, cells, image_of, land, toy, write_raster

Call = Callable[..., Result]
RESTORER = """
version: 1
name: restorer
task: {kind: super_resolution, ratio: 2}
bands: [red]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 4}
training: {patch: 16}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and masks, good and bad."""
    folder = tmp_path_factory.mktemp("synthesis")
    write(toy(), folder / "cells.safetensors")
    write(toy(f"{LAND}, georeferenced: true, pixel_size: [5, 60]", "B03, B08"), folder / "land.safetensors")
    write(build(parse_recipe(RESTORER)), folder / "restorer.safetensors")
    for name in ("one", "two"):
        write_raster(folder / "masks" / f"{name}.tif", cells(40, 44))
    write_raster(folder / "land.tif", land(40, 44), nodata=0)
    write_raster(folder / "bad" / "fractions.tif", np.full((40, 44), 0.5, np.float32))
    write_raster(folder / "bad" / "negative.tif", np.full((40, 44), -1, np.int16))
    write_raster(folder / "bad" / "classes.tif", np.full((40, 44), 3, np.uint8))
    write_raster(folder / "bad" / "dark.tif", np.zeros((40, 44), np.uint8))
    write_raster(folder / "bad" / "bands.tif", np.zeros((2, 40, 44), np.uint8), ["a", "b"])
    write_raster(folder / "bad" / "nowhere.tif", land(40, 44), crs=None)
    write_raster(folder / "image.tif", np.arange(1760, dtype=np.uint16).reshape(1, 40, 44), ["nuclei"])
    write_raster(folder / "small.tif", np.full((1, 20, 44), 700, np.uint16), ["nuclei"])
    (folder / "bad" / "broken.tif").write_bytes(b"II*\0 no raster")
    (folder / "empty").mkdir()
    write_raster(folder / "real" / "images" / "two.tif", np.zeros((2, 40, 44), np.uint8), ["a", "b"])
    write_raster(folder / "real" / "labels" / "two.tif", cells(40, 44))
    return folder


def test_masks_become_labelled_images(call: Call, folder: Path, tmp_path: Path) -> None:
    asked = ("synthesize", folder / "cells.safetensors", "--masks", folder / "masks", "-o", tmp_path / "out", "-n", 3)
    more = ("--class", "two", "--value", "gsd=10", "--guidance", 2, "--guidance-interval", 0.2, 3, "--not-class", "one")
    done = call(*asked, *more, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {
        "folder": str(tmp_path / "out"),
        "images": 3,
        "manifest": str(tmp_path / "out" / "manifest.csv"),
    }
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == ["one", "two", "one_00002"]
    assert {row["image_class"] for row in rows} == {"two"}
    with (
        rasterio.open(tmp_path / "out" / "images" / "one.tif") as image,
        rasterio.open(folder / "masks/one.tif") as mask,
    ):
        assert (image.transform, image.crs, image.shape) == (mask.transform, mask.crs, mask.shape)
        tags = image.tags(ns="SCIDDIFF")
    assert (tags["MODEL"], tags["SEED"], tags["STEPS"]) == ("toy", "0", "3")
    assert json.loads(tags["INSTRUMENT"])["image_class"] == [1.0]
    assert json.loads(tags["GUIDANCE"])["scale"] == 2.0
    assert "synthesize" in tags["COMMAND"]
    again = call(*asked, *more)
    assert again.exit_code == 0
    other = call(*asked, *more[2:])
    assert other.exit_code == 2
    assert "whose image_class is two, not None" in other.stderr


def test_without_masks_nothing_is_asked_of_places(call: Call, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call("synthesize", folder / "cells.safetensors", "-o", out, "-n", 2, "--size", 40, 48, "-q")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (out / "images").glob("*.tif")) == ["image_00000.tif", "image_00001.tif"]
    assert io.open(out / "images" / "image_00000.tif").shape == (1, 40, 48)
    assert not list((out / "labels").iterdir())


def test_an_image_is_changed_where_the_region_says(call: Call, folder: Path, tmp_path: Path) -> None:
    region = np.zeros((40, 44), np.uint8)
    region[10:20, 10:20] = 1
    write_raster(tmp_path / "region.tif", region)
    asked = ("synthesize", folder / "cells.safetensors", "--masks", folder / "masks/one.tif", "-o", tmp_path / "out")
    edit = ("--image", folder / "image.tif", "--region", tmp_path / "region.tif", "--strength", 0.8)
    done = call(*asked, *edit, "-q")
    assert done.exit_code == 0, done.stderr
    with rasterio.open(tmp_path / "out" / "images" / "one.tif") as file, rasterio.open(folder / "image.tif") as was:
        same = file.read(1) == was.read(1)
    assert same[region == 0].all()
    assert same[region == 1].mean() < 0.1


@pytest.mark.parametrize(
    ("model", "arguments", "code", "told"),
    [
        ("cells", ["--masks", "bad/fractions.tif"], 3, "holds 0.5; labels are whole numbers from 0 on"),
        ("cells", ["--masks", "bad/negative.tif"], 3, "holds -1; labels are whole numbers"),
        ("cells", ["--masks", "bad/bands.tif"], 3, "the mask has 2 bands"),
        ("cells", ["--masks", "bad/broken.tif"], 3, "broken.tif"),
        ("cells", ["--masks", "empty"], 3, "holds no masks"),
        ("cells", ["--masks", "gone*.tif"], 3, "holds no masks"),
        ("cells", ["--masks", "bad/*.tif"], 3, "bad/"),
        ("land", ["--masks", "bad/classes.tif"], 3, "holds the classes [3]; the model knows water 1, forest 6"),
        ("land", ["--masks", "bad/nowhere.tif"], 3, "no coordinate reference system"),
        ("land", ["-n", "2"], 3, "take it from --masks"),
        ("restorer", ["--masks", "masks"], 2, "is a model of the task super_resolution"),
        ("gone", ["--masks", "masks"], 3, "gone.safetensors"),
        ("cells", ["--masks", "masks", "--class", "three"], 2, "knows no class three; it knows one, two"),
        ("land", ["--masks", "land.tif", "--class", "one"], 2, "knows no class one; it knows none"),
        ("cells", ["--masks", "masks", "--not-class", "three", "--guidance", "2"], 2, "knows no class three"),
        ("cells", ["--masks", "masks", "--not-class", "two"], 2, "guidance of scale 1 is the model itself"),
        ("cells", ["--masks", "masks", "--value", "month=3"], 2, "knows no number month; it knows gsd"),
        ("cells", ["--masks", "masks", "--value", "gsd=99"], 2, "needs 1 or 1 numbers from 5 to 60"),
        ("cells", ["--masks", "masks", "--value", "gsd"], 2, "expected NAME=NUMBER"),
        ("cells", ["--masks", "masks", "--region", "land.tif"], 2, "--region says where an image is changed"),
        ("cells", ["--masks", "masks", "--strength", "0.5"], 2, "give the image, too"),
        ("cells", ["--masks", "masks", "--image", "small.tif"], 3, "has other pixels than its mask"),
        ("cells", ["--masks", "masks", "--image", "gone.tif"], 3, "gone.tif: no such file"),
        ("cells", ["--masks", "masks", "--style", "gone.tif"], 3, "gone.tif: no such file"),
        ("cells", ["--masks", "masks", "--style", "image.tif"], 3, "needs a window of 96 x 96 pixels"),
        ("land", ["--masks", "land.tif", "--style", "image.tif"], 2, "follows no style"),
        ("cells", ["--masks", "masks", "--weaker", "restorer.safetensors", "--guidance", "2"], 2, "another task"),
        ("cells", ["--masks", "masks", "--weaker", "gone.safetensors", "--guidance", "2"], 3, "gone.safetensors"),
        ("cells", ["--masks", "masks", "--guidance", "2", "--guidance-interval", "3", "1"], 2, "0 <= least < largest"),
        ("cells", ["--masks", "masks", "--guidance", "inf"], 2, "the scale of guidance is inf"),
        ("cells", ["--masks", "masks", "--size", "40", "40"], 2, "given ones have their own"),
        ("cells", ["--layout", "given"], 2, "--layout given needs --masks"),
        ("cells", ["--masks", "masks", "--layout", "gone"], 2, "neither of given"),
        ("cells", ["--masks", "masks", "--steps", "1"], 2, "--steps"),
        ("cells", ["--masks", "masks", "--strength", "0"], 2, "--strength"),
        ("cells", ["--masks", "bad/dark.tif", "--layout", "rearranged"], 3, "no objects in bad/dark.tif"),
        ("cells", ["--masks", "masks", "--real", "gone"], 3, "gone holds no labelled images"),
        (
            "cells",
            ["--masks", "masks", "--real", "real"],
            3,
            "real/images/two has 2 bands; the model makes images of 1",
        ),
        ("cells", ["-n", "2", "--real", "real"], 2, "--real judges images by their labels"),
        ("cells", ["--masks", "masks", "--real", "real", "--keep-from", "0"], 2, "--keep-from"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(
    call: Call,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    done = call("synthesize", f"{model}.safetensors", "-o", tmp_path / "out", *arguments)
    assert done.exit_code == code, done.stderr
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_cannot_be_written_to_is_told(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = call("synthesize", folder / "cells.safetensors", "--masks", folder / "masks", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "cannot write to" in done.stderr


def test_predict_takes_a_mask(call: Call, folder: Path, tmp_path: Path) -> None:
    mask = folder / "masks" / "one.tif"
    asked = ("predict", folder / "cells.safetensors", mask, "-o", tmp_path / "out.tif", "--steps", 4)
    done = call(*asked, "--instrument", "image_class=1", "--tile", 16, "-q")
    assert done.exit_code == 0, done.stderr
    found = sciddiff.open(str(tmp_path / "out.tif"))
    assert (found.dtype, found.band.values.tolist()) == (np.float32, ["nuclei"])
    assert io.grid_of(found) == io.grid_of(io.open(mask))
    model = sciddiff.load(str(folder / "cells.safetensors"))
    direct = model.predict(sciddiff.open(str(mask)), steps=4, instrument={"image_class": (1.0,)})
    np.testing.assert_allclose(found.values, direct["sample"].values, rtol=0, atol=1e-5)
    refused = call("predict", folder / "cells.safetensors", folder / "bad/fractions.tif", "-o", tmp_path / "no.tif")
    assert refused.exit_code == 3
    assert "holds 0.5" in refused.stderr
    plan = call(*asked, "--overwrite", "--dry-run", "--json")
    assert json.loads(plan.stdout, parse_constant=pytest.fail)["request_guidance"]["scale"] == 1.0


@pytest.mark.parametrize("chunks", [{"y": 11, "x": 60}, {"y": 40, "x": 7}])
def test_a_lazy_mask_gives_what_one_in_memory_gives(folder: Path, chunks: dict[str, int]) -> None:
    for name, values in (("cells", cells(40, 44, first=2**30)), ("land", land(40, 44))):
        model = sciddiff.load(str(folder / f"{name}.safetensors"))
        valid = np.broadcast_to(values > 0, (1, 40, 44)) if name == "land" else None
        mask = image_of(values, crs="EPSG:32631", valid=valid)
        whole = model.predict(mask, steps=4, tile=16, seed=2)
        lazy = model.predict(mask.chunk(chunks), steps=4, tile=16, seed=2)
        for result in ("mean", "sample"):
            assert lazy[result].chunks is not None
            found = lazy[result].compute()
            assert found.dtype == whole[result].dtype == lazy[result].dtype
            assert np.array_equal(found.values, whole[result].values, equal_nan=True)


def test_a_lazy_mask_changes_an_image(folder: Path) -> None:
    model = sciddiff.load(str(folder / "cells.safetensors"))
    image = image_of(np.random.default_rng(0).gamma(2, 300, (1, 40, 44)), ["nuclei"])
    region = image_of(cells(40, 44) > 2)
    inputs = {"image": image, "region": region}
    whole = model.predict(image_of(cells(40, 44).astype(np.uint8)), inputs=inputs, steps=3, tile=16)["sample"]
    mask = image_of(cells(40, 44).astype(np.uint8)).chunk({"x": 9})
    lazy = model.predict(mask, inputs=inputs, steps=3, tile=16)["sample"]
    assert lazy.dtype == np.float64
    assert np.array_equal(lazy.values, whole.values)
    kept = region.values == 0
    assert np.array_equal(lazy.values[kept], image.values[kept])


def test_a_stack_of_masks_may_be_lazy(folder: Path) -> None:
    model = sciddiff.load(str(folder / "cells.safetensors"))
    stack = np.stack([cells(24, 32), cells(24, 32)[::-1]]).astype(np.float32)[None, None]
    from sciddiff.io.image import STACK_DIMS, assemble

    grid = io.grid_of(image_of(cells(24, 32)))
    image = assemble(stack, np.ones(stack.shape, bool), grid=grid, bands=["labels"], dims=STACK_DIMS)
    whole = model.predict(image, steps=3)["sample"]
    lazy = model.predict(image.chunk({"z": 1}), steps=3)["sample"]
    assert whole.sizes == {"band": 1, "t": 1, "z": 2, "y": 24, "x": 32}
    assert np.array_equal(lazy.values, whole.values)
