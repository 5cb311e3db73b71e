"""Nuclei by rules: discs whose labels are known, and an annotated image."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import sciddiff
from sciddiff.errors import InputError, OptionError
from sciddiff.labels import segmented_nuclei, typical_diameter

CENTRES = [(30, 35), (32, 100), (90, 40), (95, 110), (140, 75), (150, 150)]


def discs(*, diameter: float, centres: list[tuple[int, int]] = CENTRES, side: int = 180) -> NDArray[np.uint8]:
    """True labels: 1, 2, ... at the centres; a later disc lies upon an earlier one."""
    down, along = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint8)
    for value, (row, column) in enumerate(centres, start=1):
        labels[np.hypot(down - row, along - column) <= diameter / 2] = value
    return labels


def seen(labels: NDArray[np.uint8], *, blur: float = 1.5, texture: float = 0.15) -> NDArray[np.float64]:
    """What a camera shows of them: a slope of background, texture, blur and noise."""
    rng = np.random.default_rng(2)
    grain = ndimage.gaussian_filter(rng.normal(size=labels.shape), 2)
    inside = (labels > 0) * (1 + texture * grain / grain.std())
    slope = np.linspace(80, 160, labels.shape[1])
    return rng.poisson(ndimage.gaussian_filter(600 * inside, blur) + slope).astype(float)


def overlaps(result: NDArray[np.generic], truth: NDArray[np.generic]) -> NDArray[np.float64]:
    """Intersection over union of each object with each true one."""
    table = np.zeros((int(result.max()) + 1, int(truth.max()) + 1))
    np.add.at(table, (result.astype(int), truth.astype(int)), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    return (table / np.maximum(union, 1))[1:, 1:]


@pytest.mark.parametrize("diameter", [10, 22, 34])
def test_discs_are_found_and_measured(diameter: float) -> None:
    truth = discs(diameter=diameter)
    image = seen(truth)
    assert typical_diameter(image) == pytest.approx(diameter, rel=0.15)
    found = segmented_nuclei(image)
    assert found.dtype == np.uint32
    assert found.max() == len(CENTRES)
    assert overlaps(found, truth).max(0).min() > 0.85


def test_touching_nuclei_are_split() -> None:
    truth = discs(diameter=24, centres=[(60, 50), (60, 72), (110, 90), (128, 104), (110, 118)])
    assert overlaps(segmented_nuclei(seen(truth), diameter=24), truth).max(0).min() > 0.75


def test_a_long_nucleus_with_texture_is_one() -> None:
    down, along = np.mgrid[:120, :120] - 60
    truth = ((down / 12) ** 2 + (along / 22) ** 2 <= 1).astype(np.uint8)
    assert segmented_nuclei(seen(truth, texture=0.15), diameter=30).max() == 1


def test_gain_and_offset_do_not_matter() -> None:
    image = seen(discs(diameter=22))
    assert np.array_equal(segmented_nuclei(image, diameter=22) > 0, segmented_nuclei(4 * image + 512, diameter=22) > 0)


def test_annotated_nuclei(realdata: Path) -> None:
    image, truth = (
        np.asarray(sciddiff.open(realdata / f"micro/dsb2018_nuclei_{name}.tif"))[0] for name in ("image", "labels")
    )
    found = segmented_nuclei(image)
    best = overlaps(found, np.searchsorted(np.unique(truth), truth))
    hits = best[best > 0.5]
    assert 2 * len(hits) / sum(best.shape) > 0.85
    assert hits.mean() > 0.8
    assert ((found > 0) & (truth > 0)).sum() / ((found > 0) | (truth > 0)).sum() > 0.84


@pytest.mark.parametrize("image", [np.zeros((3, 32, 32)), np.full((32, 32), np.nan), np.zeros((64, 64))])
def test_what_shows_no_nuclei_is_refused(image: NDArray[np.float64]) -> None:
    with pytest.raises(InputError):
        segmented_nuclei(image)


def test_nuclei_without_a_shape_are_refused() -> None:
    with pytest.raises(OptionError, match="2 pixels"):
        segmented_nuclei(seen(discs(diameter=10)), diameter=2)
