import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.errors import InputError
from sciddiff.physics import noise_estimation as ne

Double = NDArray[np.float64]


def scene(name: str) -> Double:
    """A photograph without its own noise, 0 to 1."""
    data = pytest.importorskip("skimage.data")
    smooth = ndimage.gaussian_filter(getattr(data, name)().astype(np.float64), 1.5)
    return (smooth - smooth.min()) / np.ptp(smooth)


def noisy(light: Double, *, gain: float, offset: float, read: float, seed: int = 0) -> Double:
    rng = np.random.default_rng(seed)
    counts = gain * (rng.poisson(light) + rng.normal(0, read, light.shape)) + offset
    return np.rint(counts).clip(0, 65535)


def errors(law: tuple[float, float], true: tuple[float, float], mean: Double) -> Double:
    """Ratios of estimated to true variance at the dark end, the middle and the bright end of the image."""
    at = np.quantile(mean, [0.02, 0.5, 0.98])
    return (law[0] * at + law[1]) / (true[0] * at + true[1])


@pytest.mark.parametrize("name", ["camera", "cell", "coins", "moon"])
@pytest.mark.parametrize(("peak", "gain"), [(20, 2.0), (100, 0.46), (1000, 0.46)])
def test_law_of_a_photograph(name: str, peak: float, gain: float) -> None:
    light = peak * scene(name)
    law = ne.noise_law(noisy(light, gain=gain, offset=100, read=1.6))
    true = gain, (gain * 1.6) ** 2 - gain * 100 + 1 / 12
    assert errors(law, true, gain * light + 100) == pytest.approx(1, abs=0.12)


def test_gain_within_ten_percent_over_a_stack() -> None:
    light = 100 * np.stack(
        [scene("camera")[:256, :256], scene("camera")[128:384, 100:356], scene("camera")[:256, 256:]]
    )
    a, b = ne.noise_law(noisy(light, gain=0.46, offset=100, read=1.6))
    assert a == pytest.approx(0.46, rel=0.1)
    assert b == pytest.approx(0.46**2 * 1.6**2 - 46, rel=0.1)


@pytest.mark.parametrize("peak", [20, 100])
def test_what_is_told_of_a_law_stays_and_the_rest_is_that_of_the_image(peak: float) -> None:
    light = peak * scene("camera")
    image = noisy(light, gain=0.46, offset=100, read=1.6)
    gain, variance = 0.46, (0.46 * 1.6) ** 2 - 46 + 1 / 12
    assert ne.noise_law(image, gain=gain, variance=variance) == (gain, variance)
    for own in (0.8, 1.2):  # told somewhat off
        for told in ({"gain": own * gain}, {"variance": own * variance}):
            a, b = ne.noise_law(image, **told)
            assert told.items() <= {"gain": a, "variance": b}.items()
            assert 0.8 < errors((a, b), (gain, variance), 0.46 * light + 100)[1] < 1.25
    assert ne.noise_law(image, gain=gain)[1] == pytest.approx(variance, abs=0.4)
    assert ne.noise_law(image, variance=variance)[0] == pytest.approx(gain, rel=0.01)


@pytest.mark.parametrize("told", [{"gain": 3.0}, {"gain": 0.0}, {"variance": -1e4}, {"variance": 1e4}])
def test_a_law_that_was_told_wrong_is_positive_over_the_image(told: dict[str, float]) -> None:
    image = noisy(100 * scene("camera"), gain=0.46, offset=100, read=1.6)
    a, b = ne.noise_law(image, **told)
    assert told.items() <= {"gain": a, "variance": b}.items()
    assert a >= 0
    assert (a * image[1:-1, 1:-1][:504, :504].reshape(63, 8, 63, 8).mean((1, 3)) + b > 0).all()


def test_pure_gaussian_noise_has_no_slope() -> None:
    image = 200 * scene("camera")
    a, b = ne.noise_law(image + np.random.default_rng(0).normal(0, 5, image.shape))
    assert 0 <= a < 0.02
    assert a * 100 + b == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize("name", ["camera", "cell", "moon"])
def test_contrast_stretched_bytes(name: str) -> None:
    light = 50 * scene(name)
    raw = noisy(light, gain=0.46, offset=100, read=1.6)
    low, high = np.quantile(raw, [0.02, 0.98])  # clipped at both ends
    stretch = 255 / (high - low)
    image = np.rint((raw - low) * stretch).clip(0, 255).astype(np.uint8)
    a, b = ne.noise_law(image)
    assert a == pytest.approx(0.46 * stretch, rel=0.15)
    at = np.array([80.0, 128.0, 200.0])
    true = stretch**2 * (0.46 * (at / stretch + low - 100) + 0.46**2 * 1.6**2 + 1 / 12) + 1 / 12
    assert (a * at + b) / true == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["camera", "coins"])
def test_counts_of_a_photon_or_less(name: str) -> None:
    a, b = ne.noise_law(noisy(scene(name), gain=1, offset=0, read=0))
    assert a == pytest.approx(1, rel=0.1)
    assert abs(b) < 0.05


def test_variance_is_positive_over_the_image_whatever_is_given() -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 100, 128)[None] * np.ones((128, 1))
    for image in (
        ramp + rng.normal(0, 0.1 + (ramp - 40).clip(0), ramp.shape),
        rng.normal(0, 1, (64, 64)),
        ramp + rng.poisson(ramp),
    ):
        a, b = ne.noise_law(image)
        assert a >= 0
        blocks = image[1:-1, 1:-1][:56, :56].reshape(7, 8, 7, 8).mean((1, 3))
        assert a * blocks.min() + b > 0


