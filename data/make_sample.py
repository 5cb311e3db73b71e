"""Make the sample of `sciddiff demo`: a synthetic multispectral scene as a Sentinel-2 instrument would see it
if all its bands had pixels of 10 m.

    python data/make_sample.py [OUTPUT]

Fields, roads, a river and a lake, woods, villages and relief are drawn at a third of the pixel, given the reflectance
of their class, blurred by the instrument's point spread function, sampled, and given noise. Nothing in it was ever
measured; the same numbers come out at every call.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy import ndimage, spatial

Array = NDArray[np.float64]

SEED = 20150623
SHAPE = (480, 512)
PIXEL = 10.0
"""Metres."""
FINE = 3
"""Drawn pixels along one of the instrument's."""
BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
NAMES = (
    "blue 490 nm",
    "green 560 nm",
    "red 665 nm",
    "near infrared 842 nm",
    "red edge 705 nm",
    "red edge 740 nm",
    "red edge 783 nm",
    "near infrared 865 nm",
    "short-wave infrared 1610 nm",
    "short-wave infrared 2190 nm",
)
SCALE = 0.0001
NYQUIST_GAIN = (0.275, 0.28, 0.25, 0.24, 0.27, 0.27, 0.27, 0.27, 0.25, 0.25)
"""Of the instrument's MTF, band by band."""

SPECTRA: Mapping[str, tuple[float, ...]] = {
    "soil": (0.085, 0.115, 0.150, 0.225, 0.175, 0.195, 0.210, 0.235, 0.300, 0.260),
    "dark soil": (0.060, 0.080, 0.105, 0.165, 0.120, 0.135, 0.150, 0.175, 0.220, 0.190),
    "stubble": (0.105, 0.150, 0.190, 0.285, 0.215, 0.240, 0.262, 0.295, 0.350, 0.270),
    "wheat": (0.030, 0.062, 0.036, 0.440, 0.075, 0.310, 0.410, 0.455, 0.190, 0.085),
    "rape": (0.052, 0.125, 0.100, 0.430, 0.150, 0.330, 0.400, 0.440, 0.210, 0.105),
    "maize": (0.034, 0.056, 0.036, 0.385, 0.080, 0.270, 0.350, 0.400, 0.180, 0.085),
    "meadow": (0.038, 0.078, 0.050, 0.355, 0.105, 0.260, 0.320, 0.370, 0.210, 0.110),
    "beet": (0.030, 0.068, 0.034, 0.510, 0.080, 0.350, 0.470, 0.530, 0.200, 0.090),
    "broadleaf": (0.022, 0.044, 0.026, 0.330, 0.060, 0.225, 0.300, 0.345, 0.150, 0.070),
    "conifer": (0.017, 0.029, 0.019, 0.205, 0.040, 0.135, 0.180, 0.215, 0.085, 0.040),
    "water": (0.042, 0.048, 0.030, 0.014, 0.022, 0.018, 0.016, 0.012, 0.006, 0.004),
    "asphalt": (0.088, 0.095, 0.100, 0.130, 0.108, 0.115, 0.122, 0.135, 0.160, 0.150),
    "track": (0.125, 0.155, 0.190, 0.260, 0.210, 0.228, 0.243, 0.265, 0.330, 0.300),
    "tiles": (0.075, 0.095, 0.170, 0.235, 0.195, 0.212, 0.224, 0.242, 0.290, 0.280),
    "slate": (0.095, 0.100, 0.105, 0.125, 0.110, 0.115, 0.120, 0.127, 0.140, 0.135),
    "bright roof": (0.330, 0.345, 0.355, 0.385, 0.362, 0.370, 0.378, 0.388, 0.400, 0.380),
    "garden": (0.048, 0.078, 0.062, 0.285, 0.095, 0.200, 0.255, 0.300, 0.200, 0.130),
}
CROPS = ("wheat", "rape", "maize", "meadow", "beet", "soil", "dark soil", "stubble")
CROP_SHARES = (0.24, 0.08, 0.14, 0.22, 0.06, 0.10, 0.06, 0.10)


