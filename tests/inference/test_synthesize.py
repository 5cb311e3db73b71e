"""Labelled images in a folder: what belongs together, what is continued, what is refused, how pixels are stored."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, OptionError, OutputExistsError
from sciddiff.evaluation.synthetic import Made
from sciddiff.inference import Wish, find_masks, synthesize
from sciddiff.inference.manifest import COLUMNS
from sciddiff.inference.wish import PLAIN, told
from sciddiff.model import Model
from sciddiff.model.request import Guidance
from sciddiff.model.result import Stored
from sciddiff.tasks.look import levels_of
from sciddiff.tasks.style import PER_BAND
from tests.synthesis import CELLS, LAND, cells, land, toy, write_raster
from tests.zoo import compare_rasters, facts


@pytest.fixture(scope="module")
def model() -> Model:
    return toy()


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("given") / "masks")


def write_masks(folder: Path) -> Path:
    for number, name in enumerate(("left", "mid.dle", "right")):
        write_raster(folder / f"{name}.tif", cells(40, 44, first=70_000 + number))
    return folder


def pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        return file.read()


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names(folder: Path, suffix: str = ".tif") -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == suffix)


def make(model: Model, folder: Path, **wish: Any) -> Path:
    synthesize(model, folder, Wish(**wish))
    return folder


ASKED: dict[str, Any] = {
    "image_class": "two",
    "numbers": {"gsd": 10.0},
    "seed": 7,
    "guidance": Guidance(2.0, (0.2, 3.0), {"image_class": (0.0,)}),
}


@pytest.fixture(scope="module")
def made(model: Model, masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of all masks; not to be changed."""
    return make(model, tmp_path_factory.mktemp("made") / "out", masks=find_masks(str(masks)), **ASKED)


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def state(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# ---- what belongs together ----


def test_images_lie_where_their_masks_do_under_equal_names(made: Path, masks: Path) -> None:
    assert names(made / "images") == names(made / "labels") == ["left.tif", "mid.dle.tif", "right.tif"]
    for name in names(masks):
        compare_rasters(masks / name, made / "labels" / name)
        mask, image = facts(masks / name), facts(made / "images" / name)
        assert all(mask[key] == image[key] for key in ("shape", "crs", "transform"))
        assert (image["dtypes"], image["descriptions"]) == (("uint16",), ("nuclei",))
        assert (image["scales"], image["offsets"], image["nodata"]) == ((1e-4,), (-0.1,), ["0.0"])
        assert np.isfinite(io.open(made / "images" / name).values).all()
    found = [pixels(made / "images" / name) for name in names(masks)]
    assert not np.array_equal(found[0], found[1])  # equal masks but for their numbers: another seed each
    assert np.ptp(found[0]) > 1000


def test_the_manifest_says_what_was_asked_of_each(made: Path, masks: Path) -> None:
    with (made / "manifest.csv").open() as file:
        assert tuple(file.readline().strip().split(",")) == COLUMNS
    rows = lines(made)
    assert [row["name"] for row in rows] == ["left", "mid.dle", "right"]
    assert [row["seed"] for row in rows] == ["7", "8", "9"]
    for row in rows:
        assert (made / row["image"]).is_file()
        assert (made / row["labels"]).is_file()
        assert row["source_mask"] == str(masks / f"{row['name']}.tif")
        said = [row[key] for key in ("layout", "image_class", "numbers", "steps", "guidance", "guidance_interval")]
        assert said == ["given", "two", "gsd=10", "3", "2", "0.2 3"]
        assert (row["negative"], row["strength"], row["changed_image"], row["style"]) == ("image_class=0", "1", "", "")


def test_each_image_is_that_of_predict_with_its_seed(model: Model, made: Path, masks: Path) -> None:
    generate = Made(model, Wish(**{**ASKED, "seed": 0}))
    told_of = {"instrument": {"image_class": (1.0,), "gsd": (10.0,)}, "guidance": ASKED["guidance"]}
    for seed, name in enumerate(names(masks)[:2], start=7):
        mask = io.open(masks / name)
        direct = model.predict(mask, seed=seed, **told_of)["sample"].values
        stored = io.open(made / "images" / name).values
        np.testing.assert_allclose(stored, direct, rtol=0, atol=0.6e-4)
        np.testing.assert_array_equal(generate(mask.values[0].astype(int), seed), direct.astype(np.float32))


def test_nothing_asked_of_places_gives_images_without_labels(model: Model, tmp_path: Path) -> None:
    folder = make(model, tmp_path / "out", layout="none", count=2, size=(40, 48))
    assert names(folder / "images") == ["image_00000.tif", "image_00001.tif"]
    assert not list((folder / "labels").iterdir())
    assert [(row["labels"], row["layout"]) for row in lines(folder)] == [("", "none")] * 2
    blank = model.predict(np.zeros((40, 48)), seed=1, instrument={"mask": (0.0,)})["sample"].values
    found = io.open(folder / "images" / "image_00001.tif").values
    np.testing.assert_allclose(found, blank, rtol=0, atol=0.6e-4)


def test_images_of_many_masks_of_one_name_are_numbered(model: Model, tmp_path: Path) -> None:
    paths = [str(write_raster(tmp_path / place / "mask.tif", cells(40, 44))) for place in ("a", "b")]
    folder = make(model, tmp_path / "out", masks=tuple(paths))
    assert names(folder / "images") == ["mask_00000.tif", "mask_00001.tif"]
    assert [row["source_mask"] for row in lines(folder)] == paths


def test_two_images_never_get_one_name(model: Model, tmp_path: Path) -> None:
    paths = [str(write_raster(tmp_path / f"{name}.tif", cells(40, 44))) for name in ("a", "a_00002")]
    with pytest.raises(OptionError, match="two images would be named a_00002"):
        make(model, tmp_path / "out", masks=tuple(paths), count=4)


# ---- microscopy ----


def write_ome(path: Path, values: NDArray[Any], axes: str = "YX") -> Path:
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, values, metadata={"axes": axes, **size})
    return path


