"""Places for objects in a new mask: alone or beside others, as their spacing says.

The rule of overlaps: an object may overlap those that are there by a tenth of its area at most, and they keep their
pixels. Where it would overlap more, another place is tried. What then falls apart keeps its largest part.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.labels.objects import Objects, Shape, largest_part

OVERLAP = 0.1
"""Share of its area that an object may lose to those that are there."""
PRESSED = 0.08
"""Up to which share objects that touch are pushed together: nuclei that touch share a line, not a point."""
TRIES = 40
"""Places tried for an object before it is given up."""
SEEDS = 0.1
"""Share of the objects, at least, that stand alone at first: others gather around them."""


@dataclass(frozen=True)
class Spacing:
    """How objects stand to each other."""

    near: float
    """Share of the objects with a neighbour within the reach."""
    gaps: NDArray[np.float64]
    """Pixels from such objects to their nearest neighbour, 1 where they touch; (n,)."""
    reach: float
    """Pixels."""


@dataclass(frozen=True)
class _Piece:
    """An object to be placed."""

    shape: Shape
    away: NDArray[np.float32]
    """Pixels to the object, 0 upon it, on a box wider by `room` on all sides."""
    room: int

    @property
    def radius(self) -> float:
        return math.hypot(*self.shape.shape) / 2


@dataclass(frozen=True)
class _View:
    """What lies around a piece at a place."""

    overlap: int
    gap: float


def spacing_of(mask: NDArray[Any], objects: Objects, *, reach: float, most: int = 400) -> Spacing:
    """Estimate how the objects of a mask stand to each other.

    Parameters
    ----------
    mask
        Instances, (h, w).
    objects
        Of the mask.
    reach
        Pixels up to which objects are neighbours.
    most
        Objects looked at; every so many where there are more.

    Returns
    -------
    Spacing
        From the objects off the border.
    """
    chosen = np.flatnonzero(objects.whole)
    chosen = chosen[:: max(len(chosen) // most, 1)]
    gaps = np.array([_gap(mask, objects, index, reach=reach) for index in chosen.tolist()])
    near = gaps[gaps <= reach]
    return Spacing(len(near) / max(len(gaps), 1), near, reach)


def scattered(
    draw: Callable[[int], Shape],
    rng: np.random.Generator,
    *,
    shape: tuple[int, int],
    number: int,
    spacing: Spacing,
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Place objects one after the other.

    Of each object it is drawn whether it stands alone, farther than the reach from all others, or at a drawn gap from
    one that is there. If a share f stands alone, f / (2 - f) of them all stay without a neighbour.

    Parameters
    ----------
    draw
        Gives object 0, 1, ... in its box.
    rng
        Source of randomness.
    shape
        (h, w) of the mask.
    number
        Objects to place.
    spacing
        How they stand to each other.

    Returns
    -------
    mask : ndarray
        Instances, (h, w), uint32, with ids from 1 without gaps.
    placed : ndarray
        Which object of `draw` each id less 1 is, (n,): less than `number` where there was no room.
    """
    mask = np.zeros(shape, np.uint32)
    centres: list[tuple[float, float, float]] = []
    placed: list[int] = []
    alone = max(2 * (1 - spacing.near) / (2 - spacing.near), SEEDS)
    for index in range(number):
        piece = _piece(draw(index), reach=spacing.reach)
        if not piece.shape.any():
            continue
        corner = _place(mask, piece, rng, centres=centres, spacing=spacing, alone=bool(rng.random() < alone))
        if corner is not None and pasted(mask, piece.shape, corner, value=len(placed) + 1):
            h, w = piece.shape.shape
            centres.append((corner[0] + h / 2, corner[1] + w / 2, piece.radius))
            placed.append(index)
    return mask, np.array(placed, np.int64)


def pasted(mask: NDArray[np.uint32], shape: Shape, corner: tuple[int, int], *, value: int) -> bool:
    """Write an object into a mask where nothing is yet, its largest part; whether anything was written.

    Parameters
    ----------
    mask
        Instances, (h, w); changed.
    shape
        The object in its box.
    corner
        First row and column of the box in the mask; it may reach beyond.
    value
        Id of the object.
    """
    here, inner = _windows(mask.shape, shape.shape, corner)
    free = largest_part(shape[inner] & (mask[here] == 0))
    mask[here][free] = value
    return bool(free.any())


