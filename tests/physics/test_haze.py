import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics import haze, sensor
from sciddiff.physics.fractal import fractal_noise

LANDSAT = ("coastal", "blue", "green", "red", "nir", "swir1", "swir2")
# Remote sensing reference, section 7: transmission at 0.443 um, gamma, transmission of Landsat-8 bands 1 to 7.
GOLDEN = [
    (0.90, 4.000, (0.900, 0.928, 0.960, 0.978, 0.993, 0.999, 1.000)),
    (0.80, 2.521, (0.800, 0.835, 0.885, 0.920, 0.960, 0.991, 0.996)),
    (0.65, 1.050, (0.650, 0.674, 0.715, 0.752, 0.808, 0.895, 0.923)),
    (0.50, 0.417, (0.500, 0.512, 0.534, 0.555, 0.592, 0.667, 0.701)),
    (0.35, 0.185, (0.350, 0.356, 0.366, 0.377, 0.395, 0.437, 0.458)),
    (0.20, 0.0, (0.2,) * 7),
]
PRINTED = 5.01e-4  # half of the last printed digit


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(b: int = 2, c: int = 7, side: int = 24) -> Tensor:
    return 0.05 + 0.3 * torch.rand((b, c, side, side), generator=seeded(9), dtype=torch.float64)


@pytest.mark.parametrize(("t1", "gamma", "bands"), GOLDEN)
def test_worked_values(t1: float, gamma: float, bands: tuple[float, ...]) -> None:
    reference = torch.full((1, 1, 1, 1), t1, dtype=torch.float64)
    through = haze.transmission(reference, haze.wavelengths("landsat8", LANDSAT))
    assert haze.angstrom_exponent(reference).item() == pytest.approx(gamma, abs=PRINTED)
    assert through.flatten().tolist() == pytest.approx(bands, abs=PRINTED)


def test_the_exponent_stays_in_its_range_and_clear_air_is_clear() -> None:
    t1 = torch.linspace(0, 1, 101)
    gamma = haze.angstrom_exponent(t1)
    assert gamma.min() == 0
    assert gamma.max() == 4
    through = haze.transmission(t1.reshape(1, 1, 1, -1), [0.425, 0.443, 0.85, 2.2])
    assert through.isfinite().all()
    assert torch.equal(through[..., -1], torch.ones(1, 4, 1))


def test_thin_haze_dims_the_blue_more_than_the_infrared() -> None:
    clean = scene()
    through = haze.transmission(torch.full((2, 1, 24, 24), 0.85).double(), haze.wavelengths("landsat8", LANDSAT))
    hazy = haze.scatter(clean, through, light=torch.full((7,), 0.5).double())
    change = (hazy - clean).abs().mean((0, 2, 3))
    assert change[1] > 10 * change[6]


@given(t1=st.floats(0.35, 1.0), light=st.floats(0.2, 1.0))
@settings(max_examples=30, deadline=None)
def test_unscatter_inverts_scatter(t1: float, light: float) -> None:
    clean = scene()
    through = haze.transmission(torch.full((2, 1, 24, 24), t1).double(), haze.wavelengths("landsat8", LANDSAT))
    air = torch.full((2, 7), light, dtype=torch.float64)
    again = haze.unscatter(haze.scatter(clean, through, light=air), through, light=air)
    torch.testing.assert_close(again, clean, rtol=0, atol=1e-12)


def test_unscatter_extrapolates_no_further_than_t_min() -> None:
    hazy, through, light = torch.tensor([0.5, 0.02, 0.4]).reshape(3, 1, 1, 1, 1)
    assert haze.unscatter(hazy, through, light=light.reshape(1, 1)).item() == pytest.approx((0.5 - 0.4 * 0.98) / 0.1)


def test_mean_light_at_the_table_and_between() -> None:
    assert haze.mean_light([0.443, 2.2, 0.4]) == pytest.approx([0.4676, 0.5435, 0.4676])
    assert haze.mean_light([0.705])[0] == pytest.approx(0.5147 + (0.6082 - 0.5147) * 0.05 / 0.21)