def test_invalid_pixels_and_saturation_are_left_out() -> None:
    light = 100 * scene("camera")
    image = noisy(light, gain=0.46, offset=100, read=1.6)
    expected = ne.noise_law(image)
    image[100:200, 100:300] = np.nan
    image[300:400, :200] = 65535.0
    assert ne.noise_law(image) == pytest.approx(expected, rel=0.06)


def test_wider_taps_see_correlated_noise() -> None:
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (512, 512)), 0.5)
    noise *= 5 / noise.std()
    near, wide = (ne.noise_law(200 * scene("camera") + noise, spacing=n) for n in (1, 2))
    assert near[0] * 100 + near[1] < 0.5 * 25  # one neighbour sees too little of it
    assert wide[0] * 100 + wide[1] == pytest.approx(25, rel=0.2)


def texture(width: float) -> Double:
    """Light with a mean of 1 and structure everywhere, as fine as a Gaussian filter of that many pixels leaves it."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), width)
    light = np.exp(0.5 * field / field.std())
    return np.asarray(light / light.mean())


@pytest.mark.parametrize(
    ("width", "dose", "factor"),
    [(1.25, 3000, 1.4), (1.25, 30000, 4), (1.5, 300, 1.1), (1.5, 30000, 1.5), (2, 30000, 1.1), (3, 300, 1.1)],
)
def test_texture_everywhere_is_not_taken_for_noise(width: float, dose: float, factor: float) -> None:
    a, b = ne.noise_law(noisy(dose * texture(width), gain=0.46, offset=100, read=1.6))
    found = a * (0.46 * dose + 100) + b
    true = 0.46**2 * (dose + 1.6**2) + 1 / 12
    assert 0.85 < found / true < factor  # by the second difference alone too low by 0.7 or too high by up to 16
    assert ne.noise_law(noisy(dose * texture(width), gain=0.46, offset=100, read=1.6), gain=0.46)[0] == 0.46


def test_a_picture_without_any_fourth_difference_has_a_law_all_the_same() -> None:
    rows, cols = np.mgrid[:100, :100]
    a, b = ne.noise_law(rows**2 * cols**2 / 1.0)
    assert a >= 0
    assert np.isfinite(b)


@pytest.mark.parametrize(("sigma", "low", "high"), [(0.3, 0.93, 1.03), (0.45, 0.55, 0.67), (0.6, 0.16, 0.22)])
def test_of_noise_smoothed_by_resampling_the_second_difference_sees_what_it_did(
    sigma: float, low: float, high: float
) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 1, (512, 512)), sigma, truncate=5)
    for light in (100 * scene("camera"), 100 * scene("cell")[:512, :512]):
        noise = smooth[: light.shape[0], : light.shape[1]] / smooth.std()
        a, b = ne.noise_law(light + 5 * noise)
        assert low < (a * light.mean() + b) / 25 < high


def test_too_little_to_estimate_from_is_refused() -> None:
    with pytest.raises(InputError, match=r"9 usable blocks.*--instrument gain="):
        ne.noise_law(np.random.default_rng(0).normal(size=(30, 30)))
    with pytest.raises(InputError, match=r"constant.*--instrument gain="):
        ne.noise_law(np.full((100, 100), 7))


def exposures(light: Double, number: int, bits: int = 16) -> NDArray[np.uint16]:
    rng = np.random.default_rng(int(light.max()))
    counts = 0.46 * (rng.poisson(light, (number, *light.shape)) + rng.normal(0, 1.6, (number, *light.shape))) + 100
    return np.rint(counts).clip(0, 2**bits - 1).astype(np.uint16)


def test_photon_transfer() -> None:
    fixed = 1 + 0.2 * np.random.default_rng(9).normal(size=(64, 64)).clip(-3, 3)  # a pattern, still in all exposures
    darks = exposures(np.zeros((64, 64)), 40)
    flats = [exposures(level * fixed, 20, 12) for level in (20, 200, 2000, 9000)]  # the last one saturates
    found = ne.photon_transfer(darks, flats)
    assert found.gain == pytest.approx(0.46, rel=0.01)
    assert found.offset == pytest.approx(100, abs=0.02)
    assert found.read_noise == pytest.approx(np.hypot(1.6, np.sqrt(1 / 12) / 0.46), rel=0.01)
    with pytest.raises(InputError, match=r"above the dark mean"):
        ne.photon_transfer(darks, flats[3:])
    with pytest.raises(InputError, match=r"one exposure"):
        ne.photon_transfer(darks[:1], flats)


def test_noise_beyond_the_cutoff_of_the_optics() -> None:
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None])
    passed = np.fft.ifft2(np.fft.fft2(scene("camera")) * (1 - frequency / 0.25).clip(0)).real.clip(0)
    light = 200 * passed
    image = 0.46 * (rng.poisson(light) + rng.normal(0, 1.6, light.shape)) + 100
    gain = ne.out_of_band_gain(image, cutoff=0.3, offset=100, read_noise=0.46 * 1.6)
    assert gain == pytest.approx(0.46, rel=0.03)
    white = rng.normal(0, 3, (2, 128, 128))
    assert ne.out_of_band_variance(white, cutoff=0.4) == pytest.approx(9, rel=0.1)
    with pytest.raises(InputError, match=r"too coarse"):
        ne.out_of_band_variance(white, cutoff=0.70)
    with pytest.raises(InputError, match=r"below the offset"):
        ne.out_of_band_gain(white, cutoff=0.4, offset=100)
