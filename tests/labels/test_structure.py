"""Instances come back from their distances."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import sciddiff
from sciddiff.errors import InputError, OptionError
from sciddiff.labels import from_distance, nuclei, to_distance


def kept(mask: NDArray[np.generic], *, reach: int) -> float:
    """Share of the objects that come back with an intersection over union of 0.8 or more."""
    truth = np.searchsorted(np.unique(np.append(0, mask)), mask)
    found = from_distance(to_distance(mask, reach=reach), reach=reach, smallest=8)
    table = np.zeros((int(found.max()) + 1, int(truth.max()) + 1))
    np.add.at(table, (found, truth), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    return float(((table / np.maximum(union, 1))[1:, 1:].max(0) >= 0.8).mean())


@pytest.mark.parametrize("reach", [8, 16])
def test_annotated_nuclei_come_back(realdata: Path, reach: int) -> None:
    mask = np.asarray(sciddiff.open(realdata / "micro/dsb2018_nuclei_labels.tif"))[0].astype(int)
    assert kept(mask, reach=reach) >= 0.95


@pytest.mark.parametrize("diameter", [12, 26])
def test_nuclei_that_touch_come_back(diameter: float) -> None:
    mask = nuclei((400, 400), np.random.default_rng(5), diameter=diameter, touching=0.6)
    assert kept(mask, reach=16) >= 0.95


def test_small_objects_go_and_ids_have_no_gaps() -> None:
    mask = np.zeros((40, 60), int)
    mask[5:15, 5:15], mask[20:22, 30:32], mask[25:38, 40:55] = 900, 7, 3
    found = from_distance(to_distance(mask, reach=8), reach=8, smallest=20)
    assert set(np.unique(found)) == {0, 1, 2}
    assert not found[20:22, 30:32].any()


def test_background_alone_has_no_objects() -> None:
    assert not from_distance(np.full((9, 9), -1.0), reach=4, smallest=1).any()


@pytest.mark.parametrize("distance", [np.zeros((2, 9, 9)), np.full((9, 9), np.nan)])
def test_what_is_no_distance_is_refused(distance: NDArray[np.float64]) -> None:
    with pytest.raises(InputError):
        from_distance(distance, reach=4, smallest=1)


def test_a_reach_of_nothing_is_refused() -> None:
    with pytest.raises(OptionError):
        from_distance(np.zeros((9, 9)), reach=0, smallest=1)
