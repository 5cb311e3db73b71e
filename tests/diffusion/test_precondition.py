"""The process and its velocity: identities and the distribution of the angles."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sciddiff.diffusion import denoised, draw_angles, state, velocity_target


def pair(*shape):
    source = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=source).double(), torch.randn(shape, generator=source).double()


@settings(max_examples=30, deadline=None)
@given(t=st.lists(st.floats(0, math.pi / 2), min_size=3, max_size=3))
def test_true_velocity_denoises_to_the_residual(t):
    residual, noise = pair(3, 2, 4, 5)
    angles = torch.tensor(t, dtype=torch.float64)
    x = state(residual, noise, angles)
    torch.testing.assert_close(denoised(velocity_target(residual, noise, angles), x, angles), residual)


@pytest.mark.parametrize("spatial", [(6,), (4, 5), (2, 3, 4)])
def test_one_angle_for_all_equals_an_angle_each(spatial):
    residual, noise = pair(2, 3, *spatial)
    each = torch.full((2,), 0.7, dtype=torch.float64)
    for function in (state, velocity_target, denoised):
        torch.testing.assert_close(function(residual, noise, each), function(residual, noise, 0.7))


def test_angles_turn_each_item_of_the_batch_by_its_own():
    residual, noise = pair(2, 1, 3, 3)
    x = state(residual, noise, torch.tensor([0.0, math.pi / 2], dtype=torch.float64))
    torch.testing.assert_close(x, torch.stack([residual[0], noise[1]]))


def test_state_is_the_noisy_residual_rootd_to_unit_variance():
    residual, noise = pair(1, 1, 8, 8)
    t = 1.1
    torch.testing.assert_close(state(residual, noise, t), math.cos(t) * (residual + math.tan(t) * noise))


def test_velocity_is_minus_the_states_derivative():
    residual, noise = pair(1, 1, 8, 8)
    t, d = 0.6, 1e-5
    slope = (state(residual, noise, t + d) - state(residual, noise, t - d)) / (2 * d)
    torch.testing.assert_close(velocity_target(residual, noise, t), -slope, rtol=0, atol=1e-8)


def test_best_velocity_under_the_loss_gives_the_best_denoiser():
    v, t = 0.3, 0.9
    source = torch.Generator().manual_seed(1)
    r, n = (torch.randn(200_000, 1, generator=source).double() for _ in range(2))
    r = r * math.sqrt(v)
    x, target = state(r, n, t), velocity_target(r, n, t)
    fitted = (x * target).sum() / x.square().sum()
    wiener = v * math.cos(t) / (v * math.cos(t) ** 2 + math.sin(t) ** 2)
    estimate = denoised(fitted * x, x, t)
    torch.testing.assert_close(estimate, wiener * x, rtol=0, atol=0.03)


def test_sigma_is_log_normal():
    uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    sigma = torch.tan(draw_angles(uniform, 0.6, 1.3))
    assert stats.kstest(sigma.log().numpy(), "norm", (math.log(0.6), 1.3)).statistic < 1e-4


def test_stratified_uniforms_give_one_angle_a_stratum():
    source = torch.Generator().manual_seed(3)
    uniform = (torch.arange(64) + torch.rand(64, generator=source)) / 64
    edges = draw_angles(torch.arange(65) / 64, 1.0, 1.2)
    drawn = draw_angles(uniform, 1.0, 1.2)
    assert ((drawn >= edges[:-1]) & (drawn <= edges[1:])).all()


def test_ends_of_the_uniform_are_the_ends_of_the_angle():
    torch.testing.assert_close(draw_angles(torch.tensor([0.0, 1.0]), 1.0, 1.0), torch.tensor([0.0, math.pi / 2]))
