"""Objects that were drawn are found, counted, measured and matched."""

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sciddiff.errors import InputError
from sciddiff.evaluation import morphology

PLACES = [(20, 20), (20, 70), (60, 45), (90, 90), (95, 20)]


def discs(places: list[tuple[int, int]], radius: float = 9) -> np.ndarray:
    row, col = np.mgrid[:120, :120]
    image = np.full((120, 120), 10.0)
    for y, x in places:
        image[np.hypot(row - y, col - x) <= radius] = 100
    return image + np.random.default_rng(0).normal(0, 3, image.shape)


def test_discs_are_found_with_their_size_and_shape():
    image = discs(PLACES)
    labels = morphology.segment(image)
    found = morphology.measure(labels, image).summary()
    assert found["objects"] == 5
    assert found["area"] == pytest.approx(math.pi * 81, rel=0.05)
    assert found["solidity"] > 0.95
    assert found["eccentricity"] < 0.3
    assert found["intensity"] == pytest.approx(100, rel=0.05)


def test_touching_discs_are_two_objects():
    labels = morphology.segment(discs([(40, 40), (40, 57)]))
    assert labels.max() == 2
    assert labels[40, 38] != labels[40, 59]


def test_lost_and_made_up_objects_count_against_a_result():
    truth, result = discs(PLACES), discs([*PLACES[:3], (45, 100)])
    found = morphology.compare_objects(result, truth)
    assert found["ap50"] == pytest.approx(3 / 6)  # three found, one made up, two missed
    assert (found["objects"], found["truth_objects"]) == (4, 5)
    assert found["iou"] > 0.95
    assert found["area_ratio"] == pytest.approx(1, abs=0.02)
    same = morphology.compare_objects(truth, truth)
    assert (same["ap50"], same["iou"]) == (1, 1)


def test_matching_by_hand():
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 0]])
    result = np.array([[0, 7, 7, 7, 0, 0, 5, 5]])  # overlaps of 3 / 4 and 1 / 3
    found = morphology.match(result, truth)
    assert found.pairs.tolist() == [[7, 1]]
    assert found.iou == pytest.approx([0.75])
    assert (found.found, found.made_up, found.missed) == (1, 1, 1)
    assert morphology.match(result, truth, iou=0.3).found == 2
    assert math.isnan(morphology.match(0 * result, 0 * truth).average_precision)
    assert morphology.match(0 * result, truth).average_precision == 0
    with pytest.raises(InputError, match="one shape"):
        morphology.match(result, truth[:, 1:])
    with pytest.raises(InputError, match="iou"):
        morphology.match(result, truth, iou=0)


def test_labels_of_ones_own_are_taken_as_they_are():
    labels = np.zeros((8, 8), np.int32)
    labels[:4, :4] = 3
    found = morphology.compare_objects(np.ones((8, 8)), np.ones((8, 8)), labels=labels, truth_labels=labels)
    assert (found["objects"], found["area"], found["ap50"]) == (1, 16, 1)


def test_volumes_have_objects_without_eccentricity_and_flat_images_none():
    axes = np.mgrid[:24, :32, :32]
    ball = sum((axis - place) ** 2 for axis, place in zip(axes, (12, 15, 15))) <= 36
    found = morphology.compare_objects(ball * 50.0, ball * 50.0)
    assert found["objects"] == 1
    assert found["area"] == pytest.approx(4 / 3 * math.pi * 216, rel=0.15)
    assert math.isnan(found["eccentricity"])
    assert not morphology.segment(np.ones((16, 16))).any()
    assert morphology.compare_objects(np.ones((16, 16)), np.full((16, 16), np.nan))["objects"] == 0


def test_nuclei_that_people_labelled_are_mostly_found(realdata: Path):
    image = tifffile.imread(realdata / "micro" / "dsb2018_nuclei_image.tif").astype(float)
    labels = tifffile.imread(realdata / "micro" / "dsb2018_nuclei_labels.tif")
    assert morphology.match(morphology.segment(image), labels).average_precision > 0.5