VILLAGES = (((480, 3070), 330.0), ((2500, 1000), 250.0), ((3900, 2850), 280.0), ((4450, 700), 180.0))
"""Centre (metres south, east) and radius."""


def spectrum(name: str) -> Array:
    """Reflectance of a class, (bands, 1)."""
    return np.array(SPECTRA[name])[:, None]


def fractal(rng: np.random.RandomState, shape: tuple[int, int], *, slope: float, coarsest: float = 0.0) -> Array:
    """Gaussian field of spectrum 1 / f^slope, mean 0 and spread 1; `coarsest`: wavelength in pixels beyond it."""
    f = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    f[0, 0] = np.inf
    low = np.maximum(f, 1 / coarsest) if coarsest else f
    field: Array = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * low ** (-slope / 2), shape)
    return (field - field.mean()) / field.std()


def coordinates() -> tuple[Array, Array]:
    """Metres south and east of the first pixel's corner, of each drawn pixel."""
    step = PIXEL / FINE
    y, x = ((np.arange(side * FINE) + 0.5) * step for side in SHAPE)
    south, east = np.meshgrid(y, x, indexing="ij")
    return south, east


def districts(rng: np.random.RandomState, south: Array, east: Array) -> tuple[NDArray[np.int64], Array]:
    """Voronoi cells of about 1 km: their number, and the distance to their border in metres."""
    side = 900.0
    rows, cols = np.mgrid[-1 : south.max() / side + 1, -1 : east.max() / side + 1]
    seeds = (np.stack([rows.ravel(), cols.ravel()], 1) + rng.uniform(0.1, 0.9, (rows.size, 2))) * side
    bend = [12 * fractal(rng, south.shape, slope=4.0, coarsest=300) for _ in range(2)]
    points = np.stack([(south + bend[0]).ravel(), (east + bend[1]).ravel()], 1)
    distance, index = spatial.KDTree(seeds).query(points, k=2)
    gap = np.linalg.norm(seeds[index[:, 0]] - seeds[index[:, 1]], axis=1)
    border = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * gap)
    return index[:, 0].reshape(south.shape), border.reshape(south.shape)


def parcels(
    rng: np.random.RandomState, south: Array, east: Array, district: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array, Array]:
    """Strips of fields, aligned within a district: their number, distance to their border, and across the rows."""
    count = district.max() + 1
    angle, length, width = rng.uniform(0, np.pi, count), rng.uniform(220, 420, count), rng.uniform(60, 170, count)
    cos, sin = np.cos(angle)[district], np.sin(angle)[district]
    along, across = cos * east + sin * south, -sin * east + cos * south
    strip = np.floor(along / length[district]).astype(np.int64)
    table = rng.uniform(0, 1, (count, 64))
    field = across / width[district] + table[district, strip % 64]
    order = np.floor(field).astype(np.int64)
    to_side = np.minimum(field % 1, 1 - field % 1) * width[district]
    to_end = np.minimum(along / length[district] % 1, 1 - along / length[district] % 1) * length[district]
    return (district * 64 + strip % 64) * 128 + order % 128, np.minimum(to_side, to_end), across


def farmland(rng: np.random.RandomState, number: NDArray[np.int64], across: Array) -> Array:
    """Reflectance of the fields, (bands, h, w): each of one crop, of its own vigour, with rows and patches."""
    ids, where = np.unique(number, return_inverse=True)
    where = where.reshape(number.shape)
    table = np.stack([np.array(SPECTRA[name]) for name in CROPS], 1)
    crop = rng.choice(len(CROPS), len(ids), p=CROP_SHARES)
    gain = rng.uniform(0.85, 1.15, len(ids))
    vigour = np.clip(rng.normal(0.85, 0.08, len(ids))[where] + 0.07 * fractal(rng, number.shape, slope=2.4), 0.3, 1)
    period, depth = rng.uniform(18, 36, len(ids)), rng.uniform(0.0, 0.07, len(ids))
    rows = 1 + depth[where] * np.sin(2 * np.pi * across / period[where])
    soil = spectrum("soil")[..., None] * (1 + 0.1 * fractal(rng, number.shape, slope=2.0, coarsest=120))
    return (soil * (1 - vigour) + table[:, crop][:, where] * vigour) * (gain[where] * rows)


