"""Calibration against closed forms of the Gaussian, and promises that hold for any data."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sciddiff.errors import InputError
from sciddiff.evaluation import calibration


def gaussian(factor: float = 1.0, n: int = 40000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, stated spread and truth; the true spread is `factor` times the stated one."""
    rng = np.random.default_rng(0)
    std = rng.uniform(0.5, 3, n)
    mean = rng.normal(0, 5, n)
    return mean, std, mean + factor * std * rng.normal(0, 1, n)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_error_follows_spread_by_the_factor_it_is_off_by(factor: float):
    found = calibration.spread_error(*gaussian(factor), bins=10)
    assert found.slope == pytest.approx(factor, rel=0.03)
    assert found.offset == pytest.approx(0, abs=0.06)
    assert found.ratio == pytest.approx(np.full(10, factor), rel=0.05)
    assert found.count.tolist() == [4000] * 10
    assert (np.diff(found.spread) > 0).all()


def test_noise_of_the_truth_itself_is_taken_off_the_error():
    mean, std, truth = gaussian()
    own = np.random.default_rng(3).uniform(0, 9, truth.shape)
    noisy = truth + np.sqrt(own) * np.random.default_rng(2).normal(0, 1, truth.shape)
    assert calibration.spread_error(mean, std, noisy, bins=10).ratio[0] > 2
    found = calibration.spread_error(mean, std, noisy, bins=10, variance=own)
    assert found.ratio == pytest.approx(np.ones(10), rel=0.12)
    told_too_much = calibration.spread_error(mean, std, noisy, bins=10, variance=np.full_like(own, 1e3))
    assert told_too_much.error.tolist() == [0] * 10
    with pytest.raises(InputError, match="expected one shape"):
        calibration.spread_error(mean, std, truth, variance=own[:3])


def test_one_spread_has_no_slope():
    mean, _, truth = gaussian()
    found = calibration.spread_error(mean, np.ones_like(mean), truth, bins=4)
    assert math.isnan(found.slope)
    with pytest.raises(InputError, match="fill 4 bins"):
        calibration.spread_error(mean[:3], mean[:3], mean[:3], bins=4)
    with pytest.raises(InputError, match="below zero"):
        calibration.spread_error(mean, -np.ones_like(mean), truth)


@pytest.mark.parametrize("k", [9, 19])
def test_central_intervals_of_few_samples_cover_what_they_say(k: int):
    rng = np.random.default_rng(1)
    samples, truth = rng.exponential(1, (k, 20000)), rng.exponential(1, 20000)
    levels = [1 - 2 * (j / (k + 1)) for j in (1, 2, 3)]
    assert calibration.coverage_curve(samples, truth, levels=levels) == pytest.approx(levels, abs=0.012)
    with pytest.raises(InputError, match="take 39 samples"):
        calibration.central_interval(samples, 0.95)


@pytest.mark.parametrize("y", [-1.0, 0.0, 2.5])
def test_crps_of_gaussian_samples_is_the_closed_form(y: float):
    mean, std = 0.3, 1.7
    z = (y - mean) / std
    expected = std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    samples = np.random.default_rng(2).normal(mean, std, (400, 500))
    assert calibration.crps(samples, np.full(500, y)) == pytest.approx(expected, rel=0.01)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(0, 999))
def test_crps_is_the_double_sum(k: int, seed: int):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 1, (k, 5, 6)), rng.normal(0, 1, (5, 6))
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (2 * k * (k - 1))
    assert calibration.crps(x, y) == pytest.approx((np.abs(x - y).mean(0) - pairs).mean())


