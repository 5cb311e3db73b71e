import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from scipy import special

from sciddiff.errors import OptionError
from sciddiff.physics import gibson_lanni, modality, pupil
from sciddiff.physics.blur import otf
from sciddiff.physics.gaussian_psf import gaussian_psf, widths
from sciddiff.physics.gibson_lanni import Objective
from sciddiff.physics.optics import Optics, cutoff

OIL = Optics(na=1.4, wavelength=0.525, index=1.515, pixel_size=0.02, z_step=0.05)
MATCHED = Objective(na=1.4, wavelength=0.525, immersion=1.515, sample=1.515, coverslip=1.515)


def half_width(x: ArrayLike, y: ArrayLike) -> float:
    """Where a falling curve passes half its first value."""
    y = np.asarray(y) / y[0]
    end = int((y < 0.5).argmax())
    return float(np.interp(0.5, [y[end], y[end - 1]], [x[end], x[end - 1]]))


# Microscopy reference, section 5.2, after Zhang, Zerubia, Olivo-Marin 2007, at 0.525 um.
@pytest.mark.parametrize(
    ("na", "index", "lateral", "axial"),
    [
        (1.4, 1.515, 0.0815, 0.2214),
        (1.2, 1.333, 0.0954, 0.2746),
        (0.8, 1.0, 0.1447, 0.5136),
        (0.5, 1.0, 0.2363, 1.6374),
    ],
)
def test_golden_gaussian_widths(na: float, index: float, lateral: float, axial: float) -> None:
    assert widths(na, wavelength=0.525, index=index) == pytest.approx((lateral, axial), abs=6e-5)


def test_gaussian_volumes() -> None:
    psf = gaussian_psf((1.5, 0.0, 2.0))
    assert psf.shape == (13, 1, 17)
    assert psf.sum().item() == pytest.approx(1)
    z = torch.arange(13) - 6
    assert (psf.sum((1, 2)) * z**2).sum().item() == pytest.approx(1.5**2, rel=2e-3)


def test_golden_gibson_lanni_without_aberration() -> None:
    # Microscopy reference, section 5.3; the plane in focus is Airy's pattern.
    r = np.linspace(0, 0.4, 4001)
    light = gibson_lanni.intensity(MATCHED, r, [0.0])[0]
    v = 2 * np.pi / 0.525 * 1.4 * r[1:]
    np.testing.assert_allclose(light[1:], (special.j1(v) / v) ** 2, atol=1e-9)
    assert 2 * half_width(r, light) == pytest.approx(0.1930, abs=2e-4)
    assert r[200 + light[200:3000].argmin()] == pytest.approx(0.2287, abs=3e-4)  # 0.61 lambda / NA
    z = np.linspace(0, 1, 2001)
    axial = gibson_lanni.intensity(MATCHED, [0.0], z)[:, 0]
    assert 2 * half_width(z, axial) == pytest.approx(0.520, abs=4e-3)


def test_golden_spherical_aberration() -> None:
    # Microscopy reference, section 5.3: oil into water at 10 um: peak 0.26 of the ideal, moved by 0.87 um.
    water = replace(MATCHED, sample=1.33, depth=10.0)
    focus = gibson_lanni.peak(water)
    assert focus - 10 == pytest.approx(0.87, abs=6e-3)
    assert gibson_lanni.intensity(water, [0.0], [focus])[0, 0] / 0.25 == pytest.approx(0.26, abs=3e-3)
    assert gibson_lanni.peak(MATCHED) == pytest.approx(0, abs=1e-9)


def test_light_beyond_total_reflection_is_cut() -> None:
    water = replace(MATCHED, sample=1.33, depth=0.0)
    ideal = gibson_lanni.intensity(water, [0.0], [0.0])[0, 0]
    assert ideal == pytest.approx((1.33 / 1.4) ** 4 / 4, rel=1e-6)


