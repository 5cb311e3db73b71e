"""Landscapes: the shares asked for, and forms that land has."""

import numpy as np
import pytest
from scipy import ndimage

from sciddiff.errors import OptionError
from sciddiff.labels import CLASSES, landscape
from sciddiff.labels.noise import fractal
from sciddiff.labels.parcels import borders, parcels

TEMPERATE = {"water": 0.08, "bare": 0.08, "sparse": 0.05, "mixed": 0.09, "grass": 0.45, "forest": 0.24, "bright": 0.01}
DRY = {"water": 0.03, "bare": 0.15, "sparse": 0.45, "mixed": 0.33, "forest": 0.04}


@pytest.mark.parametrize("classes", [TEMPERATE, DRY, {"forest": 3, "water": 1}, {"grass": 1}])
@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_met(classes: dict[str, float], seed: int) -> None:
    labels = landscape((300, 280), np.random.default_rng(seed), classes=classes, gsd=10)
    assert labels.shape == (300, 280)
    assert labels.dtype == np.uint8
    for name, value in CLASSES.items():
        wanted = classes.get(name, 0) / sum(classes.values())
        assert (labels == value).mean() == pytest.approx(wanted, abs=0.03)
        assert wanted or not (labels == value).any()


@pytest.mark.parametrize("gsd", [0.5, 3, 30, 200])
def test_every_pixel_size_gives_a_landscape(gsd: float) -> None:
    labels = landscape((90, 70), np.random.default_rng(2), classes=TEMPERATE, gsd=gsd)
    assert labels.min() > 0


def test_water_lies_in_large_patches_and_reaches_across() -> None:
    water = landscape((400, 400), np.random.default_rng(3), classes=TEMPERATE, gsd=10) == CLASSES["water"]
    patches, count = ndimage.label(water, np.ones((3, 3)))
    boxes = ndimage.find_objects(patches)
    assert max(box[axis].stop - box[axis].start for box in boxes for axis in (0, 1)) == 400
    assert np.sort(np.bincount(patches.ravel())[1:])[-5:].sum() > 0.9 * water.sum()
    assert count < 60


def test_the_same_generator_gives_the_same_landscape() -> None:
    first, second = (landscape((90, 90), np.random.default_rng(4), classes=DRY, gsd=20) for _ in range(2))
    assert np.array_equal(first, second)


def test_parcels_lie_in_districts_and_have_their_area() -> None:
    land = parcels((500, 500), np.random.default_rng(5), gsd=10)
    pairs = np.unique(np.stack([land.parcel.ravel(), land.district.ravel()]), axis=1)
    assert np.array_equal(pairs[0], np.arange(int(land.parcel.max()) + 1))
    hectares = np.bincount(land.parcel.ravel()) / 100
    heavy = np.sort(hectares)[np.searchsorted(np.cumsum(np.sort(hectares)), hectares.sum() / 2)]
    assert 1.5 < heavy < 8
    assert not borders(land.parcel, np.random.default_rng(0), share=0).any()
    every = borders(land.parcel, np.random.default_rng(0), share=1)
    some = borders(land.parcel, np.random.default_rng(0), share=0.4)
    assert 0.3 < some.sum() / every.sum() < 0.5


@pytest.mark.parametrize("beta", [2.0, 3.2])
def test_the_spectrum_of_a_fractal_falls_as_asked(beta: float) -> None:
    fields = [fractal((256, 256), np.random.default_rng(seed), beta=beta, largest=256) for seed in range(20)]
    window = np.hanning(256)[:, None] * np.hanning(256)
    power = np.mean([np.abs(np.fft.fft2(field * window)) ** 2 for field in fields], 0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    octaves = [power[(frequency > low) & (frequency <= 2 * low)].mean() for low in (1 / 64, 1 / 8)]
    assert np.log2(octaves[0] / octaves[1]) / 3 == pytest.approx(beta, abs=0.15)
    assert fields[0].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("classes", "gsd"), [({"sea": 1.0}, 10), ({"water": -0.1, "grass": 1}, 10), ({"grass": 0}, 10), ({"grass": 1}, 0)]
)
def test_what_cannot_be_drawn_is_refused(classes: dict[str, float], gsd: float) -> None:
    with pytest.raises(OptionError):
        landscape((50, 50), np.random.default_rng(0), classes=classes, gsd=gsd)