def overlap(mask: NDArray[np.uint32], shape: Shape, corner: tuple[int, int]) -> float:
    """Share of an object in the mask that would lie upon others; 1 where none of it lies in the mask.

    Parameters
    ----------
    mask
        Instances, (h, w).
    shape
        The object in its box.
    corner
        First row and column of the box in the mask; it may reach beyond.
    """
    here, inner = _windows(mask.shape, shape.shape, corner)
    area = int(shape[inner].sum())
    return float((shape[inner] & (mask[here] > 0)).sum() / area) if area else 1.0


def _place(
    mask: NDArray[np.uint32],
    piece: _Piece,
    rng: np.random.Generator,
    *,
    centres: list[tuple[float, float, float]],
    spacing: Spacing,
    alone: bool,
) -> tuple[int, int] | None:
    """First row and column of a place, or None where no try found one."""
    for attempt in range(TRIES):
        # Where there is no room for one alone any more, it may as well stand beside another.
        if not centres or not len(spacing.gaps) or (alone and attempt < TRIES // 2):
            corner = _corner(piece, rng.uniform(0, mask.shape[0]), rng.uniform(0, mask.shape[1]))
            fits = _view(mask, piece, corner).gap > spacing.reach
        else:
            found = _beside(mask, piece, rng, centres=centres, gap=float(rng.choice(spacing.gaps)))
            corner, fits = (found, True) if found else ((0, 0), False)
        if fits and overlap(mask, piece.shape, corner) <= OVERLAP:
            return corner
    return None


def _beside(
    mask: NDArray[np.uint32],
    piece: _Piece,
    rng: np.random.Generator,
    *,
    centres: list[tuple[float, float, float]],
    gap: float,
) -> tuple[int, int] | None:
    """A place at a gap from an object that is there, reached from a random side."""
    row, column, radius = centres[rng.integers(len(centres))]
    angle = rng.uniform(0, 2 * math.pi)
    pressed = rng.uniform(0, PRESSED) * piece.shape.sum()
    away = radius + piece.radius + piece.room
    best = None
    while away > 0:
        corner = _corner(piece, row + away * math.sin(angle), column + away * math.cos(angle))
        view = _view(mask, piece, corner)
        if view.gap <= gap + 0.5:
            # Only those that touch are pushed on, until they would share too much.
            if view.overlap > pressed:
                break
            best = corner
            if gap >= 1.5:
                break
        elif best is not None:
            break
        away -= max(1.0, math.floor(min(view.gap, piece.room) - gap))
    if best is None or not _middle_inside(mask.shape, piece, best):
        return None
    return best


def _middle_inside(shape: tuple[int, ...], piece: _Piece, corner: tuple[int, int]) -> bool:
    return all(0 <= at + size / 2 < side for at, size, side in zip(corner, piece.shape.shape, shape, strict=True))


def _corner(piece: _Piece, row: float, column: float) -> tuple[int, int]:
    """Where the box of a piece begins if its middle lies at a point."""
    h, w = piece.shape.shape
    return round(row - h / 2), round(column - w / 2)


def _view(mask: NDArray[Any], piece: _Piece, corner: tuple[int, int]) -> _View:
    here, inner = _windows(mask.shape, piece.away.shape, (corner[0] - piece.room, corner[1] - piece.room))
    away = piece.away[inner][mask[here] > 0]
    return _View(int((away == 0).sum()), float(away.min()) if len(away) else math.inf)


def _gap(mask: NDArray[Any], objects: Objects, index: int, *, reach: float) -> float:
    """Pixels from an object to its nearest neighbour, infinite beyond the reach."""
    piece = _piece(objects.cut(mask, index), reach=reach)
    corner = int(objects.boxes[index, 0]) - piece.room, int(objects.boxes[index, 1]) - piece.room
    here, inner = _windows(mask.shape, piece.away.shape, corner)
    others = (mask[here] > 0) & (mask[here] != objects.ids[index])
    return float(piece.away[inner][others].min()) if others.any() else math.inf


def _piece(shape: Shape, *, reach: float) -> _Piece:
    from scipy import ndimage

    room = math.ceil(reach) + 2
    return _Piece(shape, ndimage.distance_transform_edt(~np.pad(shape, room)).astype(np.float32), room)


def _windows(
    whole: tuple[int, ...], part: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a box lies in a mask, and which part of the box that is."""
    start = [max(at, 0) for at in corner]
    stop = [max(min(at + size, side), first) for at, size, side, first in zip(corner, part, whole, start, strict=True)]
    here = slice(start[0], stop[0]), slice(start[1], stop[1])
    return here, (
        slice(start[0] - corner[0], stop[0] - corner[0]),
        slice(start[1] - corner[1], stop[1] - corner[1]),
    )