@pytest.mark.parametrize("kind", ["widefield", "confocal", "two-photon", "light-sheet"])
def test_volumes_are_normalised_centred_and_round(kind: str) -> None:
    optics = replace(OIL, modality=kind, excitation=0.9 if kind == "two-photon" else 0.488, sheet=0.3)
    psf = modality.psf(optics, (11, 31, 33))
    assert psf.shape == (11, 31, 33)
    assert psf.sum().item() == pytest.approx(1)
    assert (psf >= 0).all()
    assert np.unravel_index(int(psf.argmax()), psf.shape) == (5, 15, 16)
    torch.testing.assert_close(psf, psf.flip(1))
    torch.testing.assert_close(psf[:, 15, 1:-1], psf[:, :, 16], atol=2e-6, rtol=0)  # their windows differ
    assert modality.psf(optics, (31, 31)).sum().item() == pytest.approx(1)


def test_products_of_spread_functions_are_narrower() -> None:
    z = np.arange(31) * 0.05
    spread = {}
    for kind in ("widefield", "confocal", "light-sheet"):
        psf = modality.psf(replace(OIL, modality=kind, excitation=0.488, sheet=0.3), (61, 31, 31)).numpy()
        spread[kind] = 2 * half_width(z, psf[30:, 15, 15])
    assert spread["confocal"] < spread["light-sheet"] < spread["widefield"]
    two = modality.psf(replace(OIL, modality="two-photon", excitation=0.9), (1, 63, 63))
    one = modality.psf(replace(OIL, wavelength=0.9), (1, 63, 63)) ** 2
    torch.testing.assert_close(two, one / one.sum())


def test_a_closed_pinhole_multiplies_and_an_open_one_leaves_the_excitation() -> None:
    confocal = replace(OIL, modality="confocal", excitation=0.488)
    emitted, sent = (modality.psf(replace(OIL, wavelength=w), (3, 41, 41)) for w in (0.525, 0.488))
    closed = modality.psf(replace(confocal, pinhole=1e-3), (3, 41, 41))
    product = emitted * sent
    torch.testing.assert_close(closed, product / product.sum())
    wide = modality.psf(replace(confocal, pinhole=6.0), (1, 21, 21))
    alone = modality.psf(replace(OIL, wavelength=0.488), (1, 21, 21))
    assert (wide - alone).abs().max() / alone.max() < 0.05


@pytest.mark.parametrize("kind", ["widefield", "two-photon", "light-sheet"])
def test_gaussians_have_the_width_of_the_spread_function(kind: str) -> None:
    optics = replace(OIL, modality=kind, excitation=0.9, sheet=0.3)
    psf = modality.psf(optics, (61, 41, 41)).numpy()
    lateral, axial = modality.gaussian_widths(optics)
    assert half_width(np.arange(21) * 0.02, psf[30, 20, 20:]) / 1.1774 == pytest.approx(lateral, rel=0.03)
    assert half_width(np.arange(31) * 0.05, psf[30:, 20, 20]) / 1.1774 == pytest.approx(axial, rel=0.03)


def test_confocal_gaussians_are_roughly_right() -> None:
    optics = replace(OIL, modality="confocal", excitation=0.488)
    psf = modality.psf(optics, (61, 41, 41)).numpy()
    lateral, axial = modality.gaussian_widths(optics)
    assert half_width(np.arange(21) * 0.02, psf[30, 20, 20:]) / 1.1774 == pytest.approx(lateral, rel=0.13)
    assert half_width(np.arange(31) * 0.05, psf[30:, 20, 20]) / 1.1774 == pytest.approx(axial, rel=0.13)


def test_nothing_passes_beyond_the_cutoff() -> None:
    optics = replace(OIL, pixel_size=0.05)
    transfer = otf(modality.psf(optics, (129, 129)), (256, 256)).abs()
    f = torch.fft.fftfreq(256, 0.05)
    frequency = torch.hypot(f[:, None], f[None])
    assert transfer[0, 0].item() == pytest.approx(1)
    assert transfer[frequency > 1.05 * cutoff(optics)].max() < 3e-3
    along = transfer[0, :128][f[:128] < 0.9 * cutoff(optics)]
    v = f[: len(along)].double().numpy() / cutoff(optics)
    expected = 2 / np.pi * (np.arccos(v) - v * np.sqrt(1 - v**2))  # of a round pupil (Goodman 2005)
    np.testing.assert_allclose(along.numpy(), expected, atol=0.03)


