"""SSIM against scikit-image, and metrics of microscopy: what they must not see, and what they must."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import structural_similarity

from sciddiff.errors import InputError
from sciddiff.evaluation import micro, ssim

gains, offsets = st.floats(1e-3, 1e3), st.floats(-1e4, 1e4)


def pair(seed: int = 0, shape: tuple[int, ...] = (64, 72), noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = 100 + 50 * ndimage.gaussian_filter(rng.normal(0, 1, shape), 2) * 4
    return truth + rng.normal(0, noise * truth.std(), shape), truth


@pytest.mark.parametrize("shape", [(64, 72), (20, 24, 30)])
def test_ssim_is_that_of_scikit_image_in_two_and_three_dimensions(shape: tuple[int, ...]):
    result, truth = pair(shape=shape)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(result, truth, data_range=200, **options)
    assert ssim.ssim(result, truth, data_range=200) == pytest.approx(expected, rel=1e-12)


def test_ssim_of_a_scaled_image_needs_no_second_filtering():
    result, truth = pair()
    parts = ssim.similarity(ssim.local_statistics(result, truth), data_range=50, scale=0.7)
    assert (parts.luminance * parts.structure).mean() == pytest.approx(ssim.ssim(0.7 * result, truth, data_range=50))


def test_ssim_leaves_out_every_window_with_an_invalid_pixel():
    result, truth = pair()
    spoilt = result.copy()
    spoilt[:, 30] = np.nan
    sides = [ssim.local_statistics(result[:, part], truth[:, part]) for part in (slice(0, 30), slice(31, None))]
    values = np.concatenate([np.prod(ssim.similarity(side, data_range=200), 0) for side in sides])
    assert ssim.ssim(spoilt, truth, data_range=200) == pytest.approx(values.mean())
    assert math.isnan(ssim.ssim(result[:8], truth[:8], data_range=1))


def test_ms_ssim_of_flat_images_is_the_luminance_of_the_coarsest_scale():
    a, b, peak = 30.0, 50.0, 100.0
    c1 = (0.01 * peak) ** 2
    luminance = (2 * a * b + c1) / (a * a + b * b + c1)
    found = ssim.ms_ssim(np.full((192, 192), a), np.full((192, 192), b), data_range=peak)
    assert found == pytest.approx(luminance**0.1333, rel=1e-4)  # the published exponents sum to 1.0001
    found = ssim.ms_ssim(np.full((30, 30), a), np.full((30, 30), b), data_range=peak)
    assert found == pytest.approx(luminance ** (0.2856 / (0.0448 + 0.2856)))  # two scales fit


@settings(deadline=None, max_examples=25)
@given(gains, offsets, st.integers(0, 99))
def test_range_invariant_psnr_knows_neither_gain_nor_offset(gain: float, offset: float, seed: int):
    result, truth = pair(seed)
    expected = micro.range_invariant_psnr(result, truth)
    assert micro.range_invariant_psnr(gain * result + offset, truth) == pytest.approx(expected, abs=1e-5)
    assert micro.range_invariant_psnr(result, gain * truth + offset) == pytest.approx(expected, abs=1e-5)
    assert micro.range_invariant_psnr(gain * truth + offset, truth) > 100


def test_range_invariant_psnr_by_hand():
    truth = np.array([[0.0, 0, 4, 4]])
    result = truth + np.array([[1.0, -1, 1, -1]])  # the error is orthogonal to truth and mean: a = 16 / 20
    assert micro.range_invariant_psnr(result, truth) == pytest.approx(
        10 * math.log10(16 / (4 - 16 * 16 / (16 + 4) / 4))
    )
    assert math.isnan(micro.range_invariant_psnr(result, np.ones_like(truth)))
    assert micro.range_invariant_psnr(np.ones_like(truth), truth) == pytest.approx(10 * math.log10(16 / 4))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 63), max_size=4), st.integers(0, 99))
def test_moments_of_parts_sum_to_those_of_the_whole(cuts: list[int], seed: int):
    result, truth = pair(seed)
    result[:3, :5] = np.nan
    total = micro.Moments()
    for rows in np.split(np.arange(64), sorted(cuts)):
        total = total + micro.Moments.of(result[rows], truth[rows])
    assert total.psnr == pytest.approx(micro.range_invariant_psnr(result, truth), rel=1e-9)


@settings(deadline=None, max_examples=15)
@given(gains, offsets)
def test_micro_ssim_knows_neither_gain_nor_offset_and_is_one_for_equal_images(gain: float, offset: float):
    images = [pair(seed, noise=0.5) for seed in (1, 2)]
    fit = micro.fit_micro(images)
    moved = micro.fit_micro((gain * result + offset, truth) for result, truth in images)
    assert moved.scale * gain == pytest.approx(fit.scale, rel=1e-4)
    for score in (micro.micro_ssim, micro.micro_ms3im):
        for result, truth in images:
            expected = score(result, truth, fit=fit)
            assert 0 < expected < 1
            assert score(gain * result + offset, truth, fit=moved) == pytest.approx(expected, abs=1e-5)
    same = micro.fit_micro([(gain * truth + offset, truth) for _, truth in images])
    assert [micro.micro_ssim(gain * t + offset, t, fit=same) for _, t in images] == pytest.approx([1, 1], abs=1e-6)


def test_micro_ssim_finds_the_scale_that_no_other_beats():
    result, truth = pair(noise=1.0)
    fit = micro.fit_micro([(result, truth)])
    best = micro.micro_ssim(result, truth, fit=fit)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2):
        other = micro.MicroFit(fit.offset_result, fit.offset_truth, fit.peak, fit.data_range, factor * fit.scale)
        assert micro.micro_ssim(result, truth, fit=other) < best


def test_a_large_set_is_fitted_on_a_share_of_its_pixels(monkeypatch: pytest.MonkeyPatch):
    images = [pair(seed) for seed in range(4)]
    whole = micro.fit_micro(images)
    monkeypatch.setattr(micro, "KEPT", 3000)
    part = micro.fit_micro(images)
    assert part.scale != whole.scale
    assert part.scale == pytest.approx(whole.scale, rel=0.02)
    assert (part.peak + part.offset_truth) == pytest.approx(whole.peak + whole.offset_truth)  # the maximum is exact


def test_micro_ssim_tells_what_it_cannot_fit():
    with pytest.raises(InputError, match="11 valid pixels"):
        micro.fit_micro([(np.ones((8, 8)), np.ones((8, 8)))])
    with pytest.raises(InputError, match="flat"):
        micro.fit_micro([(pair()[0], np.ones((64, 72)))])
    with pytest.raises(InputError, match="one shape"):
        micro.fit_micro([(np.ones((8, 8)), np.ones((8, 9)))])
