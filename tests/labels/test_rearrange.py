"""New masks from given ones: what may not happen, and what stays as in the sources."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import sciddiff
from sciddiff.errors import InputError, OptionError
from sciddiff.labels import augmented, nuclei, rearranged
from sciddiff.labels.objects import objects_of
from sciddiff.labels.placing import OVERLAP, spacing_of


@pytest.fixture(scope="module")
def source() -> NDArray[np.uint32]:
    mask = nuclei((300, 300), np.random.default_rng(1), diameter=18, density=7e-4, touching=0.4)
    return np.where(mask > 0, mask * 5 + 3, 0).astype(np.uint32)


def in_one_piece(mask: NDArray[np.generic]) -> bool:
    boxes = ndimage.find_objects(mask.astype(np.int32))
    return all(ndimage.label(mask[box] == value)[1] == 1 for value, box in enumerate(boxes, start=1) if box)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), touching=st.floats(0, 1), side=st.integers(40, 200))
def test_every_object_is_whole_and_known(seed: int, touching: float, side: int) -> None:
    rng = np.random.default_rng(seed)
    first = nuclei((150, 150), rng, diameter=14, touching=touching)
    second = nuclei((120, 90), rng, diameter=20, touching=touching)
    layout = rearranged([first, second], rng, shape=(side, side + 7))
    assert layout.mask.shape == (side, side + 7)
    assert layout.mask.dtype == np.uint32
    present = np.unique(layout.mask[layout.mask > 0])
    assert np.array_equal(present, np.arange(1, len(layout.origin) + 1))
    assert in_one_piece(layout.mask)
    for (which, value), kind in zip(layout.origin, layout.classes, strict=True):
        assert value in (first, second)[which]
        assert kind == 1


def test_the_same_generator_gives_the_same_mask(source: NDArray[np.uint32]) -> None:
    results = [rearranged([source], np.random.default_rng(8), shape=(200, 220)) for _ in range(2)]
    assert np.array_equal(results[0].mask, results[1].mask)
    assert np.array_equal(results[0].origin, results[1].origin)
    assert np.array_equal(augmented(source, np.random.default_rng(8)), augmented(source, np.random.default_rng(8)))


def test_density_and_sizes_are_those_of_the_source(source: NDArray[np.uint32]) -> None:
    layout = rearranged([source], np.random.default_rng(3), shape=(600, 600))
    before, after = objects_of(source), objects_of(layout.mask)
    assert len(after.ids) / 600**2 == pytest.approx(len(before.ids) / 300**2, rel=0.4)
    areas = [np.sqrt(np.median(each.areas[each.whole])) for each in (before, after)]
    assert areas[1] == pytest.approx(areas[0], rel=0.08)


@pytest.mark.parametrize("touching", [0.0, 0.3, 0.8])
def test_as_many_have_neighbours_as_in_the_source(touching: float) -> None:
    mask = nuclei((500, 500), np.random.default_rng(4), diameter=16, density=8e-4, touching=touching)
    new = rearranged([mask], np.random.default_rng(5), shape=(500, 500)).mask
    near = [spacing_of(each, objects_of(each), reach=4).near for each in (mask, new)]
    assert near[1] == pytest.approx(near[0], abs=0.15)


def test_no_object_loses_more_than_the_rule_allows(source: NDArray[np.uint32]) -> None:
    layout = rearranged([source], np.random.default_rng(6), shape=(300, 300), scale=(1, 1), density=1.5e-3)
    before, after = objects_of(source), objects_of(layout.mask)
    was = dict(zip(before.ids.tolist(), before.areas.tolist(), strict=True))
    lost = [
        1 - area / was[int(value)]
        for area, whole, (_, value) in zip(after.areas, after.whole, layout.origin, strict=True)
        if whole
    ]
    assert max(lost) < OVERLAP + 0.1  # turning a small object costs or gives some pixels of its rim
    assert np.mean(np.array(lost) > 0.03) > 0.05


def test_objects_cut_by_the_border_are_left_out(source: NDArray[np.uint32]) -> None:
    layout = rearranged([source], np.random.default_rng(7), shape=(300, 300))
    found = objects_of(source)
    assert not set(layout.origin[:, 1]) & set(found.ids[~found.whole])
    few = np.zeros((20, 20), int)
    few[:8, :8] = 3
    assert rearranged([few], np.random.default_rng(7), shape=(60, 60)).mask.any()


@pytest.mark.parametrize(("rare", "wanted"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_rare_classes_come_more_often(source: NDArray[np.uint32], rare: float, wanted: float) -> None:
    ids = objects_of(source).ids.tolist()
    classes = {value: 2 if index % 10 == 0 else 9 for index, value in enumerate(ids)}
    layout = rearranged([source], np.random.default_rng(9), shape=(900, 900), classes=[classes], rare=rare)
    assert np.mean(layout.classes == 2) == pytest.approx(wanted, abs=0.06)
    assert all(classes[int(value)] == kind for (_, value), kind in zip(layout.origin, layout.classes, strict=True))


def test_augmented_moves_each_object_a_little(source: NDArray[np.uint32]) -> None:
    new = augmented(source, np.random.default_rng(10))
    before, after = objects_of(source), objects_of(new)
    assert np.array_equal(before.ids, after.ids)
    assert in_one_piece(new)
    border = np.isin(source, before.ids[~before.whole])
    assert np.array_equal(new[border], source[border])
    moved = np.abs(before.boxes - after.boxes).max(1)
    assert 0 < np.median(moved[before.whole]) < 8
    assert moved.max() < 15
    assert np.median(np.abs(after.areas / before.areas - 1)) < 0.15


def test_real_nuclei(realdata: Path) -> None:
    mask = np.asarray(sciddiff.open(realdata / "micro/dsb2018_nuclei_labels.tif"))[0].astype(int)
    layout = rearranged([mask], np.random.default_rng(11), shape=(512, 512))
    assert (layout.mask > 0).mean() == pytest.approx((mask > 0).mean(), rel=0.4)


def test_what_cannot_be_rearranged_is_refused(source: NDArray[np.uint32]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="no objects"):
        rearranged([np.zeros((9, 9), int)], rng, shape=(9, 9))
    with pytest.raises(InputError, match="no class"):
        rearranged([source], rng, shape=(9, 9), classes=[{}])
    with pytest.raises(InputError, match="one mapping each"):
        rearranged([source], rng, shape=(9, 9), classes=[])
    with pytest.raises(OptionError, match="rare"):
        rearranged([source], rng, shape=(9, 9), rare=2)
