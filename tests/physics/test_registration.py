import numpy as np
import pytest
from scipy import ndimage

from sciddiff.physics.registration import phase_correlation


def field(seed: int) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(120, 100)), 1.2)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.7), (-2.25, 4.1)])
def test_a_shift_is_found_to_a_fraction_of_a_pixel(shift: tuple[float, float]) -> None:
    reference = field(0)
    moved = ndimage.shift(reference, shift, order=5, mode="wrap")
    inner = slice(8, -8), slice(8, -8)
    found = phase_correlation(5 - 3e4 * -moved[inner], reference[inner])
    assert found[:2] == pytest.approx(shift, abs=0.03)
    assert found.peak > 0.9


def test_images_of_different_scenes_have_no_peak() -> None:
    assert phase_correlation(field(0), field(1)).peak < 0.2


def test_flat_images_have_none_either() -> None:
    assert phase_correlation(np.ones((40, 40)), field(0)[:40, :40]).peak == 0