def test_a_mask_of_microscopy_gives_an_image_of_microscopy(model: Model, tmp_path: Path) -> None:
    mask = write_ome(tmp_path / "cell.ome.tif", cells(40, 44).astype(np.uint16))
    folder = make(model, tmp_path / "out", masks=(str(mask),))
    image = folder / "images" / "cell.ome.tif"
    with tifffile.TiffFile(image) as file:
        assert file.is_ome
    profile = io.open(image).encoding["stack"]
    assert (profile.pixel_size.x, profile.pixel_size.y, profile.dtype) == (0.25, 0.25, "uint16")
    assert profile.names == ("nuclei",)
    assert np.array_equal(io.open(folder / "labels" / "cell.ome.tif").values, io.open(mask).values)
    levels = model.predict(io.open(mask))["sample"].values
    np.testing.assert_allclose(io.open(image).values, 1000 + 10_000 * levels, rtol=0, atol=0.6)


def test_each_plane_of_a_stack_of_masks_gets_an_image(model: Model, tmp_path: Path) -> None:
    stack = np.stack([cells(40, 44), cells(40, 44, first=9)[::-1]]).astype(np.uint16)
    mask = write_ome(tmp_path / "cell.ome.tif", stack, "ZYX")
    folder = make(model, tmp_path / "out", masks=(str(mask),))
    found = io.open(folder / "images" / "cell.ome.tif")
    assert found.sizes == {"band": 1, "t": 1, "z": 2, "y": 40, "x": 44}
    expected = 1000 + 10_000 * model.predict(io.open(mask))["sample"].values
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=0.6)
    assert np.std(found.values[:, 0, 0] - found.values[:, 0, 1]) > 100


