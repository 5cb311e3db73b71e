"""`sciddiff calibrate` as a user types it: what it says, writes, refuses, and leaves behind when it is killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.model import build, load, read_header, write
from sciddiff.recipe import parse_recipe

Call = Callable[..., Result]
RECIPE = """
version: 1
name: fresh
task: {kind: %s}
bands: [red]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and two clean scenes."""
    folder = tmp_path_factory.mktemp("calibrate")
    write(build(parse_recipe(RECIPE % "super_resolution, ratio: 2")), folder / "m.safetensors")
    grid = GeoBox((64, 64), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32631")
    for at, name in enumerate("ab"):
        values = np.random.default_rng(at).normal(size=(1, 64, 64)).cumsum(1).cumsum(2).astype(np.float32)
        io.save(io.from_array(values, grid=grid, bands=["red"]), folder / f"{name}.tif")
    return folder


def asked(folder: Path, output: Path, *options: object) -> list[object]:
    scenes = [folder / "a.tif", folder / "b.tif"]
    return ["calibrate", folder / "m.safetensors", *scenes, "-o", output, "--samples", 4, *options]


def test_a_model_is_written_that_says_by_what_it_was_calibrated(call: Call, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "m2.safetensors"
    result = call(*asked(folder, output, "--json", "--device", "cpu"))
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert "calibrate: 4 of 4" in result.stderr
    assert told["coverage"]["after"] == pytest.approx(0.9, abs=0.005)
    assert len(told["coverage"]["left_out"]) == 2
    assert told["scale"]["before"] == 1.0
    assert list(tmp_path.iterdir()) == [output]

    info = json.loads(call("info", output, "--json").stdout)
    assert info["calibration"] == told["scale"]["after"] != 1.0
    told.pop("model")
    assert info["provenance"]["calibrated"] == told
    assert [each["name"] for each in told["on"]] == ["a.tif", "b.tif"]
    assert "left_out:" in call("info", output).stdout

    before, after = (load(path).network.state_dict() for path in (folder / "m.safetensors", output))
    assert all(np.array_equal(before[name], value) for name, value in after.items())


def test_what_measured_the_scenes_may_be_told(call: Call, folder: Path, tmp_path: Path) -> None:
    output, scales = tmp_path / "m2.safetensors", []
    for options in [], ["--instrument", "mtf=0.38"]:
        result = call(*asked(folder, output, "--json", "--overwrite", *options))
        assert result.exit_code == 0, result.stderr
        scales.append(json.loads(result.stdout)["scale"]["after"])
    assert scales[0] != scales[1]
    assert read_header(output)["provenance"]["calibrated"]["instrument"] == {"mtf": [0.38]}
    unknown = call(*asked(folder, output, "--overwrite", "--instrument", "light=1"))
    assert (unknown.exit_code, "knows no 'light'" in unknown.stderr) == (2, True), unknown.stderr


def test_nothing_is_replaced_unless_asked_and_then_the_model_itself_may_be(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    output.write_bytes((folder / "m.safetensors").read_bytes())
    refused = call(*asked(folder, output))
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (2, True)
    assert output.read_bytes() == (folder / "m.safetensors").read_bytes()
    command = ["calibrate", output, folder / "a.tif", "-o", output, "--samples", 2, "--overwrite", "-q"]
    result = call(*command)
    assert (result.exit_code, result.stderr) == (0, "")
    assert read_header(output)["provenance"]["calibrated"]["samples"] == 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--steps", "1"], 2, "x>=2"),
        (["--samples", "1"], 2, "x>=2"),
        (["--level", "1"], 2, "0<x<1"),
        (["-o", "m2.tif"], 2, ".safetensors"),
        (["-o", "nowhere/m2.safetensors"], 1, "does not exist"),
    ],
)
def test_what_has_no_sense_is_refused_at_once(
    call: Call, folder: Path, tmp_path: Path, options: list[str], code: int, words: str
) -> None:
    options = [str(tmp_path / each) if each.startswith(("m2", "nowhere")) else each for each in options]
    result = call(*asked(folder, tmp_path / "m2.safetensors"), *options)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert not list(tmp_path.iterdir())


def test_models_and_scenes_that_will_not_do(call: Call, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "m2.safetensors"
    made = call("calibrate", "nuclei-from-mask", folder / "a.tif", "-o", output)
    assert (made.exit_code, "no truth" in made.stderr) == (2, True)
    other = call("calibrate", "sr-sentinel2-x4", folder / "a.tif", "-o", output)
    assert (other.exit_code, "a.tif" in other.stderr, "B02" in other.stderr) == (3, True, True)
    absent = call(*asked(folder, output), tmp_path / "absent.tif")
    assert (absent.exit_code, "absent.tif" in absent.stderr) == (3, True)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_model(
    call: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    output = tmp_path / "m2.safetensors"
    output.write_bytes(b"old")
    monkeypatch.setattr("sciddiff.model.file._ordered", full)
    result = call(*asked(folder, output, "--overwrite"))
    assert (result.exit_code, "No space left on device" in result.stderr) == (1, True)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_killed_as_it_writes_it_leaves_the_old_model_and_the_same_command_makes_the_new(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "m2.safetensors"
    output.write_bytes(b"old")
    command = [str(each) for each in asked(folder, output, "--overwrite")]
    die = "import os; from sciddiff.model import file; file._ordered = lambda _: os.kill(os.getpid(), 9)"
    code = f"{die}; from sciddiff.cli import cli; cli({command!r})"
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert output.read_bytes() == b"old"
    assert call(*command).exit_code == 0
    assert list(tmp_path.iterdir()) == [output]
    assert read_header(output)["calibration"] != 1.0