def crowns(rng: np.random.RandomState, shape: tuple[int, int]) -> Array:
    """Texture of woodland, mean 1: crowns of some 8 m lit from the south-east."""
    height = ndimage.gaussian_filter(rng.standard_normal(shape), 1.3)
    light = height - np.roll(height, (2, 2), (0, 1))
    return np.clip(1 + 0.22 * light / light.std() + 0.08 * fractal(rng, shape, slope=2.0, coarsest=200), 0.35, 1.8)


def river(rng: np.random.RandomState, south: Array, east: Array) -> Array:
    """Distance from the river's bank in metres, negative in the water."""
    x = east[0]
    wander = np.cumsum(ndimage.gaussian_filter1d(rng.standard_normal(len(x)), 60, mode="wrap"))
    wander -= np.linspace(wander[0], wander[-1], len(x))
    middle = 0.62 * south.max() - 0.09 * x + 430 * wander / np.abs(wander).max()
    slope = np.gradient(middle, x)
    width = 34 + 10 * np.sin(x / 700)
    distance: Array = np.abs(south - middle) / np.sqrt(1 + slope**2) - width
    return distance


def paint(scene: Array, name: str, mask: NDArray[np.bool_], texture: Array | float = 1.0) -> None:
    """Give the pixels of a mask the reflectance of a class."""
    values = spectrum(name)[..., None] * np.broadcast_to(texture, mask.shape)
    scene[:, mask] = values[:, mask]


def village(
    rng: np.random.RandomState, scene: Array, *, south: Array, east: Array, centre: Sequence[float], radius: float
) -> None:
    """Streets, gardens and houses around a place, thinning out towards its edge."""
    angle = rng.uniform(0, np.pi / 2)
    ragged = fractal(rng, south.shape, slope=3.5, coarsest=60)
    dy, dx = south - centre[0], east - centre[1]
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, -np.sin(angle) * dx + np.cos(angle) * dy
    lot, street = 28.0, 84.0
    inside = np.hypot(dy, dx) < radius * (1 + 0.15 * ragged)
    cell = np.floor(u / lot).astype(int) % 256, np.floor(v / lot).astype(int) % 256
    chance, kind, wide = (rng.uniform(0, 1, (256, 256))[cell] for _ in range(3))
    built = chance > 0.25 + 0.5 * (np.hypot(dy, dx) / radius) ** 2
    half = 5 + 5 * wide
    house = inside & built & (np.abs(u % lot - lot / 2) < half) & (np.abs(v % lot - lot / 2) < 0.75 * half)
    paint(scene, "garden", inside, 1 + 0.12 * fractal(rng, south.shape, slope=1.5, coarsest=30))
    paint(scene, "asphalt", inside & ((np.abs(u % street - 1) < 4) | (np.abs(v % (2 * street) - 1) < 4)))
    for name, low, high in (("tiles", 0.0, 0.55), ("slate", 0.55, 0.85), ("bright roof", 0.85, 1.0)):
        paint(scene, name, house & (kind >= low) & (kind < high), 0.85 + 0.3 * wide)


