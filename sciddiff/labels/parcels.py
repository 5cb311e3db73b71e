"""Parcels of farmland: districts between roads, each split again and again along its own direction."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciddiff.labels.noise import smooth

DISTRICT = 1400.0
"""Metres between the middles of districts."""
AREA = (30_000.0, 0.6)
"""Square metres of a parcel: median over districts, standard deviation of its logarithm."""
LEVELS = 12
"""Splits at most: a square of three districts' side falls into 4096 parts."""
BEND = ((14.0, 220.0), (60.0, 900.0))
"""Metres by which borders bend, and over how many metres, for parcels and for districts."""


@dataclass(frozen=True)
class Parcels:
    """Which piece of land each pixel belongs to."""

    district: NDArray[np.int32]
    """(h, w), from 0."""
    parcel: NDArray[np.int32]
    """(h, w), from 0 without gaps."""


def parcels(shape: tuple[int, int], rng: np.random.Generator, *, gsd: float) -> Parcels:
    """Part land into districts, and those into parcels.

    Districts are the cells of nearest points. A district is a square, turned, that is split across its longer side,
    near the middle, until its parts are as large as parcels are there. Displacements bend the borders.

    Parameters
    ----------
    shape
        (h, w).
    rng
        Source of randomness.
    gsd
        Metres per pixel.

    Returns
    -------
    Parcels
        Districts and parcels.
    """
    from scipy.spatial import KDTree

    side = DISTRICT / gsd
    points = _points(shape, rng, apart=side)
    places = np.moveaxis(np.indices(shape, np.float32), 0, -1)
    district = KDTree(points).query(places + _bent(shape, rng, gsd=gsd, by=BEND[1]))[1].astype(np.int32)
    angle = rng.uniform(0, math.pi / 2, len(points))
    away = places + _bent(shape, rng, gsd=gsd, by=BEND[0]) - points[district].astype(np.float32)
    cos, sin = (part(angle).astype(np.float32)[district] for part in (np.cos, np.sin))
    turned = np.stack([cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]], -1)
    node = _split(turned * np.float32(gsd), district, rng, count=len(points))
    joint = district.astype(np.int64) * 2 ** (LEVELS + 1) + node
    return Parcels(district, np.unique(joint, return_inverse=True)[1].reshape(shape).astype(np.int32))


def borders(values: NDArray[np.int32], rng: np.random.Generator, *, share: float) -> NDArray[np.bool_]:
    """Pixels along a share of the borders between pieces of land, drawn by border.

    Parameters
    ----------
    values
        Pieces, (h, w), from 0.
    rng
        Source of randomness.
    share
        Of the borders that count.

    Returns
    -------
    ndarray
        (h, w), lines one or two pixels wide.
    """
    line = np.zeros(values.shape, bool)
    salt = int(rng.integers(1, 2**31))
    for one, other, here in (
        (values[1:], values[:-1], line[1:]),
        (values[:, 1:], values[:, :-1], line[:, 1:]),
    ):
        low, high = np.minimum(one, other).astype(np.uint64), np.maximum(one, other).astype(np.uint64)
        here |= (one != other) & (_hashed(low * np.uint64(2**32) + high, salt) < share)
    return line


def _points(shape: tuple[int, int], rng: np.random.Generator, *, apart: float) -> NDArray[np.float64]:
    """Points on a jittered grid that reaches beyond the image, (n, 2)."""
    rows, columns = (np.arange(-1, math.ceil(side / apart) + 1) for side in shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    return (grid + rng.uniform(0.0, 1.0, grid.shape)) * apart


def _bent(
    shape: tuple[int, int], rng: np.random.Generator, *, gsd: float, by: tuple[float, float]
) -> NDArray[np.float32]:
    """Smooth displacements in pixels, (h, w, 2)."""
    return np.stack([by[0] / gsd * smooth(shape, rng, scale=by[1] / gsd) for _ in range(2)], -1)


def _split(
    metres: NDArray[np.float32], district: NDArray[np.int32], rng: np.random.Generator, *, count: int
) -> NDArray[np.int32]:
    """The node of its district's tree of splits in which each pixel ends."""
    half = np.float32(1.5 * DISTRICT)
    low, high = np.full_like(metres, -half), np.full_like(metres, half)
    node = np.ones(district.shape, np.int32)
    cuts = rng.uniform(0.36, 0.64, (count, 2 ** (LEVELS + 1))).astype(np.float32)
    target = AREA[0] * np.exp(rng.normal(0, AREA[1], (count, 1)) + rng.normal(0, 0.35, cuts.shape))
    long = np.exp(rng.normal(0.2, 0.3, count)).astype(np.float32)[district]
    for _ in range(LEVELS):
        size = high - low
        open_ = size[..., 0] * size[..., 1] > 1.4 * target[district, node]
        across = (size[..., 1] * long > size[..., 0]).astype(np.intp)[..., None]
        first, last, at = (np.take_along_axis(each, across, -1)[..., 0] for each in (low, high, metres))
        cut = first + cuts[district, node] * (last - first)
        beyond = at > cut
        np.put_along_axis(low, across, np.where(open_ & beyond, cut, first)[..., None], -1)
        np.put_along_axis(high, across, np.where(open_ & ~beyond, cut, last)[..., None], -1)
        node = np.where(open_, 2 * node + beyond, node).astype(np.int32)
    return node


def _hashed(values: NDArray[np.uint64], salt: int) -> NDArray[np.float64]:
    """Numbers in 0..1 that only depend on the values (finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = values + np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64
