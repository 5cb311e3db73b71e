"""A model as a package that other programs run: written whole, tried, and only then moved to its path."""

import hashlib
import io
import math
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter
from torch import Tensor

from sciddiff.errors import InputError, OutputError, OutputExistsError
from sciddiff.io import match_bands
from sciddiff.model.bioimageio import WEIGHTS, describe, page, sizes
from sciddiff.model.core import Model
from sciddiff.model.engine import restore
from sciddiff.model.graph import MeanGraph, run_torchscript, to_torchscript
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import to_yaml
from sciddiff.tasks import Instrument

DESCRIPTION = "rdf.yaml"
NOBODY = "not given"
LEVEL, CONTRAST = 0.15, 0.04
"""Mean and spread of the made scene of which the test image is: a reflectance of ground."""
SHARED = 0.97
"""Correlation of a band of that scene with what all bands share."""
PICTURE = 256
"""Sides of the two halves of the cover."""
CLOSE, TOLERANCE = 1e-5, 1e-4
"""Largest difference of the weights as saved from the engine here, and of the test output elsewhere, as shares of the
result's largest value."""


def export_bioimageio(
    model: Model,
    output: Path,
    *,
    authors: Sequence[str] = (),
    instrument: Instrument | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a package of the BioImage Model Zoo: the posterior mean as one graph, with its test image and its page.

    Parameters
    ----------
    model
        Of a task with one input.
    output
        A folder, or a file that ends in .zip.
    authors
        Names.
    instrument
        Measured numbers that become part of the graph; the nominal ones where not given.
    overwrite
        Whether a package there may be replaced.

    Returns
    -------
    dict
        `package` (the path), `files` with their sizes in bytes, `sides` and `halo` of a window, and by how much the
        weights as saved differ from the engine (`difference`).

    Raises
    ------
    OptionError
        Where the task takes several inputs, or does not know such an instrument.
    OutputExistsError
        Where something is there and may not be replaced.
    OutputError
        Where it cannot be written, or the saved weights do not give what the engine gives.
    """
    refuse_target(output, overwrite=overwrite)
    model, told = model.to("cpu"), instrument or {}
    graph, image = MeanGraph(model, told), example_image(model)
    weights = to_torchscript(graph, image)
    restored = next(restore(model, model.task.observe({model.task.inputs[0].name: image}, told), origins=[(0, 0)]))
    difference = _difference(weights, image, restored)
    names = list(authors) or [NOBODY]
    files = {
        WEIGHTS: weights,
        "README.md": page(model, instrument=told, authors=names).encode(),
        "recipe.yaml": to_yaml(model.recipe).encode(),
        "cover.png": cover(model, image[0].numpy(), restored[0].numpy()),
        **_tensors("input", image.numpy()),
        **_tensors("output", restored.numpy()),
    }
    described = describe(
        model,
        authors=names,
        sums={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        torch_version=torch.__version__.partition("+")[0],
        tolerance=float(f"{TOLERANCE * float(restored.abs().max()):.1e}"),
    )
    write_whole(output, {DESCRIPTION: _yaml(described), **files})
    size = sizes(model)
    return {
        "package": output,
        "files": {name: len(content) for name, content in files.items()},
        "sides": f"{size.least} pixels and more by steps of {size.step}",
        "halo": size.halo,
        "difference": difference,
    }


def example_image(model: Model) -> Tensor:
    """A made image as the nominal instrument measures it, (1, c, side, side), the same for the same model."""
    side = sizes(model).example * model.task.inputs[0].ratio
    count = len(model.task.scene_bands)
    fields = fractal_noise((count + 1, side, side), generator=torch.Generator().manual_seed(0), beta=2.6)
    clean = LEVEL + CONTRAST * (SHARED * fields[:1] + math.sqrt(1 - SHARED**2) * fields[1:])
    obs = model.task.simulate(clean.clamp_min(0.01)[None], None)
    return obs.inputs[model.task.inputs[0].name].float().contiguous()


def _difference(weights: bytes, image: Tensor, restored: Tensor) -> float:
    """Largest difference of the saved weights' result from the engine's, refused where it is one."""
    difference = float((run_torchscript(weights, image) - restored).abs().max())
    if not difference <= CLOSE * float(restored.abs().max()):
        raise OutputError(f"the exported graph differs from the engine by {difference:.3g}; nothing was written")
    return difference


def _tensors(role: str, values: NDArray[np.floating]) -> dict[str, bytes]:
    """The test tensor (1, c, h, w) for programs, and the same to look at, (c, h, w)."""
    import tifffile

    exact, shown = io.BytesIO(), io.BytesIO()
    np.save(exact, values, allow_pickle=False)
    tifffile.imwrite(shown, values[0], photometric="minisblack", metadata=None)
    return {f"test_{role}.npy": exact.getvalue(), f"sample_{role}.tif": shown.getvalue()}


def _yaml(described: Mapping[str, Any]) -> bytes:
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _NoAliases
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.BytesIO()
    yaml.dump(dict(described), stream)
    return stream.getvalue()


class _NoAliases(SafeRepresenter):
    """Writes equal parts twice: not every reader of descriptions knows anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def cover(model: Model, image: NDArray[np.floating], result: NDArray[np.floating]) -> bytes:
    """A picture twice as wide as high, PNG: the image on the left, the result on the right, of the same place.

    Parameters
    ----------
    model
        Knows which bands are red, green and blue.
    image
        (c, h, w).
    result
        (bands, h ratio, w ratio).
    """
    from PIL import Image

    halves = []
    for values, bands in ((image, model.task.inputs[0].bands), (result, model.task.bands)):
        shown = values[_colours(bands, model.recipe.task.sensor)]
        low, high = (np.quantile(shown, share, axis=(1, 2), keepdims=True) for share in (0.01, 0.99))
        bytes_ = (255 * np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1)).astype(np.uint8)
        full = Image.fromarray(np.moveaxis(np.broadcast_to(bytes_, (3, *bytes_.shape[1:])), 0, -1))
        halves.append(full.resize((PICTURE, PICTURE), Image.Resampling.NEAREST))
    both = Image.new("RGB", (2 * PICTURE, PICTURE))
    for at, half in enumerate(halves):
        both.paste(half, (at * PICTURE, 0))
    stream = io.BytesIO()
    both.save(stream, "PNG")
    return stream.getvalue()