def test_crps_does_not_depend_on_the_number_of_samples_and_leaves_out_holes():
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 1, 60000)
    scores = [calibration.crps(rng.normal(0, 1, (k, truth.size)), truth) for k in (2, 8)]
    assert scores == pytest.approx([1 / math.sqrt(math.pi)] * 2, rel=0.02)
    samples = rng.normal(0, 1, (4, 10))
    holed = samples.copy()
    holed[2, 3] = np.nan
    assert calibration.crps(holed, truth[:10]) == calibration.crps(np.delete(samples, 3, 1), np.delete(truth[:10], 3))
    with pytest.raises(InputError, match="2 or more"):
        calibration.crps(samples[:1], truth[:10])


def test_ranks_are_flat_where_calibrated_and_gather_at_the_ends_where_too_sure():
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 1, 30000)
    flat = calibration.rank_histogram(rng.normal(0, 1, (4, truth.size)), truth)
    assert flat == pytest.approx(np.full(5, 0.2), abs=0.01)
    sure = calibration.rank_histogram(rng.normal(0, 0.3, (4, truth.size)), truth)
    assert sure[0] > 0.3
    assert sure[4] > 0.3


def test_ties_share_the_ranks_that_they_could_have():
    samples = np.array([[0.0], [1.0], [1.0]])
    assert calibration.rank_histogram(samples, np.array([1.0])) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert calibration.rank_histogram(samples, np.array([5.0])) == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize("factor", [0.3, 3.0])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_conformal_scale_covers_new_pixels_however_wrong_the_spread(factor: float, level: float):
    mean, std, truth = gaussian(factor)
    half = truth.size // 2
    scale = calibration.conformal_scale(mean[:half], std[:half], truth[:half], level=level)
    assert scale == pytest.approx(factor * stats.norm.ppf((1 + level) / 2), rel=0.03)
    lower, upper = (mean + sign * scale * std for sign in (-1, 1))
    assert calibration.coverage(lower[half:], upper[half:], truth[half:]) == pytest.approx(level, abs=0.012)


@settings(deadline=None, max_examples=50)
@given(st.integers(10, 60), st.floats(0.05, 0.85), st.integers(0, 99))
def test_the_conformal_scale_is_the_promised_order_statistic(n: int, level: float, seed: int):
    rng = np.random.default_rng(seed)
    scores = rng.exponential(1, n)
    scale = calibration.conformal_scale(np.zeros(n), np.ones(n), scores, level=level)
    assert (scores <= scale).sum() == math.ceil((n + 1) * level)


def test_too_few_pixels_promise_nothing():
    with pytest.raises(InputError, match="take 9 or more"):
        calibration.conformal_scale(np.zeros(5), np.ones(5), np.ones(5), level=0.9)
    with pytest.raises(InputError, match="between 0 and 1"):
        calibration.conformal_scale(np.zeros(5), np.ones(5), np.ones(5), level=1.0)
    with pytest.raises(InputError, match="nothing to calibrate"):
        calibration.coverage(np.full(3, np.nan), np.ones(3), np.ones(3))


def test_of_one_scene_the_scale_is_the_conformal_one_and_scenes_count_alike():
    rng = np.random.default_rng(5)
    small, large = rng.exponential(1, 500), rng.exponential(2, 20_000)
    for level in (0.5, 0.9):
        single = calibration.conformal_scale(np.zeros(500), np.ones(500), small, level=level)
        assert calibration.scenes_scale([small], level=level) == single
    scale = calibration.scenes_scale([small, large], level=0.9)
    covered = [(each <= scale).mean() for each in (small, large)]
    assert np.mean(covered) == pytest.approx(0.9, abs=2e-3)
    assert covered[0] > 0.93  # pooled, the large scene would decide alone
    assert covered[1] < 0.87
    with pytest.raises(InputError, match="too few"):
        calibration.scenes_scale([small[:4], large[:4]], level=0.9)


def test_scores_are_errors_over_spreads_and_infinite_where_an_error_was_not_thought_of():
    scores = calibration.conformal_scores(np.zeros(4), np.array([2.0, 0, 0, np.nan]), np.array([-1.0, 1, 0, 1]))
    assert scores.tolist() == [0.5, np.inf, 0]
