"""Outputs that cannot be written are refused before a pixel is computed, and options may change while a run waits."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import rasterio

from sciddiff.errors import InterruptedRun, OptionError, OutputError
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