def _colours(bands: Sequence[str], sensor: str | None) -> list[int]:
    """Places of red, green and blue; the first band alone where there are none."""
    try:
        return match_bands(["red", "green", "blue"], bands, sensor=sensor)
    except InputError:
        return [0]


def refuse_target(path: Path, *, overwrite: bool) -> None:
    """Raise if no package can be written at a path.

    Parameters
    ----------
    path
        A folder, or a file that ends in .zip.
    overwrite
        Whether a package there may be replaced.

    Raises
    ------
    OutputExistsError
        Something is there and `overwrite` is not set.
    OutputError
        It has no folder, or what is there is no package.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise OutputExistsError(f"{path} exists; pass --overwrite to replace it")
    is_zip = path.suffix.lower() == ".zip"
    if path.is_dir() if is_zip else not (path / DESCRIPTION).is_file():
        raise OutputError(f"{path} is no package, so it is not replaced; choose another path")


def write_whole(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files as a folder or as a .zip: they are all there, or nothing is.

    Parameters
    ----------
    path
        A folder, or a file that ends in .zip; what is there is replaced.
    files
        Content by name.

    Raises
    ------
    OutputError
        The disk is full, or the folder may not be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            draft = Path(scratch, "new")
            (_write_zip if path.suffix.lower() == ".zip" else _write_folder)(draft, files)
            if path.is_dir():
                os.replace(path, Path(scratch, "old"))
            os.replace(draft, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _write_folder(draft: Path, files: Mapping[str, bytes]) -> None:
    draft.mkdir()
    for name, content in files.items():
        with open(draft / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _write_zip(draft: Path, files: Mapping[str, bytes]) -> None:
    with open(draft, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        file.flush()
        os.fsync(file.fileno())