def sunlit(rng: np.random.RandomState, shape: tuple[int, int]) -> Array:
    """Brightness of the ground under its relief, mean about 1: 45 degrees of sun from the south-east."""
    height = 75 * fractal(rng, shape, slope=5.0, coarsest=450)
    slope_y, slope_x = np.gradient(height, PIXEL / FINE)
    shade = (1 - 0.7 * slope_x - 0.7 * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return np.clip(shade, 0.6, 1.5)


def draw(rng: np.random.RandomState) -> Array:
    """Reflectance of the scene, (bands, FINE h, FINE w)."""
    south, east = coordinates()
    shape = south.shape
    district, border = districts(rng, south, east)
    number, edge, across = parcels(rng, south, east, district)
    scene = farmland(rng, number, across)
    canopy = crowns(rng, shape)
    hedges = rng.uniform(0, 1, number.max() + 1)[number]
    paint(scene, "track", edge < 2.5)
    paint(scene, "broadleaf", (edge < 6) & (hedges > 0.72), canopy)
    cover = fractal(rng, shape, slope=3.2, coarsest=450) + 0.05 * fractal(rng, shape, slope=1.5, coarsest=60)
    paint(scene, "broadleaf", cover > 0.95, canopy)
    paint(scene, "conifer", cover > 1.45, canopy)
    bank = river(rng, south, east)
    paint(scene, "broadleaf", (bank < 22) & (fractal(rng, shape, slope=2.5, coarsest=80) > 0.1), canopy)
    scene *= sunlit(rng, shape)
    for centre, radius in VILLAGES:
        village(rng, scene, south=south, east=east, centre=centre, radius=radius)
    lake = np.hypot((south - 950) / 1.0, (east - 3900) / 1.7) + 45 * fractal(rng, shape, slope=3.5, coarsest=250)
    wet = 1 + 0.08 * fractal(rng, shape, slope=3.0)
    paint(scene, "water", (bank < 0) | (lake < 260), wet)
    paint(scene, "asphalt", (border < 4.5) & (lake > 250))
    motorway = np.abs(0.35 * east - south + 700 + 150 * np.sin(east / 1500)) / np.hypot(0.35, 1)
    paint(scene, "asphalt", (motorway < 16) & (motorway > 2.5))
    paint(scene, "meadow", motorway <= 2.5)
    return np.clip(scene, 0.002, 0.9)


def measure(rng: np.random.RandomState, scene: Array) -> NDArray[np.uint16]:
    """Digital numbers of the instrument, (bands, h, w), 0 in the corner that the swath misses."""
    measured = np.empty((len(BANDS), *SHAPE))
    for band, gain in enumerate(NYQUIST_GAIN):
        sigma = FINE * np.sqrt(-2 * np.log(gain)) / np.pi
        blurred = ndimage.gaussian_filter(scene[band], sigma, mode="nearest")
        measured[band] = blurred[FINE // 2 :: FINE, FINE // 2 :: FINE]
    noise = np.sqrt(0.0005**2 + 1e-6 * measured)
    stored = np.clip(np.rint((measured + noise * rng.standard_normal(measured.shape)) / SCALE), 1, 65535)
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stored[:, row + 3.7 * (SHAPE[1] - col) < 330] = 0
    return stored.astype(np.uint16)


def make() -> NDArray[np.uint16]:
    """The scene as stored, (10, 480, 512)."""
    rng = np.random.RandomState(SEED)  # its stream is frozen, that of newer generators is not
    return measure(rng, draw(rng))


def write(path: Path) -> None:
    """Write the sample as a GeoTIFF."""
    profile = {"driver": "GTiff", "dtype": "uint16", "count": len(BANDS), "height": SHAPE[0], "width": SHAPE[1]}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "band"}
    packed = {"compress": "deflate", "predictor": 2, "zlevel": 9}
    grid = {"crs": "EPSG:32632", "transform": from_origin(600000, 5340000, PIXEL, PIXEL), "nodata": 0}
    with rasterio.open(path, "w", **profile, **layout, **packed, **grid) as file:
        file.write(make())
        file.scales, file.offsets = (SCALE,) * len(BANDS), (0.0,) * len(BANDS)
        file.descriptions, file.units = BANDS, ("1",) * len(BANDS)
        file.update_tags(
            TITLE="Synthetic scene for the demonstration of sciddiff",
            SYNTHETIC="YES",
            DESCRIPTION="Computed by data/make_sample.py, never measured; the place does not look like this.",
            QUANTITY="surface reflectance",
        )
        for number, name in enumerate(NAMES, 1):
            file.update_tags(number, WAVELENGTH=name)


if __name__ == "__main__":
    here = Path(__file__).parent / "sentinel2_like_10m.tif"
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
