import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.errors import OptionError
from sciddiff.physics import sensor
from sciddiff.recipe.tasks import SuperResolution

# Remote sensing reference, section 1: sigma in fine pixels from the gain at Nyquist.
GOLDEN = [(4, 0.15, 2.480), (4, 0.22, 2.216), (4, 0.30, 1.976), (4, 0.36, 1.820), (2, 0.30, 0.988), (6, 0.24, 3.227)]


@pytest.mark.parametrize(("ratio", "gain", "sigma"), GOLDEN)
def test_sigma_of_a_gain(ratio: int, gain: float, sigma: float) -> None:
    assert sensor.mtf_sigma(torch.tensor(gain), ratio).item() == pytest.approx(sigma, abs=6e-4)


@given(gain=st.floats(0.15, 0.40), ratio=st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_the_kernel_has_its_gain_at_nyquist(gain: float, ratio: int) -> None:
    sigma = sensor.mtf_sigma(torch.tensor([gain], dtype=torch.float64), ratio)
    radius = sensor.blur_radius(gain, ratio)
    taps = sensor.line_kernels(sigma, radius, shift=torch.zeros(1), even=False)[0].numpy()
    wave = np.cos(2 * np.pi * np.arange(-radius, radius + 1) / (2 * ratio))
    assert taps.sum() == pytest.approx(1)
    aliased = 5e-4 if ratio == 2 else 1e-4  # a narrow Gaussian read at whole pixels
    assert (taps * wave).sum() == pytest.approx(gain, abs=aliased)


def degrade(high: np.ndarray, ratio: int, gain: float, **options: torch.Tensor) -> np.ndarray:
    sigma = sensor.mtf_sigma(torch.full((1, 1, 2), gain, dtype=torch.float64), ratio)
    image = torch.from_numpy(high)[None, None]
    return sensor.degrade(image, ratio, sigma=sigma, radius=sensor.blur_radius(gain, ratio), **options)[0, 0].numpy()


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_degrade_is_a_gaussian_read_at_the_block_centres(ratio: int) -> None:
    high = np.random.default_rng(0).normal(size=(20 * ratio, 20 * ratio))
    sigma = ratio * math.sqrt(-2 * math.log(0.3)) / math.pi
    blurred = ndimage.gaussian_filter(high, sigma, mode="nearest", radius=sensor.blur_radius(0.3, ratio))
    centre = [(ratio - 1) // 2, ratio // 2]
    expected = sum(blurred[i::ratio, j::ratio] for i in centre for j in centre) / 4
    np.testing.assert_allclose(degrade(high, ratio, 0.3), expected, atol=1e-12)


@given(ratio=st.integers(2, 7), gain=st.floats(0.15, 0.4))
@settings(max_examples=20, deadline=None)
def test_no_half_pixel_shift(ratio: int, gain: float) -> None:
    """A ramp's low pixel is the ramp at the block's centre, where the zoomed grid puts its centre."""
    ramp = np.broadcast_to(np.arange(40.0 * ratio), (40 * ratio, 40 * ratio)).copy()
    low = degrade(ramp, ratio, gain)
    middle = slice(12, 28)
    expected = np.arange(12, 28) * ratio + (ratio - 1) / 2
    np.testing.assert_allclose(low[20, middle], expected, atol=1e-9)


def test_a_shift_moves_the_scene() -> None:
    ramp = np.broadcast_to(np.arange(160.0), (160, 160)).copy()
    shift = torch.tensor([[[0.0, 0.25]]], dtype=torch.float64)
    moved = degrade(ramp, 4, 0.3, shift=shift) - degrade(ramp, 4, 0.3)
    np.testing.assert_allclose(moved[10:-10, 10:-10], 0.25, atol=1e-3)


def test_every_sensor_of_a_recipe_is_in_the_table() -> None:
    known = SuperResolution.model_json_schema()["properties"]["sensor"]["enum"]
    assert set(known) == set(sensor.MTF)


def test_nominal_mtf() -> None:
    assert sensor.nominal_mtf("sentinel2", ["B02", "B03", "B04", "B08"]) == [0.275, 0.28, 0.25, 0.24]
    assert sensor.nominal_mtf("landsat8", ["B2"]) == [0.30]
    assert sensor.nominal_mtf("sentinel2", ["B02", "B08"], {"B02": 0.2}) == [0.2, 0.24]
    assert sensor.nominal_mtf("sentinel2", ["B02", "B08"], 0.2) == [0.2, 0.2]
    with pytest.raises(OptionError, match="sentinel2"):
        sensor.nominal_mtf("sentinel3", ["B02"])


def test_the_gain_of_a_coarser_grid() -> None:
    """What a sensor's Gaussian MTF is where the coarser grid's Nyquist frequency lies; golden for 0.25 by hand."""
    assert sensor.coarser_gain(0.25, 1) == pytest.approx(0.25)
    assert sensor.coarser_gain(0.25, 2) == pytest.approx(0.70711, abs=1e-5)
    sigma = sensor.mtf_sigma(torch.tensor(0.3, dtype=torch.float64), 1).item()
    assert sensor.coarser_gain(0.3, 3) == pytest.approx(math.exp(-2 * (math.pi * sigma / 6) ** 2))


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0, 2.0])
def test_another_gain_is_the_ratio_of_two_gaussians(ratio: float) -> None:
    waves = torch.arange(96, dtype=torch.float64)
    for f in (1 / 16, 1 / 4, 3 / 8):
        image = torch.cos(2 * math.pi * f * waves).expand(1, 1, 96, 96)
        for turned in (image, image.mT):
            inside = sensor.with_gain(turned, torch.tensor([[ratio]]))[..., 16:-16, 16:-16]
            expected = ratio ** (4 * f**2) * turned[..., 16:-16, 16:-16]
            torch.testing.assert_close(inside, expected, atol=0.012 * max(ratio, 1), rtol=0)


def test_another_gain_of_a_flat_image_and_of_each_band() -> None:
    flat = torch.full((2, 3, 20, 20), 7.0, dtype=torch.float64)
    ratio = torch.tensor([[0.3, 1.0, 2.0], [1.0, 0.5, 1.5]])
    torch.testing.assert_close(sensor.with_gain(flat, ratio), flat)
    image = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    changed = sensor.with_gain(image, ratio)
    torch.testing.assert_close(changed[0, 1], image[0, 1])
    torch.testing.assert_close(changed[1, 2], sensor.with_gain(image[1:, 2:], ratio[1:, 2:])[0, 0])
