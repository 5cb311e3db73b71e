"""Haze of known strength, taken off again."""

import math

import numpy as np
import pytest
from scipy import ndimage

from sciddiff.baselines import dehazing
from sciddiff.errors import InputError

WAVELENGTHS = (0.49, 0.56, 0.665, 0.842)
"""Of Sentinel-2's blue, green, red and near infrared, in micrometres."""
METHODS = [
    dehazing.dark_object_subtraction,
    lambda image, **options: dehazing.dark_channel_prior(image, WAVELENGTHS, **options),
    lambda image, **options: dehazing.haze_optimised_transform(image, (0, 2), **options),
]
every = pytest.mark.parametrize("dehaze", METHODS, ids=["dos", "dcp", "hot"])


def land(seed: int = 0, side: int = 96) -> np.ndarray:
    """Reflectance (4, h, w): blue and red on one line, dark pixels everywhere."""
    rng = np.random.default_rng(seed)
    brightness = np.abs(ndimage.gaussian_filter(rng.normal(size=(side, side)), 1.5))
    brightness /= brightness.max()
    other = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2)
    bands = [0.15 * brightness, 0.2 * brightness, 0.25 * brightness, 0.3 * np.abs(other) / np.abs(other).max()]
    return np.stack(bands)


def ramp_of_haze(side: int = 96) -> np.ndarray:
    """Transmission (h, w) from 1 on the left to 0.4 on the right."""
    return np.broadcast_to(np.clip(np.linspace(1.15, 0.4, side), None, 1), (side, side)).copy()


def error(result: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((result - truth) ** 2)))


def test_a_constant_offset_is_taken_off_exactly_where_a_pixel_is_zero():
    scene = land()
    scene[:, 10, 10] = 0
    haze = np.array([0.11, 0.07, 0.04, 0.02])[:, None, None]
    result = dehazing.dark_object_subtraction(scene + haze, percentile=0)
    np.testing.assert_allclose(result, scene, atol=1e-15)
    np.testing.assert_array_equal(dehazing.dark_object_subtraction(scene, percentile=0), scene)


def test_dark_objects_keep_their_floor():
    scene = land() + 0.01
    scene[:, 3, 3] = 0.01
    result = dehazing.dark_object_subtraction(scene + 0.05, percentile=0, floor=0.01)
    np.testing.assert_allclose(result, scene, atol=1e-15)
    each = dehazing.dark_object_subtraction(scene + 0.05, percentile=0, floor=[0.01, 0.01, 0.06, 0.1])
    np.testing.assert_allclose(each[:2], scene[:2], atol=1e-15)
    np.testing.assert_allclose(each[2:], (scene + 0.05)[2:], rtol=1e-12)


def test_the_dark_channel_finds_grey_haze_of_a_known_airlight():
    scene, t = land(), ramp_of_haze()
    A = np.array([0.6, 0.6, 0.6, 0.6])[:, None, None]
    hazy = scene * t + A * (1 - t)
    result = dehazing.dark_channel_prior(hazy, WAVELENGTHS, airlight=A.ravel(), exponent=0)
    assert error(result, scene) < error(hazy, scene) / 3


def test_the_dark_channel_finds_haze_and_airlight_by_itself():
    scene, t = land(), ramp_of_haze()
    t[:, -12:] = 0.02
    A = np.array([0.7, 0.65, 0.6, 0.5])[:, None, None]
    power = (np.mean(WAVELENGTHS[:3]) / np.array(WAVELENGTHS))[:, None, None]
    hazy = scene * t**power + A * (1 - t**power)
    result = dehazing.dark_channel_prior(hazy, WAVELENGTHS)
    seen = slice(None, -24)
    assert error(result[..., seen], scene[..., seen]) < error(hazy[..., seen], scene[..., seen]) / 2
    scaled = dehazing.dark_channel_prior(hazy * 1e4, WAVELENGTHS)
    np.testing.assert_allclose(scaled, result * 1e4, rtol=1e-9, atol=1e-6)


def test_a_scene_of_dark_objects_has_no_haze_to_lose():
    scene = land()
    scene[:, ::5, ::5] = 0
    result = dehazing.dark_channel_prior(scene, WAVELENGTHS, airlight=[0.6] * 4)
    np.testing.assert_allclose(result, scene, atol=1e-12)


