"""Schedules: their shape, and the centred sampler's angles against the recursion that they come from."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from sciddiff.diffusion import angles, ddpm_betas, log_angles
from sciddiff.errors import OptionError

EIGENVALUES = np.geomspace(0.01, 6.0, 400)
LARGEST_ERROR = {2: 0.62, 3: 0.13, 4: 0.021, 5: 0.014, 6: 0.0046, 7: 0.0013, 8: 0.0006}
# Tangents of plain Euler steps (each velocity found where its step begins) that minimise the squared log ratio.
PLAIN = {
    2: (0.653,),
    3: (4.07, 0.595),
    4: (9.35, 4.27, 0.592),
    5: (5.08, 1.98, 0.651, 0.108),
    6: (7.54, 3.39, 1.76, 0.498, 0.0849),
    8: (10.2, 4.74, 2.62, 1.22, 0.408, 0.101, 0.0198),
}


def log_ratio(nodes):
    """Log of the variance of a Gaussian residual after the steps, over what it should be."""
    edges, gain = [nodes[0], *nodes[2:]], 1.0
    for angle, begin, end in zip(nodes[1:-1], edges, edges[1:], strict=False):
        sine, cosine = math.sin(angle), math.cos(angle)
        velocity = sine * cosine * (1 - EIGENVALUES) / (EIGENVALUES * cosine**2 + sine**2)
        gain = gain - (begin - end) * gain * velocity
    return np.log(np.maximum(gain**2, 1e-12) / EIGENVALUES)


@pytest.mark.parametrize("steps", [*range(1, 20), 50, 1000])
def test_angles_descend_from_the_quarter_turn_to_zero(steps):
    nodes = angles(steps)
    assert len(nodes) == steps + 1
    assert nodes[-1] == 0.0
    assert all(a > b for a, b in pairwise(nodes))
    assert 1.0 < nodes[0] <= math.pi / 2


@pytest.mark.parametrize("steps", LARGEST_ERROR)
def test_every_eigenvalue_keeps_its_variance(steps):
    assert np.abs(np.expm1(log_ratio(angles(steps)))).max() < LARGEST_ERROR[steps]


@pytest.mark.parametrize(("steps", "largest"), [(9, 0.037), (16, 0.017), (32, 0.005), (128, 0.0006)])
def test_many_steps_converge(steps, largest):
    assert np.abs(np.expm1(log_ratio(angles(steps)))).max() < largest


@pytest.mark.parametrize("steps", PLAIN)
def test_angles_are_better_than_plain_euler_steps(steps):
    tangents = PLAIN[steps]
    plain = log_ratio([math.atan(tangents[0]), *map(math.atan, tangents), 0.0])
    ours = log_ratio(angles(steps))
    assert np.abs(ours).max() < np.abs(plain).max()
    assert np.sqrt(np.mean(ours**2)) < np.sqrt(np.mean(plain**2))


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 6])
def test_no_angles_close_by_are_better(steps):
    table = np.array(angles(steps)[:-1])

    def worst(nodes):
        return np.abs(log_ratio([*nodes, 0.0])).max()

    start = table * (1 - 0.003 * np.linspace(0, 1, steps))
    fit = minimize(worst, start, method="Nelder-Mead", options={"maxiter": 1500, "xatol": 1e-6, "fatol": 1e-8})
    assert fit.fun > 0.97 * worst(table)


def test_reference_angles_are_spaced_logarithmically_in_sigma():
    np.testing.assert_allclose(np.tan(log_angles(7)[:-1]), np.geomspace(16.0, 0.1, 7))
    assert log_angles(7)[-1] == 0.0
    assert log_angles(1) == (math.atan(16.0), 0.0)
    np.testing.assert_allclose(np.tan(log_angles(3, largest=80, smallest=0.002)[:-1]), np.geomspace(80, 0.002, 3))


def test_linear_betas_are_those_of_the_paper():
    betas = ddpm_betas(1000)
    np.testing.assert_allclose(betas, np.linspace(1e-4, 0.02, 1000))
    assert np.prod(1 - np.array(betas)) == pytest.approx(4.04e-5, rel=0.01)


def test_linear_betas_of_a_shorter_chain_end_as_noisy():
    assert np.prod(1 - np.array(ddpm_betas(250))) == pytest.approx(4.04e-5, rel=0.25)


def test_cosine_betas_leave_the_cosine_squared_of_the_signal():
    signal = np.cumprod(1 - np.array(ddpm_betas(1000, "cosine")))
    t = np.arange(1, 1001) / 1000
    expected = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(signal[:-1], expected[:-1], rtol=1e-9)
    assert max(ddpm_betas(1000, "cosine")) == 0.999


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_betas_are_probabilities(steps, kind):
    betas = ddpm_betas(steps, kind)
    assert len(betas) == steps
    assert all(0 < beta <= 0.999 for beta in betas)


@pytest.mark.parametrize("schedule", [angles, log_angles, ddpm_betas])
@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(schedule, steps):
    with pytest.raises(OptionError, match=f"got {steps}"):
        schedule(steps)


def test_unknown_betas_are_refused():
    with pytest.raises(OptionError, match="quadratic"):
        ddpm_betas(10, "quadratic")
