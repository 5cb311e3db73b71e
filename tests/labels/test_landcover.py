"""Land cover by rules: spectra of known surfaces, patches, and real scenes."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import sciddiff
from sciddiff.errors import InputError
from sciddiff.labels import CLASSES, landcover
from sciddiff.labels.landcover import majority, sieved

SENTINEL2 = {"green": 1, "red": 2, "nir": 6, "swir": 8}
SPECTRA = {  # green, red, near and short-wave infrared
    "clear water": (0.05, 0.03, 0.02, 0.01),
    "silty water": (0.09, 0.11, 0.10, 0.02),
    "conifers": (0.04, 0.02, 0.25, 0.10),
    "meadow": (0.08, 0.05, 0.50, 0.22),
    "ploughed soil": (0.10, 0.14, 0.20, 0.28),
    "steppe": (0.10, 0.12, 0.20, 0.28),
    "scrub": (0.08, 0.09, 0.23, 0.24),
    "cloud": (0.50, 0.52, 0.55, 0.40),
    "snow": (0.80, 0.80, 0.75, 0.10),
    "nothing measured": (0.0, 0.0, 0.0, 0.0),
}


@pytest.mark.parametrize(
    ("surface", "wanted"),
    [
        ("clear water", "water"),
        ("silty water", "water"),
        ("conifers", "forest"),
        ("meadow", "grass"),
        ("ploughed soil", "bare"),
        ("steppe", "sparse"),
        ("scrub", "mixed"),
        ("cloud", "bright"),
        ("snow", "bright"),
        ("nothing measured", None),
    ],
)
def test_known_surfaces(surface: str, wanted: str | None) -> None:
    image = np.tile(np.float32(SPECTRA[surface])[:, None, None], (1, 6, 6))
    assert (landcover(image, green=0, red=1, nir=2, swir=3) == CLASSES.get(wanted or "", 0)).all()


def test_invalid_pixels_are_unlabelled_and_nothing_else_is() -> None:
    image = np.tile(np.float32(SPECTRA["meadow"])[:, None, None], (1, 20, 20))
    image[3, 4:7, 5] = np.nan
    image[:, 12:, 12:] = np.nan
    assert np.array_equal(landcover(image, green=0, red=1, nir=2, swir=3) == 0, np.isnan(image).any(0))


def test_lines_stay_and_single_pixels_go() -> None:
    labels = np.full((15, 15), 4, np.uint8)
    labels[3], labels[9, 9] = 1, 2
    cleaned = majority(labels)
    assert (cleaned[3] == 1).all()
    assert cleaned[9, 9] == 4


def test_small_patches_fall_to_the_nearest() -> None:
    labels = np.full((20, 20), 4, np.uint8)
    labels[:, 12:], labels[5:7, 15:17], labels[10:14, 2:5] = 1, 2, 3
    labels[0, 0] = 0
    cleaned = sieved(labels, smallest=9)
    assert (cleaned[5:7, 15:17] == 1).all()
    assert (cleaned[10:14, 2:5] == 3).all()
    assert cleaned[0, 0] == 0
    assert np.array_equal(sieved(labels[:2, :2], smallest=9), labels[:2, :2])


@pytest.mark.parametrize(("scale", "shape"), [(1e4, (4, 8, 8)), (1, (3, 8, 8)), (1, (4, 8))])
def test_what_is_no_reflectance_is_refused(scale: float, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        landcover(np.full(shape, 0.3 * scale, np.float32), green=0, red=1, nir=2, swir=3)


def reflectance(path: Path) -> NDArray[np.float32]:
    return np.asarray(sciddiff.open(path), np.float32) / 1000


def test_a_coast(realdata: Path) -> None:
    labels = landcover(reflectance(realdata / "rs/s2_l2_aberystwyth_20210527_10band_10m.tif"), **SENTINEL2)
    shares = np.bincount(labels.ravel(), minlength=8) / labels.size
    assert (labels[:600, :60] == CLASSES["water"]).mean() > 0.99  # Cardigan Bay
    assert 0.6 < shares[CLASSES["grass"]] < 0.75
    assert 0.1 < shares[CLASSES["forest"]] < 0.2
    assert (labels[:, :300] == CLASSES["bright"]).any()


def test_a_class_means_the_same_in_another_year(realdata: Path) -> None:
    folder = realdata / "rs/s2_timeseries_rufiji_t37mem"
    days = ("20160710", "20190610", "20190615", "20190620")
    scenes = [landcover(reflectance(folder / f"s2_{day}_10band_20m.tif"), **SENTINEL2) for day in days]
    for other in scenes[1:]:
        assert (scenes[0] == other).mean() > 0.9
        river = (scenes[0] == CLASSES["water"]), (other == CLASSES["water"])
        assert (river[0] & river[1]).sum() / (river[0] | river[1]).sum() > 0.75
