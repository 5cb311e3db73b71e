import pytest
import torch

from sciddiff.errors import InputError, OptionError
from sciddiff.physics import camera

CAMERA = {"gain": 0.46, "offset": 100.0, "read_noise": 1.6}


def draw(photons: float, shape: tuple[int, ...] = (1, 1, 600, 600), **options: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return camera.expose(torch.full(shape, photons, dtype=torch.float64), generator=generator, **{**CAMERA, **options})


# Microscopy reference, section 5.7: g = 0.46, o = 100, s = 1.6.
@pytest.mark.parametrize(("photons", "variance"), [(2.0, 0.965), (200.0, 42.86)])
def test_golden_variance(photons: float, variance: float) -> None:
    mean, expected = camera.moments(torch.tensor(photons, dtype=torch.float64), **CAMERA)
    assert expected.item() == pytest.approx(variance, abs=5e-3)
    counts = draw(photons)
    assert counts.mean().item() == pytest.approx(mean.item(), abs=0.05)
    assert counts.var().item() == pytest.approx(variance, rel=0.01)


def test_the_law_is_that_of_the_moments() -> None:
    a, b = camera.law(**CAMERA)
    assert (a, b) == (0.46, pytest.approx((0.46 * 1.6) ** 2 - 46))


def test_rounding_adds_a_twelfth_and_bits_clip() -> None:
    whole = draw(200.0, bits=8)
    assert torch.equal(whole, whole.round())
    assert whole.max() <= 255
    assert draw(400.0, bits=8).float().mean() == pytest.approx(254.98, abs=0.03)  # saturated at 284
    _, variance = camera.moments(torch.tensor(200.0), **CAMERA)
    assert draw(200.0, bits=12).var().item() == pytest.approx(variance.item() + 1 / 12, rel=0.01)


def test_full_well_caps_electrons() -> None:
    counts = draw(500.0, full_well=400.0)
    assert counts.mean().item() == pytest.approx(0.46 * 400 + 100, abs=0.1)
    assert counts.var().item() == pytest.approx((0.46 * 1.6) ** 2, rel=0.02)


def test_dark_electrons_are_shot_noise_too() -> None:
    mean, variance = camera.moments(torch.tensor(3.0), dark=2.0, **CAMERA)
    counts = draw(3.0, dark=2.0)
    assert counts.mean().item() == pytest.approx(mean.item(), abs=0.01)
    assert counts.var().item() == pytest.approx(variance.item(), rel=0.01)


def test_an_electron_multiplier_doubles_the_variance_of_shot_noise() -> None:
    options = {"em_gain": 100.0, "read_noise": 30.0}
    mean, variance = camera.moments(torch.tensor(5.0), **{**CAMERA, **options})
    counts = draw(5.0, **options)
    assert variance.item() == pytest.approx(0.46**2 * (2 * 100**2 * 5 + 30**2))
    assert counts.mean().item() == pytest.approx(mean.item(), rel=0.01)
    assert counts.var().item() == pytest.approx(variance.item(), rel=0.02)
    assert draw(0.0, em_gain=100.0, read_noise=0.0).unique().tolist() == [100.0]


def test_maps_of_pixels_are_seen_in_repetitions() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = camera.scmos_maps((1, 1, 24, 24), generator)
    counts = camera.expose(torch.full((4000, 1, 24, 24), 20.0), generator=generator, **maps._asdict())
    mean, variance = camera.moments(torch.tensor(20.0), **maps._asdict())
    assert ((counts.mean(0) - mean[0]) / (variance[0] / 4000).sqrt()).abs().max() < 5
    assert (counts.var(0) / variance[0]).sub(1).abs().max() < 0.15
    assert torch.corrcoef(torch.stack([counts.mean(0).flatten(), mean[0].flatten()]))[0, 1] > 0.95


def test_read_noise_has_the_tail_of_a_real_sensor() -> None:
    maps = camera.scmos_maps((1, 1, 1000, 1000), torch.Generator().manual_seed(2))
    assert maps.read_noise.median().item() == pytest.approx(1.0, abs=0.01)
    assert (maps.read_noise > 2).float().mean().item() == pytest.approx(0.01, abs=0.002)
    assert maps.read_noise.max() > 10
    assert maps.gain.std().item() == pytest.approx(0.46 * 0.015, rel=0.02)
    assert maps.offset.std().item() == pytest.approx(2.0, rel=0.02)
    with pytest.raises(OptionError, match=r"hot is 2"):
        camera.scmos_maps((1, 1, 2, 2), torch.Generator(), hot=2)


def test_binning_sums_photons() -> None:
    photons = torch.arange(2 * 4 * 6, dtype=torch.float32).reshape(1, 1, 2, 4, 6)
    assert camera.bin_photons(photons, 2).shape == (1, 1, 2, 2, 3)
    assert camera.bin_photons(photons, 2)[0, 0, 0, 0].tolist() == [14.0, 22.0, 30.0]
    assert camera.bin_photons(photons, (2, 4, 3)).sum() == photons.sum()
    with pytest.raises(InputError, match=r"\(4, 6\) are no multiples of \(3, 3\)"):
        camera.bin_photons(photons, 3)


def test_binned_counts_stay_poisson() -> None:
    counts = draw(3.0, gain=1.0, offset=0.0, read_noise=0.0)
    large = camera.bin_photons(counts, 3)
    assert large.var().item() / large.mean().item() == pytest.approx(1, abs=0.02)


def test_light_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"down to -1"):
        draw(-1.0)


def test_same_seed_same_noise() -> None:
    assert torch.equal(draw(5.0, em_gain=10.0), draw(5.0, em_gain=10.0))
