"""Train, look, simulate, predict on small rasters, as a user types it; then everything that can be wrong with them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from rasterio.transform import from_origin

Call = Callable[..., Result]

RECIPE = """\
version: 1
name: tiny
task: {kind: super_resolution, ratio: 2, pixel_size: [5, 100]}
bands: [red, nir]
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {steps: 3, batch: 2, patch: 16, warmup: 0, validate_every: 3, checkpoint_every: 2}
"""


def write_raster(path: Path, *, pixel: float = 10.0, bands: tuple[str, ...] = ("red", "nir"), fill: int = 0) -> Path:
    """Write 40 x 48 pixels of smooth scenery and noise, or of one value."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    values = 500 + 200 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, 20, (len(bands), 40, 48))
    profile = {"driver": "GTiff", "count": len(bands), "height": 40, "width": 48, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=from_origin(5e5, 4e6, pixel, pixel), **profile) as file:
        file.write(values.astype("uint16") if not fill else np.full_like(values, fill % 65536, dtype="uint16"))
        file.descriptions = bands
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, a raster and the model that was trained on it."""
    from click.testing import CliRunner

    from sciddiff.cli import cli

    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(RECIPE)
    scene = str(write_raster(folder / "scene.tif"))
    arguments = ["train", str(folder / "tiny.yaml"), "-o", str(folder / "run"), "--train", scene, "--valid", scene]
    result = CliRunner().invoke(cli, [*arguments, "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"model: {folder / 'run' / 'model.safetensors'}\n"
    return folder


@pytest.fixture
def model(folder: Path) -> Path:
    """The trained model."""
    return folder / "run" / "model.safetensors"


def test_info_tells_what_was_trained(call: Call, model: Path):
    told = json.loads(call("info", model, "--json").stdout)
    assert (told["name"], told["bands"]) == ("tiny", ["red", "nir"])
    assert told["recipe"]["training"]["steps"] == 3
    assert told["provenance"]["trained_on"] == ["scene.tif"]


def test_train_again_is_done_at_once_and_another_recipe_is_refused(call: Call, folder: Path):
    again = ("train", folder / "tiny.yaml", "-o", folder / "run", "--device", "cpu")
    data = ("--train", folder / "scene.tif", "--valid", folder / "scene.tif")
    assert call(*again, *data).exit_code == 0
    assert call(*again, *data, "--set", "seed=5").exit_code == 2


def test_predict_writes_the_finer_grid_and_says_where(call: Call, folder: Path, model: Path, tmp_path: Path):
    output = tmp_path / "fine.tif"
    result = call(
        "predict", model, folder / "scene.tif", "-o", output, "--tile", "32", "--json", "-q", "--device", "cpu"
    )
    assert result.exit_code == 0, result.stderr
    assert str(output) in json.dumps(json.loads(result.stdout))
    with rasterio.open(output) as fine, rasterio.open(folder / "scene.tif") as scene:
        assert (fine.shape, fine.descriptions, fine.crs) == ((80, 96), ("red", "nir"), scene.crs)
        assert fine.transform.almost_equals(from_origin(5e5, 4e6, 5, 5))


def test_a_measured_instrument_is_used_and_kept(call: Call, folder: Path, model: Path, tmp_path: Path):
    arguments = ("predict", model, folder / "scene.tif", "-q", "--device", "cpu")
    assert call(*arguments, "-o", tmp_path / "nominal.tif").exit_code == 0
    assert call(*arguments, "-o", tmp_path / "measured.tif", "--instrument", "mtf=0.2,0.25").exit_code == 0
    with rasterio.open(tmp_path / "nominal.tif") as nominal, rasterio.open(tmp_path / "measured.tif") as measured:
        assert (nominal.read() != measured.read()).any()
        assert json.loads(measured.tags(ns="SCIDDIFF")["INSTRUMENT"]) == {"mtf": [0.2, 0.25]}
    for wrong in ("psf=1", "mtf=2", "mtf=0.2,0.2,0.2"):
        refused = call(*arguments, "-o", tmp_path / "never.tif", "--instrument", wrong)
        assert refused.exit_code == 2, wrong
    assert not list(tmp_path.glob("never*"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGINT"])
def test_a_signal_stops_and_the_same_command_continues(
    call: Call, folder: Path, model: Path, tmp_path: Path, name: str
):
    """A child predicts, the signal arrives at its second batch."""
    arguments = [
        "predict",
        str(model),
        str(folder / "scene.tif"),
        "-o",
        str(tmp_path / "out.tif"),
        "-q",
        "--tile",
        "16",
    ]
    code = f"""