def test_the_guided_filter_keeps_what_is_linear_in_the_guide_and_smooths_what_is_not():
    rng = np.random.default_rng(1)
    guide = rng.normal(size=(40, 40))
    np.testing.assert_allclose(dehazing.guided_filter(3 * guide + 1, guide, radius=5, eps=1e-12), 3 * guide + 1)
    flat = dehazing.guided_filter(guide, np.ones((40, 40)), radius=5, eps=1e-3)
    twice = ndimage.uniform_filter(ndimage.uniform_filter(guide, 11, mode="reflect"), 11, mode="reflect")
    np.testing.assert_allclose(flat, twice)


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.7])
def test_the_clear_line_is_found_below_smooth_haze(slope: float):
    blue, haze = land()[0], 0.2 * (1 - ramp_of_haze())
    red = slope * blue + 0.01
    known = np.ones(blue.shape, bool)
    angle = dehazing.clear_line(blue + haze, red + 0.3 * slope * haze, known=known)
    assert angle == pytest.approx(math.atan(slope), abs=0.01)
    assert dehazing.clear_line(blue, red, known=known) == pytest.approx(math.atan(slope))
    assert dehazing.clear_line(0 * blue, 0 * blue, known=known) == math.pi / 4


def test_the_haze_image_is_flat_where_clear_and_grows_with_haze():
    scene = land()
    haze = 1 - ramp_of_haze()
    hazy = scene + np.array([0.2, 0.15, 0.08, 0.02])[:, None, None] * haze
    given = dehazing.haze_optimised_image(hazy, (0, 2), clear=haze == 0)
    assert np.ptp(given[haze == 0]) < 1e-12
    angle = math.atan(0.25 / 0.15)
    np.testing.assert_allclose(given, haze * (0.2 * math.sin(angle) - 0.08 * math.cos(angle)), atol=1e-12)
    found = dehazing.haze_optimised_image(hazy, (0, 2))
    assert np.corrcoef(found.ravel(), haze.ravel())[0, 1] > 0.99


def test_the_haze_optimised_transform_levels_the_dark_bound_of_the_bands_it_is_given():
    scene = land()
    hazy = scene + np.array([0.2, 0.15, 0.08, 0.02])[:, None, None] * (1 - ramp_of_haze())
    result = dehazing.haze_optimised_transform(hazy, (0, 2), adjust=(0, 1, 2))
    assert error(result[:3], scene[:3]) < error(hazy[:3], scene[:3]) / 3
    np.testing.assert_array_equal(result[3], hazy[3])


@every
def test_what_is_missing_has_no_part_and_is_handed_through(dehaze):
    hazy = land() + 0.1
    missing = np.zeros(hazy.shape[1:], bool)
    missing[20:40, 30:60] = True
    spoilt = np.where(missing, np.nan, hazy)
    result = dehaze(spoilt, missing=missing)
    np.testing.assert_array_equal(result[:, ~missing], dehaze(hazy, missing=missing)[:, ~missing])
    np.testing.assert_array_equal(result[:, missing], spoilt[:, missing])
    assert np.isfinite(result[:, ~missing]).all()
    assert dehaze(hazy.astype(np.float32)).dtype == np.float32
    assert (dehaze(hazy) >= 0).all()


def test_what_cannot_be_dehazed_is_said():
    scene = land()
    with pytest.raises(InputError, match="wavelengths"):
        dehazing.dark_channel_prior(scene, WAVELENGTHS[:2])
    with pytest.raises(InputError, match="wavelengths"):
        dehazing.dark_channel_prior(scene, (0.8, 1.6, 2.2, 3.0))
    with pytest.raises(InputError, match="airlight"):
        dehazing.dark_channel_prior(scene, WAVELENGTHS, airlight=[1, 1, 1, 0])
    with pytest.raises(InputError, match="too few"):
        dehazing.haze_optimised_image(scene, (0, 2), clear=np.zeros(scene.shape[1:], bool))
    with pytest.raises(InputError, match="not finite"):
        dehazing.dark_object_subtraction(np.where(scene > 0.1, np.nan, scene))