def test_made_masks_lie_and_are_stored_as_the_given_ones(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever makes new masks: they have the pixel size of the given ones, and numbers of 32 bit are kept."""
    from sciddiff.inference import layouts

    made = cells(24, 32, first=2**31)
    monkeypatch.setattr(layouts.Layouts, "_rearranged", lambda self, rng, number: (made, "somewhere"))
    mask = write_ome(tmp_path / "cell.ome.tif", cells(40, 44).astype(np.uint16))
    raster = write_raster(tmp_path / "cell.tif", cells(40, 44))
    for given, name in ((mask, "cell_00000.ome.tif"), (raster, "cell_00000.tif")):
        folder = make(model, tmp_path / f"{given.name}.out", masks=(str(given),), layout="rearranged", size=(24, 32))
        label = io.open(folder / "labels" / name)
        assert np.array_equal(label.values[0], made)
        grid, source = io.grid_of(label), io.grid_of(io.open(given))
        assert (grid.affine, grid.crs) == (source.affine, source.crs)
        assert io.grid_of(io.open(folder / "images" / name)) == grid
        assert lines(folder)[0]["source_mask"] == "somewhere"


# ---- style ----


def reference(path: Path, dtype: str = "uint16", **said: Any) -> Path:
    rng = np.random.default_rng(4)
    values = (20 + 30 * rng.gamma(2, 1, (1, 100, 200))).clip(0, 250)
    return write_raster(path, values.astype(dtype), ["some dye"], **said)


@pytest.mark.filterwarnings("ignore:.*values were clipped")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_style_gives_levels_and_type_of_the_reference(model: Model, masks: Path, tmp_path: Path, dtype: str) -> None:
    style = reference(tmp_path / "style.tif", dtype)
    mask = find_masks(str(masks / "left.tif"))
    folder = make(model, tmp_path / "out", masks=mask, style=str(style))
    dark, bright = levels_of(io.open(style))
    instrument, stored = told(model, Wish(masks=mask, style=str(style)))
    assert (instrument["dark"], instrument["bright"], len(instrument["style"])) == (dark, bright, PER_BAND)
    assert stored == Stored(dtype)
    found = pixels(folder / "images" / "left.tif")
    assert found.dtype == dtype
    direct = model.predict(io.open(mask[0]), instrument=instrument)["sample"].values
    limit = np.inf if dtype == "float32" else np.iinfo(dtype).max
    np.testing.assert_allclose(found, direct.clip(0 if limit < np.inf else -np.inf, limit), rtol=1e-6, atol=0.51)
    assert lines(folder)[0]["style"] == str(style)


def test_a_reference_with_a_scale_gives_its_scale(model: Model, masks: Path, tmp_path: Path) -> None:
    style = reference(tmp_path / "style.tif")
    with rasterio.open(style, "r+") as file:
        file.scales, file.offsets = (1e-3,), (-0.01,)
    folder = make(model, tmp_path / "out", masks=find_masks(str(masks / "left.tif")), style=str(style))
    image = facts(folder / "images" / "left.tif")
    assert (image["dtypes"], image["scales"], image["offsets"]) == (("uint16",), (1e-3,), (-0.01,))
    assert len(np.unique(pixels(folder / "images" / "left.tif"))) > 50


def test_bands_of_a_reference_are_found_by_their_names(tmp_path: Path) -> None:
    model = toy("style: true", "dapi, actin")
    values = np.random.default_rng(0).gamma(2, 100, (2, 100, 100)).astype(np.uint16)
    values[1] += 3000
    orders = {
        "same": (values, ["dapi", "actin"]),
        "turned": (values[::-1], ["actin", "dapi"]),
        "unnamed": (values, [None, None]),
    }
    found = [
        told(model, Wish(style=str(write_raster(tmp_path / f"{name}.tif", *given))))[0]
        for name, given in orders.items()
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]["dark"][1] > 3000 > found[0]["dark"][0]
    other = write_raster(tmp_path / "other.tif", values, ["dapi", "tubulin"])
    with pytest.raises(InputError, match=r"other\.tif.*actin"):
        told(model, Wish(style=str(other)))


def test_a_model_that_follows_no_style_refuses_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="follows no style"):
        told(toy(LAND, "B03, B08"), Wish(style=str(reference(tmp_path / "style.tif"))))


def test_reflectance_of_microscopy_has_no_scale_to_be_stored_with(tmp_path: Path) -> None:
    mapper = toy(LAND, "B03, B08")
    mask = write_ome(tmp_path / "land.ome.tif", land(40, 44))
    folder = make(mapper, tmp_path / "out", masks=(str(mask),))
    found = io.open(folder / "images" / "land.ome.tif")
    assert found.encoding["stack"].dtype == "float32"
    expected = mapper.predict(io.open(mask))["sample"].values
    seen = np.isfinite(expected)
    np.testing.assert_array_equal(found.values[seen], expected[seen])


# ---- changed images ----


@pytest.mark.filterwarnings("ignore:.*values were clipped")
def test_a_changed_image_keeps_the_rest_and_says_what_the_image_said(tmp_path: Path, model: Model) -> None:
    rng = np.random.default_rng(6)
    image = write_raster(tmp_path / "image.tif", rng.integers(90, 4000, (1, 40, 44), dtype=np.uint16), ["Cy5"])
    with rasterio.open(image, "r+") as file:
        file.update_tags(TITLE="measured")
    region = np.zeros((40, 44), np.uint8)
    region[5:20, 5:30] = 1
    asked = {
        "masks": (str(write_raster(tmp_path / "mask.tif", cells(40, 44))),),
        "image": str(image),
        "region": str(write_raster(tmp_path / "region.tif", region, nodata=0)),
        "style": str(reference(tmp_path / "style.tif", "uint8", nodata=0)),
    }
    folder = make(model, tmp_path / "out", **asked)
    found, was = pixels(folder / "images" / "mask.tif"), pixels(image)
    assert np.array_equal(found[:, region == 0], was[:, region == 0])
    assert (found[:, region > 0] != was[:, region > 0]).mean() > 0.9
    said, expected = facts(folder / "images" / "mask.tif"), facts(image)
    assert {key: said[key] for key in said} == expected
    row = lines(folder)[0]
    assert (row["changed_image"], row["changed_region"]) == (asked["image"], asked["region"])
    # the levels are those of the image, not of the reference
    assert abs(np.median(found[:, region > 0].astype(float)) - np.median(was)) < 3000
    instrument, _ = told(model, Wish(**asked))
    assert set(instrument) == {"style"}


@pytest.mark.filterwarnings("ignore:.*values were clipped")
def test_a_region_that_does_not_say_where_it_lies_is_taken_by_its_pixels(model: Model, tmp_path: Path) -> None:
    """Regions are drawn in programs that know nothing of the pixel size of a microscope."""
    told = {"axes": "YX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
    values = np.random.default_rng(6).integers(90, 4000, (40, 44), dtype=np.uint16)
    region = np.zeros((40, 44), np.uint8)
    region[5:20, 5:30] = 1
    for name, array in (("image", values), ("mask", cells(40, 44).astype(np.uint16))):
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", array, ome=True, metadata=told)
    for name, array in (("region", region), ("part", region[:30])):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, metadata=None)
    asked = {"masks": (str(tmp_path / "mask.ome.tif"),), "image": str(tmp_path / "image.ome.tif")}
    folder = make(model, tmp_path / "out", **asked, region=str(tmp_path / "region.tif"))
    same = tifffile.imread(folder / "images" / "mask.ome.tif") == values
    assert same[region == 0].all()
    assert same[region > 0].mean() < 0.1
    with pytest.raises(InputError, match="region has 30 x 44 pixels, the image 40 x 44"):
        make(model, tmp_path / "no", **asked, region=str(tmp_path / "part.tif"))


def test_an_image_may_be_changed_without_a_mask(model: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    image = write_raster(tmp_path / "image.tif", rng.integers(900, 4000, (1, 40, 44), dtype=np.uint16), ["nuclei"])
    folder = make(model, tmp_path / "out", layout="none", image=str(image), strength=0.05)
    found = pixels(folder / "images" / "image_00000.tif").astype(float)
    assert np.corrcoef(found.ravel(), pixels(image).ravel())[0, 1] > 0.9
    assert facts(folder / "images" / "image_00000.tif")["transform"] == facts(image)["transform"]


# ---- the same again, and more ----


def test_more_images_asked_later_continue(model: Model, masks: Path, copy: Path) -> None:
    found, before = find_masks(str(masks)), state(copy / "images")
    make(model, copy, masks=found, count=4, **ASKED)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert [row["name"] for row in lines(copy)] == ["left", "mid.dle", "right", "left_00003"]
    assert [row["seed"] for row in lines(copy)] == ["7", "8", "9", "10"]
    assert names(copy / "images") == names(copy / "labels")
    compare_rasters(copy / "labels" / "left.tif", copy / "labels" / "left_00003.tif")
    assert not np.array_equal(*(pixels(copy / "images" / f"{name}.tif") for name in ("left", "left_00003")))
    before = state(copy / "images")
    make(model, copy, masks=found, count=2, **ASKED)  # fewer: they are there
    assert len(lines(copy)) == 4
    assert state(copy / "images") == before


def test_other_tiles_make_the_same(model: Model, masks: Path, made: Path, tmp_path: Path) -> None:
    synthesize(model, tmp_path / "tiled", Wish(masks=find_masks(str(masks / "left.tif")), **ASKED), tile=16)
    tiled, whole = (pixels(path / "images" / "left.tif").astype(int) for path in (tmp_path / "tiled", made))
    assert np.abs(tiled - whole).max() <= 1


def test_a_deleted_image_is_made_again(model: Model, masks: Path, made: Path, copy: Path) -> None:
    (copy / "images" / "left.tif").unlink()
    make(model, copy, masks=find_masks(str(masks)), **ASKED)
    compare_rasters(made / "images" / "left.tif", copy / "images" / "left.tif")
    assert (made / "manifest.csv").read_bytes() == (copy / "manifest.csv").read_bytes()


@pytest.mark.parametrize("cut", [1, 5, 30, 200, 10_000])
def test_a_line_that_was_cut_off_is_none(model: Model, masks: Path, made: Path, copy: Path, cut: int) -> None:
    whole = (made / "manifest.csv").read_bytes()
    (copy / "manifest.csv").write_bytes(whole[: max(len(whole) - cut, 0)])
    before = state(copy / "images")
    make(model, copy, masks=find_masks(str(masks)), **ASKED)
    assert (copy / "manifest.csv").read_bytes() == whole
    assert state(copy / "images") == before


def test_what_no_call_has_made_is_never_deleted(model: Model, masks: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "images" / "mine.tif"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="is there already"):
            synthesize(model, tmp_path / "out", Wish(masks=find_masks(str(masks))), overwrite=overwrite)
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_what_images_are_made_from_is_not_overwritten_by_them(model: Model, copy: Path) -> None:
    before = state(copy)
    with pytest.raises(OptionError, match="lies where images and labels are to go"):
        synthesize(model, copy, Wish(masks=find_masks(str(copy / "labels"))), overwrite=True)
    assert state(copy) == before


def test_overwrite_begins_anew(model: Model, masks: Path, copy: Path) -> None:
    (copy / "images" / "left.tif.run").mkdir()
    (copy / "images" / "left.tif.run" / "plan.json").write_text("{}")
    synthesize(model, copy, Wish(masks=find_masks(str(masks / "right.tif")), seed=2), overwrite=True)
    assert names(copy / "images") == names(copy / "labels") == ["right.tif"]
    assert [row["seed"] for row in lines(copy)] == ["2"]


STORM = """
import os, signal, sys, time, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from sciddiff.cli import cli
import sciddiff.inference

masks, model, out = sys.argv[1:]
folder = Path(out)
arguments = ["synthesize", model, "--masks", masks, "-n", "6", "-o", out, "-q"]

def attempt(*more):
    child = os.fork()
    if child == 0:
        try:
            cli([*arguments, *more], prog_name="sciddiff")
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(1)
    return child

def done():
    manifest = folder / "manifest.csv"
    return len(manifest.read_text().splitlines()) - 1 if manifest.exists() else 0

def ended_after(moment, number):
    child = attempt()
    while not moment():
        status = os.waitpid(child, os.WNOHANG)
        if status[0]:
            return os.waitstatus_to_exitcode(status[1])
        time.sleep(0.001)
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

moments = [
    lambda: any(folder.glob("labels/*.tif")),
    lambda: any(folder.glob("images/*.run")),
    lambda: done() >= 1,
    lambda: done() >= 1 and any(folder.glob("images/*.run/*/*")),
]
codes = [ended_after(moment, signal.SIGKILL) for moment in moments]
before = done()
codes.append(ended_after(lambda: done() > before, signal.SIGTERM))
between = done()
codes.append(os.waitstatus_to_exitcode(os.waitpid(attempt("--workers", "2"), 0)[1]))
print(*codes, before, between)
"""


def test_kills_and_signals_lose_nothing_and_several_processes_continue(tmp_path: Path, model: Model) -> None:
    from sciddiff.model import load, write

    masks = write_masks(tmp_path / "masks")
    write(model, tmp_path / "toy.safetensors")
    whole = make(load(str(tmp_path / "toy.safetensors")), tmp_path / "whole", masks=find_masks(str(masks)), count=6)
    command = [sys.executable, "-c", STORM, str(masks), str(tmp_path / "toy.safetensors"), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    *codes, before, between = map(int, ended.stdout.splitlines()[-1].split())
    assert codes == [-9, -9, -9, -9, 75, 0], ended.stderr
    assert before < between < 6
    assert (whole / "manifest.csv").read_bytes() == (tmp_path / "out" / "manifest.csv").read_bytes()
    for kind in ("images", "labels"):
        assert names(whole / kind) == names(tmp_path / "out" / kind)
        assert not list((tmp_path / "out" / kind).glob("*.run"))
        for name in names(whole / kind):
            compare_rasters(whole / kind / name, tmp_path / "out" / kind / name)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 4}, "seed is 7, not 4"),
        ({"steps": 5}, "steps is 3, not 5"),
        ({"image_class": "one"}, "image_class is two, not one"),
        ({"numbers": {"gsd": 7.0}}, "numbers is .*10.*not.*7"),
        ({"guidance": Guidance(3.0)}, "guidance is"),
        ({"masks": (), "layout": "none"}, "masks is"),
    ],
)
def test_a_changed_option_is_refused_by_its_name(
    model: Model, masks: Path, made: Path, changed: dict[str, Any], named: str
) -> None:
    before = state(made)
    with pytest.raises(OptionError, match=f"holds images of another call, whose {named}"):
        make(model, made, **{"masks": find_masks(str(masks)), **ASKED, **changed})
    assert state(made) == before


def test_another_model_or_another_mask_is_refused(model: Model, masks: Path, made: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="whose model is"):
        make(toy(CELLS, seed=9), made, masks=find_masks(str(masks)), **ASKED)
    mask = write_raster(tmp_path / "mask.tif", cells(40, 44))
    folder = make(model, tmp_path / "out", masks=(str(mask),))
    write_raster(mask, cells(40, 44, first=90))
    with pytest.raises(OptionError, match="whose files is"):
        make(model, folder, masks=(str(mask),))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"image_class": "three"}, "knows no class three; it knows one, two"),
        ({"numbers": {"month": 3.0}}, "knows no number month; it knows gsd"),
        ({"numbers": {"gsd": 61.0}}, "gsd is .*5 to 60"),
        ({"numbers": {"gsd": float("nan")}}, "gsd is"),
        ({"layout": "given"}, "--layout given needs --masks"),
        ({"layout": "somehow"}, "neither of given, rearranged, procedural, none"),
        ({"layout": "none", "steps": 1}, "needs steps of 2 or more"),
    ],
)
def test_what_is_not_known_is_refused_before_anything_is_written(
    model: Model, tmp_path: Path, asked: dict[str, Any], error: str
) -> None:
    with pytest.raises(OptionError, match=error):
        make(model, tmp_path / "out", **{"layout": "none", **asked})
    assert not (tmp_path / "out").exists()


def test_wishes_that_contradict_themselves_are_refused() -> None:
    for wrong in ({"region": "r.tif"}, {"strength": 0.5}):
        with pytest.raises(OptionError, match="give the image, too"):
            Wish(**wrong)
    with pytest.raises(OptionError, match="given ones have their own"):
        Wish(masks=("a.tif",), size=(40, 40))


def test_every_mask_is_looked_at_before_the_first_image(model: Model, masks: Path, tmp_path: Path) -> None:
    bad = write_raster(tmp_path / "zz.tif", np.full((40, 44), 1.5, np.float32))
    with pytest.raises(InputError, match=r"zz\.tif: the mask holds 1\.5"):
        make(model, tmp_path / "out", masks=(*find_masks(str(masks)), str(bad)))
    other = write_raster(tmp_path / "image.tif", np.ones((1, 20, 44), np.uint16), ["nuclei"])
    with pytest.raises(InputError, match="has other pixels than its mask"):
        make(model, tmp_path / "out", masks=find_masks(str(masks)), image=str(other))
    with pytest.raises(InputError, match=r"gone\.tif: no such file"):
        make(model, tmp_path / "out", masks=find_masks(str(masks)), image=str(tmp_path / "gone.tif"))
    assert not (tmp_path / "out").exists()


def test_plain_images_hold_reflectance_and_levels_below_zero() -> None:
    assert (PLAIN.dtype, PLAIN.offset) == ("uint16", -0.1)
