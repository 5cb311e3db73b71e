"""New instance masks from given ones: their objects cut out, moved, turned, scaled, mirrored and placed anew."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError, OptionError
from sciddiff.labels.maps import checked
from sciddiff.labels.objects import Objects, Shape, objects_of, transformed
from sciddiff.labels.placing import OVERLAP, Spacing, overlap, pasted, scattered, spacing_of

ENOUGH = 10
"""Objects of a class off the border from which on those at the border, which may be cut, are left out."""
JITTER = 0.15
"""Standard deviation of the logarithm of the density from mask to mask."""
BESIDE = 0.25
"""How far apart neighbours are at most, in typical diameters."""
TRIES = 4
"""Motions drawn for an object of `augmented` before it stays where it is."""


@dataclass(frozen=True)
class Layout:
    """A new mask and where its objects come from."""

    mask: NDArray[np.uint32]
    """Instances, (h, w): 0 for the background, 1 to n the objects."""
    origin: NDArray[np.int64]
    """Index of the source mask and id in it of objects 1 to n, (n, 2)."""
    classes: NDArray[np.int64]
    """Class of objects 1 to n, (n,)."""


def rearranged(
    masks: Sequence[NDArray[Any]],
    rng: np.random.Generator,
    *,
    shape: tuple[int, int],
    density: float | None = None,
    classes: Sequence[Mapping[int, int]] | None = None,
    rare: float = 0.5,
    scale: tuple[float, float] = (0.85, 1.2),
) -> Layout:
    """Compose a new mask from the objects of others.

    Objects are drawn with replacement, so that some are dropped and others come twice. They stand as close to each
    other as in the sources: as many have a neighbour, at the gaps found there, touching ones among them. An object may
    overlap those that are there by a tenth of its area; they keep their pixels. Else another place is tried.

    Parameters
    ----------
    masks
        Sources, (h, w) each, integers: 0 for the background, every other value one object.
    rng
        Source of randomness.
    shape
        (h, w) of the new mask.
    density
        Objects per pixel; that of the sources where not given. Either is jittered by 15 %.
    classes
        Class of each object by id, for each source; all are of class 1 where not given.
    rare
        0 draws classes as often as they are in the sources, 1 all equally often.
    scale
        Range of the factor of lengths.

    Returns
    -------
    Layout
        The mask, and what its objects are.

    Raises
    ------
    InputError
        If there are no masks or no objects in them, or an object has no class.
    OptionError
        If `rare` is not within 0..1, or the scale is no range above 0.
    """
    if not 0 <= rare <= 1 or not 0 < scale[0] <= scale[1]:
        raise OptionError(f"rare = {rare} and scale = {scale}; rare must be in 0..1, scale a range above 0")
    for mask in masks:
        checked(mask)
    found = [objects_of(mask) for mask in masks]
    origin, kinds, whole = _pool(found, classes)
    if not len(origin):
        raise InputError(f"no objects in {len(masks)} masks; give masks with objects")
    pixels = sum(mask.size for mask in masks)
    number = (len(origin) / pixels if density is None else density) * math.prod(shape) * math.exp(rng.normal(0, JITTER))
    drawn = _drawn(kinds, whole, rng, number=round(number), rare=rare)
    # Large ones first: what is small must not end up in the middle of what comes later.
    areas = np.concatenate([objects.areas for objects in found])[drawn]
    drawn = drawn[np.argsort(-areas, kind="stable")]

    def piece(index: int) -> Shape:
        source, at = origin[drawn[index]]
        turn, size, flip = rng.uniform(0, 2 * math.pi), rng.uniform(*np.log(scale)), rng.random() < 0.5
        return transformed(found[source].cut(masks[source], at), turn=turn, scale=math.exp(size), flip=bool(flip))

    spacing = _spacing(masks, found)
    mask, placed = scattered(piece, rng, shape=shape, number=len(drawn), spacing=spacing)
    rows = origin[drawn[placed]]
    ids = np.array([found[source].ids[at] for source, at in rows], np.int64)
    return Layout(mask, np.stack([rows[:, 0], ids], 1), kinds[drawn[placed]])


def augmented(
    mask: NDArray[Any],
    rng: np.random.Generator,
    *,
    shift: float = 3.0,
    turn: float = 15.0,
    scale: tuple[float, float] = (0.92, 1.08),
) -> NDArray[np.uint32]:
    """The mask itself, each object moved a little in its place.

    Objects come in random order under the rule of `rearranged`; one that finds no room after several motions stays
    where it was, as far as nothing is there yet. Objects at the border stay as they are: what lies beyond is unknown.

    Parameters
    ----------
    mask
        Instances, (h, w), integers: 0 for the background.
    rng
        Source of randomness.
    shift
        Largest shift down and along, in pixels.
    turn
        Largest rotation, in degrees.
    scale
        Range of the factor of lengths.

    Returns
    -------
    ndarray
        Instances, (h, w), uint32, under the same ids.

    Raises
    ------
    InputError
        If the mask is none.
    """
    checked(mask)
    objects = objects_of(mask)
    result = np.zeros(mask.shape, np.uint32)
    order = rng.permutation(len(objects.ids))
    for index in sorted(order.tolist(), key=lambda each: bool(objects.whole[each])):
        value, shape = int(objects.ids[index]), objects.cut(mask, index)
        corner = int(objects.boxes[index, 0]), int(objects.boxes[index, 1])
        for _ in range(TRIES if objects.whole[index] else 0):
            angle, size = math.radians(rng.uniform(-turn, turn)), math.exp(rng.uniform(*np.log(scale)))
            moved = transformed(shape, turn=angle, scale=size, flip=False)
            down, along = (round(rng.uniform(-shift, shift) + (a - b) / 2) for a, b in zip(shape.shape, moved.shape))
            at = corner[0] + down, corner[1] + along
            if overlap(result, moved, at) <= OVERLAP:
                pasted(result, moved, at, value=value)
                break
        else:
            pasted(result, shape, corner, value=value)
    return result


def _pool(
    found: Sequence[Objects], classes: Sequence[Mapping[int, int]] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """All objects: their source and index in it, their class, and whether they stay off the border."""
    if classes is not None and len(classes) != len(found):
        raise InputError(f"classes of {len(classes)} masks for {len(found)} masks; give one mapping each")
    origin, kinds = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    for source, objects in enumerate(found):
        count = len(objects.ids)
        origin.append(np.stack([np.full(count, source), np.arange(count)], 1))
        if classes is None:
            kinds.append(np.ones(count, np.int64))
            continue
        lacking = [value for value in objects.ids.tolist() if value not in classes[source]]
        if lacking:
            raise InputError(f"no class for object {lacking[0]} of mask {source}, nor for {len(lacking) - 1} more")
        kinds.append(np.array([classes[source][value] for value in objects.ids.tolist()], np.int64))
    whole = np.concatenate([np.zeros(0, bool), *(objects.whole for objects in found)])
    return np.concatenate(origin), np.concatenate(kinds), whole


def _drawn(
    kinds: NDArray[np.int64], whole: NDArray[np.bool_], rng: np.random.Generator, *, number: int, rare: float
) -> NDArray[np.int64]:
    """Which objects of the pool come, first by class, then by chance among those of the class."""
    values, counts = np.unique(kinds, return_counts=True)
    weights = counts ** (1.0 - rare)
    members = []
    for value in values:
        own = np.flatnonzero(kinds == value)
        kept = own[whole[own]]
        members.append(kept if len(kept) >= ENOUGH else own)
    which = rng.choice(len(values), size=number, p=weights / weights.sum())
    part = rng.random(number)
    return np.array([members[kind][int(at * len(members[kind]))] for kind, at in zip(which, part)], np.int64)


def _spacing(masks: Sequence[NDArray[Any]], found: Sequence[Objects]) -> Spacing:
    """Of all sources together, each as heavy as its objects are many."""
    areas = np.concatenate([objects.areas for objects in found])
    reach = max(BESIDE * math.sqrt(4 / math.pi * float(np.median(areas))), 3.0)
    each = [spacing_of(mask, objects, reach=reach) for mask, objects in zip(masks, found)]
    heavy = [len(objects.ids) for objects in found]
    near = float(np.average([one.near for one in each], weights=heavy))
    return Spacing(near, np.concatenate([one.gaps for one in each]), reach)
