import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciddiff.physics import anscombe, camera

CAMERA = {"gain": 0.46, "offset": 100.0, "read_noise": 1.6}
A, B = camera.law(**CAMERA)


def counts(photons: float, **options: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scene = torch.full((1, 1, 1000, 1000), photons, dtype=torch.float64)
    return camera.expose(scene, generator=generator, **{**CAMERA, **options})


def electrons(stabilised: torch.Tensor) -> float:
    return ((anscombe.unstabilise(stabilised, a=A, b=B) - 100) / 0.46).item()


# Microscopy reference, section 5.9: g = 0.46, o = 100, s = 1.6; the algebraic inverse gives 4.74 and 0.218.
@pytest.mark.parametrize(
    ("photons", "found", "algebraic", "std"), [(5.0, 5.005, 4.74, 1.02), (0.5, 0.462, 0.218, 1.09)]
)
def test_golden_inverse(photons: float, found: float, algebraic: float, std: float) -> None:
    f = anscombe.stabilise(counts(photons), a=A, b=B)
    assert electrons(f.mean()) == pytest.approx(found, abs=6e-3)
    assert (f.mean() ** 2 / 4 - 3 / 8 - 1.6**2).item() == pytest.approx(algebraic, abs=6e-3)
    assert f.std().item() == pytest.approx(std, abs=6e-3)


@pytest.mark.parametrize("photons", [3.0, 10.0, 100.0, 5000.0])
def test_noise_has_unit_variance(photons: float) -> None:
    assert anscombe.stabilise(counts(photons), a=A, b=B).std().item() == pytest.approx(1, abs=0.045)


def test_poisson_counts_without_read_noise() -> None:
    for photons in (0.5, 2.0, 20.0):  # Makitalo and Foi 2011: the closed form is off by less than 1 % there
        f = anscombe.stabilise(counts(photons, gain=1.0, offset=0.0, read_noise=0.0), a=1.0, b=0.0)
        assert anscombe.unstabilise(f.mean(), a=1.0, b=0.0).item() == pytest.approx(photons, rel=0.01)


laws = st.tuples(st.floats(1e-3, 50), st.floats(-1e4, 1e4))


@given(law=laws, electrons=st.lists(st.floats(-5, 1e5), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_mean_map_inverts_the_inverse(law: tuple[float, float], electrons: list[float]) -> None:
    a, b = law
    x = (torch.tensor(electrons, dtype=torch.float64) * a**2 - b) / a
    d = anscombe.stabilised_mean(x, a=a, b=b)
    back = anscombe.unstabilise(d, a=a, b=b)
    assert (back - x).abs().max() <= 1e-9 * (1 + x.abs().max())


def test_the_inverse_is_defined_and_rises_everywhere() -> None:
    d = torch.linspace(-50, 200, 100_001, dtype=torch.float64)
    for a, b in ((1.0, 0.0), (A, B), (0.01, 3.0), (0.0, 4.0)):
        assert (anscombe.unstabilise(d, a=a, b=b).diff() > 0).all()
    near = anscombe.unstabilise(
        torch.tensor([1.5**0.5 - 1e-9, 1.5**0.5, 1.5**0.5 + 1e-9], dtype=torch.float64), a=1.0, b=0.0
    )
    assert near[1].item() == pytest.approx(0, abs=1e-12)  # no light, no read noise: stabilised 2 sqrt(3/8)
    assert near.diff()[0].item() == pytest.approx(near.diff()[1].item(), rel=1e-5)  # no kink


def test_gaussian_noise_scales_by_its_deviation() -> None:
    y = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for function in (anscombe.stabilise, anscombe.stabilised_mean):
        torch.testing.assert_close(function(y, a=0.0, b=4.0), y / 2)
    torch.testing.assert_close(anscombe.unstabilise(y, a=0.0, b=4.0), 2 * y)


@pytest.mark.parametrize("a", [2e-4, 1e-2, 0.1])
def test_nearly_gaussian_noise_survives_single_precision(a: float) -> None:
    noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    f = anscombe.stabilise(50 + 3 * noise, a=a, b=9.0 - 50 * a)
    assert f.std().item() == pytest.approx(1, abs=0.02)
    back = anscombe.unstabilise(f, a=a, b=9.0 - 50 * a)
    assert (back - (50 + 3 * noise)).abs().max() < 0.01 + a  # the unbiased inverse of a draw lies a / 4 above it


def test_laws_broadcast_over_a_batch() -> None:
    y = torch.full((3, 2, 4, 5), 150.0)
    a = torch.tensor([0.46, 0.0, 2.0]).reshape(3, 1, 1, 1)
    b = torch.tensor([-45.0, 4.0, -200.0]).reshape(3, 1, 1, 1)
    d = anscombe.stabilise(y, a=a, b=b)
    for n in range(3):
        torch.testing.assert_close(d[n], anscombe.stabilise(y[n], a=a[n].item(), b=b[n].item()))
    volume = anscombe.unstabilise(d[:, :, None], a=a[..., None], b=b[..., None])
    assert volume.shape == (3, 2, 1, 4, 5)
    assert (volume - 150).abs().max() < 2


def test_gradients_are_finite_where_the_root_is_clipped() -> None:
    y = torch.tensor([0.0, 90.0, 200.0], requires_grad=True)
    anscombe.unstabilise(anscombe.stabilise(y, a=A, b=B), a=A, b=B).sum().backward()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("unit", [1e-18, 1e-12, 1e12])
def test_the_unit_of_an_image_makes_no_difference(unit: float) -> None:
    y = torch.linspace(-5, 300, 400)
    expected = anscombe.stabilise(y, a=1.2, b=0.4)
    stable = anscombe.stabilise(y * unit, a=1.2 * unit, b=0.4 * unit**2)
    torch.testing.assert_close(stable, expected, rtol=1e-4, atol=1e-5)
    back = anscombe.unstabilise(stable, a=1.2 * unit, b=0.4 * unit**2) / unit
    torch.testing.assert_close(back, anscombe.unstabilise(expected, a=1.2, b=0.4), rtol=1e-4, atol=1e-4)
