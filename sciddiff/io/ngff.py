"""The metadata of OME-Zarr that rasters and stacks share: multiscales and how viewers show channels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = ("0000FF", "00FF00", "FF0000", "FF00FF", "FFFF00", "00FFFF", "FFFFFF")


def multiscale(
    axes: Sequence[Mapping[str, str]], *, size: Sequence[float], origin: Sequence[float], levels: int, name: str
) -> dict[str, Any]:
    """Return what NGFF 0.4 and 0.5 say of a pyramid whose last two axes are halved from level to level.

    Parameters
    ----------
    axes
        Name, type and unit of each, the last two y and x.
    size
        Of the finest pixel along each axis.
    origin
        Centre of the finest level's first pixel along each axis.
    levels
        Their number; the paths are 0, 1, ...
    name
        Of the image.
    """
    datasets = []
    for level in range(levels):
        steps = [*(1 for _ in axes[:-2]), 2**level, 2**level]
        scale = [step * length for step, length in zip(steps, size, strict=True)]
        shift = [start + length * (step - 1) / 2 for start, length, step in zip(origin, size, steps, strict=True)]
        places = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": str(level), "coordinateTransformations": places})
    return {"name": name, "type": "mean", "axes": [dict(axis) for axis in axes], "datasets": datasets}


def shown(number: int, label: str, known: NDArray[Any], *, colour: str | None = None) -> dict[str, Any]:
    """Return how a viewer shows a channel, as `omero` has it.

    Parameters
    ----------
    number
        Of the channel, from 0.
    label
        Its name.
    known
        Some of its valid pixels.
    colour
        RRGGBB; None: one after the other.
    """
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    window = {"min": low, "max": high, "start": low, "end": high}
    return {
        "label": label,
        "color": colour or COLOURS[number % len(COLOURS)],
        "active": number < 3,
        "window": window,
    }


def finite(stored: NDArray[Any]) -> NDArray[Any]:
    """Return the numbers among pixels that are some.

    Parameters
    ----------
    stored
        Of any shape.
    """
    return stored[np.isfinite(stored)]
