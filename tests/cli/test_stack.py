"""`sciddiff info` and `check` on microscopy stacks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import Result

from sciddiff.io.stack_write import write_stack_ome_tiff
from tests.io.stacks import full_profile, numbers, ome_zarr, plain_tiff

Call = Callable[..., Result]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "stack.ome.tif"
    profile = replace(full_profile(), significant_bits=None)
    write_stack_ome_tiff(numbers((2, 2, 3, 20, 30)), path, profile=profile, provenance={}, options={})
    return path


def test_info_says_axes_sizes_units_and_channels(call: Call, stack: Path) -> None:
    result = call("info", stack, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["kind"] == "stack"
    assert told["axes"] == "TCZYX"
    assert told["size"] == {"channels": 2, "t": 2, "z": 3, "y": 20, "x": 30}
    assert told["pixel_size"] == {"x": "125 nm", "y": "0.25 µm", "z": "0.0005 mm"}
    assert told["time_increment"] == "250 ms"
    assert told["objective"] == {"na": 1.4, "magnification": 63, "immersion": "Oil", "index": 1.518}
    assert told["channels"][0] == {"name": "DAPI", "colour": "#0000FFFF", "emission": "461 nm", "excitation": "405 nm"}
    assert "0.25 µm" in call("info", stack).stdout


def test_axes_that_a_file_does_not_say_are_asked_for(call: Call, tmp_path: Path) -> None:
    path = plain_tiff(tmp_path / "pages.tif", numbers((5, 20, 30)))
    for command in ("info", "check"):
        result = call(command, path)
        assert result.exit_code == 3
        assert "--axes ZYX" in result.stdout + result.stderr
        assert call(command, path, "--axes", "ZYX").exit_code == 0
    assert json.loads(call("info", path, "--axes", "TYX", "--json").stdout)["size"]["t"] == 5


@pytest.mark.filterwarnings("always:.*saturated")
def test_saturated_pixels_are_warned_of(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bright.ome.tif"
    tifffile.imwrite(path, np.full((3, 20, 30), 255, np.uint8), metadata={"axes": "ZYX"})
    result = call("info", path)
    assert "100.0% of the pixels of a channel are saturated" in result.stderr
    (checked,) = json.loads(call("check", path, "--json").stdout)["checked"]
    assert "saturated" in " ".join(checked["notes"])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_is_checked_plane_by_plane(call: Call, tmp_path: Path, version: str) -> None:
    path = tmp_path / "image.ome.zarr"
    ome_zarr(path, numbers((3, 2, 20, 30)), "ZCYX", version=version)
    assert json.loads(call("info", path, "--json").stdout)["axes"] == "ZCYX"
    assert call("check", path, "--deep").exit_code == 0
    chunk = next(item for item in sorted((path / "s0").rglob("*")) if item.is_file() and item.name[-1].isdigit())
    chunk.write_bytes(b"\xff" * 20)
    result = call("check", path, "--deep", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["checked"][0]["problems"][0].startswith("plane 0: cannot be decoded")


def test_half_of_a_hyperstack_is_refused(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "half.tif"
    tifffile.imwrite(path, numbers((5, 80, 90)), imagej=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = call("info", path)
    assert result.exit_code == 3
    assert "truncated or damaged" in result.stderr
    assert "tifffile" not in result.stderr
