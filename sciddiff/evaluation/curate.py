"""Which images of a synthesis are good, and which are near a real one: what the manifest says of each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sciddiff.errors import InputError
from sciddiff.evaluation.copies import nearest_training
from sciddiff.evaluation.labelled_folder import pairs_of
from sciddiff.evaluation.quality import quality, threshold_from_real
from sciddiff.evaluation.segmenter import Kind, train_segmenter
from sciddiff.evaluation.windows import Image, Pair
from sciddiff.inference.manifest import Manifest

STEPS = 350
"""Of the segmenter's training."""
HELD_OUT = 0.3
"""Share of the columns of each real image on which the segmenter is judged, not trained."""
PATCH = 64
"""Side of the patches for which the nearest real one is looked for."""
LOOKED_AT = 4
"""Patches of an image that are looked at."""


def check_real(real: Path, *, channels: int) -> None:
    """Raise where images of so many channels could not be judged by these real ones.

    Parameters
    ----------
    real
        See `curate`.
    channels
        Of the images that are to be judged.

    Raises
    ------
    InputError
        There are none, or they have other channels.
    """
    for name, (image, _) in pairs_of(real).items():
        if len(image) != channels:
            raise InputError(f"{real / 'images' / name} has {len(image)} bands; the model makes images of {channels}")


def curate(folder: Path, real: Path, *, kind: Kind, share: float) -> dict[str, Any]:
    """Score the images of a folder and find what they are nearest to; the manifest says both of each.

    Parameters
    ----------
    folder
        As `inference.synthesize` wrote it.
    real
        Real labelled images, `images/` and `labels/`: a segmenter is trained on a part of each and judged on the rest.
    kind
        Of the labels.
    share
        Of the median score on real images that an image must reach to be kept.

    Returns
    -------
    dict
        How many are kept of how many, the threshold and what the segmenter reaches on real images.

    Raises
    ------
    InputError
        There are no images, or none that is real.
    """
    manifest = Manifest(folder / "manifest.csv")
    made = pairs_of(folder)
    truths = pairs_of(real)
    halves = {name: _halves(pair) for name, pair in truths.items()}
    segmenter = train_segmenter([train for train, _ in halves.values()], kind=kind, steps=STEPS)
    size = next(iter(made.values()))[1].shape
    threshold = threshold_from_real(segmenter, [test for _, test in halves.values()], share=share, size=size)
    lines, kept = [], 0
    for line in manifest.lines.values():
        if line.name not in made:
            raise InputError(f"{folder / line.image} has no labels: what was made without a mask cannot be judged")
        score = quality(segmenter, *made[line.name])
        kept += score >= threshold.value
        nearest = _nearest(made[line.name][0], truths)
        verdict = "yes" if score >= threshold.value else "no"
        lines.append(replace(line, filter_score=f"{score:.4f}", kept=verdict, **nearest))
    manifest.write(lines)
    return {"kept": kept, "of": len(lines), **threshold.to_dict()}


def _halves(pair: Pair) -> tuple[Pair, Pair]:
    """Left and right part of an image."""
    image, labels = pair
    column = round((1 - HELD_OUT) * labels.shape[1])
    return (image[..., :column], labels[:, :column]), (image[..., column:], labels[:, column:])


def _nearest(image: Image, truths: Mapping[str, Pair]) -> dict[str, str]:
    """The real image that holds the patch most like one of an image's own, and the distance."""
    side = min(PATCH, *image.shape[1:])
    rows, cols = (range(0, size - side + 1, side) for size in image.shape[1:])
    places = [(row, col) for row in rows for col in cols]
    chosen = [places[at] for at in np.unique(np.linspace(0, len(places) - 1, LOOKED_AT).round().astype(int))]
    patches = [image[:, row : row + side, col : col + side] for row, col in chosen]
    names = [name for name, (real, _) in truths.items() if min(real.shape[1:]) >= side]
    nearest = nearest_training(patches, [truths[name][0] for name in names], size=side)
    found = min(nearest, key=lambda each: each.distance)
    where = f"{names[found.image]} {found.row} {found.column}"
    return {"nearest_training": where, "nearest_distance": f"{found.distance:.4f}"}
