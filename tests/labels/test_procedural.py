"""Nuclei and cells from numbers: they measure what was asked for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.errors import OptionError
from sciddiff.labels import cells, nuclei
from sciddiff.labels.objects import objects_of
from sciddiff.labels.placing import spacing_of
from sciddiff.labels.procedural import outline


@pytest.mark.parametrize("diameter", [10, 22, 40])
def test_sizes_and_cover(diameter: float) -> None:
    mask = nuclei((30 * diameter, 30 * diameter), np.random.default_rng(0), diameter=diameter, mitotic=0)
    found = objects_of(mask)
    sizes = np.sqrt(4 / math.pi * found.areas[found.whole])
    assert np.median(sizes) == pytest.approx(diameter, rel=0.06)
    assert np.log(sizes).std() == pytest.approx(0.14, abs=0.04)
    assert (mask > 0).mean() == pytest.approx(0.18, abs=0.05)


@pytest.mark.parametrize("touching", [0.0, 0.4, 0.9])
def test_clusters(touching: float) -> None:
    mask = nuclei((500, 500), np.random.default_rng(1), diameter=18, touching=touching)
    assert spacing_of(mask, objects_of(mask), reach=1.5).near == pytest.approx(touching, abs=0.15)


def test_metaphase_plates_are_small_and_long() -> None:
    size = (600, 600)
    usual, plates = (
        objects_of(nuclei(size, np.random.default_rng(2), diameter=24, mitotic=each)) for each in (0.0, 1.0)
    )
    assert np.median(plates.areas) == pytest.approx(0.45 * np.median(usual.areas), rel=0.15)


def test_the_outline_has_the_area_and_the_axes() -> None:
    rng = np.random.default_rng(3)
    shape = outline(rng, diameter=60, ratio=2.0, roughness=0)
    assert shape.sum() == pytest.approx(math.pi / 4 * 60**2, rel=0.01)
    spread = np.linalg.eigvalsh(np.cov(np.stack(np.nonzero(shape))))
    assert math.sqrt(spread[1] / spread[0]) == pytest.approx(2, rel=0.02)
    rough = [outline(rng, diameter=60, ratio=1.0, roughness=0.08).sum() for _ in range(40)]
    assert np.mean(rough) == pytest.approx(math.pi / 4 * 60**2, rel=0.03)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), diameter=st.floats(8, 24), confluence=st.floats(0.2, 1))
def test_each_cell_holds_its_nucleus_and_nothing_else(seed: int, diameter: float, confluence: float) -> None:
    inner, outer = cells((160, 180), np.random.default_rng(seed), diameter=diameter, confluence=confluence)
    assert np.array_equal(outer[inner > 0], inner[inner > 0])
    ids = np.unique(inner)
    assert np.array_equal(ids, np.unique(outer))
    assert np.array_equal(ids, np.arange(len(ids)))
    for value, box in enumerate(ndimage.find_objects(outer.astype(np.int32)), start=1):
        _, count = ndimage.label(outer[box] == value)
        assert count == 1


def test_confluence_leaves_free_ground() -> None:
    covers = [
        (cells((600, 600), np.random.default_rng(4), diameter=14, confluence=each)[1] > 0).mean() for each in (0.4, 1)
    ]
    assert 0.2 < covers[0] < 0.55
    assert 0.7 < covers[1] < 1


def test_the_same_generator_gives_the_same_masks() -> None:
    first, second = (cells((200, 200), np.random.default_rng(6), diameter=16) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_cannot_be_drawn_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(OptionError, match="2 pixels"):
        nuclei((50, 50), rng, diameter=2)
    with pytest.raises(OptionError, match="shares"):
        nuclei((50, 50), rng, diameter=9, touching=1.5)
    with pytest.raises(OptionError, match="confluence"):
        cells((50, 50), rng, diameter=9, confluence=0)
