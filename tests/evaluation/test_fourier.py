"""Ring correlation against closed forms, known cut-offs and each other; decorrelation on band-limited images."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciddiff.errors import InputError
from sciddiff.evaluation import fourier, metrics
from sciddiff.evaluation.decorrelation import decorrelation


def band_limited(cutoff: float | tuple[float, ...], shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """White noise of standard deviation 1 without anything beyond the cut-off (an ellipsoid, one radius an axis)."""
    white = np.random.default_rng(seed).normal(0, 1, shape)
    radii = [cutoff] * len(shape) if isinstance(cutoff, float) else cutoff
    axes = np.ix_(*(np.fft.fftfreq(side) / radius for side, radius in zip(shape, radii)))
    return np.fft.ifftn(np.fft.fftn(white) * (sum(axis**2 for axis in axes) <= 1)).real


def noisy(image: np.ndarray, level: float, seed: int) -> np.ndarray:
    return image + np.random.default_rng(seed).normal(0, level, image.shape)


@pytest.mark.parametrize("shape", [(256, 256), (200, 256), (48, 48, 48)])
@pytest.mark.parametrize("window", ["tukey", "hann", "none"])
@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_two_noisy_copies_correlate_by_their_signal_to_noise_ratio(shape, window: str, variance: float):
    white = np.random.default_rng(9).normal(0, 1, shape)
    first, second = (noisy(white, math.sqrt(variance), seed) for seed in (1, 2))
    curve = fourier.frc(first, second, window=window, smooth=1)
    mean = (curve.correlation * curve.count).sum() / curve.count.sum()
    assert mean == pytest.approx(1 / (1 + variance), abs=0.02)


@pytest.mark.parametrize("cutoff", [0.1, 0.2, 0.35])
@pytest.mark.parametrize("threshold", [1 / 7, 0.5, "half-bit"])
def test_the_resolution_is_the_cut_off(cutoff: float, threshold: fourier.Threshold):
    image = band_limited(cutoff, (256, 256))
    curve = fourier.frc(noisy(image, 0.3, 1), noisy(image, 0.3, 2), spacing=0.1, smooth=1)
    found = fourier.resolution(curve, threshold=threshold)
    assert found.frequency * 0.1 == pytest.approx(cutoff, abs=2 / 256)  # two Fourier pixels
    assert found.frequency == pytest.approx(1 / found.length)
    assert not found.limited


@pytest.mark.parametrize("seed", range(8))
def test_a_ring_of_few_fourier_pixels_that_falls_below_by_chance_is_no_resolution(seed: int):
    image = band_limited(0.2, (256, 256), seed)
    curve = fourier.frc(noisy(image, 1.0, seed + 10), noisy(image, 1.0, seed + 20))
    assert fourier.resolution(curve).frequency == pytest.approx(0.2, abs=2 / 256)


def test_rings_are_one_pixel_wide_and_hold_every_frequency_up_to_nyquist():
    for shape in ((64, 64), (65, 65), (16, 16, 16)):
        image = np.random.default_rng(0).normal(0, 1, shape)
        curve = fourier.frc(image, image, spacing=2.0)
        assert np.diff(curve.frequency) == pytest.approx(1 / (2 * shape[0]))
        assert curve.correlation == pytest.approx(1)
        axes = np.meshgrid(*(np.fft.fftfreq(side, 2.0) for side in shape))
        ring = np.rint(np.sqrt(sum(axis**2 for axis in axes)) * 2 * shape[0])
        assert curve.count.sum() == ((ring > 0) & (ring <= len(curve.count))).sum()
        assert fourier.resolution(curve) == (4.0, 0.25, True)


def test_the_half_bit_curve_is_the_published_one():
    count = np.array([1.0, 10, 100, 1e4])
    root = np.sqrt(count)
    published = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)  # van Heel, Schatz 2005
    assert fourier.half_bit(count) == pytest.approx(published, abs=1e-4)


def test_a_threshold_is_crossed_between_rings():
    curve = fourier.Curve(np.array([0.1, 0.2, 0.3]), np.array([1.0, 0.8, 0.2]), np.full(3, 50.0), 0.5)
    assert fourier.resolution(curve, threshold=0.5).frequency == pytest.approx(0.25)
    assert fourier.resolution(curve, threshold=1.1) == (math.inf, 0.0, False)


@pytest.mark.parametrize("dip", [-0.05, -0.051])
def test_a_curve_that_dips_before_it_stays_below_is_crossed_where_the_dip_begins(dip: float):
    values = np.array([0.5, 0.5, -0.05, dip, 0.1, 0.1, -0.05, -1, -1, -1])
    curve = fourier.Curve(np.arange(1.0, 11), values, np.full(10, 10.0), 20.0)
    assert fourier.resolution(curve, threshold=0.0).frequency == pytest.approx(2 + 0.5 / 0.55)
    late = fourier.Curve(curve.frequency, values - 0.6 * (curve.frequency < 3), curve.count, 20.0)
    assert fourier.resolution(late, threshold=0.2) == (math.inf, 0.0, False)


@pytest.mark.parametrize("shape", [(384, 384), (64, 64, 64)])
def test_halves_of_counts_and_the_checkerboard_of_one_image_tell_the_same(shape: tuple[int, ...]):
    rng = np.random.default_rng(0)
    cutoff = 0.15
    signal = band_limited(cutoff, shape)
    counts = rng.poisson(np.maximum(60 + math.sqrt(240) * signal, 0))  # 240 / 4 of signal, 60 / 2 of noise in a half
    half = rng.binomial(counts, 0.5)
    halves = fourier.frc(half, counts - half)
    parts = fourier.checkerboard_frc(counts)
    found = [fourier.resolution(curve).frequency for curve in (halves, parts)]
    assert found == pytest.approx([cutoff] * 2, abs=3 / shape[0])
    means = [
        np.average(curve.correlation[inside], weights=curve.count[inside])
        for curve in (halves, parts)
        if (inside := curve.frequency < 0.8 * cutoff).any()
    ]
    assert means[0] == pytest.approx(2 / 3, abs=0.03)
    assert means[1] == pytest.approx(means[0], abs=0.03)


def test_the_checkerboard_cannot_tell_less_than_four_pixels():
    found = fourier.resolution(fourier.checkerboard_frc(band_limited(0.24, (128, 128)), spacing=0.1))
    assert found.length >= 0.4 - 1e-9


def test_a_stack_has_a_resolution_along_each_axis():
    radii, spacing = (0.2, 0.3, 0.3), (0.4, 0.1, 0.1)
    volume = band_limited(radii, (64, 128, 128))
    curves = fourier.axis_frc(noisy(volume, 0.2, 1), noisy(volume, 0.2, 2), spacing=spacing)
    found = [fourier.resolution(curve, threshold=0.5).frequency for curve in curves]
    cutoffs = [radius / length for radius, length in zip(radii, spacing)]
    pixels = [1 / (side * length) for side, length in zip(volume.shape, spacing)]
    assert [(one - other) / pixel for one, other, pixel in zip(found, cutoffs, pixels)] == pytest.approx(
        [0] * 3, abs=2.5
    )
    assert [curve.highest for curve in curves] == pytest.approx([1.25, 5, 5])


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_what_is_true_does_not_depend_on_gain_and_offset(gain: float, offset: float):
    truth = band_limited(0.2, (96, 96))
    result = noisy(truth, 0.5, 1)
    assert fourier.true_up_to(gain * result + offset, truth) == pytest.approx(fourier.true_up_to(result, truth))


def test_made_up_detail_is_not_true():
    """A result with the spectrum of the truth but phases of its own beyond a frequency is true up to there."""
    truth = np.random.default_rng(0).normal(0, 1, (256, 256))
    other = np.random.default_rng(1).normal(0, 1, (256, 256))
    known = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None]) < 0.25
    result = np.fft.ifft2(np.where(known, np.fft.fft2(truth), np.fft.fft2(other))).real
    assert fourier.true_up_to(result, truth, spacing=0.1).frequency == pytest.approx(2.5, rel=0.03)
    assert metrics.octave_difference(result[None], truth[None])[0, 0] == pytest.approx(0, abs=0.2)  # looks as rich


def test_what_has_no_spectrum_is_refused():
    image = np.ones((16, 16))
    with pytest.raises(InputError, match="one shape"):
        fourier.frc(image, image[:15])
    with pytest.raises(InputError, match="too small"):
        fourier.frc(image[:7], image[:7])
    with pytest.raises(InputError, match="not finite"):
        fourier.frc(np.where(np.eye(16) > 0, np.nan, image), image)
    with pytest.raises(InputError, match="2 lengths"):
        fourier.frc(image, image, spacing=(1, 2, 3))
    with pytest.raises(InputError, match="16 pixels"):
        decorrelation(image[:8])
    with pytest.raises(InputError, match="flat"):
        decorrelation(image)


@pytest.mark.parametrize("cutoff", [0.1, 0.2, 0.3])
def test_decorrelation_finds_the_cut_off_of_an_incoherent_microscope(cutoff: float):
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(384)[:, None], np.fft.fftfreq(384)[None])
    rho = np.clip(radius / cutoff, 0, 1)
    transfer = 2 / np.pi * (np.arccos(rho) - rho * np.sqrt(1 - rho**2))
    image = np.fft.ifft2(np.fft.fft2(rng.random((384, 384)) < 0.005) * transfer).real
    counts = rng.poisson(2 + 400 * np.maximum(image, 0) / image.max()).astype(float)
    found = decorrelation(counts, pixel=0.05)
    assert 1 <= found.length * cutoff / 0.05 < 1.2  # the transfer falls to nothing before the cut-off
    assert found.length == pytest.approx(0.1 / found.radius)
    assert decorrelation(7 * counts + 100, pixel=0.05).length == pytest.approx(found.length)


def test_spectral_distance_tells_smoothing_from_made_up_texture():
    truth = np.random.default_rng(0).normal(0, 1, (1, 128, 128))
    assert metrics.spectral_distance(truth, truth) == (0, 0)
    assert metrics.spectral_distance(10 * truth, truth) == pytest.approx((20, 20))
    smooth = metrics.spectral_distance((truth + np.roll(truth, 1, 2)) / 2, truth)
    assert smooth.bias < -2
    assert smooth.distance >= -smooth.bias
    assert metrics.spectral_distance(truth + 3 * truth[:, ::-1], truth).bias > 5
    with pytest.raises(InputError, match="cutoff"):
        metrics.spectral_distance(truth, truth, cutoff=1)