@pytest.mark.parametrize("index", range(15))
def test_zernike_polynomials_are_orthonormal(index: int) -> None:
    step = torch.linspace(-1, 1, 801, dtype=torch.float64)
    y, x = torch.meshgrid(step, step, indexing="ij")
    rho, theta = torch.hypot(x, y), torch.atan2(y, x)
    inside = rho <= 1
    value = pupil.zernike(index, rho, theta)[inside]
    assert (value**2).mean().item() == pytest.approx(1, abs=0.01)
    for other in range(index):
        assert (value * pupil.zernike(other, rho, theta)[inside]).mean().item() == pytest.approx(0, abs=0.01)


def test_orders_of_zernike_polynomials() -> None:
    assert [pupil.orders(j) for j in (0, 1, 2, 3, 4, 5, 8, 12)] == [
        (0, 0), (1, -1), (1, 1), (2, -2), (2, 0), (2, 2), (3, 1), (4, 0),
    ]  # fmt: skip


def test_a_plain_pupil_gives_the_plane_of_the_volume() -> None:
    none = torch.zeros(3, 1, dtype=torch.float64)
    planes = pupil.pupil_psf(OIL, none, size=63, defocus=torch.tensor([0.0, 0.2, -0.2], dtype=torch.float64))
    volume = modality.psf(OIL, (9, 63, 63))
    for plane, z in zip(planes, (4, 8, 0)):
        expected = volume[z] / volume[z].sum()
        assert plane.sum().item() == pytest.approx(1)
        assert (plane - expected).abs().max() / expected.max() < 5e-3


def test_coarse_pixels_read_the_same_light() -> None:
    none = torch.zeros(1, 1, dtype=torch.float64)
    fine = pupil.pupil_psf(OIL, none, size=63)[0, 31, 31::5]
    coarse = pupil.pupil_psf(replace(OIL, pixel_size=0.1), none, size=15)[0, 7, 7:14]
    torch.testing.assert_close(coarse / coarse[0], fine / fine[0], atol=5e-3, rtol=0)


def test_small_aberrations_dim_the_peak_by_marechals_law() -> None:
    coefficients = torch.zeros(4, 25, dtype=torch.float64)
    coefficients[1, 3], coefficients[2, 7], coefficients[3, 12] = 0.3, 0.3, 0.3
    coefficients.requires_grad_()
    psf = pupil.pupil_psf(OIL, coefficients, size=63)
    strehl = psf[1:].amax((1, 2)) / psf[0].max()
    assert strehl.tolist() == pytest.approx([math.exp(-(0.3**2))] * 3, abs=0.02)
    strehl.sum().backward()
    assert torch.isfinite(coefficients.grad).all()
    assert coefficients.grad.abs().max() > 0


def test_tilts_move_the_spot_by_their_share_of_the_aperture() -> None:
    tilt = torch.zeros(1, 3, dtype=torch.float64)
    tilt[0, 2] = 2.0
    psf = pupil.pupil_psf(OIL, tilt, size=63)[0]
    row, column = np.unravel_index(int(psf.argmax()), psf.shape)
    # phase 2 sqrt(4) rho cos(theta) over the pupil's radius NA / lambda: a shift of 4 lambda / (2 pi NA)
    assert row == 31
    assert abs(column - 31) == round(4 * 0.525 / (2 * math.pi * 1.4) / 0.02)


def test_even_sides_and_missing_steps_are_refused() -> None:
    with pytest.raises(OptionError, match=r"three odd sides"):
        modality.psf(OIL, (4, 31, 31))
    with pytest.raises(OptionError, match=r"needs z_step"):
        modality.psf(replace(OIL, z_step=None), (5, 31, 31))
    with pytest.raises(OptionError, match=r"odd number"):
        pupil.pupil_psf(OIL, torch.zeros(1, 1), size=10)
