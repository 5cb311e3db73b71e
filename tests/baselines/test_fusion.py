"""Classical fusion: values of the toolbox's kernel and interpolator, and laws that every method must keep.

Golden values come from an independent NumPy implementation of the DLPan-Toolbox's operators.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from sciddiff.baselines import fusion
from sciddiff.errors import InputError

Array = NDArray[np.float64]

QUICKBIRD = (0.34, 0.32, 0.30, 0.22)
CASES = list(itertools.product(("toolbox", "pixel"), (2, 3, 4)))


def waves(c: int, h: int, w: int) -> Array:
    """The bands from which golden values come."""
    k, y, x = np.mgrid[:c, :h, :w].astype(float)
    return 500 + 40 * k + 90 * np.sin(0.11 * (k + 1) * y + 0.07 * x) + 50 * np.cos(0.23 * x - 0.05 * k * y)


def landscape(side: int) -> Array:
    """Four correlated bands of power-law texture, (4, side, side)."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=(3, side, side)))
    texture = np.fft.ifft2(noise / (frequency + 1 / side) ** 1.3).real
    texture /= texture.std((1, 2), keepdims=True)
    mixture = np.array([[1, 0.2, 0.1], [1, 0.3, 0], [1, 0.1, -0.2], [0.8, -0.4, 0.3]])
    return 500 + 60 * np.tensordot(mixture, texture, 1)


def measured(geometry: fusion.GeometryName, ratio: int, side: int = 48) -> tuple[Array, Array, Array]:
    """Truth, MS and PAN, the last a linear combination of the truth's bands."""
    truth = landscape(side)
    ms = fusion.geometry_of(geometry, ratio).measure(truth, QUICKBIRD, ratio)
    return truth, ms, np.tensordot([0.2, 0.3, 0.3, 0.2], truth, 1)


@pytest.mark.parametrize(
    ("gain", "ratio", "total", "effective", "centre"),
    [
        (0.30, 4, 0.99874, 0.28235, 3.880659e-2),
        (0.275, 2, 0.99966, 0.25764, 1.444820e-1),
        (0.22, 4, 0.99842, 0.20395, 3.085742e-2),
    ],
)
def test_toolbox_kernel(gain: float, ratio: int, total: float, effective: float, centre: float):
    kernel = fusion.toolbox_kernel(gain, ratio)
    tap = np.arange(41) - 20
    response = abs((kernel.sum(0) * np.exp(-1j * np.pi * tap / ratio)).sum())
    assert kernel.sum() == pytest.approx(total, abs=6e-6)
    assert response == pytest.approx(effective, abs=6e-6)
    assert response == pytest.approx(gain ** (41 / 40) ** 2, rel=1e-3)
    assert kernel[20, 20] == pytest.approx(centre, rel=1e-6)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1].T, atol=1e-15)


@pytest.mark.parametrize(
    ("gain", "ratio", "sigma"), [(0.15, 4, 2.480), (0.22, 4, 2.216), (0.30, 4, 1.976), (0.30, 2, 0.988)]
)
def test_pixel_lowpass_is_a_gaussian_of_the_gain(gain: float, ratio: int, sigma: float):
    impulse = np.zeros((1, 65, 65))
    impulse[0, 32, 32] = 1
    spread = fusion.geometry_of("pixel", ratio).lowpass(impulse, [gain], ratio)[0].sum(0)
    tap = np.arange(65) - 32
    assert spread.sum() == pytest.approx(1)
    assert math.sqrt((spread * tap**2).sum()) == pytest.approx(sigma, abs=2e-3)
    assert abs((spread * np.exp(-1j * np.pi * tap / ratio)).sum()) == pytest.approx(gain, abs=2e-4)


