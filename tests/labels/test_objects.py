"""Objects of masks: found in strips, turned, and kept in one piece."""

import math

import numpy as np
import pytest

from sciddiff.labels import objects
from sciddiff.labels.objects import cropped, largest_part, objects_of, transformed


def test_objects_across_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "STRIP", 7)
    mask = np.zeros((30, 20), np.uint32)
    mask[3:12, 4:9], mask[20:30, 15:18], mask[16, 1] = 2**24, 5, 77
    found = objects_of(mask)
    assert found.ids.tolist() == [5, 77, 2**24]
    assert found.boxes.tolist() == [[20, 15, 30, 18], [16, 1, 17, 2], [3, 4, 12, 9]]
    assert found.areas.tolist() == [30, 1, 45]
    assert found.whole.tolist() == [False, True, True]
    assert found.cut(mask, 2).all()


def test_an_empty_mask_has_no_objects() -> None:
    assert len(objects_of(np.zeros((9, 9), int)).ids) == 0


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.3, 3.0])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
def test_area_follows_the_scale_and_not_the_turn(turn: float, scale: float) -> None:
    down, along = np.mgrid[-10:11, -16:17]
    shape = (down / 9) ** 2 + (along / 15) ** 2 <= 1
    result = transformed(shape, turn=turn, scale=scale, flip=False)
    assert result.sum() == pytest.approx(shape.sum() * scale**2, rel=0.05)
    assert result.any(0).all()
    assert result.any(1).all()


def test_a_quarter_turn_and_a_mirror_are_exact() -> None:
    shape = np.zeros((12, 8), bool)
    shape[2:, :4], shape[9:] = True, True
    assert np.array_equal(transformed(shape, turn=0, scale=1, flip=True), cropped(shape)[:, ::-1])
    turned = transformed(shape, turn=math.pi / 2, scale=1, flip=False)
    assert any(np.array_equal(turned, np.rot90(cropped(shape), k)) for k in (1, 3))


def test_the_largest_part_stays() -> None:
    shape = np.zeros((9, 20), bool)
    shape[2:8, 2:6], shape[1:8, 9:18] = True, True
    assert np.array_equal(np.flatnonzero(largest_part(shape).any(0)), np.arange(9, 18))
