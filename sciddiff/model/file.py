"""One `.safetensors` file a model: averaged weights in half precision, and all else as metadata."""

import contextlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sciddiff.errors import ModelFileError, OutputError
from sciddiff.model.core import Model, build_network, prepared
from sciddiff.recipe import find_model, parse_recipe, to_yaml
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task

FORMAT = "sciddiff-model/1"
LARGEST_HEADER = 1 << 20
LARGEST_WEIGHTS = 1 << 32
ROOT = "residual_root"


def write(model: Model, path: Path) -> None:
    """Write a model, whole or not at all; weights are rounded to half precision."""
    from safetensors.torch import save

    weights = {f"network.{name}": value.half().cpu().contiguous() for name, value in model.network.state_dict().items()}
    weights[ROOT] = model.residual_root.float().cpu()
    metadata = {
        "format": FORMAT,
        "name": model.recipe.name,
        "recipe": to_yaml(model.recipe),
        "radius": str(model.radius),
        "record": json.dumps(dict(model.record)),
    }
    partial = path.with_suffix(".partial")
    try:
        with open(partial, "wb") as file:
            file.write(_ordered(save(weights, metadata)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _ordered(content: bytes) -> bytes:
    """The same file with its header's keys in order: the library's is not, and equal models should be equal files."""
    size = struct.unpack("<Q", content[:8])[0]
    text = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def _read_json_header(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= size <= LARGEST_HEADER:
                raise ModelFileError(
                    f"{path} is not a model: its header claims {size} bytes, expected 2 to {LARGEST_HEADER}"
                )
            header: dict[str, Any] = json.loads(file.read(size))
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelFileError(f"{path} is not a model: its header is no JSON ({error})") from error
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        raise ModelFileError(f"{path} is a .safetensors file without sciddiff's metadata; train or name another model")
    return header


def _check_sizes(path: Path, header: dict[str, Any]) -> None:
    try:
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ModelFileError(f"{path} is corrupt: its header does not describe tensors") from error
    with open(path, "rb") as file:
        expected = 8 + struct.unpack("<Q", file.read(8))[0] + end
    if end > LARGEST_WEIGHTS or path.stat().st_size != expected:
        raise ModelFileError(f"{path} is corrupt: {path.stat().st_size} bytes, its header describes {expected}")


def _metadata(path: Path) -> dict[str, Any]:
    header = _read_json_header(path)
    metadata: dict[str, Any] = header["__metadata__"]
    if metadata.get("format") != FORMAT:
        raise ModelFileError(f"{path} is of format {metadata.get('format')!r}; this version reads {FORMAT!r}")
    _check_sizes(path, header)
    try:
        metadata["record"] = json.loads(metadata["record"])
        metadata["recipe"]
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"{path} is corrupt: its metadata lacks {error}") from error
    metadata["shapes"] = {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    return metadata


def read_header(path: str | Path) -> dict[str, Any]:
    """What a model file says of itself, without reading weights.

    Returns
    -------
    dict
        `format`, `name`, `recipe` (YAML), `bands`, `parameters`, `radius`, and the record: `halo`, `metrics`,
        `provenance`.

    Raises
    ------
    ModelFileError
        Where it is no model of this version, or corrupt.
    """
    metadata = _metadata(Path(path))
    recipe = _recipe(Path(path), metadata)
    parameters = sum(torch.Size(shape).numel() for name, shape in metadata["shapes"].items() if name != ROOT)
    return {
        "format": metadata["format"],
        "name": metadata["name"],
        "recipe": metadata["recipe"],
        "bands": list(recipe.bands),
        "parameters": parameters,
        "radius": int(metadata["radius"]),
        **metadata["record"],
    }


def _recipe(path: Path, metadata: dict[str, Any]) -> Recipe:
    try:
        return parse_recipe(metadata["recipe"], name=f"{path}:recipe")
    except Exception as error:
        raise ModelFileError(f"{path} holds a recipe that this version cannot read: {error}") from error


def load(name_or_path: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """Load a shipped model by name, or any by path.

    Parameters
    ----------
    name_or_path
        Such as "sr-sentinel2-x4" or "runs/mine/model.safetensors".
    device
        Where the weights go, as torch names it.

    Raises
    ------
    ModelFileError
        Where the file is corrupt, of another version, or its tensors do not match its recipe.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(find_model(str(name_or_path)))
    metadata = _metadata(path)
    recipe = _recipe(path, metadata)
    task = build_task(recipe)
    with torch.device("meta"):
        network = build_network(recipe, task)
    expected = {f"network.{name}": tuple(value.shape) for name, value in network.state_dict().items()}
    expected[ROOT] = (len(task.bands), len(task.bands))
    if metadata["shapes"] != expected:
        wrong = sorted(set(expected.items()) ^ set(metadata["shapes"].items()))
        raise ModelFileError(f"{path}: tensors do not match the recipe, first at {wrong[0][0]}")
    try:
        weights: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ModelFileError(f"{path} is corrupt: {error}") from error
    root = weights.pop(ROOT).float().to(device)
    network = network.to_empty(device=device)
    network.load_state_dict({name.removeprefix("network."): value.float() for name, value in weights.items()})
    return Model(recipe, task, prepared(network), root, metadata["record"])
