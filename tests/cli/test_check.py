"""`sciddiff check`: what can be used passes, what cannot is named with its place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from click.testing import Result

from sciddiff.cli.info import looks
from sciddiff.inference import predict_file
from sciddiff.io import pixels
from sciddiff.model import write
from tests.inference.conftest import small_model, write_scene

Call = Callable[..., Result]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif")


def problems(result: Result) -> list[str]:
    return [text for item in json.loads(result.stdout)["checked"] for text in item["problems"]]


def test_what_can_be_used_passes(call: Call, scene: Path, tmp_path: Path) -> None:
    write(small_model(), tmp_path / "model.safetensors")
    predict_file(small_model(), str(scene), tmp_path / "out.tif", tile=32, shard=(0, 2))
    predict_file(small_model(), str(scene), tmp_path / "done.tif", tile=32)
    for deep in ((), ("--deep",)):
        paths = (scene, tmp_path / "done.tif", tmp_path / "model.safetensors", tmp_path / "out.tif.run")
        result = call("check", *paths, *deep, "--json")
        assert result.exit_code == 0, result.stdout
        kinds = [item["kind"] for item in json.loads(result.stdout)["checked"]]
        assert kinds == ["raster", "raster", "model", "run"]
    assert "is a cloud-optimised GeoTIFF" in result.stdout
    run = json.loads(result.stdout)["checked"][3]
    assert (run["done"], run["windows"]) == (15, 30)
    assert "usable: yes" in call("check", scene).stdout


def test_info_tells_what_an_unfinished_run_makes_and_how_far_it_is(call: Call, scene: Path, tmp_path: Path) -> None:
    predict_file(small_model(), str(scene), tmp_path / "out.tif", tile=32, shard=(0, 2))
    told = json.loads(call("info", tmp_path / "out.tif.run", "--json").stdout)
    assert (told["kind"], told["done"], told["windows"]) == ("run", 15, 30)
    assert told["output"] == str(tmp_path / "out.tif")


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".zarr", ".ome.zarr"])
def test_info_reads_every_format_that_predict_writes(call: Call, scene: Path, tmp_path: Path, suffix: str) -> None:
    predict_file(small_model(), str(scene), tmp_path / f"out{suffix}", tile=64)
    told = json.loads(call("info", tmp_path / f"out{suffix}", "--json").stdout)
    assert told["size"] == {"bands": 2, "height": 140, "width": 180}
    assert [band["name"] for band in told["bands"]] == ["red", "nir"]
    assert told["crs"] == "EPSG:32631"


def test_info_read_all_rows_of_a_huge_sparse_raster(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, side, read = tmp_path / "huge.tif", 400_000, []
    options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "bigtiff": "yes"}
    options |= {"crs": "EPSG:3857", "transform": rasterio.transform.from_origin(0, 0, 10, 10), "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", width=side, height=side, count=1, dtype="uint8", **options) as file:
        for row, col, value in ((0, 0, 7), (side - 512, side - 512, 9)):
            block = np.full((1, 512, 512), value, np.uint8)
            file.write(block, window=rasterio.windows.Window(col // 512 * 512, row // 512 * 512, 512, 512))
    window = pixels.Pixels._window

    def counted(self: pixels.Pixels, src: object, chosen: list[int], part: rasterio.windows.Window) -> object:
        read.append(part.width * part.height)
        return window(self, src, chosen, part)

    monkeypatch.setattr(pixels.Pixels, "_window", counted)
    told = json.loads(call("info", path, "--json").stdout)["bands"][0]
    assert (told["min"], told["mean"], told["max"], told["valid"]) == (7, 8, 9, 2 / 64)
    assert sum(read) <= 2**22


def test_info_of_a_small_raster_tells_of_every_pixel(call: Call, scene: Path) -> None:
    with rasterio.open(scene) as file:
        red = np.ma.masked_equal(file.read(1), 0)
    told = json.loads(call("info", scene, "--json").stdout)["bands"][0]
    assert (told["min"], told["max"], told["valid"]) == (red.min(), red.max(), red.count() / red.size)
    assert told["mean"] == pytest.approx(red.mean(), rel=1e-12)


@pytest.mark.parametrize("block", [(1, 800_000), (512, 512), (4096, 4096), (800_000, 800_000)])
def test_info_decodes_little_of_any_layout(block: tuple[int, int]) -> None:
    windows = looks((800_000, 800_000), block)
    rows = {(row.start, row.stop) for row, _ in windows}
    assert len(windows) <= 64
    assert sum(stop - start for start, stop in rows) * 800_000 < 2**25 or block != (1, 800_000)
    assert (windows[0][0].start, windows[0][1].start) == (0, 0)
    assert all(0 <= each.start < each.stop <= 800_000 for window in windows for each in window)
    assert max(row.stop for row, _ in windows) > 790_000


def test_a_damaged_block_is_found_by_reading_all(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    values = np.random.default_rng(0).integers(0, 99, (1, 1500, 600), dtype=np.uint8)
    options = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    options |= {"crs": "EPSG:3857", "transform": rasterio.transform.from_origin(0, 0, 10, 10)}
    with rasterio.open(path, "w", width=600, height=1500, count=1, dtype="uint8", **options) as file:
        file.write(values)
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_1_3", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 400] = bytes(400)
    path.write_bytes(content)
    assert call("check", path).exit_code in {0, 3}
    result = call("check", path, "--deep", "--json")
    assert result.exit_code == 3
    assert any("rows 512 to 1024, columns 0 to 600" in text for text in problems(result))


def test_each_fault_is_named(call: Call, scene: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tif"
    predict_file(small_model(), str(scene), tmp_path / "whole.tif")
    cut.write_bytes((tmp_path / "whole.tif").read_bytes()[:-2000])
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    blank = write_scene(tmp_path / "blank.tif")
    with rasterio.open(blank, "r+") as file:
        file.write(np.zeros((2, 70, 90), np.uint16))
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"\xff" * 100)
    empty = tmp_path / "empty.run"
    empty.mkdir()
    for path, message in (
        (cut, "truncated"),
        (text, "cannot be opened as a raster"),
        (blank, "all pixels are invalid"),
        (model, "model.safetensors"),
        (empty, "no run of predict is there"),
        (tmp_path / "nowhere.tif", "no such file"),
    ):
        result = call("check", path, "--deep", "--json")
        assert result.exit_code == 3, path
        assert message in problems(result)[0]
    assert call("check", scene, text).exit_code == 4


def test_one_missing_file_among_several_ended_the_check_of_all(call: Call, scene: Path, tmp_path: Path) -> None:
    missing = [tmp_path / name for name in ("no.safetensors", "no.tif", "no.run", "no.zarr")]
    result = call("check", *missing, scene, "--json")
    assert result.exit_code == 4
    checked = json.loads(result.stdout)["checked"]
    assert [bool(item["problems"]) for item in checked] == [True] * 4 + [False]
    assert [item["kind"] for item in checked] == ["model", "raster", "run", "raster", "raster"]
    assert "no model" in checked[0]["problems"][0]
    assert checked[2]["problems"] == [f"{tmp_path / 'no.run'}: no run of predict is there"]
    assert call("check", *missing[:2]).exit_code == 3


def test_a_damaged_shard_of_a_run_is_found(call: Call, scene: Path, tmp_path: Path) -> None:
    predict_file(small_model(), str(scene), tmp_path / "out.tif", tile=32, shard=(0, 2))
    chunk = next((tmp_path / "out.tif.run" / "output.zarr").rglob("c/0/1/1"))
    content = bytearray(chunk.read_bytes())
    content[len(content) // 3] ^= 255
    chunk.write_bytes(content)
    assert call("check", tmp_path / "out.tif.run").exit_code == 0
    result = call("check", tmp_path / "out.tif.run", "--deep", "--json")
    assert result.exit_code == 3
    assert "core 7 is damaged" in problems(result)[0]


def test_stacks_are_read_plane_by_plane(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    planes = np.random.default_rng(0).integers(0, 99, (4, 2, 64, 64), dtype=np.uint16)
    tifffile.imwrite(path, planes, ome=True, metadata={"axes": "ZCYX"}, compression="zlib")
    result = call("check", path, "--deep", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["checked"][0]["axes"] == "ZCYX"
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[5].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 100] = b"\xff" * 100
    broken = shutil.copy(path, tmp_path / "broken.ome.tif")
    Path(broken).write_bytes(content)
    result = call("check", broken, "--deep", "--json")
    assert result.exit_code == 3
    assert problems(result)[0].startswith("plane 5: cannot be decoded")
