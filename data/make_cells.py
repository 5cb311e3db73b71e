"""Makes the microscopy sample: cells of two stains in three dimensions, sharp alike along all axes, without noise.

    python data/make_cells.py [PATH]

Nuclei are ellipsoids of uneven chromatin with dark nucleoli, mitochondria are bent threads around them. Intensities
are electrons of a long exposure; `sciddiff demo denoise` and `sciddiff demo isotropic` degrade them.
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

SHAPE = (32, 192, 192)
VOXEL = 0.1
"""Side in micrometres."""
NAMES = ("nuclei", "mitochondria")
NUCLEI, THREADS = 9, 220
BACKGROUND, BRIGHTNESS = 120, (2400, 3200)
WIDTH = 0.9
"""Standard deviation of the point spread function in voxels."""
SEED = 7


def fractal(rng: np.random.RandomState, *, slope: float, least: float) -> NDArray[np.float64]:
    """Random texture whose power falls as 1 / f^slope below `least` cycles a voxel; mean zero, spread one."""
    f = np.sqrt(sum(axis**2 for axis in np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij")))
    waves = np.fft.fftn(rng.standard_normal(SHAPE)) * np.maximum(f, least) ** (-slope / 2)
    texture = np.fft.ifftn(waves).real
    return (texture - texture.mean()) / texture.std()


def centres(rng: np.random.RandomState) -> list[NDArray[np.float64]]:
    """Places of nuclei that keep their distance."""
    found: list[NDArray[np.float64]] = []
    while len(found) < NUCLEI:
        place = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.02, 0.98), rng.uniform(0.02, 0.98)]) * SHAPE
        if all(np.hypot(*(place - other)[1:]) > 48 for other in found):
            found.append(place)
    return found


def nuclei(rng: np.random.RandomState, places: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Ellipsoids with a wavy surface, chromatin and nucleoli."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    waves, chromatin = fractal(rng, slope=4, least=0.02), fractal(rng, slope=2.2, least=0.04)
    scene = np.zeros(SHAPE)
    for place in places:
        angle, axes = rng.uniform(0, np.pi), np.array([rng.uniform(8, 12), rng.uniform(16, 22), rng.uniform(20, 27)])
        dz, dy, dx = grid - place[:, None, None, None]
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        radius = np.sqrt((dz / axes[0]) ** 2 + (across / axes[1]) ** 2 + (along / axes[2]) ** 2) + 0.04 * waves
        inside = 1 / (1 + np.exp((radius - 1) * 40))
        level = rng.uniform(0.55, 1.0) * (1 + 0.3 * chromatin)
        for _ in range(rng.randint(1, 4)):
            spot = place + rng.uniform(-0.4, 0.4, 3) * axes
            distance = np.sqrt(sum(((axis - at) / s) ** 2 for axis, at, s in zip(grid, spot, (3, 4, 4), strict=True)))
            level = level * (1 - 0.6 / (1 + np.exp((distance - 1) * 8)))
        scene = np.maximum(scene, inside * np.maximum(level, 0.05))
    return scene


def mitochondria(rng: np.random.RandomState, places: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Threads that wander around the nuclei."""
    scene = np.zeros(SHAPE)
    for _ in range(THREADS):
        start = places[rng.randint(len(places))]
        way = rng.standard_normal(3) * (0.3, 1, 1)
        way /= np.linalg.norm(way)
        place = start + way * (14, 28, 28) * rng.uniform(1.0, 1.9)
        heading = rng.standard_normal(3) * (0.25, 1, 1)
        brightness = rng.uniform(0.4, 1.0)
        for _ in range(rng.randint(40, 160)):
            heading += 0.25 * rng.standard_normal(3) * (0.3, 1, 1)
            heading /= np.linalg.norm(heading)
            place = place + 0.5 * heading
            voxel = np.rint(place).astype(int)
            if ((voxel >= 0) & (voxel < SHAPE)).all():
                scene[tuple(voxel)] = max(scene[tuple(voxel)], brightness)
    return ndimage.gaussian_filter(scene, 0.8)


def make() -> NDArray[np.uint16]:
    """The stack as stored, (2, z, y, x)."""
    rng = np.random.RandomState(SEED)  # its stream is frozen, that of newer generators is not
    places = centres(rng)
    stains = []
    for scene, brightness in zip((nuclei(rng, places), mitochondria(rng, places)), BRIGHTNESS, strict=True):
        seen = ndimage.gaussian_filter(scene, WIDTH, mode="nearest")
        stains.append(BACKGROUND + brightness * seen / np.quantile(seen, 0.999))
    return np.rint(np.stack(stains)).astype(np.uint16)


def write(path: Path) -> None:
    """Write the sample as an OME-TIFF, planes in depth first."""
    metadata = {
        "axes": "CZYX",
        "Name": "Synthetic cells for the demonstration of sciddiff",
        "Description": "Computed by data/make_cells.py, never measured.",
        "PhysicalSizeX": VOXEL,
        "PhysicalSizeY": VOXEL,
        "PhysicalSizeZ": VOXEL,
        "Channel": {"Name": list(NAMES)},
    }
    with tifffile.TiffWriter(path, ome=True) as file:
        packed = {"compression": "zlib", "compressionargs": {"level": 9}, "predictor": 2}
        file.write(make(), photometric="minisblack", metadata=metadata, **packed)


if __name__ == "__main__":
    here = Path(__file__).parent / "cells_like.ome.tif"
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
