import math

import numpy as np
import pytest
import torch
from PIL import Image

from sciddiff.baselines import interpolation
from sciddiff.baselines.back_projection import back_projection


def oracle(gain: float, ratio: int, radius: int = 4, beta: float = 2.6, noise: float = 1e-4) -> np.ndarray:
    """The linear minimum-mean-square-error weights by brute force: covariances summed over frequencies, no FFT."""
    f = np.fft.fftfreq(64 * ratio)
    power = 1 / (f[:, None] ** 2 + f[None] ** 2 + 1e-5) ** (beta / 2)
    sigma = ratio * math.sqrt(-2 * math.log(gain)) / math.pi
    line = np.exp(-2 * (math.pi * sigma * f) ** 2) * np.cos(math.pi * f)
    tap = ratio * np.arange(-radius, radius + 1)
    centre = (ratio - 1) // 2 + 0.5
    waves = np.exp(2j * np.pi * (tap[:, None] + centre) * f[None]) * line  # low pixels' response, taps x frequencies
    high = np.exp(2j * np.pi * np.arange(ratio)[:, None] * f[None])
    yy = np.einsum("af,cf,fg,bg,dg->abcd", waves, waves.conj(), power, waves, waves.conj(), optimize=True).real
    xy = np.einsum("if,af,fg,jg,bg->ijab", high, waves.conj(), power, high, waves.conj(), optimize=True).real
    n = len(tap)
    matrix = yy.reshape(n * n, n * n) + noise * yy[0, 0, 0, 0] * np.eye(n * n)
    weights = np.linalg.solve(matrix, xy.reshape(-1, n * n).T).T.reshape(ratio, ratio, n, n)
    return weights / weights.sum((2, 3), keepdims=True)


@pytest.mark.parametrize(("gain", "ratio"), [(0.275, 4), (0.30, 2)])
def test_mmse_filters_against_brute_force(gain: float, ratio: int) -> None:
    np.testing.assert_allclose(interpolation.mmse_filters(gain, ratio).numpy(), oracle(gain, ratio), atol=1e-7)


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_filters_sum_to_one_and_mirror(ratio: int) -> None:
    for filters in (
        interpolation.mmse_filters(0.3, ratio),
        interpolation.bicubic_filters(ratio),
        interpolation.lanczos_filters(ratio),
    ):
        torch.testing.assert_close(filters.sum((2, 3)), torch.ones(ratio, ratio, dtype=filters.dtype))
        torch.testing.assert_close(filters, filters.flip((0, 1, 2, 3)), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("name", "resampling"), [("bicubic", Image.Resampling.BICUBIC), ("lanczos", Image.Resampling.LANCZOS)]
)
@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_interpolators_are_pillows(name: str, resampling: Image.Resampling, ratio: int) -> None:
    low = np.random.default_rng(0).normal(size=(24, 20)).astype(np.float32)
    ours = getattr(interpolation, name)(torch.from_numpy(low)[None, None], ratio)[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(low).resize((20 * ratio, 24 * ratio), resampling))
    edge = 3 * ratio
    np.testing.assert_allclose(ours[edge:-edge, edge:-edge], theirs[edge:-edge, edge:-edge], atol=1e-5)


def test_filters_differ_for_each_band_and_image() -> None:
    low = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    filters = torch.stack([interpolation.mmse_filters(0.2 + 0.02 * n, 2) for n in range(6)]).reshape(2, 3, 2, 2, 9, 9)
    together = interpolation.polyphase(low, filters)
    alone = interpolation.polyphase(low[1:, 2:], filters[1, 2])
    torch.testing.assert_close(together[1:, 2:], alone)


def test_back_projection_converges_to_agreement() -> None:
    low = torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def degrade(high: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(high, 2)

    def misfit(rounds: int) -> float:
        high = back_projection(low, degrade=degrade, upsample=lambda y: interpolation.bicubic(y, 2), rounds=rounds)
        return float((degrade(high) - low).abs().max())

    assert misfit(30) < 1e-3 * misfit(0)
