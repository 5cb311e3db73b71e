"""Planes of a stack that a task sees beside the one that it restores: the input `neighbour` and its simulation."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from sciddiff.physics.fractal import uniform
from sciddiff.recipe.tasks import Neighbours
from sciddiff.tasks.base import NEIGHBOUR, Input, Observation, known_name, planes_beside

ALONE, LOST = 0.15, 0.1
"""Share of the training scenes that lose all planes beside them, and of the planes that are lost one by one: a model
serves single images, and the ends of stacks, too."""


def told(settings: Neighbours | None) -> tuple[str, int] | None:
    """Axis and reach, as `Task.neighbours` says them."""
    return None if settings is None else (settings.along, settings.planes)


def inputs(settings: Neighbours | None, bands: tuple[str, ...]) -> tuple[Input, ...]:
    """The input that they are, if any."""
    most = planes_beside(told(settings))
    return (Input(NEIGHBOUR, bands, most=most, required=False),) if most else ()


def split(clean: Tensor, neighbours: tuple[str, int] | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Take a window of one band apart, (b, 1 [+ planes] [+ 1], h, w).

    Returns
    -------
    scene
        (b, 1, h, w).
    planes
        (b, planes, h, w): where there is none, the scene itself stands in.
    known
        Where there are planes, as planes of 0 and 1.
    measured
        What was measured of the scene, None where nothing comes along.
    """
    more, count = planes_beside(neighbours), clean.shape[1]
    scene = clean[:, :1]
    planes = clean[:, 1 : 1 + more] if count > more else scene.expand(-1, more, -1, -1) * 0
    known = (planes.abs().amax((2, 3), keepdim=True) > 0).to(clean).expand_as(planes)
    measured = clean[:, -1:] if count in (2, 2 + more) else None  # further planes are even in number
    return scene, torch.where(known > 0, planes, scene), known, measured


def lost(known: Tensor, source: Generator) -> Tensor:
    """Which planes are left in training, of those that there are."""
    b, planes = known.shape[:2]
    alone = uniform(source, (b, 1, 1, 1), low=0, high=1) < ALONE
    single = uniform(source, (b, planes, 1, 1), low=0, high=1) < LOST
    return known * (~(alone | single)).to(known)


def given(obs: Observation, neighbours: tuple[str, int] | None) -> tuple[Tensor, Tensor]:
    """The planes and where they are known, (b, planes, h, w) each; nothing known where none came along."""
    image = obs.inputs["image"]
    blank = image.new_zeros(len(image), planes_beside(neighbours), *image.shape[2:])
    return obs.inputs.get(NEIGHBOUR, blank), obs.inputs.get(known_name(NEIGHBOUR), blank)


def named(planes: Tensor, known: Tensor) -> dict[str, Tensor]:
    """The inputs that they make; none without planes."""
    return {NEIGHBOUR: planes * known, known_name(NEIGHBOUR): known} if planes.shape[1] else {}


def maps(
    planes: Tensor, known: Tensor, *, near: Tensor, scale: Tensor, middle: Tensor | None = None
) -> Sequence[Tensor]:
    """What the network sees of planes: each less the local mean `near` of the restored one, over a scale; the flags.

    The restored one, `middle`, stands among them in a volume.
    """
    if middle is not None:
        reach = planes.shape[1] // 2
        pairs = (planes, middle), (known, torch.ones_like(middle))
        planes, known = (torch.cat([each[:, :reach], own, each[:, reach:]], 1) for each, own in pairs)
    return [(planes - near) / scale * known, known]