import os, signal, sys
from sciddiff.cli import cli
from sciddiff.model import tiles
compute, count = tiles._compute, []
def counted(*given, **named):
    count.append(1)
    if len(count) == 2:
        os.kill(os.getpid(), signal.{name})
    return compute(*given, **named)
tiles._compute = counted
cli({arguments!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    assert f"stopped by {name}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif.run"]
    assert call("check", tmp_path / "out.tif.run", "--deep").exit_code == 0
    assert call(*arguments).exit_code == 0
    assert call(*arguments[:4], tmp_path / "whole.tif", *arguments[5:]).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.tif",
        "out.tif.json",
        "whole.tif",
        "whole.tif.json",
    ]
    with rasterio.open(tmp_path / "out.tif") as one, rasterio.open(tmp_path / "whole.tif") as other:
        assert one.read().tobytes() == other.read().tobytes()


def test_a_dry_run_writes_nothing(call: Call, folder: Path, model: Path, tmp_path: Path):
    output = tmp_path / "fine.tif"
    result = call("predict", model, folder / "scene.tif", "-o", output, "--dry-run", "--json", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)
    assert not output.exists()


def test_simulate_writes_what_the_instrument_saw_and_the_target(call: Call, folder: Path, tmp_path: Path):
    result = call("simulate", folder / "tiny.yaml", folder / "scene.tif", "-o", tmp_path / "pair")
    assert result.exit_code == 0, result.stderr
    with rasterio.open(tmp_path / "pair" / "image.tif") as low, rasterio.open(tmp_path / "pair" / "target.tif") as high:
        assert (low.shape, high.shape) == ((20, 24), (40, 48))
        assert low.transform.almost_equals(from_origin(5e5, 4e6, 20, 20))
    again = call("simulate", folder / "tiny.yaml", folder / "scene.tif", "-o", tmp_path / "pair")
    assert again.exit_code == 2


@pytest.mark.parametrize("case", ["missing", "truncated", "one band", "coarse", "invalid", "text"])
def test_an_input_that_cannot_be_used_exits_with_3_and_leaves_nothing(
    call: Call, folder: Path, model: Path, tmp_path: Path, case: str
):
    source = tmp_path / "in.tif"
    if case == "one band":
        write_raster(source, bands=("red",))
    elif case == "coarse":
        write_raster(source, pixel=500)
    elif case == "invalid":
        write_raster(source, fill=65536)
    elif case == "truncated":
        source.write_bytes((folder / "scene.tif").read_bytes()[:-2000])
    elif case == "text":
        source.write_text("no raster")
    output = tmp_path / "out.tif"
    result = call("predict", model, source, "-o", output, "-q", "--device", "cpu")
    assert (result.exit_code, result.stdout) == (3, ""), result.stderr
    assert result.stderr.startswith("Error: ")
    assert "in.tif" in result.stderr
    assert not list(tmp_path.glob("out*"))


def test_an_output_that_exists_is_kept_without_overwrite(call: Call, folder: Path, model: Path, tmp_path: Path):
    output = tmp_path / "out.tif"
    output.write_text("precious")
    arguments = ("predict", model, folder / "scene.tif", "-o", output, "-q", "--device", "cpu")
    result = call(*arguments)
    assert result.exit_code == 2
    assert "out.tif" in result.stderr
    assert "--overwrite" in result.stderr
    assert output.read_text() == "precious"
    assert call(*arguments, "--overwrite").exit_code == 0


def test_an_output_that_cannot_be_written_exits_with_1(call: Call, folder: Path, model: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "out.tif"
    result = call("predict", model, folder / "scene.tif", "-o", output, "-q", "--device", "cpu")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "foreign", "version"])
def test_a_damaged_model_exits_with_3(call: Call, folder: Path, model: Path, tmp_path: Path, damage: str):
    content = model.read_bytes()
    damaged = {
        "cut": content[:-100],
        "empty": b"",
        "header": (2**40).to_bytes(8, "little") + content[8:],
        "foreign": (2).to_bytes(8, "little") + b"{}",
        "version": content.replace(b"sciddiff-model/1", b"sciddiff-model/9"),
    }
    path = tmp_path / "bad.safetensors"
    path.write_bytes(damaged[damage])
    for command in (("info", path), ("predict", path, folder / "scene.tif", "-o", tmp_path / "out.tif")):
        result = call(*command)
        assert result.exit_code == 3, result.stderr
        assert "bad.safetensors" in result.stderr
