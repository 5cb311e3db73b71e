"""Metrics of pan-sharpening against an independent implementation of the DLPan-Toolbox's, and their laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sciddiff.baselines import fusion
from sciddiff.errors import InputError
from sciddiff.evaluation import fusion_metrics as metrics

Array = NDArray[np.float64]

QUICKBIRD = (0.34, 0.32, 0.30, 0.22)


def pair(c: int, h: int = 64, w: int = 80) -> tuple[Array, Array]:
    """The result and the truth from which the golden values come, in digital numbers."""
    k, y, x = np.mgrid[:c, :h, :w].astype(float)
    truth = 500 + 40 * k + 90 * np.sin(0.11 * (k + 1) * y + 0.07 * x) + 50 * np.cos(0.23 * x - 0.05 * k * y)
    return truth + 20 * np.sin(1.3 * x + 0.9 * y + k), truth


def product(a: Array, b: Array) -> Array:
    """Hypercomplex product by the recursion itself."""
    if len(a) == 1:
        return a * b
    half = len(a) // 2
    a1, a2, b1, b2 = a[:half], a[half:], b[:half], b[half:]
    return np.concatenate([product(a1, b1) - product(conjugate(b2), a2), product(b2, a1) + product(a2, conjugate(b1))])


def conjugate(a: Array) -> Array:
    return np.concatenate([a[:1], -a[1:]])


@pytest.mark.parametrize(
    ("bands", "value"),
    [(1, 0.976870), (3, 0.979570), (4, 0.980016), (5, 0.980288), (7, 0.980610), (8, 0.980709)],
)
def test_q2n_golden_values(bands: int, value: float):
    result, truth = pair(bands)
    assert metrics.q2n(result, truth, rounding=True) == pytest.approx(value, abs=1e-6)
    assert metrics.q2n(result, truth) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize("rounding", [True, False])
def test_q2n_of_equal_images_is_one(bands: int, rounding: bool):
    truth = pair(bands)[1]
    truth[0, :32, :32] = 0.1  # a block of one value
    assert metrics.q2n(truth, truth, rounding=rounding) == pytest.approx(1)
    flat = np.full((bands, 40, 40), 0.1)
    assert metrics.q2n(flat, flat.copy(), rounding=rounding) == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 2, 4, 8, 16])
def test_product_signs_are_those_of_the_recursion(order: int):
    a, b = np.random.default_rng(order).normal(size=(2, order))
    expected = np.zeros(order)
    for i in range(order):
        for j in range(order):
            expected[i ^ j] += metrics.product_signs(order)[i, j] * a[i] * b[j]
    np.testing.assert_allclose(product(a, b), expected)
    if order <= 8:  # beyond the octonions there are divisors of zero
        assert np.linalg.norm(expected) == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("bands", [4, 8])
def test_q2n_does_not_depend_on_the_convention_of_the_product(bands: int, monkeypatch: pytest.MonkeyPatch):
    result, truth = pair(bands)
    value = metrics.q2n(result, truth)
    signs = metrics.product_signs(bands).T.copy()  # b a for a b: the opposite algebra
    monkeypatch.setattr(metrics, "product_signs", lambda order: signs)
    assert metrics.q2n(result, truth) == pytest.approx(value, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.floats(-3, 3))
def test_q2n_without_rounding_knows_no_unit_and_lies_below_one(seed: int, bands: int, exponent: float):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 1, (bands, 32, 33))
    result = truth + rng.normal(0, 0.3, truth.shape)
    index = metrics.q2n(result, truth)
    assert 0 <= index < 1
    assert metrics.q2n(10**exponent * result, 10**exponent * truth) == pytest.approx(index, rel=1e-9)


def test_q_golden_values():
    result, truth = pair(4)
    np.testing.assert_allclose(metrics.q_bands(result, truth), [0.977397, 0.981550, 0.981323, 0.981423], atol=1e-6)
    assert metrics.q_index(result, truth) == pytest.approx(0.980423, abs=1e-6)
    assert metrics.q_index(truth, truth) == pytest.approx(1)


def test_q_of_constant_blocks_compares_means():
    flat = np.ones((1, 32, 32))
    assert metrics.q_index(flat, flat) == 1
    assert metrics.q_index(0 * flat, 0 * flat) == 1
    assert metrics.q_index(flat, 3 * flat) == pytest.approx(2 * 3 / (1 + 9))


def test_q_needs_one_whole_block():
    with pytest.raises(InputError, match="no block of 32"):
        metrics.q_index(np.ones((1, 31, 64)), np.ones((1, 31, 64)))


def test_scc_golden_value():
    result, truth = pair(4)
    assert metrics.scc(result, truth) == pytest.approx(0.992222, abs=1e-6)
    assert metrics.scc(truth, truth) == pytest.approx(1)
    assert metrics.scc(3 * truth, truth) == pytest.approx(1)
    assert math.isnan(metrics.scc(np.zeros_like(truth), truth))


@pytest.mark.parametrize("metric", [metrics.q2n, metrics.q_index, metrics.scc])
def test_shapes_must_agree(metric):
    with pytest.raises(InputError, match="expected the same"):
        metric(np.zeros((2, 32, 32)), np.zeros((3, 32, 32)))


def test_toolbox_scores_golden_values():
    fused, truth = pair(4, 64, 64)
    ms = truth[:, 2::4, 2::4]
    assert metrics.d_lambda(fused, ms, ratio=4, gains=QUICKBIRD) == pytest.approx(0.038502, abs=1e-6)
    again = metrics.reprojection(fused, ms, ratio=4, gains=QUICKBIRD, mode="toolbox")
    assert again == pytest.approx((0.622236, 1.164629, 0.975280), abs=1e-6)


def test_d_s_by_its_definition():
    fused, truth = pair(4, 64, 64)
    ms, pan = truth[:, 2::4, 2::4], fused.mean(0)
    high, low = fusion.interp23(ms, 4), fusion.interp23(fusion.shrink(pan[None], 4), 4)
    expected = np.mean(
        [abs(metrics.q_index(f[None], pan[None]) - metrics.q_index(m[None], low)) for f, m in zip(fused, high)]
    )
    score = metrics.d_s(fused, ms, pan, ratio=4, gains=QUICKBIRD)
    assert score == pytest.approx(expected)
    assert score > 0.01


@pytest.mark.parametrize("mode", ["toolbox", "physical"])
@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_hqnr_joins_both_distortions(mode: metrics.Mode, ratio: int):
    fused, truth = pair(4, 96, 96)
    name: fusion.GeometryName = "toolbox" if mode == "toolbox" else "pixel"
    ms = fusion.geometry_of(name, ratio).measure(truth, QUICKBIRD, ratio)
    scores = metrics.hqnr(fused, ms, fused.mean(0), ratio=ratio, gains=QUICKBIRD, mode=mode)
    assert scores.hqnr == pytest.approx((1 - scores.d_lambda) * (1 - scores.d_s))
    assert 0 < scores.d_lambda < 0.3
    assert 0 < scores.d_s < 0.8


def test_physical_scores_know_no_unit():
    fused, truth = pair(4, 64, 64)
    ms = fusion.geometry_of("pixel", 4).measure(truth, QUICKBIRD, 4)
    values = [
        (
            *metrics.hqnr(s * fused, s * ms, s * fused.mean(0), ratio=4, gains=QUICKBIRD, mode="physical"),
            *metrics.reprojection(s * fused, s * ms, ratio=4, gains=QUICKBIRD),
        )
        for s in (1, 1e-4)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-7)


@pytest.mark.parametrize("mode", ["toolbox", "physical"])
@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_the_truth_reprojects_to_what_was_measured(mode: metrics.Mode, ratio: int):
    truth = pair(4, 96, 96)[1]
    name: fusion.GeometryName = "toolbox" if mode == "toolbox" else "pixel"
    ms = fusion.geometry_of(name, ratio).measure(truth, QUICKBIRD, ratio)
    scores = metrics.reprojection(truth, ms, ratio=ratio, gains=QUICKBIRD, mode=mode)
    assert scores == pytest.approx((0, 0, 1), abs=1e-5)
    worse = metrics.reprojection(
        fusion.geometry_of(name, ratio).up(ms, ratio), ms, ratio=ratio, gains=QUICKBIRD, mode=mode
    )
    assert worse.ergas > scores.ergas
    assert worse.q2n < scores.q2n


def test_fusion_scores_better_than_interpolation():
    y, x = np.mgrid[:64, :64]
    edges = 500 + 100 * np.sign(np.sin(x / 3)) * np.sign(np.cos(y / 4))
    truth = np.array([0.6, 0.8, 1.0, 1.3])[:, None, None] * edges + 0.1 * pair(4, 64, 64)[1]  # bands go together
    ms = fusion.geometry_of("pixel", 4).measure(truth, QUICKBIRD, 4)
    pan = truth.mean(0)
    fused, high = (
        method(ms, pan, ratio=4, gains=QUICKBIRD, geometry="pixel") for method in (fusion.mtf_glp_fs, fusion.exp)
    )
    better, worse = (metrics.hqnr(image, ms, pan, ratio=4, gains=QUICKBIRD, mode="physical") for image in (fused, high))
    assert better.hqnr > worse.hqnr
    assert metrics.q2n(fused, truth) > metrics.q2n(high, truth)


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="toolbox, physical"):
        metrics.reprojection(np.ones((1, 32, 32)), np.ones((1, 8, 8)), ratio=4, gains=[0.3], mode="other")
