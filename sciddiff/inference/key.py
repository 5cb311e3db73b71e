"""What decides the pixels of a run, the key under which it may be continued; what its outputs say of their origin."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sciddiff import __version__
from sciddiff.io.scene import files_of, rasters
from sciddiff.model import Model
from sciddiff.model.engine import Restorer
from sciddiff.model.layout import Layout
from sciddiff.model.request import Guidance, Request, weaker_of
from sciddiff.recipe import to_yaml

Inputs = Mapping[str, Sequence[str]]
"""Paths of the inputs beside the main one, by name."""


def absolute(source: str) -> str:
    """A path that holds wherever the run is continued; an address as it is."""
    return os.path.abspath(source) if os.path.exists(source) else source


def model_hash(model: Restorer) -> str:
    """SHA-256 over the recipe, the weights and what was measured of them that changes a pixel."""
    digest = hashlib.sha256(to_yaml(model.recipe).encode())
    digest.update(repr(model.record.get("calibration", 1.0)).encode())
    state = {**model.network.state_dict(), "residual_root": model.residual_root}
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def weaker_hash(model: Restorer, guidance: Guidance) -> dict[str, str]:
    """`weaker`: the hash of what lies at the path of the weaker model now; nothing where guidance has none."""
    path = guidance.weaker
    return {} if path is None else {"weaker": model_hash(weaker_of(model, path, anew=True))}


def fingerprint(source: str) -> list[list[Any]]:
    """Name, size and time of change of the files behind an input; before them, of what is no plain path, its address.

    `vrt://a.tif?bands=1,2`, `a.zarr#red` and `/vsizip/a.zip/one.tif` each say which pixels of their files are meant.
    """
    stats = [(path, path.stat()) for path in files_of(source)]
    plain = stats and (os.path.exists(source) or rasters(source) is not None)
    files = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return files if plain else [[source, None, None], *files]


def asked(
    model: Model, source: str, inputs: Inputs, *, request: Request, outputs: Sequence[tuple[str, Path, tuple[str, ...]]]
) -> dict[str, Any]:
    """What of a run's key is known without opening its inputs: model, request, files by the names they go under."""
    others = {name: [absolute(path) for path in given] for name, given in inputs.items()}
    paths = {model.task.inputs[0].name: [source], **others}
    return _plain(
        {
            "version": __version__,
            "model": model_hash(model),
            **weaker_hash(model, request.guidance),
            "input": {name: [fingerprint(path) for path in given] for name, given in paths.items()},
            **asdict(request),
            "outputs": [[name, path.name, list(results)] for name, path, results in outputs],
        }
    )


def full_key(known: Mapping[str, Any], request: Request, layout: Layout, dtypes: Sequence[str]) -> dict[str, Any]:
    """What was asked, and what of it was found in the inputs: the latter is not known before they are opened.

    Parameters
    ----------
    known
        See `asked`.
    request, layout
        Of the run.
    dtypes
        Of its outputs.
    """
    cut = {name: value for name, value in asdict(layout).items() if name != "halo_from"}
    found = {"surveyed": request.instrument, "dtypes": list(dtypes)}
    return {**known, **_plain({**cut, **found})}


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def provenance(
    model: Model, source: str, inputs: Inputs, layout: Layout, request: Request, command: str
) -> dict[str, str]:
    """What a result says of its origin."""
    return {
        "VERSION": __version__,
        **({"COMMAND": command} if command else {}),
        "MODEL": model.recipe.name,
        "MODEL_SHA256": model_hash(model),
        "RECIPE_SHA256": hashlib.sha256(to_yaml(model.recipe).encode()).hexdigest(),
        "INPUT": Path(source).name,
        **{f"INPUT_{name.upper()}": ", ".join(Path(path).name for path in paths) for name, paths in inputs.items()},
        "PRODUCT": request.product,
        "STEPS": str(request.steps),
        "SAMPLES": str(request.samples),
        "SEED": str(request.seed),
        "INSTRUMENT": json.dumps({name: list(numbers) for name, numbers in request.instrument.items()}),
        **{f"{name.upper()}_SHA256": digest for name, digest in weaker_hash(model, request.guidance).items()},
        **_led(request),
        "HALO": str(layout.halo),
        "DEVICE": str(model.device),
        "TIME": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _led(request: Request) -> dict[str, str]:
    """Guidance and strength, where they are not those of a model by itself."""
    led = {} if request.strength == 1 else {"STRENGTH": f"{request.strength:g}"}
    if request.guidance == Guidance():
        return led
    guidance = asdict(request.guidance)
    guidance["interval"] = [sigma if math.isfinite(sigma) else None for sigma in request.guidance.interval]
    return {**led, "GUIDANCE": json.dumps(guidance)}
