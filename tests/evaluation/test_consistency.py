"""The residual in units of a camera's noise."""

import numpy as np
import pytest

from sciddiff.errors import InputError
from sciddiff.evaluation import consistency as c

GAIN, OFFSET, READ = 0.46, 100.0, 1.6
LAW = {"gain": GAIN, "variance": GAIN**2 * READ**2 - GAIN * OFFSET}


def camera(electrons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a camera measures, and what it is expected to, in its numbers."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(electrons) + rng.normal(0, READ, electrons.shape)
    return GAIN * counts + OFFSET, GAIN * electrons + OFFSET


def test_the_right_result_has_a_chi_square_of_one_at_every_intensity():
    electrons = np.tile(np.array([2.0, 20, 200]), (200, 100))
    assert LAW["gain"] * (GAIN * 200 + OFFSET) + LAW["variance"] == pytest.approx(42.86, abs=0.01)
    measured, expected = camera(electrons)
    found = c.consistency(measured, expected, **LAW)
    assert found.chi_square == pytest.approx(1, abs=0.03)
    assert found.mean == pytest.approx(0, abs=0.02)
    assert found.count == electrons.size
    for level in (2.0, 20, 200):
        part = electrons == level
        assert c.consistency(measured[part], expected[part], **LAW).chi_square == pytest.approx(1, abs=0.05)


def test_a_wrong_gain_of_the_result_shows_in_mean_and_chi_square():
    measured, expected = camera(np.full((64, 64), 100.0))
    found = c.consistency(measured, OFFSET + 0.8 * (expected - OFFSET), **LAW)
    assert found.mean > 1.5
    assert found.chi_square > 3


def test_the_map_names_the_region_that_is_made_up():
    measured, expected = camera(np.full((70, 64), 50.0))
    expected[32:48, 16:32] *= 1.05
    expected[0:16, 0:16] = np.nan
    residual = c.whitened(measured, expected, **LAW)
    values, count = c.chi_square_map(residual, block=16)
    assert values.shape == (5, 4)
    assert count[4].tolist() == [6 * 16] * 4
    assert count[0, 0] == 0
    assert np.isnan(values[0, 0])
    limit = c.chi_square_limit(count, level=1 - 0.01 / 20)
    assert np.argwhere(values > limit).tolist() == [[2, 1]]
    whole = np.nansum(values * count) / count.sum()
    assert whole == pytest.approx(c.consistency(measured, expected, **LAW).chi_square)
    assert c.chi_square_map(np.stack([residual, residual]), block=16)[0].shape == (2, 5, 4)


def test_the_limit_is_that_of_chi_square():
    assert c.chi_square_limit(1, level=0.95) == pytest.approx(3.841, abs=1e-3)  # tables of chi-square
    assert c.chi_square_limit(100, level=0.95) == pytest.approx(1.24342, abs=1e-4)


def test_a_noise_law_without_noise_is_refused():
    with pytest.raises(InputError, match="variance of -1"):
        c.whitened(np.ones((2, 2)), np.ones((2, 2)), gain=1, variance=-2)
    with pytest.raises(InputError, match="one shape"):
        c.whitened(np.ones((2, 2)), np.ones((2, 3)), gain=1, variance=1)
    with pytest.raises(InputError, match="no pixel"):
        c.consistency(np.full((2, 2), np.nan), np.ones((2, 2)), gain=1, variance=1)
