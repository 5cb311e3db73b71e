"""Masks of clouds and shadows where none is given: found before the run is planned, kept in its folder.

From there on they are inputs like others: every window, worker and shard reads the same files, and their fingerprints
are part of the run's key. What is there already, of the same image by the same detector, is taken as it is.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sciddiff import io
from sciddiff.errors import InputError, InterruptedRun, SciddiffError
from sciddiff.inference.key import Inputs, fingerprint, model_hash
from sciddiff.inference.plan import open_inputs
from sciddiff.inference.runs import DETECTED, DETECTING, PLAN, locked
from sciddiff.model import Model, load
from sciddiff.model.detect import MASKS, OMNICLOUDMASK, omnicloudmask, refuse_other, told, wanted

log = logging.getLogger("sciddiff")

Finder = Callable[[Model, str, Path, Path], Any]
"""Runs a detector on an image: where its probabilities go, and its mask."""


def looked_at(model: Model, source: str, inputs: Inputs) -> dict[str, tuple[str, ...]]:
    """Images in which clouds must be sought, by the name of the mask that is missing."""
    paths = {"image": (source,), **{name: tuple(given) for name, given in inputs.items()}}
    return {MASKS[name]: paths[name] for name in wanted(model.task, inputs)}


def announced(model: Model, source: str, inputs: Inputs) -> dict[str, tuple[str, ...]]:
    """What a plan says of masks that are still to be found, by their names."""
    missing = looked_at(model, source, inputs)
    return {
        name: tuple(f"found by {model.task.detector} in {Path(path).name}" for path in paths)
        for name, paths in missing.items()
    }


def with_masks(model: Model, source: str, inputs: Inputs, folder: Path, *, find: Finder) -> Inputs:
    """Inputs of a run, with the masks that it needs and was not given.

    Parameters
    ----------
    model
        That needs them.
    source, inputs
        The main image and the others.
    folder
        Of the run.
    find
        Runs a model as a detector.

    Returns
    -------
    mapping
        With the paths of the masks.

    Raises
    ------
    InputError
        The images do not fit the model, or the detector cannot use one.
    OptionError
        The detector is not installed.
    InterruptedRun
        A signal came; the same command continues.
    """
    missing = looked_at(model, source, inputs)
    if not missing:
        return inputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plan says it again
        open_inputs(model, source, inputs)
    name = Path(str(model.task.detector)).stem
    detector = None if name == OMNICLOUDMASK else load(str(model.task.detector), device=str(model.device))
    if detector is not None:
        refuse_other(detector.task, name)
    found: dict[str, list[str]] = {name: list(paths) for name, paths in inputs.items()}
    try:
        folder.mkdir(exist_ok=True)
        with locked(folder, alone=True, name=DETECTING, wait=True):
            (folder / DETECTED).mkdir(exist_ok=True)
            for kind, paths in missing.items():
                found[kind] = [
                    str(_mask(model, detector, path, folder / DETECTED / f"{kind}_{number}_{name}.tif", find=find))
                    for number, path in enumerate(paths)
                ]
    except InterruptedRun:
        raise
    except SciddiffError as error:
        forget(folder)
        raise told(name, error) if isinstance(error, InputError) else error from None
    return found


def _mask(model: Model, detector: Model | None, path: str, target: Path, *, find: Finder) -> Path:
    """The mask of an image, found now unless it is there."""
    beside = target.with_suffix(".key.json")
    by = model.task.detector if detector is None else model_hash(detector)
    key = {"path": path, "image": fingerprint(path), "detector": by}
    if target.exists() and beside.exists() and json.loads(beside.read_text()) == key:
        return target
    log.info("no mask is given: %s looks for clouds in %s", model.task.detector, path)
    if detector is None:
        io.save(omnicloudmask(io.open(path), sensor=model.recipe.task.sensor), target, overwrite=True)
    else:
        find(detector, path, target.with_name(f"{target.stem}_probabilities.tif"), target)
    beside.write_text(json.dumps(key))
    return target


def forget(folder: Path) -> None:
    """Remove what was found for a run that came to no plan."""
    if folder.exists() and not (folder / PLAN).exists():
        shutil.rmtree(folder)
