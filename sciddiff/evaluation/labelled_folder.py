"""Folders of labelled images: `images/` and `labels/` with equal names."""

from pathlib import Path

import numpy as np

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.evaluation.windows import Pair
from sciddiff.inference.layouts import stem
from sciddiff.model.fit import is_stack

SUFFIXES = (".tif", ".tiff", ".png")


def pairs_of(folder: Path) -> dict[str, Pair]:
    """Read the labelled images of a folder.

    Parameters
    ----------
    folder
        With `images/` and `labels/`; each file of the one has its name in the other.

    Returns
    -------
    dict
        Images (c, h, w), invalid pixels zero, and labels (h, w), by name.

    Raises
    ------
    InputError
        There is none, or one has no labels or other pixels.
    """
    found = {}
    for path in sorted((folder / "images").glob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        labels = folder / "labels" / path.name
        if not labels.exists():
            raise InputError(f"{path} has no labels: expected {labels}")
        image, mask = _plane(path), _plane(labels)
        if image.shape[1:] != mask.shape[1:]:
            raise InputError(f"{path} has {image.shape[1:]} pixels, its labels {mask.shape[1:]}")
        found[stem(path)] = (image.astype(np.float32), mask[0].astype(np.int64))
    if not found:
        raise InputError(f"{folder} holds no labelled images: expected images/NAME.tif and labels/NAME.tif")
    return found


def _plane(path: Path) -> np.ndarray:
    image = io.open(str(path))
    values, valid = io.read_window(image.isel(t=0, z=0) if is_stack(image) else image, slice(None), slice(None))
    return np.where(valid, values, 0)
