"""Maps of instances: closed forms, and every window equals the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.errors import InputError, OptionError
from sciddiff.labels import instance_maps, margin, signed_distance

FOREGROUND, DISTANCE, DOWN, ALONG = range(4)


def blobs(seed: int, shape: tuple[int, int], *, number: int, radius: float) -> NDArray[np.uint32]:
    """Touching discs: each pixel belongs to the nearest of some points, where that is near."""
    rng = np.random.default_rng(seed)
    points = np.zeros(shape, np.uint32)
    rows, columns = rng.integers(0, shape[0], number), rng.integers(0, shape[1], number)
    points[rows, columns] = rng.integers(1, 2**24, number)
    away, (i, j) = ndimage.distance_transform_edt(points == 0, return_indices=True)
    return np.where(away < radius, points[i, j], 0).astype(np.uint32)


def test_the_distance_across_a_bar() -> None:
    mask = np.zeros((9, 30), int)
    mask[:, 10:16] = 7
    distance = signed_distance(mask, reach=4) * 4
    wanted = [-4] * 6 + [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5] + [-4] * 10
    assert np.array_equal(distance, np.tile(np.float32(wanted), (9, 1)))


def test_objects_that_touch_are_parted() -> None:
    mask = np.zeros((9, 24), int)
    mask[:, 4:12], mask[:, 12:20] = 1, 2
    maps = instance_maps(mask, reach=16)
    half = [0.5, 1.5, 2.5, 3.5, 3.5, 2.5, 1.5, 0.5]
    assert np.allclose(maps[DISTANCE, 4, 4:20] * 16, half + half)
    assert np.array_equal(maps[ALONG, 4, 4:20], ([1] * 4 + [-1] * 4) * 2)
    assert not maps[DOWN].any()
    assert not maps[2:][:, mask == 0].any()


def test_a_disc_points_to_its_middle() -> None:
    down, along = np.mgrid[-20:21, -20:21].astype(float)
    away = np.hypot(down, along)
    maps = instance_maps((away <= 18).astype(int), reach=32)
    ring = (away > 6) & (away < 17)
    assert np.abs(maps[DISTANCE] * 32 - (18 - away))[away < 30].max() < 1
    turned = -(maps[DOWN] * down + maps[ALONG] * along)[ring] / away[ring]
    assert turned.min() > np.cos(np.radians(25))
    assert turned.mean() > np.cos(np.radians(8))
    assert np.allclose(np.hypot(maps[DOWN], maps[ALONG])[ring], 1)


def test_the_distance_is_that_of_the_euclidean_transform() -> None:
    mask = blobs(3, (90, 70), number=40, radius=8)
    other = np.stack(
        [ndimage.shift(mask, by, order=0, mode="nearest") != mask for by in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    )
    away = ndimage.distance_transform_edt(~(other.any(0) & (mask > 0)))
    wanted = np.clip(np.where(mask > 0, away + 0.5, 0.5 - away), -12, 12) / 12
    assert np.allclose(signed_distance(mask, reach=12), wanted, atol=1e-6)


def test_a_reach_beyond_short_integers() -> None:
    mask = np.zeros((3, 400), int)
    mask[:, :2] = 5
    assert signed_distance(mask, reach=300)[1, 250] * 300 == pytest.approx(-248.5)


@pytest.mark.parametrize("value", [0, 1, 2**24])
def test_the_border_is_no_boundary(value: int) -> None:
    maps = instance_maps(np.full((5, 7), value), reach=4)
    assert np.array_equal(maps[DISTANCE], np.full((5, 7), 1.0 if value else -1.0))
    assert not maps[2:].any()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    number=st.integers(0, 80),
    radius=st.floats(0.5, 20),
    reach=st.integers(1, 12),
    corner=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_a_window_equals_the_whole(
    seed: int, number: int, radius: float, reach: int, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    mask = blobs(seed, (64, 72), number=number, radius=radius)
    room = margin(reach)
    first = [max(at - room, 0) for at in corner]
    window = mask[first[0] : corner[0] + size[0] + room, first[1] : corner[1] + size[1] + room]
    inner = tuple(slice(at - start, at - start + each) for at, start, each in zip(corner, first, size, strict=True))
    core = tuple(slice(at, at + each) for at, each in zip(corner, size, strict=True))
    got = instance_maps(window, reach=reach)[(slice(None), *inner)]
    assert np.array_equal(got, instance_maps(mask, reach=reach)[(slice(None), *core)])


@pytest.mark.parametrize("mask", [np.zeros((4, 4)), np.zeros((2, 4, 4), int), np.full((4, 4), -1)])
def test_what_is_no_mask_is_refused(mask: NDArray[np.generic]) -> None:
    with pytest.raises(InputError):
        instance_maps(mask, reach=4)


def test_a_reach_of_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="reach of 0"):
        signed_distance(np.zeros((4, 4), int), reach=0)
