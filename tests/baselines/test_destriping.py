"""Stripes of known gains and offsets, taken off again."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.baselines import destriping
from sciddiff.errors import InputError

METHODS = [destriping.moment_matching, destriping.wavelet_fft]
every = pytest.mark.parametrize("destripe", METHODS, ids=lambda f: f.__name__)


def alike(seed: int, h: int = 60, w: int = 48) -> np.ndarray:
    """An image (2, h, w) with the same distribution in every column."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(3, 100, (2, h))
    return np.stack([np.stack([rng.permutation(band) for _ in range(w)], 1) for band in values])


def land(seed: int, side: int = 128) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=(2, side, side)), (0, 5, 5)) * 2000 + 1000


def error(result: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((result - truth) ** 2)))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_gains_and_offsets_of_alike_columns_are_taken_off_up_to_one_of_each(seed: int):
    rng = np.random.default_rng(seed)
    scene = alike(seed % 100)
    gain, offset = rng.uniform(0.8, 1.2, (2, 1, 48)), rng.uniform(-50, 50, (2, 1, 48))
    result = destriping.moment_matching(gain * scene + offset, width=math.inf)
    one_gain = np.exp(np.log(gain).mean(2, keepdims=True))
    centre = np.median(scene, axis=1, keepdims=True)
    level = (gain * centre + offset).mean(2, keepdims=True)
    np.testing.assert_allclose(result, (scene - centre) * one_gain + level, rtol=1e-9, atol=1e-9)


def test_offsets_alone_leave_gains_and_limits_hold():
    scene = alike(1)
    offset = np.random.default_rng(2).uniform(-50, 50, 48)
    result = destriping.moment_matching(scene + offset, width=math.inf, gains=False)
    np.testing.assert_allclose(result, scene + offset.mean(), rtol=1e-12)
    gain = np.ones(48)
    gain[7] = 100
    bounded = destriping.moment_matching(scene * gain, width=math.inf, limit=1)
    np.testing.assert_allclose(np.ptp(bounded[:, :, 7], axis=1), 100 * np.ptp(scene[:, :, 7], axis=1), rtol=1e-9)


@every
@pytest.mark.parametrize("axis", ["columns", "rows"])
def test_stripes_on_land_are_reduced_along_either_axis(destripe, axis: str):
    scene = land(3)
    stripes = np.random.default_rng(4).normal(0, 200, 128)
    striped = scene + (stripes if axis == "columns" else stripes[:, None])
    assert error(destripe(striped, axis), scene) < 0.45 * error(striped, scene)
    across = destripe(striped, "rows" if axis == "columns" else "columns")
    assert error(across, scene) > 0.7 * error(striped, scene)


@every
def test_rows_are_columns_turned(destripe):
    image = land(5, side=50)[:, :40]
    missing = np.zeros((40, 50), bool)
    missing[5:9, 20:30] = True
    turned = destripe(image.swapaxes(1, 2), "rows", missing=missing.T).swapaxes(1, 2)
    np.testing.assert_allclose(turned, destripe(image, missing=missing), rtol=1e-9)


@every
def test_what_is_missing_has_no_part_and_is_handed_through(destripe):
    image = land(6, side=40)
    missing = np.zeros((40, 40), bool)
    missing[10:20, 5:30] = True
    missing[:, 33] = True
    spoilt = np.where(missing, np.nan, image)
    result = destripe(spoilt, missing=missing)
    np.testing.assert_array_equal(result[:, ~missing], destripe(image, missing=missing)[:, ~missing])
    np.testing.assert_array_equal(result[:, missing], spoilt[:, missing])
    assert np.isfinite(result[:, ~missing]).all()
    assert destripe(image.astype(np.float32)).dtype == np.float32


@every
def test_a_flat_image_stays_flat(destripe):
    flat = np.full((1, 33, 21), 0.3)
    np.testing.assert_allclose(destripe(flat), flat, rtol=1e-12)


def test_haar_is_orthonormal_and_turns_back():
    image = np.random.default_rng(7).normal(size=(3, 8, 6))
    parts = destriping.haar(image)
    assert sum((part**2).sum() for part in parts) == pytest.approx((image**2).sum())
    np.testing.assert_allclose(destriping.inverse_haar(*parts), image, atol=1e-14)
    across = destriping.haar(np.broadcast_to([1.0, -1.0], (1, 4, 2)).copy())
    np.testing.assert_allclose([np.abs(part).max() for part in across], [0, 2, 0, 0])


def test_constant_stripes_without_a_mean_vanish_exactly_and_slow_ones_by_the_notch():
    stripes = np.random.default_rng(8).normal(size=(1, 1, 32))
    stripes -= stripes.reshape(1, 1, 2, 16).mean(3).repeat(16, 2)
    image = np.broadcast_to(5 + stripes, (1, 64, 32)).copy()
    np.testing.assert_allclose(destriping.wavelet_fft(image, levels=4, shifts=1), 5, atol=1e-12)
    waves = np.broadcast_to([1.0, -1.0], (1, 64, 16, 2)).reshape(1, 64, 32)
    f = 2 / (2 * 32 * 2)  # the second cosine over 32 differences of rows two pixels apart
    wave = np.cos(math.pi * 2 * (np.arange(32) + 0.5) / 32).repeat(2)[:, None]
    left = destriping.wavelet_fft(waves * wave, levels=1, shifts=1, bandwidth=0.02)
    np.testing.assert_allclose(left, waves * wave * -math.expm1(-(f**2) / (2 * 0.02**2)), atol=1e-12)


def test_structure_across_the_stripes_is_kept():
    rows = np.random.default_rng(9).normal(size=(1, 64, 1)) * np.ones((1, 1, 64))
    np.testing.assert_allclose(destriping.wavelet_fft(rows), rows, atol=1e-12)


@every
def test_what_cannot_be_destriped_is_said(destripe):
    image = land(10, side=20)
    with pytest.raises(InputError, match="axis"):
        destripe(image, "diagonal")
    with pytest.raises(InputError, match="every pixel is missing"):
        destripe(image, missing=np.ones((20, 20), bool))
    option = {"width": 0} if destripe is destriping.moment_matching else {"bandwidth": 0}
    with pytest.raises(InputError, match="expected"):
        destripe(image, **option)
