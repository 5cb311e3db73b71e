"""Wiener filters of finite support, against the unbounded ones and against their own normal equations."""

import numpy as np
import pytest
import torch

from sciddiff.baselines import interpolation
from sciddiff.baselines.wiener_filters import Deconvolver, filter_radius, line_response, wiener_filters


def test_the_response_is_that_of_the_taps_and_of_the_block() -> None:
    f = np.fft.fftfreq(64)
    np.testing.assert_allclose(line_response(1.5, 1, 64), np.exp(-2 * (np.pi * 1.5 * f) ** 2), atol=1e-4)
    box = line_response(1e-3, 4, 64)
    np.testing.assert_allclose(box[1:], (np.sin(4 * np.pi * f) / (4 * np.sin(np.pi * f + 1e-300)))[1:], atol=1e-9)


def test_two_pixels_added_up_without_blur_are_the_sensor_of_the_interpolator() -> None:
    ours = wiener_filters(0.6, 2, noise=1e-4, radius=4)
    gain = float(np.exp(-0.5 * (np.pi * 0.6) ** 2))  # of that Gaussian at the Nyquist frequency of the coarse grid
    torch.testing.assert_close(ours, interpolation.mmse_filters(gain, 2, noise=1e-4, radius=4), atol=1e-3, rtol=0)


def test_a_wide_filter_is_the_wiener_filter_of_the_spectrum() -> None:
    size, noise = 64, 0.01
    f = np.fft.fftfreq(size)
    power = (f[:, None] ** 2 + f[None] ** 2 + 1e-5) ** -1.3
    line = line_response(1.0, 1, size)
    blur = np.outer(line, line)
    seen = power * blur**2
    wanted = np.fft.fftshift(np.fft.ifft2(blur * power / (seen + noise * seen.mean())).real)
    found = wiener_filters(1.0, 1, noise=noise, radius=8)[0, 0].numpy()
    near = slice(size // 2 - 8, size // 2 + 9)
    np.testing.assert_allclose(found, wanted[near, near], atol=0.02 * wanted.max())
    assert found.sum() == pytest.approx(1)


def test_between_points_of_the_grid_filters_are_mixed() -> None:
    take = Deconvolver(1, widths=(1.0, 2.0), noise=(0.01, 0.1), step=0.5, levels=1)
    image = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def at(width: float, noise: float) -> torch.Tensor:
        return take(image, torch.tensor([[width]]), torch.tensor([noise]))

    torch.testing.assert_close(at(1.25, 0.01), (at(1.0, 0.01) + at(1.5, 0.01)) / 2)
    torch.testing.assert_close(at(2.0, 0.01 * 10**0.5), (at(2.0, 0.01) + at(2.0, 0.1)) / 2)
    torch.testing.assert_close(at(2.0, 0.0), at(2.0, 0.01))
    direct = interpolation.polyphase(image, wiener_filters(1.5, 1, noise=0.01, radius=filter_radius(2.0)))
    torch.testing.assert_close(at(1.5, 0.1), direct)
