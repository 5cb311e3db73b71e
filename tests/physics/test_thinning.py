import pytest
import torch

from sciddiff.errors import OptionError
from sciddiff.physics import camera, thinning


def counts(photons: float, *, read_noise: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scene = torch.full((1, 1, 500, 500), photons, dtype=torch.float64)
    return camera.expose(scene, gain=0.46, offset=100.0, read_noise=read_noise, generator=generator)


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_thinned_counts_are_independent_poisson_counts(share: float) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = thinning.thin(
        counts(8.0, read_noise=0.0), gain=0.46, offset=100.0, generator=generator, share=share
    )
    # Microscopy reference, section 5.10: correlation 0.002, variance over mean 1.000.
    assert correlation(first, second) == pytest.approx(0, abs=0.006)
    for half, mean in ((first, 8 * share), (second, 8 * (1 - share))):
        assert half.mean().item() == pytest.approx(mean, rel=0.01)
        assert (half.var() / half.mean()).item() == pytest.approx(1, abs=0.01)
    assert torch.equal(first + second, (first + second).round())


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("photons", [30.0, 300.0])
def test_halves_of_any_law_are_uncorrelated(alpha: float, photons: float) -> None:
    camera_ = {"gain": 0.46, "offset": 100.0, "read_noise": 1.6}
    a, b = camera.law(**camera_)
    mean, variance = (value.item() for value in camera.moments(torch.tensor(photons), **camera_))
    generator = torch.Generator().manual_seed(1)
    first, second = thinning.split(counts(photons, read_noise=1.6), a=a, b=b, generator=generator, alpha=alpha)
    assert correlation(first, second) == pytest.approx(0, abs=0.008)
    assert first.mean().item() == pytest.approx(mean, abs=0.05)
    assert second.mean().item() == pytest.approx(mean, abs=0.08)
    assert first.var().item() == pytest.approx((1 + alpha**2) * variance, rel=0.02)
    assert second.var().item() == pytest.approx((1 + alpha**-2) * variance, rel=0.02)


def test_halves_of_gaussian_noise_keep_the_image() -> None:
    image = torch.randn(1, 1, 300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = thinning.split(image, a=0.0, b=1.0, generator=torch.Generator().manual_seed(1), alpha=2.0)
    torch.testing.assert_close((first + 4 * second) / 5, image)
    assert correlation(first, second) == pytest.approx(0, abs=0.01)
    assert correlation(first**2, second**2) == pytest.approx(0, abs=0.02)  # independent, not only uncorrelated


def test_impossible_shares_are_refused() -> None:
    image, generator = torch.zeros(1, 1, 2, 2), torch.Generator()
    with pytest.raises(OptionError, match=r"share is 1"):
        thinning.thin(image, gain=1, offset=0, generator=generator, share=1)
    with pytest.raises(OptionError, match=r"alpha is 0"):
        thinning.split(image, a=0, b=1, generator=generator, alpha=0)