@pytest.mark.parametrize(
    ("ratio", "values"), [(2, {(0, 0): 570.327775, (6, 9): 577.170365}), (4, {(5, 9): 560.187623})]
)
def test_interp23_golden_values(ratio: int, values: dict[tuple[int, int], float]):
    high = fusion.interp23(waves(1, 8, 8), ratio)
    for (y, x), value in values.items():
        assert high[0, y, x] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_interp23_keeps_samples_and_constants(ratio: int):
    low = waves(2, 8, 12)
    high = fusion.interp23(low, ratio)
    assert high.shape == (2, 8 * ratio, 12 * ratio)
    np.testing.assert_allclose(high[:, ratio // 2 :: ratio, ratio // 2 :: ratio], low, rtol=1e-12)
    np.testing.assert_allclose(fusion.interp23(np.ones((1, 8, 8)), ratio), 1, atol=1e-9)


def test_interp23_refuses_a_ratio_of_three():
    with pytest.raises(InputError, match="power of two"):
        fusion.interp23(waves(1, 8, 8), 3)


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_shrink_is_antialiased_bicubic(ratio: int):
    image = waves(1, 24 * ratio, 20 * ratio)
    expected = F.interpolate(
        torch.from_numpy(image)[None], (24, 20), mode="bicubic", antialias=True, align_corners=False
    )
    inside = (slice(None), slice(2, -2), slice(2, -2))  # torch drops what lies outside, MATLAB mirrors
    np.testing.assert_allclose(fusion.shrink(image, ratio)[inside], expected[0].numpy()[inside], rtol=1e-6)


@pytest.mark.parametrize(("geometry", "ratio"), CASES)
def test_interpolated_and_measured_agree_on_where_pixels_lie(geometry: fusion.GeometryName, ratio: int):
    y, x = np.mgrid[: 40 * ratio, : 40 * ratio].astype(float)
    plane = np.stack([y, x, y + 2 * x, y])
    operators = fusion.geometry_of(geometry, ratio)
    gains = (0.9,) * 4  # a narrow kernel, of unit sum in both geometries but for 1e-3
    again = operators.up(operators.measure(plane, gains, ratio), ratio)
    inside = (slice(None), slice(14 * ratio, -14 * ratio), slice(14 * ratio, -14 * ratio))
    assert np.abs(again - plane)[inside].max() < 0.25  # half a pixel of shift would be 0.5


def test_geometries_share_the_fallback_for_other_ratios():
    assert fusion.geometry_of("toolbox", 3) == fusion.geometry_of("pixel", 3)
    assert fusion.geometry_of("toolbox", 4) != fusion.geometry_of("pixel", 4)


@pytest.mark.parametrize("name", sorted(set(fusion.FUSIONS) - {"EXP"}))
@pytest.mark.parametrize(("geometry", "ratio"), CASES)
def test_detail_of_pan_beats_interpolation(name: str, geometry: fusion.GeometryName, ratio: int):
    truth, ms, pan = measured(geometry, ratio)
    error = {
        method: np.sqrt(
            ((fusion.FUSIONS[method](ms, pan, ratio=ratio, gains=QUICKBIRD, geometry=geometry) - truth) ** 2).mean()
        )
        for method in (name, "EXP")
    }
    assert error[name] < 0.6 * error["EXP"]


@pytest.mark.parametrize("name", sorted(fusion.FUSIONS))
@settings(deadline=None, max_examples=5)
@given(exponent=st.floats(-4, 4), geometry=st.sampled_from(["toolbox", "pixel"]))
def test_the_unit_does_not_matter(name: str, exponent: float, geometry: fusion.GeometryName):
    _, ms, pan = measured(geometry, 4, side=32)
    fuse, gain = fusion.FUSIONS[name], 10**exponent
    result = fuse(gain * ms, gain * pan, ratio=4, gains=QUICKBIRD, geometry=geometry)
    np.testing.assert_allclose(
        result / gain, fuse(ms, pan, ratio=4, gains=QUICKBIRD, geometry=geometry), rtol=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("name", sorted(fusion.FUSIONS))
@pytest.mark.parametrize("geometry", ["toolbox", "pixel"])
@pytest.mark.parametrize(("ms_level", "pan_level"), [(0.0, 0.0), (0.1, 0.3), (5.0, None), (None, 7.0), (None, 0.0)])
def test_constant_images_stay_finite(
    name: str, geometry: fusion.GeometryName, ms_level: float | None, pan_level: float | None
):
    _, ms, pan = measured(geometry, 4, side=32)
    ms = ms if ms_level is None else np.full_like(ms, ms_level)
    pan = pan if pan_level is None else np.full_like(pan, pan_level)
    result = fusion.FUSIONS[name](ms, pan, ratio=4, gains=QUICKBIRD, geometry=geometry)
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 3 * max(ms.max(), pan.max())


@pytest.mark.parametrize("name", ["GSA", "MTF-GLP-FS"])
def test_a_panchromatic_image_without_detail_adds_none(name: str):
    _, ms, pan = measured("pixel", 4, side=32)
    flat = np.full_like(pan, pan.mean())
    result = fusion.FUSIONS[name](ms, flat, ratio=4, gains=QUICKBIRD, geometry="pixel")
    expected = fusion.exp(ms, flat, ratio=4, gains=QUICKBIRD, geometry="pixel")
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_brovey_intensity_is_pan():
    _, ms, pan = measured("toolbox", 4)
    weights = np.array([0.1, 0.4, 0.3, 0.2])
    result = fusion.brovey(ms, pan, ratio=4, gains=QUICKBIRD, weights=weights)
    np.testing.assert_allclose(np.tensordot(weights, result, 1), pan)


def test_gsa_keeps_means_and_injects_one_detail_into_all_bands():
    _, ms, pan = measured("toolbox", 4)
    result = fusion.gsa(ms, pan, ratio=4, gains=QUICKBIRD)
    high = fusion.exp(ms, pan, ratio=4, gains=QUICKBIRD)
    np.testing.assert_allclose(result.mean((1, 2)), high.mean((1, 2)))
    detail = result - high
    np.testing.assert_allclose(
        detail / detail[0], np.broadcast_to((detail / detail[0]).mean((1, 2), keepdims=True), detail.shape)
    )


def test_glp_injects_the_regressed_share_of_detail():
    """With MS~ = g P_L exactly, the law of MTF-GLP-FS gives g P."""
    _, _, pan = measured("toolbox", 4)
    operators = fusion.geometry_of("toolbox", 4)
    share = np.array([0.5, 1.0, 1.5, 2.0])[:, None, None]
    ms = share * operators.measure(np.broadcast_to(pan, (4, *pan.shape)), QUICKBIRD, 4)
    np.testing.assert_allclose(fusion.mtf_glp_fs(ms, pan, ratio=4, gains=QUICKBIRD), share * pan, rtol=1e-9)


def test_bt_h_leaves_haze_alone():
    _, ms, pan = measured("toolbox", 4)
    for haze in ("minimum", "bgrn"):
        result = fusion.bt_h(ms, pan, ratio=4, gains=QUICKBIRD, haze=haze)
        assert np.isfinite(result).all()
    high = fusion.exp(ms, pan, ratio=4, gains=QUICKBIRD)
    darkest = high[0] == high[0].min()
    kept = fusion.bt_h(ms, pan, ratio=4, gains=QUICKBIRD)[0]
    assert kept[darkest] == pytest.approx(high[0].min())
    with pytest.raises(InputError, match="3 bands"):
        fusion.bt_h(ms[:3], pan, ratio=4, gains=QUICKBIRD[:3], haze="bgrn")


def test_bdsd_pc_keeps_the_signs_of_its_weights():
    _, ms, pan = measured("toolbox", 4)
    extra = fusion.bdsd_pc(ms, pan, ratio=4, gains=QUICKBIRD) - fusion.exp(ms, pan, ratio=4, gains=QUICKBIRD)
    design = np.concatenate([pan[None], fusion.exp(ms, pan, ratio=4, gains=QUICKBIRD)]).reshape(5, -1).T
    weights = np.linalg.lstsq(design, extra.reshape(4, -1).T, rcond=None)[0]
    assert (weights[0] >= -1e-9).all()
    assert (weights[1:] <= 1e-9).all()
    assert weights[0].max() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": (0.3,) * 3}, "expected 4 and one"),
        ({"gains": (0.3, 0.3, 0.3, 1.0)}, "each in"),
        ({"pan_gain": 0.0}, "each in"),
        ({"ratio": 2}, "expected .c, h, w. and"),
        ({"ratio": 1}, "2 or more"),
        ({"geometry": "other"}, "toolbox or pixel"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str):
    _, ms, pan = measured("toolbox", 4, side=32)
    with pytest.raises(InputError, match=message):
        fusion.gsa(ms, pan, **{"ratio": 4, "gains": QUICKBIRD, **change})
