"""Outputs that cannot be written are refused before a pixel is computed, and options may change while a run waits."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from sciddiff import io
from sciddiff.errors import InputError, InterruptedRun, OptionError, OutputError
from sciddiff.inference import compute as computing
from sciddiff.inference import plan_file, predict_file, publish
from sciddiff.io.profile import RasterWarning
from sciddiff.model import Model, build
from sciddiff.recipe import parse_recipe
from tests.inference.conftest import write_scene

SAMPLED: dict[str, Any] = {"steps": 2, "samples": 2, "tile": 64}


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be computed."""
    monkeypatch.setattr(computing, "compute_group", lambda *_args, **_options: pytest.fail("computed"))


def refused(model: Model, scene: Path, output: Path, match: str, **options: Any) -> None:
    """By the plan and by the run, which leaves nothing."""
    for ask in (plan_file, predict_file):
        with pytest.raises(OutputError, match=match):
            ask(model, str(scene), output, **options)
        assert not list(output.parent.iterdir())


@pytest.mark.usefixtures("idle")
def test_a_suffix_of_no_format_leaves_no_run_behind(model: Model, scene: Path, tmp_path: Path) -> None:
    refused(model, scene, tmp_path / "out.png", r"ends in \.tif")


@pytest.mark.usefixtures("idle")
def test_the_folder_of_a_second_output_was_missed_only_at_the_end(model: Model, scene: Path, tmp_path: Path) -> None:
    beside = tmp_path / "nowhere" / "std.tif"
    refused(model, scene, tmp_path / "out.tif", "nowhere does not exist", uncertainty=beside, **SAMPLED)


