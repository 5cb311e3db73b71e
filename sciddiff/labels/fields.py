"""Class masks of landscapes that do not exist: water, forest, farmland, roads and settlements."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import OptionError
from sciddiff.labels.landcover import CLASSES
from sciddiff.labels.noise import fractal, smooth
from sciddiff.labels.parcels import Parcels, borders, parcels

RELIEF = (3.9, 5000.0)
"""Exponent of the spectrum of the relief, and metres of its largest forms."""
WOODS = (2.9, 1800.0)
"""The same of what makes forests grow besides."""
RIVER = (25.0, 140.0)
"""Metres of width of a river, and at most how much of all water it may be."""
RIVER_SHARE = 0.6
WAVELENGTH = 11.0
"""Of meanders, in widths of the river (Leopold and Wolman 1960)."""
BEND = (0.8, 1.4)
"""Radians by which a river turns at most off its way, in a sine-generated curve (Langbein and Leopold 1966)."""
ROAD = 9.0
"""Metres; roads are not seen where a pixel is more than twice as large."""
HEDGE = 6.0
"""The same of the hedges and rows of trees between parcels."""
TOWN = 400_000.0
"""Square metres of a settlement."""
BLOCK = 40.0
"""Metres of a block of houses."""
BUILT = 0.3
"""Share of the bare class that stands in settlements as roofs and asphalt; up to a third as much there is bright."""


def landscape(
    shape: tuple[int, int], rng: np.random.Generator, *, classes: Mapping[str, float], gsd: float
) -> NDArray[np.uint8]:
    """Draw a landscape.

    Relief is a fractal field; a river meanders through a valley in it, lakes fill its lowest places, forest covers a
    fractal part of what is higher. The rest is farmland in parcels of one class each. Roads run between districts,
    settlements lie at some of their crossings. Rivers come with water, roads and settlements with what is bare.

    Parameters
    ----------
    shape
        (h, w).
    rng
        Source of randomness.
    classes
        Share of the area of each class by its name in `CLASSES`; scaled to a sum of 1. They are met within a few
        hundredths where many parcels fit the image.
    gsd
        Metres per pixel.

    Returns
    -------
    ndarray
        Values of `CLASSES`, (h, w), uint8.

    Raises
    ------
    OptionError
        If a class is unknown, a share is below 0, all are 0, or the pixel size is not above 0.
    """
    shares = _checked(classes, gsd=gsd)
    relief = fractal(shape, rng, beta=RELIEF[0], largest=RELIEF[1] / gsd)
    stream, width = _river(shape, rng, share=shares["water"], gsd=gsd)
    bank = _away(stream, gsd=gsd)
    valley = relief - np.exp(-bank / (6 * width))
    result = np.zeros(shape, np.uint8)
    river = bank <= width / 2 * (1 + 0.2 * smooth(shape, rng, scale=1.5 * width / gsd))
    _fill(result, valley, share=shares["water"], value=CLASSES["water"], first=river)
    land = parcels(shape, rng, gsd=gsd)
    _settle(result, land, rng, shares=shares, gsd=gsd)
    grove = fractal(shape, rng, beta=WOODS[0], largest=WOODS[1] / gsd)
    # Hills keep their woods, and so do banks that are too wet or steep to till; some parcels as a whole do or do not.
    wooded = grove + 0.5 * valley + 0.8 * np.exp(-np.maximum(bank - width / 2, 0) / 40)
    wooded += 0.45 * rng.standard_normal(int(land.parcel.max()) + 1, np.float32)[land.parcel]
    hedges = _hedges(land, rng, gsd=gsd) & (result == 0)
    _fill(result, -wooded, share=shares["forest"], value=CLASSES["forest"], first=hedges)
    _farm(result, land, rng, shares=shares)
    return result


def _checked(classes: Mapping[str, float], *, gsd: float) -> dict[str, float]:
    """Shares of all classes, with a sum of 1."""
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise OptionError(f"no class {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    total = sum(classes.values())
    if gsd <= 0 or total <= 0 or min(classes.values()) < 0:
        raise OptionError(f"gsd = {gsd} and shares {dict(classes)}; give metres above 0, and shares of 0 or more")
    return {name: classes.get(name, 0.0) / total for name in CLASSES}


def _river(
    shape: tuple[int, int], rng: np.random.Generator, *, share: float, gsd: float
) -> tuple[NDArray[np.bool_], float]:
    """Pixels of the middle of a river, none where there is too little water for one, and its width in metres."""
    line = np.zeros(shape, bool)
    h, w = (side * gsd for side in shape)
    across = math.hypot(h, w)
    bend = rng.uniform(*BEND)
    # The way is longer than its crossing by 1 / J0(bend), close to 1 / (1 - bend^2 / 4).
    width = min(math.exp(rng.uniform(*np.log(RIVER))), RIVER_SHARE * share * h * w / across * (1 - bend**2 / 4))
    heading = rng.uniform(0, 2 * math.pi)
    if width < max(gsd, 8.0):
        return line, max(width, 1.0)
    middle = np.array([h, w]) * rng.uniform(0.3, 0.7, 2)
    step, length = gsd / 2, 4 * across
    count = int(length / step)
    wander = np.cumsum(rng.normal(0, 1, (3, count)), 1) * math.sqrt(step / (40 * width))
    phase = 2 * math.pi * np.arange(count) * step / (WAVELENGTH * width) + 1.2 * wander[0]
    # Up to 1.5 rad, or loops would close; straight reaches come and go, and so does the way of the valley.
    swing = np.clip(bend * (1 + 0.6 * np.sin(0.8 * wander[1])), 0.2, 1.5)
    angle = heading + swing * np.sin(phase) + 0.5 * np.sin(0.35 * wander[2])
    path = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], 1) * step, 0)
    rows, columns = ((path - path[count // 2] + middle) / gsd).astype(int).T
    seen = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    line[rows[seen], columns[seen]] = True
    return line, width


def _away(line: NDArray[np.bool_], *, gsd: float) -> NDArray[np.float32]:
    """Metres to the nearest of some pixels, very many where there are none."""
    from scipy import ndimage

    if not line.any():
        return np.full(line.shape, 1e9, np.float32)
    return (ndimage.distance_transform_edt(~line) * gsd).astype(np.float32)


def _fill(
    result: NDArray[np.uint8], height: NDArray[np.float32], *, share: float, value: int, first: NDArray[np.bool_]
) -> None:
    """Give a class its share: some pixels first, then those that are free and lowest."""
    if share == 0:
        return
    result[first & (result == 0)] = value
    free = result == 0
    lacking = share * result.size - int((result == value).sum())
    if lacking <= 0 or not free.any():
        return
    level = np.quantile(height[free], min(lacking / int(free.sum()), 1.0))
    result[free & (height <= level)] = value


def _settle(
    result: NDArray[np.uint8], land: Parcels, rng: np.random.Generator, *, shares: Mapping[str, float], gsd: float
) -> None:
    """Roads between districts, and settlements where they meet."""
    bare, bright = BUILT * shares["bare"], min(shares["bright"], BUILT * shares["bare"] / 3)
    if bare == 0:
        return
    roads = _line(borders(land.district, rng, share=0.75), width=ROAD, gsd=gsd)
    free = result == 0
    # Half of a settlement is gardens: they stay free here, and the parcels take them.
    size = round(min(2 * (bare + bright) * result.size, int(free.sum())))
    centres = _crossings(land.district, rng, count=max(1, round(size * gsd**2 / TOWN)))
    near = _away(centres, gsd=gsd) * np.exp(0.35 * smooth(result.shape, rng, scale=150 / gsd))
    near = np.where(free, near + 0.4 * np.minimum(_away(roads, gsd=gsd), 400), np.inf)
    town = np.argsort(near, axis=None, kind="stable")[:size]
    block, white = _blocks(result.shape, rng, gsd=gsd).reshape(-1, 2)[town].T
    # Built up in the middle, gardens with houses at the edge.
    houses = block < 1 - np.arange(size) / max(size, 1)
    result.flat[town[houses]] = CLASSES["bare"]
    result.flat[town[houses & (white < bright / (bare + bright))]] = CLASSES["bright"]
    result[roads & (result != CLASSES["water"])] = CLASSES["bare"]


def _line(middle: NDArray[np.bool_], *, width: float, gsd: float) -> NDArray[np.bool_]:
    """A line as wide as it is, none where it is less than half a pixel."""
    return middle & False if width < gsd / 2 else _away(middle, gsd=gsd) < width / 2


def _blocks(shape: tuple[int, ...], rng: np.random.Generator, *, gsd: float) -> NDArray[np.float64]:
    """Two random numbers for each block of houses, (h, w, 2)."""
    rows, columns = (np.arange(side) * gsd / BLOCK for side in shape)
    turned = 0.8 * rows[:, None] + 0.6 * columns, 0.8 * columns - 0.6 * rows[:, None]
    first, second = (np.floor(each - each.min()).astype(int) for each in turned)
    return rng.random((int(first.max()) + 1, int(second.max()) + 1, 2))[first, second]


def _crossings(district: NDArray[np.int32], rng: np.random.Generator, *, count: int) -> NDArray[np.bool_]:
    """Some pixels where three districts meet, or any where there are none."""
    parts = np.stack([district[1:, 1:], district[:-1, 1:], district[1:, :-1], district[:-1, :-1]], -1)
    parts.sort(-1)
    rows, columns = np.nonzero((parts[..., 1:] != parts[..., :-1]).sum(-1) >= 2)
    chosen = np.zeros(district.shape, bool)
    if len(rows):
        at = rng.permutation(len(rows))[:count]
        chosen[rows[at], columns[at]] = True
    else:
        chosen[rng.integers(district.shape[0]), rng.integers(district.shape[1])] = True
    return chosen


def _hedges(land: Parcels, rng: np.random.Generator, *, gsd: float) -> NDArray[np.bool_]:
    """Rows of trees along some borders of parcels, in some districts more than in others."""
    dense = rng.beta(0.7, 1.3, int(land.district.max()) + 1)
    line = borders(land.parcel, rng, share=0.45) & (rng.random(dense.shape) < dense)[land.district]
    return _line(line, width=HEDGE, gsd=gsd)


def _farm(result: NDArray[np.uint8], land: Parcels, rng: np.random.Generator, *, shares: Mapping[str, float]) -> None:
    """Give each parcel, as far as it is free, a class that still lacks area."""
    free = result == 0
    areas = np.bincount(land.parcel[free], minlength=int(land.parcel.max()) + 1)
    names = [name for name in CLASSES if name != "water"]
    lacking = np.array([shares[name] * result.size - (result == CLASSES[name]).sum() for name in names], float)
    crops = np.zeros(len(areas), np.uint8)
    for parcel in rng.permutation(np.flatnonzero(areas)):
        weights = np.maximum(lacking, 0)
        weights = weights if weights.sum() > 0 else np.array([shares[name] for name in names])
        if weights.sum() == 0:
            break
        which = rng.choice(len(names), p=weights / weights.sum())
        crops[parcel] = CLASSES[names[which]]
        lacking[which] -= areas[parcel]
    # Where only water is wanted there is nothing else to give.
    result[free] = np.where(crops[land.parcel[free]], crops[land.parcel[free]], CLASSES["water"])
