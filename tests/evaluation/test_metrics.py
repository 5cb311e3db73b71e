"""Metrics against closed forms, against values of an independent implementation, and with holes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.errors import InputError
from sciddiff.evaluation import metrics


def pair() -> tuple[np.ndarray, np.ndarray]:
    """The truth and a noisy result from which the golden values come."""
    rng = np.random.RandomState(7)
    truth = np.stack([ndimage.gaussian_filter(band, 2) for band in rng.uniform(100, 1500, (8, 128, 128))])
    truth = (truth - truth.min()) / (truth.max() - truth.min()) * 1500 + 200
    return truth, truth + rng.normal(0, 20, truth.shape)


def test_golden_values_of_an_independent_implementation():
    truth, result = pair()
    assert metrics.sam(result, truth) == pytest.approx(1.1117748601823392, rel=1e-9)
    assert metrics.ergas(result, truth, ratio=4) == pytest.approx(0.5432460435415206, rel=1e-9)


def test_psnr_pools_the_error_of_all_bands():
    truth = np.zeros((2, 4, 4))
    result = truth + np.array([0.1, 0.3])[:, None, None]
    assert metrics.psnr_bands(result, truth, data_range=1) == pytest.approx([20, 20 * math.log10(1 / 0.3)])
    assert metrics.psnr(result, truth, data_range=1) == pytest.approx(-10 * math.log10((0.01 + 0.09) / 2))
    assert metrics.psnr(truth, truth, data_range=1) == math.inf
    assert metrics.psnr(result, truth, data_range=10) == pytest.approx(metrics.psnr(result, truth, data_range=1) + 20)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.nan, np.inf, 1e30]))
def test_what_is_invalid_has_no_part_in_any_metric(seed: int, rubbish: float):
    rng = np.random.default_rng(seed)
    truth, result = rng.uniform(1, 2, (2, 3, 24, 40))
    valid = rng.random(truth.shape) > 0.02
    valid[:, :12, :12] = False
    spoilt = np.where(valid, result, rubbish), np.where(valid, truth, -rubbish)

    def figures(result: np.ndarray, truth: np.ndarray) -> list[float]:
        return [
            metrics.rmse(result, truth, valid=valid),
            metrics.psnr(result, truth, data_range=1, valid=valid),
            *metrics.psnr_bands(result, truth, data_range=1, valid=valid),
            metrics.sam(result, truth, valid=valid),
            metrics.ergas(result, truth, ratio=2, valid=valid),
            *metrics.octave_difference(result, truth, valid=valid).ravel(),
        ]

    assert figures(*spoilt) == pytest.approx(figures(result, truth), rel=1e-9)


def test_sam_knows_only_directions_and_leaves_out_pixels_without_one():
    truth = np.array([[[1.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]])
    result = np.array([[[0.0, 3.0, 5.0]], [[2.0, 3.0, 5.0]]])
    assert metrics.sam(result, truth) == pytest.approx(45)  # of 90 and 0 degrees, the third has no truth
    assert math.isnan(metrics.sam(np.zeros((2, 2, 2)), np.ones((2, 2, 2))))


def test_what_cannot_be_compared_is_refused_with_the_reason():
    image = np.ones((1, 8, 8))
    with pytest.raises(InputError, match=r"\(1, 7, 8\)"):
        metrics.rmse(image, image[:, 1:])
    with pytest.raises(InputError, match="valid"):
        metrics.rmse(image, image, valid=np.zeros(image.shape, bool))
    with pytest.raises(InputError, match="data_range"):
        metrics.psnr(image, image + 1, data_range=0)
    with pytest.raises(InputError, match="too few"):
        metrics.octave_power(image[:, :2, :2])


def test_a_flat_truth_has_no_power_to_compare_with():
    truth = np.full((2, 32, 32), 0.3, "float32")
    truth[1] = np.random.default_rng(0).random((32, 32))
    difference = metrics.octave_difference(truth + 0.01 * truth[[1, 0]], truth)
    assert np.isnan(difference[0]).all()
    assert np.isfinite(difference[1]).all()


def test_white_noise_has_its_variance_as_density_at_every_frequency():
    noise = np.random.default_rng(3).normal(5, 2, (2, 192, 256))
    frequency, power = metrics.radial_spectrum(noise, bins=8)
    assert frequency == pytest.approx(np.arange(0.5, 8) / 16)
    assert power[:, 1:] == pytest.approx(np.full((2, 7), 4), rel=0.15)  # the first ring holds too few to tell
    assert metrics.octave_power(noise)[:, :2] == pytest.approx(np.full((2, 2), 10 * math.log10(4)), abs=0.2)


def test_a_wave_is_in_the_octave_of_its_wavelength():
    row, col = np.mgrid[:128, :192]
    bounds = metrics.octaves((128, 192))
    assert bounds[:2] == [(0.25, 0.5), (0.125, 0.25)]
    for octave, wavelength in enumerate([3, 6, 12, 24]):
        wave = np.sin(2 * np.pi * (0.6 * row + 0.8 * col) / wavelength)[None]
        power = metrics.octave_power(wave)[0]
        assert power.argmax() == octave
        assert power[octave] > np.delete(power, octave).max() + 15


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 10), st.floats(-1e3, 1e3))
def test_gain_moves_every_octave_alike_and_an_offset_none(gain: float, offset: float):
    truth = np.random.default_rng(0).normal(0, 1, (1, 64, 64)).cumsum(1).cumsum(2)
    difference = metrics.octave_difference(gain * truth + offset, truth)
    assert difference == pytest.approx(np.full(difference.shape, 20 * math.log10(gain)), abs=1e-6)


def test_the_edge_of_a_hole_does_not_pass_for_detail():
    """Nodata beside smooth scenery once read as 40 dB of fine detail."""
    row, col = np.mgrid[:128, :128]
    smooth = 10 + np.sin(row / 20) + np.cos(col / 25)
    valid = np.ones(smooth.shape, bool)
    valid[:50, 80:] = False
    whole = metrics.octave_power(smooth[None])[0]
    holed = metrics.octave_power(np.where(valid, smooth, 0)[None], valid=valid)[0]
    assert holed[0] < whole.max() - 60