def test_stabilised_light_by_hand() -> None:
    waves = haze.wavelengths("landsat8", LANDSAT)
    mean = torch.tensor(haze.mean_light(waves), dtype=torch.float64)
    image = torch.full((1, 7, 50, 50), 0.1, dtype=torch.float64)
    image[0, :, 7, 3] = torch.tensor([0.3, 0.3, 0.3, 0.3, 0.4, 0.5, 0.4])
    image[0, :, 0, 0] = torch.nan
    ratio = 0.45 / ((0.5750 + 0.5435) / 2)
    expected = 0.1 * image[0, :, 7, 3] + 0.9 * mean * ratio
    torch.testing.assert_close(haze.atmospheric_light(image, waves)[0], expected)
    assert haze.atmospheric_light(4 * image, waves).max() == 1


def test_the_water_vapour_bands_do_not_set_the_light() -> None:
    waves = haze.wavelengths("sentinel2", ["B02", "B8A", "B11", "B10"])
    image = torch.rand((1, 4, 8, 8), generator=seeded()) * 0.1
    image[:, :, 2, 2] = 0.4
    dark = image.clone()
    dark[:, 3] = 0.0
    torch.testing.assert_close(haze.atmospheric_light(image, waves)[:, :3], haze.atmospheric_light(dark, waves)[:, :3])


@pytest.mark.parametrize(
    ("name", "bands", "expected"),
    [
        ("sentinel2", ["B2", "red", "B8A", "swir2"], [0.490, 0.665, 0.865, 2.190]),
        ("landsat8", ["B4", "nir", "cirrus", "SWIR 1"], [0.655, 0.865, 1.3735, 1.610]),
        ("worldview3", ["coastal", "rededge", "nir"], [0.425, 0.725, 0.833]),
        ("generic", ["R", "green", "NIR", "red edge 1"], [0.665, 0.560, 0.842, 0.705]),
    ],
)
def test_wavelengths_by_name_and_alias(name: str, bands: list[str], expected: list[float]) -> None:
    assert haze.wavelengths(name, bands) == expected


@pytest.mark.parametrize(("name", "bands"), [("generic", ["band_1"]), ("quickbird", ["swir1"]), ("generic", ["pan"])])
def test_an_unknown_band_asks_for_wavelengths(name: str, bands: list[str]) -> None:
    with pytest.raises(OptionError, match="give the bands' wavelengths"):
        haze.wavelengths(name, bands)
    with pytest.raises(OptionError, match="unknown sensor"):
        haze.wavelengths("spot99", bands)


def test_every_sensor_of_the_gains_has_its_wavelengths() -> None:
    for name, gains in sensor.MTF.items():
        assert set(gains) <= set(haze.WAVELENGTHS[name])


