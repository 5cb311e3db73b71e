"""Composites by hand, and normalisation of dates against known lines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.baselines import compositing
from sciddiff.baselines.inpainting import smooth_fill
from sciddiff.errors import InputError

COMPOSITES = [compositing.median_composite, compositing.nearest_clear_date, compositing.best_of_dates]


def row(*values: float) -> np.ndarray:
    return np.array([[values]], float)


def dates(seed: int, count: int = 4, side: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One scene (c, h, w), its dates with gains and offsets of their own, and masks; one pixel is never clear."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=(3, side, side)), (0, 2, 2)) * 1000 + 800
    gains, offsets = rng.uniform(0.7, 1.3, (count, 3, 1, 1)), rng.uniform(-50, 50, (count, 3, 1, 1))
    gains[0], offsets[0] = 1, 0
    clear = rng.random((count, side, side)) > 0.3
    clear[:, 5, 5] = False
    clear[1] |= ~clear.any(0)
    clear[:, 5, 5] = False
    return truth, truth * gains + offsets, clear


def test_median_of_three_dates_by_hand():
    series = np.stack([row(1, 1, 1, 9), row(5, 4, 9, 9), row(3, 9, 9, 9)])
    clear = np.array([[[True, True, True, False]], [[True, True, False, False]], [[True, False, False, False]]])
    composite = compositing.median_composite(series, clear)
    np.testing.assert_allclose(composite, row(3, 2.5, 1, 1))  # the last: never clear, from its neighbour


def test_nearest_clear_date_by_hand():
    series = np.stack([row(10, 11, 12, 13), row(20, 21, 22, 23), row(30, 31, 32, 33)])
    clear = np.array([[[True, False, True, False]], [[True, False, False, False]], [[True, True, True, False]]])
    np.testing.assert_array_equal(compositing.nearest_clear_index(clear, target=1), [[1, 2, 0, -1]])
    np.testing.assert_array_equal(compositing.nearest_clear_index(clear, target=1, days=[0, 9, 10]), [[1, 2, 2, -1]])
    filled = compositing.nearest_clear_date(series, clear, target=1, days=[0, 9, 10])
    np.testing.assert_allclose(filled, row(20, 31, 32, 32))
    np.testing.assert_array_equal(compositing.nearest_clear_index(clear, target=-1), [[2, 2, 2, -1]])


def test_the_target_comes_first_among_dates_of_one_day():
    clear = np.ones((2, 1, 1), bool)
    assert compositing.nearest_clear_index(clear, target=1, days=[4, 4]) == 1


@pytest.mark.parametrize("composite", COMPOSITES, ids=lambda f: f.__name__)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), rubbish=st.sampled_from([np.nan, np.inf, -1e30]))
def test_what_stands_under_clouds_has_no_part(composite, seed: int, rubbish: float):
    _, series, clear = dates(seed)
    spoilt = np.where(clear[:, None], series, rubbish)
    result = composite(spoilt, clear)
    np.testing.assert_array_equal(result, composite(series, clear))
    assert np.isfinite(result).all()
    assert composite(spoilt.astype(np.float32), clear).dtype == np.float32


@pytest.mark.parametrize("composite", COMPOSITES[1:], ids=lambda f: f.__name__)
def test_clear_pixels_of_the_target_stay_bit_for_bit(composite):
    _, series, clear = dates(3)
    for target in range(len(series)):
        result = composite(series, clear, target=target)
        np.testing.assert_array_equal(result[:, clear[target]], series[target][:, clear[target]])


def test_normalised_dates_give_the_scene_back_and_the_membrane_the_rest():
    truth, series, clear = dates(4)
    result = compositing.best_of_dates(series, clear)
    ever = clear.any(0)
    np.testing.assert_allclose(result[:, ever], truth[:, ever], rtol=1e-9)
    assert np.abs(compositing.nearest_clear_date(series, clear)[:, ever] - truth[:, ever]).max() > 10
    np.testing.assert_allclose(result, smooth_fill(truth, ~ever), rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    gain=st.floats(0.2, 5),
    offset=st.floats(-100, 100),
    wild=st.floats(0, 0.2),
)
def test_the_line_is_found_whatever_a_fifth_of_the_pixels_says(seed: int, gain: float, offset: float, wild: float):
    rng = np.random.default_rng(seed)
    x = rng.normal(500, 100, 2000)
    y = gain * x + offset + rng.normal(0, 1, 2000)
    y[rng.random(2000) < wild] += rng.uniform(200, 2000)
    found = compositing.robust_line(x, y)
    assert found[0] == pytest.approx(gain, abs=2e-3)
    assert found[1] == pytest.approx(offset, abs=1)


def test_relative_normalise_is_exact_on_a_line_and_uses_clear_pixels_only():
    truth, series, _ = dates(5)
    clear = np.zeros(truth.shape[1:], bool)
    clear[:10] = True
    spoilt = np.where(clear, truth, 1e6)
    result = compositing.relative_normalise(series[1], spoilt, clear=clear)
    np.testing.assert_allclose(result, truth, rtol=1e-9)


def test_too_few_common_pixels_leave_the_date_as_it_is_and_a_flat_band_moves_by_an_offset():
    truth, series, clear = dates(6)
    few = np.zeros_like(clear[0])
    few.flat[: compositing.LEAST - 1] = True
    np.testing.assert_array_equal(compositing.relative_normalise(series[1], truth, clear=few), series[1])
    flat = np.full((1, 10, 10), 3.0)
    moved = compositing.relative_normalise(flat, flat + 2, clear=np.ones((10, 10), bool))
    np.testing.assert_allclose(moved, 5)


def test_what_cannot_be_composed_is_said():
    _, series, clear = dates(7)
    with pytest.raises(InputError, match="no pixel is clear"):
        compositing.median_composite(series, np.zeros_like(clear))
    with pytest.raises(InputError, match="not finite"):
        compositing.median_composite(np.where(clear[:, None], np.nan, series), clear)
    with pytest.raises(InputError, match="boolean"):
        compositing.best_of_dates(series, clear[0])
    with pytest.raises(InputError, match="floating"):
        compositing.median_composite(series.astype(int), clear)
    with pytest.raises(InputError, match="target 9"):
        compositing.nearest_clear_date(series, clear, target=9)
    with pytest.raises(InputError, match="days of shape"):
        compositing.nearest_clear_date(series, clear, days=[1, 2])
    with pytest.raises(InputError, match="expected"):
        compositing.relative_normalise(series[0], series[1][:2], clear=clear[0])
