"""A model file is loaded strictly or refused with a reason; no code, no pickle, no surprise sizes."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sciddiff.errors import ModelFileError, OutputError, SciddiffError
from sciddiff.model import Model, build, load, read_header, restore, write
from sciddiff.recipe import parse_recipe

RECIPE = """
version: 1
name: filed
task: {kind: super_resolution, ratio: 2}
bands: [red, nir]
network: {widths: [8], encoder_blocks: [1], denoiser_blocks: [1], stem: 2, embedding: 8}
"""


@pytest.fixture
def model() -> Model:
    return build(parse_recipe(RECIPE))


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    write(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def header(path: Path) -> dict:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size])


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    parsed = json.loads(data[8 : 8 + size])
    change(parsed)
    text = json.dumps(parsed).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def test_round_trip(model: Model, path: Path) -> None:
    loaded = load(path)
    assert loaded.recipe == model.recipe
    obs = model.task.observe({"image": torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))})
    first, second = (next(restore(each, obs, origins=[(0, 0)])) for each in (model, loaded))
    torch.testing.assert_close(first, second, atol=1e-2, rtol=1e-2)


def test_a_file_written_from_a_loaded_model_is_the_same(path: Path, tmp_path: Path) -> None:
    write(load(path), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_header_tells_what_it_is(path: Path) -> None:
    told = read_header(path)
    assert told["name"] == "filed"
    assert told["bands"] == ["red", "nir"]
    assert told["parameters"] == sum(value.numel() for value in load(path).network.state_dict().values())


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=str(path)):
        load(path)


def test_a_header_that_claims_too_much(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    with pytest.raises(ModelFileError, match="header claims"):
        load(path)


def test_another_version(path: Path) -> None:
    rewrite(path, lambda parsed: parsed["__metadata__"].update(format="sciddiff-model/2"))
    with pytest.raises(ModelFileError, match=r"sciddiff-model/2.*sciddiff-model/1"):
        load(path)


def test_no_model_at_all(path: Path) -> None:
    rewrite(path, lambda parsed: parsed.pop("__metadata__"))
    with pytest.raises(ModelFileError, match="metadata"):
        read_header(path)


def test_tensors_that_do_not_match_the_recipe(path: Path) -> None:
    def widen(parsed: dict) -> None:
        text = parsed["__metadata__"]["recipe"]
        parsed["__metadata__"]["recipe"] = text.replace("widths: [8]", "widths: [16]")

    assert "widths: [8]" in header(path)["__metadata__"]["recipe"]
    rewrite(path, widen)
    with pytest.raises(ModelFileError, match="do not match the recipe"):
        load(path)


def test_a_recipe_of_the_future(path: Path) -> None:
    rewrite(path, lambda parsed: parsed["__metadata__"].update(recipe="version: 2"))
    with pytest.raises(ModelFileError, match="cannot read"):
        load(path)


def test_pickles_are_not_models(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(3)}, tmp_path / "model.pt")
    with pytest.raises(ModelFileError):
        load(tmp_path / "model.pt")


def test_a_missing_model_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(SciddiffError, match="sr-sentinel"):
        load("sr-sentinel3-x4")


def test_an_unwritable_folder(model: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        write(model, tmp_path / "nowhere" / "model.safetensors")