def test_drawn_haze_is_its_own_model_and_repeats() -> None:
    clean, waves = scene(b=4), haze.wavelengths("landsat8", LANDSAT)
    one, two, other = (haze.draw_haze(clean, waves, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.hazy, two.hazy)
    assert not torch.equal(one.hazy, other.hazy)
    torch.testing.assert_close(one.hazy, haze.scatter(clean, one.transmission, light=one.light))
    assert one.transmission.shape == clean.shape
    assert one.light.shape == (4, 7)
    assert one.transmission.amax((2, 3)).eq(1).all()  # the density reaches from 0 to 1
    assert one.transmission[:, 0].flatten(1).std(1).min() > 0


def test_drawn_haze_is_thin_and_thick() -> None:
    drawn = haze.draw_haze(scene(b=200, c=1), [0.443], generator=seeded())
    thickest = 1 - drawn.transmission.amin((1, 2, 3))
    assert thickest.min() < 0.07
    assert thickest.max() > 0.9
    assert thickest.median().item() == pytest.approx(0.05**0.5, abs=0.05)


def test_nominal_haze_needs_no_generator_and_takes_a_light() -> None:
    clean, waves = scene(), haze.wavelengths("landsat8", LANDSAT)
    nominal = haze.draw_haze(clean, waves, generator=None)
    assert torch.equal(nominal.hazy, haze.draw_haze(clean, waves, generator=None).hazy)
    assert nominal.light[1].tolist() == pytest.approx(haze.mean_light(waves))
    assert nominal.transmission[:, 0].amin((1, 2)).tolist() == pytest.approx([1 - 0.05**0.5] * 2)
    given = haze.draw_haze(clean, waves, generator=None, light=torch.full((7,), 0.3))
    torch.testing.assert_close(given.light, torch.full((2, 7), 0.3).double())


def test_haze_lets_gradients_through() -> None:
    clean = scene().requires_grad_()
    drawn = haze.draw_haze(clean, haze.wavelengths("landsat8", LANDSAT), generator=seeded())
    drawn.hazy.sum().backward()
    torch.testing.assert_close(clean.grad, drawn.transmission)


@pytest.mark.parametrize("beta", [2.0, 3.0, 4.0])
def test_fractal_fields_follow_their_spectrum(beta: float) -> None:
    field = fractal_noise((24, 64, 64), generator=seeded(), beta=beta)
    torch.testing.assert_close(field.mean((1, 2)), torch.zeros(24), rtol=0, atol=1e-5)
    torch.testing.assert_close(field.square().mean((1, 2)), torch.ones(24))
    power = torch.fft.rfft2(field).abs().square()[:, 0, 1:32].mean(0)
    at = torch.arange(1, 32).log()
    slope = ((at - at.mean()) * power.log()).sum() / ((at - at.mean()) ** 2).sum()
    assert -slope.item() == pytest.approx(beta, abs=0.25)


def test_a_field_of_one_pixel_is_zero_and_the_power_is_flat_up_to_the_lowest_cycle() -> None:
    assert fractal_noise((1, 1, 1), generator=None).item() == 0
    field = fractal_noise((40, 64, 64), generator=seeded(), beta=4.0, lowest=torch.full((40,), 12.0))
    power = torch.fft.rfft2(field).abs().square()[:, 0].mean(0)
    assert power[1:7].mean().item() == pytest.approx(power[7:12].mean().item(), rel=0.3)
    assert power[24] < power[1:12].mean() / 8


def test_each_band_tells_the_reference_transmission() -> None:
    waves = haze.wavelengths("landsat8", LANDSAT)
    reference = torch.linspace(0.12, 1, 300).double()[None, None, None]
    each = haze.reference_transmission(haze.transmission(reference, waves), waves)
    assert each.shape == (1, len(waves), 1, 300)
    assert float((each - reference)[:, :4].abs().max()) < 1e-4
    assert float((each - reference).abs().max()) < 1e-2
    outside = haze.reference_transmission(torch.tensor([-1.0, 2.0]).expand(1, len(waves), 1, 2), waves)
    torch.testing.assert_close(outside[..., 0], torch.full_like(outside[..., 0], haze.LOWEST))
    torch.testing.assert_close(outside[..., 1], torch.ones_like(outside[..., 1]))


def test_an_even_veil_leaves_no_place_clear_and_keeps_the_thickest() -> None:
    clean = scene(64)
    lengths = haze.wavelengths("landsat8", LANDSAT)
    vary = haze.draw_haze(clean, lengths, generator=seeded(), strength=(0.5, 0.5))
    even = haze.draw_haze(clean, lengths, generator=seeded(), strength=(0.5, 0.5), even=1.0)
    some = haze.draw_haze(clean, lengths, generator=seeded(), strength=(0.5, 0.5), even=0.5)
    clearest = even.transmission[:, 0].amax((1, 2))
    torch.testing.assert_close(even.transmission[:, 0].amin((1, 2)), vary.transmission[:, 0].amin((1, 2)))
    assert 0.7 < clearest.mean() < 0.8  # a veil of 0 to all of 0.5
    veiled = some.transmission[:, 0].amax((1, 2)) < 1 - 1e-6
    assert 0.3 < veiled.double().mean() < 0.7
