"""Single objects of an instance mask: where they are, cut out, turned, and whole again."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = NDArray[np.bool_]

STRIP = 512
"""Rows looked at together: bounds the memory, whatever the size of the mask."""


@dataclass(frozen=True)
class Objects:
    """All objects of a mask, in the order of their ids."""

    ids: NDArray[np.int64]
    """(n,)."""
    boxes: NDArray[np.int64]
    """First row and column, and those behind the last, (n, 4)."""
    areas: NDArray[np.int64]
    """Pixels, (n,)."""
    whole: NDArray[np.bool_]
    """Whether an object stays off the border of the mask, (n,)."""

    def cut(self, mask: NDArray[Any], index: int) -> Shape:
        """The object in its box."""
        top, left, bottom, right = self.boxes[index]
        return mask[top:bottom, left:right] == self.ids[index]


def objects_of(mask: NDArray[Any]) -> Objects:
    """Find the objects of a mask.

    Parameters
    ----------
    mask
        Instances, (h, w), integers: 0 for the background; ids in any order, with gaps.

    Returns
    -------
    Objects
        Where each is.
    """
    h, w = mask.shape
    rows = [_in_strip(mask[start : start + STRIP], start) for start in range(0, h, STRIP)]
    ids, boxes, areas = (np.concatenate(each) for each in zip(*rows, strict=True))
    unique, at = np.unique(ids, return_inverse=True)
    low, high, total = np.full((len(unique), 2), max(h, w)), np.zeros((len(unique), 2), np.int64), np.zeros(len(unique))
    np.minimum.at(low, at, boxes[:, :2])
    np.maximum.at(high, at, boxes[:, 2:])
    np.add.at(total, at, areas)
    whole = np.asarray(((low > 0) & (high < np.array([h, w]))).all(1))
    return Objects(unique, np.concatenate([low, high], 1), total.astype(np.int64), whole)


def transformed(shape: Shape, *, turn: float, scale: float, flip: bool) -> Shape:
    """An object turned about its middle, scaled and mirrored, in a box of its own.

    Parameters
    ----------
    shape
        The object, (h, w).
    turn
        Radians.
    scale
        Of lengths.
    flip
        Whether it is mirrored first.

    Returns
    -------
    ndarray
        Its largest part, cropped to it; empty where nothing is left.
    """
    from scipy import ndimage

    source = np.pad(shape[:, ::-1] if flip else shape, 1).astype(np.float32)
    inverse = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]) / scale
    least = math.ceil(scale * math.hypot(*source.shape)) + 1
    # Even stays even and odd odd: what is not turned keeps its pixels.
    sides = [least + (least - side) % 2 for side in source.shape]
    offset = (np.array(source.shape) - 1) / 2 - inverse @ ((np.array(sides) - 1) / 2)
    # At a half of bilinear weights edges come out smooth; nearest pixels would roughen them at every turn.
    return cropped(largest_part(ndimage.affine_transform(source, inverse, offset, tuple(sides), order=1) > 0.5))


def largest_part(shape: Shape) -> Shape:
    """The largest of the parts that hang together over sides; the shape itself where it is in one piece."""
    from scipy import ndimage

    parts, count = ndimage.label(shape)
    return shape if count < 2 else parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def cropped(shape: Shape) -> Shape:
    """Without the empty rows and columns around."""
    rows, columns = (np.flatnonzero(shape.any(axis)) for axis in (1, 0))
    if not len(rows):
        return shape[:0, :0]
    return shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _in_strip(part: NDArray[Any], start: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Ids, boxes and areas of what a strip shows."""
    row, column = np.nonzero(part)
    ids, at, areas = np.unique(part[row, column].astype(np.int64), return_inverse=True, return_counts=True)
    boxes = np.tile(np.array([[np.iinfo(np.int64).max] * 2 + [0] * 2]), (len(ids), 1))
    for axis, values in enumerate((row + start, column)):
        np.minimum.at(boxes[:, axis], at, values)
        np.maximum.at(boxes[:, 2 + axis], at, values + 1)
    return ids, boxes, areas
