"""Instance masks from nothing but numbers: nuclei, and cells around nuclei."""

import math

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import OptionError
from sciddiff.labels.noise import fractal, smooth
from sciddiff.labels.objects import Shape, cropped, largest_part, objects_of
from sciddiff.labels.placing import Spacing, scattered

COVER = 0.18
"""Share of the area that nuclei cover where no density is given, as in a growing culture."""
ELONGATED = (1.25, 0.2)
"""Ratio of the axes of a nucleus in interphase: median, standard deviation of the logarithm."""
HARMONICS = np.arange(2, 7)
"""Waves around the outline that deform the ellipse."""
MITOTIC = (0.45, 2.6)
"""Area of a metaphase plate relative to a nucleus, and ratio of its axes."""
WANDER = 0.12
"""How far the border between two cells wanders, in diameters of a nucleus."""
CYTOPLASM = 0.85
"""How far a cell reaches beyond its nucleus, in diameters, where no neighbour stops it."""


def nuclei(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    diameter: float,
    density: float | None = None,
    spread: float = 0.14,
    roughness: float = 0.03,
    touching: float = 0.25,
    mitotic: float = 0.03,
) -> NDArray[np.uint32]:
    """Nuclei: ellipses with wavy outlines, some in clusters that touch, a few condensed.

    Parameters
    ----------
    shape
        (h, w) of the mask.
    rng
        Source of randomness.
    diameter
        Median diameter of a disc of a nucleus' area, in pixels, 4 or more.
    density
        Nuclei per pixel; such that they cover 18 % where not given.
    spread
        Standard deviation of the logarithm of the diameter.
    roughness
        Standard deviation of the radius by the second harmonic; the higher ones fall as their square.
    touching
        Share of the nuclei that touch another.
    mitotic
        Share of the nuclei that are metaphase plates, smaller and elongated.

    Returns
    -------
    ndarray
        Instances, (h, w), uint32, with ids from 1.

    Raises
    ------
    OptionError
        If the diameter is below 4 pixels or a share is not within 0..1.
    """
    if diameter < 4:
        raise OptionError(f"nuclei of {diameter:.3g} pixels; give 4 or more")
    if not (0 <= touching <= 1 and 0 <= mitotic <= 1):
        raise OptionError(f"touching = {touching} and mitotic = {mitotic}; shares must be in 0..1")
    density = COVER / (math.pi / 4 * diameter**2) if density is None else density
    number = int(rng.poisson(density * math.prod(shape)))
    plates = rng.random(number) < mitotic

    def draw(index: int) -> Shape:
        plate = bool(plates[index])
        size = diameter * math.exp(rng.normal(0, spread)) * (math.sqrt(MITOTIC[0]) if plate else 1)
        ratio = MITOTIC[1] if plate else ELONGATED[0]
        ratio *= math.exp(rng.normal(0, ELONGATED[1]))
        return outline(rng, diameter=size, ratio=max(ratio, 1 / ratio), roughness=roughness)

    spacing = Spacing(touching, np.ones(1), max(diameter / 8, 1.5))
    return scattered(draw, rng, shape=shape, number=number, spacing=spacing)[0]