@pytest.mark.usefixtures("idle")
def test_a_second_output_on_another_disk_could_not_be_moved(
    model: Model, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    true = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        known = true(path, **options)
        numbers = list(known)
        numbers[2] += path.name == "disk"
        return os.stat_result(numbers)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(OutputError, match="on another disk"):
        plan_file(model, str(scene), tmp_path / "out.tif", uncertainty=tmp_path / "disk" / "std.tif", **SAMPLED)


@pytest.mark.usefixtures("idle")
def test_a_folder_in_the_place_of_a_file_was_met_only_at_the_end(model: Model, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "out.tif").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        predict_file(model, str(scene), tmp_path / "out.tif", overwrite=True)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("out.tif", {"COMPRESS": "FOO"}, "unexpected value for COMPRESS"),
        ("out.tif", {"tiled": "YES"}, "does not support creation option TILED"),
        ("out.tif", {"COMPRESS": "JPEG"}, "cannot write uint16 pixels with --co COMPRESS=JPEG"),
        ("out.tif", {"BLOCKSIZE": "wide"}, "expected a multiple of 16"),
        ("out.ome.tif", {"TILED": "YES"}, "OME-TIFF takes COMPRESS"),
        ("out.zarr", {"COMPRESS": "ZSTD"}, "Zarr stores take no creation options"),
    ],
)
def test_creation_options_failed_only_at_the_end_or_were_ignored(
    model: Model, scene: Path, tmp_path: Path, name: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        predict_file(model, str(scene), tmp_path / name, creation_options=options)
    assert not list(tmp_path.iterdir())


def test_creation_options_of_the_first_call_held_for_ever(
    model: Model, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.tif"
    with monkeypatch.context() as patch:
        patch.setattr("sciddiff.inference.files.assemble_run", stopped)
        with pytest.raises(InterruptedRun):
            predict_file(model, str(scene), out, creation_options={"COMPRESS": "LZW"})
    predict_file(model, str(scene), out, creation_options={"COMPRESS": "ZSTD"})
    with rasterio.open(out) as file:
        assert file.compression.name == "zstd"


def stopped(*_args: Any, **_options: Any) -> None:
    raise InterruptedRun("stopped")


@pytest.mark.parametrize("query", ["bands=1,2&a_scale=2", "bands=2,1"])
def test_an_address_that_means_other_pixels_of_the_same_file_is_another_input(
    model: Model, scene: Path, tmp_path: Path, query: str
) -> None:
    out = tmp_path / "out.tif"
    predict_file(model, f"vrt://{scene}?bands=1,2", out, tile=64, shard=(0, 2))
    with pytest.raises(OptionError, match="whose input is"):
        predict_file(model, f"vrt://{scene}?{query}", out, tile=64)


STRIPES = """
version: 1
name: stripes
task: {kind: destripe}
bands: [red, nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
training: {patch: 32}
"""


def test_statistics_of_the_input_stayed_where_its_grid_is_kept(tmp_path: Path) -> None:
    source = write_scene(tmp_path / "scene.tif", height=40, width=44)
    with rasterio.open(source, "r+") as file:
        file.update_tags(1, STATISTICS_MEAN="3", KEEP="me")
    with pytest.warns(RasterWarning, match="STATISTICS_"):
        predict_file(build(parse_recipe(STRIPES)), str(source), tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags(1) == {"KEEP": "me"}


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_scratch_took_the_cores_of_the_network_to_be_smaller_than_the_product(
    model: Model, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is thrown away at the end is packed cheaply, and still no larger than 1.3 times what stays."""
    scene = write_scene(tmp_path / "scene.tif", height=256, width=256)
    output, sizes = tmp_path / f"out{suffix}", []

    def measured(folder: Path) -> None:
        sizes.append(sum(file.stat().st_size for file in folder.rglob("c/*/*") if file.is_file()))
        sizes.append(sum(file.stat().st_size for file in folder.rglob("c/*/*/*") if file.is_file()))

    monkeypatch.setattr(publish, "remove", measured)
    predict_file(model, str(scene), output, tile=512)
    codec = json.loads(next(output.with_name(f"{output.name}.run").rglob("pixels/zarr.json")).read_text())["codecs"]
    assert codec[0]["configuration"]["codecs"][-1]["configuration"]["clevel"] == 1
    assert 0 < sum(sizes) <= 1.3 * output.stat().st_size


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("name", ["out.png", "out", ""])
def test_a_name_of_no_format_is_a_fault_of_usage_whatever_lies_there(
    model: Model, scene: Path, tmp_path: Path, name: str
) -> None:
    """A folder was said to exist, and that --overwrite would replace it."""
    with pytest.raises(OutputError, match=r"ends in \.tif") as caught:
        predict_file(model, str(scene), tmp_path / name)
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("idle")
def test_a_folder_of_other_files_was_replaced_by_a_store(model: Model, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "mine.txt").write_text("mine")
    for ask in (plan_file, partial(predict_file, overwrite=True)):
        with pytest.raises(OutputError, match="a folder with other files, no Zarr store"):
            ask(model, str(scene), tmp_path / "out.zarr")
    assert [path.name for path in tmp_path.rglob("*")] == ["out.zarr", "mine.txt"]


def test_a_store_replaces_links_and_files_but_never_its_input(model: Model, scene: Path, tmp_path: Path) -> None:
    """A link to nowhere, or to a store, stopped the run at its very end; a store that was the input was replaced."""
    output = tmp_path / "out.zarr"
    predict_file(model, str(scene), output)
    expected = io.open(output).values
    for name, target in (("nowhere.zarr", "gone.zarr"), ("link.zarr", "out.zarr")):
        (tmp_path / name).symlink_to(tmp_path / target)
        predict_file(model, str(scene), tmp_path / name, overwrite=True)
        assert not (tmp_path / name).is_symlink()
        np.testing.assert_array_equal(io.open(tmp_path / name).values, expected)
    (tmp_path / "file.zarr").write_text("no store")
    predict_file(model, str(scene), tmp_path / "file.zarr", overwrite=True)
    np.testing.assert_array_equal(io.open(output).values, expected)
    assert not list(tmp_path.glob("*.run"))
    for source in (str(output), f"{output}/", f"{output}#mean"):
        with pytest.raises(OptionError, match="is the input itself"):
            predict_file(model, source, output, overwrite=True)


@pytest.mark.parametrize("number", [1e20, np.finfo(np.float32).min])
def test_a_fill_value_that_is_not_declared_made_an_empty_output(model: Model, tmp_path: Path, number: float) -> None:
    """Its square is beyond single precision: all within its reach came out as NaN, with exit code 0."""
    source = tmp_path / "scene.tif"
    values = np.random.default_rng(0).normal(0.2, 0.05, (2, 20, 24)).astype(np.float32)
    values[:, 14:16, 9:12] = number
    grid = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, 10, 10), "height": 20, "width": 24}
    with rasterio.open(source, "w", driver="GTiff", count=2, dtype="float32", **grid) as file:
        file.write(values)
        file.descriptions = ("red", "nir")
    with pytest.raises(InputError, match=r"scene.tif: the window at row \d+, .* declare it as nodata"):
        predict_file(model, str(source), tmp_path / "out.tif")
    with pytest.raises(InputError, match="declare it as nodata"):
        model.predict(io.open(source))
    with rasterio.open(source, "r+") as file:
        file.nodata = float(np.float32(number))
    predict_file(model, str(source), tmp_path / "out.tif")
    result = io.open(tmp_path / "out.tif")
    np.testing.assert_array_equal(result.valid.values, (values != np.float32(number)).repeat(2, 1).repeat(2, 2))
    assert np.abs(result).max() < 1


def test_a_file_that_a_virtual_raster_lacks_is_named_once(model: Model, tmp_path: Path) -> None:
    vrt = tmp_path / "lacks.vrt"
    band = '<VRTRasterBand dataType="Byte" band="{}"><Description>{}</Description><SimpleSource>'
    band += "<SourceFilename>gone.tif</SourceFilename></SimpleSource></VRTRasterBand>"
    told = "".join(band.format(at, name) for at, name in enumerate(("red", "nir"), start=1))
    vrt.write_text(f'<VRTDataset rasterXSize="40" rasterYSize="40">{told}</VRTDataset>')
    with pytest.raises(InputError, match=r"cannot be read.*gone\.tif") as caught:
        predict_file(model, str(vrt), tmp_path / "out.tif")
    assert str(caught.value).count(str(vrt)) == 1
