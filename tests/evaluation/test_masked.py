"""Scores by class by hand, and seams that show or do not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.errors import InputError
from sciddiff.evaluation import masked
from sciddiff.evaluation.metrics import psnr, sam


def thirds() -> dict[str, np.ndarray]:
    part = np.broadcast_to(np.arange(9) // 3, (6, 9))
    return {"cloud": part == 0, "shadow": part == 1, "clear": part == 2}


def test_each_class_is_scored_by_itself():
    classes, truth = thirds(), np.ones((2, 6, 9))
    result = truth + 0.1 * classes["cloud"] - 0.01 * classes["shadow"]
    scores = masked.masked_scores(result, truth, classes=classes, data_range=1, observed=truth)
    assert list(scores.classes) == ["cloud", "shadow", "clear"]
    assert [table.pixels for table in scores.classes.values()] == [18, 18, 18]
    assert [table.psnr for table in scores.classes.values()] == pytest.approx([20, 40, math.inf])
    assert [table.mae for table in scores.classes.values()] == pytest.approx([0.1, 0.01, 0])
    assert [table.sam for table in scores.classes.values()] == pytest.approx([0, 0, 0], abs=1e-5)
    assert scores.clear_identity == 0


def test_scores_are_those_of_the_metrics_on_the_class():
    rng = np.random.default_rng(0)
    truth, result = rng.uniform(1, 2, (2, 3, 6, 9))
    for name, mask in thirds().items():
        table = masked.masked_scores(result, truth, classes=thirds(), data_range=2).classes[name]
        assert table.psnr == psnr(result, truth, data_range=2, valid=mask)
        assert table.sam == sam(result, truth, valid=mask)
        assert table.mae == pytest.approx(np.abs(result - truth)[:, mask].mean())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.nan, np.inf]))
def test_what_is_not_finite_or_of_another_class_has_no_part(seed: int, rubbish: float):
    rng = np.random.default_rng(seed)
    truth, result = rng.uniform(1, 2, (2, 3, 6, 9))
    classes = thirds()
    holes = rng.random((6, 9)) < 0.2
    less = {name: mask & ~holes for name, mask in classes.items()}
    spoilt = truth.copy()
    spoilt[1, holes] = rubbish
    for name in classes:
        expected = masked.masked_scores(result, truth, classes=less, data_range=1).classes[name]
        other = np.where(classes[name], result, rubbish)
        assert masked.masked_scores(other, spoilt, classes=classes, data_range=1).classes[name] == expected


def test_an_empty_class_has_no_scores_and_one_changed_pixel_is_found():
    truth = np.zeros((1, 6, 9))
    classes = {**thirds(), "snow": np.zeros((6, 9), bool)}
    observed = truth + 5.0 * classes["cloud"]
    result = truth.copy()
    result[0, 5, 8] = -0.25
    scores = masked.masked_scores(result, truth, classes=classes, data_range=1, observed=observed)
    assert scores.clear_identity == 0.25
    assert scores.classes["snow"].pixels == 0
    assert math.isnan(scores.classes["snow"].psnr)
    assert math.isnan(masked.masked_scores(result, truth, classes=classes, data_range=1).clear_identity)
    result[0, 0, 8] = np.nan
    assert masked.clear_identity(result, observed, clear=classes["clear"]) == math.inf
    assert math.isnan(masked.clear_identity(result, observed, clear=classes["snow"]))


def disc(side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2
    return x**2 + y**2 < (side / 4) ** 2


def test_a_plane_has_no_seam_whatever_the_mask():
    y, x = np.mgrid[:64, :64].astype(float)
    plane = np.stack([3 * x - y, 0.5 * y + 7])
    assert masked.seam_index(plane, disc()) == pytest.approx(1)
    assert masked.seam_index(plane, np.random.default_rng(1).random((64, 64)) < 0.3) == pytest.approx(1)


def test_texture_has_no_seam_and_a_step_has():
    texture = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(3, 64, 64)), (0, 1, 1))
    plain = masked.seam_index(texture, disc())
    assert plain == pytest.approx(1, abs=0.1)
    assert masked.seam_index(texture * 100 - 7, disc()) == pytest.approx(plain)
    assert masked.seam_index(texture + disc(), disc()) > 3


def test_a_seam_by_hand():
    image = np.array([[[0.0, 1, 2, 8, 11, 14]]])
    mask = np.array([[False, False, False, True, True, True]])
    assert masked.seam_index(image, mask) == 6 / ((1 + 3) / 2)
    assert masked.seam_index(image, mask, valid=np.array([[True, True, True, True, False, False]])) == 6
    assert masked.seam_index(np.where(mask, 1.0, 0)[None], mask) == math.inf


def test_no_seam_without_a_boundary_or_in_a_flat_image():
    assert math.isnan(masked.seam_index(np.ones((2, 64, 64)), disc()))
    texture = np.random.default_rng(3).normal(size=(1, 64, 64))
    assert math.isnan(masked.seam_index(texture, np.zeros((64, 64), bool)))
    assert math.isnan(masked.seam_index(texture, np.ones((64, 64), bool)))
    both = np.concatenate([texture, 0 * texture])
    assert masked.seam_index(both, disc()) == pytest.approx(masked.seam_index(texture, disc()))
    hole = texture.copy()
    hole[0, 30, 30] = np.nan
    assert math.isfinite(masked.seam_index(hole, disc()))


def test_what_does_not_fit_is_said():
    truth, classes = np.zeros((2, 6, 9)), thirds()
    with pytest.raises(InputError, match="cloud"):
        masked.masked_scores(truth, truth, classes={"cloud": np.zeros((6, 9))}, data_range=1)
    with pytest.raises(InputError, match="images"):
        masked.masked_scores(truth[:1], truth, classes=classes, data_range=1)
    with pytest.raises(InputError, match="no class 'clear'"):
        masked.masked_scores(truth, truth, classes={"cloud": classes["cloud"]}, data_range=1, observed=truth)
    with pytest.raises(InputError, match="mask"):
        masked.clear_identity(truth, truth, clear=disc())
    with pytest.raises(InputError, match="mask"):
        masked.seam_index(truth, disc())