def cells(
    shape: tuple[int, int], rng: np.random.Generator, *, diameter: float, confluence: float = 0.8
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Nuclei and the cells around them.

    A cell is what lies nearer to its nucleus than to any other, up to a reach of its own, seen through a field of
    smooth displacements that makes its border wander.

    Parameters
    ----------
    shape
        (h, w) of the masks.
    rng
        Source of randomness.
    diameter
        Median diameter of a nucleus, in pixels, 4 or more.
    confluence
        Share of the area that is grown over; in the rest, patches larger than cells, there are none.

    Returns
    -------
    nuclei : ndarray
        Instances, (h, w), uint32, with ids from 1.
    cells : ndarray
        The same of the cells, under the same ids; every nucleus lies in its cell.

    Raises
    ------
    OptionError
        If the diameter is below 4 pixels or the confluence is not within 0..1.
    """
    if not 0 < confluence <= 1:
        raise OptionError(f"a confluence of {confluence}; it must be in 0..1")
    inner = nuclei(shape, rng, diameter=diameter, touching=0.04, roughness=0.02)
    inner = _thinned(inner, rng, diameter=diameter, confluence=confluence)
    return inner, _grown(inner, rng, diameter=diameter)


def outline(rng: np.random.Generator, *, diameter: float, ratio: float, roughness: float) -> Shape:
    """An ellipse at a random angle whose radius is changed by harmonics, in its box.

    Parameters
    ----------
    rng
        Source of randomness.
    diameter
        Of a disc of its area, in pixels.
    ratio
        Of its axes.
    roughness
        Standard deviation of the radius by the second harmonic, relative.
    """
    turn, phases = rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi, len(HARMONICS))
    heights = rng.normal(0, roughness, len(HARMONICS)) * (2 / HARMONICS) ** 2 * math.sqrt(2)
    half = math.ceil(diameter / 2 * math.sqrt(ratio) * 1.3) + 1
    down, along = np.mgrid[-half : half + 1, -half : half + 1] + rng.uniform(-0.5, 0.5, (2, 1, 1))
    angle = np.arctan2(down, along) - turn
    away = np.hypot(down, along)
    ellipse = diameter / 2 / np.sqrt(np.cos(angle) ** 2 / ratio + np.sin(angle) ** 2 * ratio)
    waves = (heights[:, None, None] * np.cos(HARMONICS[:, None, None] * angle + phases[:, None, None])).sum(0)
    return cropped(largest_part(away <= ellipse * (1 + waves)))


def _thinned(
    mask: NDArray[np.uint32], rng: np.random.Generator, *, diameter: float, confluence: float
) -> NDArray[np.uint32]:
    """Without the nuclei in patches of free ground, ids from 1 again."""
    if confluence == 1 or not mask.any():
        return mask
    ground = fractal(mask.shape, rng, beta=3.5, largest=12 * diameter)
    boxes = objects_of(mask).boxes
    middle = (boxes[:, :2] + boxes[:, 2:]) // 2
    stays = ground[middle[:, 0], middle[:, 1]] <= np.quantile(ground, confluence)
    table = np.concatenate([[0], np.cumsum(stays) * stays]).astype(np.uint32)
    return table[mask]


def _grown(inner: NDArray[np.uint32], rng: np.random.Generator, *, diameter: float) -> NDArray[np.uint32]:
    """The cells around nuclei."""
    from scipy import ndimage

    if not inner.any():
        return inner
    away, at = ndimage.distance_transform_edt(inner == 0, return_indices=True)
    owner = inner[tuple(at)]
    reach = CYTOPLASM * diameter * np.exp(rng.normal(0, 0.35, int(inner.max()) + 1)).astype(np.float32)
    # The limit of a cell wanders by itself, its border to others by displacement.
    limit = np.exp(0.25 * smooth(inner.shape, rng, scale=0.4 * diameter))
    owner[away > reach[owner] * limit] = 0
    places = np.indices(inner.shape, np.float32)
    for axis in (0, 1):
        for share, scale in ((1.0, 0.5), (0.35, 0.15)):
            places[axis] += share * WANDER * diameter * smooth(inner.shape, rng, scale=scale * diameter)
    moved = ndimage.map_coordinates(owner, places, order=0, mode="nearest")
    return _with_nucleus(np.where(inner > 0, inner, moved).astype(np.uint32), inner)


def _with_nucleus(outer: NDArray[np.uint32], inner: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Cells without the parts that do not hang together with their nucleus."""
    from skimage import measure

    parts = measure.label(outer, background=0, connectivity=1)
    held = np.zeros(int(parts.max()) + 1, bool)
    held[parts[inner > 0]] = True
    held[0] = False
    return np.where(held[parts], outer, 0).astype(np.uint32)
