"""Samplers against the closed forms of a Gaussian residual, whose best denoiser is known."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from sciddiff.diffusion import (
    SAMPLERS,
    angle_euler,
    angles,
    ddim,
    ddpm_ancestral,
    ddpm_betas,
    dpmpp_2m,
    heun,
    log_angles,
    posterior_mean,
)
from sciddiff.errors import OptionError

REFERENCES = {"dpmpp": dpmpp_2m, "ddim": ddim, "heun": heun}
EIGENVALUES = torch.logspace(math.log10(0.01), math.log10(6.0), 60, dtype=torch.float64)


def spectral(x, t):
    """Best velocity where the pixels are independent, of variances EIGENVALUES and mean 0."""
    cosine, sine = math.cos(t), math.sin(t)
    return sine * cosine * (EIGENVALUES - 1) / (EIGENVALUES * cosine**2 + sine**2) * x


def variances(sample):
    """Variance that a linear sampler gives each eigenvalue, over the eigenvalue."""
    gain = sample(spectral, torch.ones(1, 1, len(EIGENVALUES), dtype=torch.float64))
    return (gain[0, 0].square() / EIGENVALUES).numpy()


class Posterior:
    """Posterior of a white scene of variance 6 seen through a circular blur with noise: eigenvalues from 0.01 to 6."""

    size = 64

    def __init__(self):
        kernel = np.exp(-0.5 * (np.minimum(np.arange(self.size), self.size - np.arange(self.size)) / 1.5) ** 2)
        blur = np.stack([np.roll(kernel / kernel.sum(), i) for i in range(self.size)], 1)
        noise = 1 / (1 / 0.01 - 1 / 6)
        gain = 6 * blur.T @ np.linalg.inv(6 * blur @ blur.T + noise * np.eye(self.size))
        self.covariance = 6 * np.eye(self.size) - gain @ blur * 6
        source = np.random.default_rng(0)
        scene = source.normal(size=self.size) * math.sqrt(6)
        self.mean = gain @ (blur @ scene + source.normal(size=self.size) * math.sqrt(noise))

    def velocity(self, dtype):
        """The velocity whose denoiser is E[r | x, y], by linear algebra on the full covariance."""
        covariance, mean = torch.tensor(self.covariance, dtype=dtype), torch.tensor(self.mean, dtype=dtype)

        def model(x, t):
            cosine, sine = math.cos(t), math.sin(t)
            state = cosine**2 * covariance + sine**2 * torch.eye(self.size, dtype=dtype)
            estimate = mean + (x - cosine * mean) @ torch.linalg.solve(state, cosine * covariance)
            return (estimate - cosine * x) / sine

        return model

    def moments(self, sample):
        """Exact mean and covariance of a sampler that is affine in its noise."""
        noise = torch.eye(self.size + 1, dtype=torch.float64)[:, None, :-1]  # the last is zero
        out = sample(self.velocity(torch.float64), noise)[:, 0].numpy()
        linear = out[:-1] - out[-1]
        return out[-1], linear.T @ linear


@pytest.fixture(scope="module")
def posterior():
    return Posterior()


def test_posterior_spans_the_promised_eigenvalues(posterior):
    eigenvalues = np.linalg.eigvalsh(posterior.covariance)
    assert eigenvalues[0] == pytest.approx(0.01, rel=1e-3)
    assert eigenvalues[-1] == pytest.approx(6, rel=1e-2)
    assert np.sum((eigenvalues > 0.05) & (eigenvalues < 2)) > 10


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 20])
def test_default_sampler_keeps_the_posterior_mean(posterior, steps):
    mean, _ = posterior.moments(lambda model, noise: SAMPLERS["angle"](model, noise, steps))
    np.testing.assert_allclose(mean, posterior.mean, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_default_sampler_keeps_the_posterior_mean_in_float32(posterior, steps):
    noise = torch.randn(4, 1, posterior.size, generator=torch.Generator().manual_seed(0))
    noise = torch.cat([noise, -noise])
    samples = SAMPLERS["angle"](posterior.velocity(torch.float32), noise, steps)
    np.testing.assert_allclose(samples.mean(0)[0], posterior.mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("steps", "bar"), [(3, 0.20), (4, 0.07), (5, 0.07), (6, 0.02), (7, 0.02), (8, 0.02)])
def test_default_sampler_keeps_the_posterior_covariance(posterior, steps, bar):
    _, covariance = posterior.moments(lambda model, noise: SAMPLERS["angle"](model, noise, steps))
    found, true = np.linalg.eigvalsh(covariance), np.linalg.eigvalsh(posterior.covariance)
    assert np.abs(found / true - 1).max() < bar
    basis = np.linalg.eigh(posterior.covariance)[1]
    assert np.abs(np.diag(basis.T @ covariance @ basis) / true - 1).max() < bar


@pytest.mark.parametrize(("steps", "bar"), [(3, 0.20), (5, 0.07), (8, 0.02)])
def test_default_sampler_keeps_every_eigenvalue(steps, bar):
    assert np.abs(variances(lambda *call: SAMPLERS["angle"](*call, steps)) - 1).max() < bar


def test_default_sampler_is_exact_where_the_residual_is_the_noise():
    noise = torch.randn(2, 1, 9, generator=torch.Generator().manual_seed(0))
    for steps in (2, 3, 8, 30):
        assert torch.equal(SAMPLERS["angle"](lambda x, t: torch.zeros_like(x), noise, steps), noise)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_is_the_posterior_mean_whatever_the_noise(posterior, name):
    model = posterior.velocity(torch.float32)
    noise = torch.randn(3, 1, posterior.size, generator=torch.Generator().manual_seed(0))
    found = SAMPLERS[name](model, noise, 1)
    np.testing.assert_allclose(found[:, 0], np.tile(posterior.mean, (3, 1)), rtol=0, atol=1e-6)
    assert torch.equal(found, SAMPLERS[name](model, torch.full_like(noise, torch.nan), 1))


def counted(model, calls):
    def velocity(x, t):
        calls.append(t)
        return model(x, t)

    return velocity


@pytest.mark.parametrize("name", ["angle", "dpmpp", "ddim"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_steps_are_the_evaluations(name, steps):
    calls = []
    SAMPLERS[name](counted(spectral, calls), torch.zeros(1, 1, len(EIGENVALUES)), steps)
    assert len(calls) == steps


def test_heun_never_costs_more_than_its_steps():
    for steps in range(1, 10):
        calls = []
        SAMPLERS["heun"](counted(spectral, calls), torch.zeros(1, 1, len(EIGENVALUES)), steps)
        assert len(calls) == steps - (steps > 1 and steps % 2)


def test_known_mean_saves_its_evaluation_and_changes_nothing(posterior):
    model = posterior.velocity(torch.float32)
    noise = torch.randn(2, 1, posterior.size, generator=torch.Generator().manual_seed(0))
    mean, calls = posterior_mean(model, noise), []
    shared = angle_euler(counted(model, calls), noise, angles(4), mean)
    assert len(calls) == 3
    assert torch.equal(shared, angle_euler(model, noise, angles(4)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_keeps_type_and_shape_and_its_noise(name):
    noise = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    before = noise.clone()
    found = SAMPLERS[name](lambda x, t: -0.5 * math.sin(t) * x, noise, 4)
    assert found.dtype == torch.float32
    assert found.shape == noise.shape
    assert torch.equal(noise, before)


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_steps_are_refused(name):
    with pytest.raises(OptionError, match="got 0"):
        SAMPLERS[name](spectral, torch.zeros(1, 1, len(EIGENVALUES)), 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_lie_about_the_mean_where_it_is_wide_of_zero_and_hardly_told(name):
    mean, variance = torch.full((1, 1, 1), 30.0, dtype=torch.float64), 100.0

    def told(x: torch.Tensor, t: float) -> torch.Tensor:
        z = x / math.cos(t)
        estimate = mean + variance / (variance + math.tan(t) ** 2) * (z - mean)
        return (estimate - math.cos(t) * x) / math.sin(t)

    noise = torch.ones_like(mean)
    pair = [SAMPLERS[name](told, sign * noise, 12) for sign in (1, -1)]  # the flow of a Gaussian is linear
    torch.testing.assert_close((pair[0] + pair[1]) / 2, mean, rtol=1e-9, atol=0)


WIDE = torch.logspace(-2, 3, 21, dtype=torch.float64).reshape(1, 1, -1)
"""Variances of a residual's directions: from fine grain to what is alike over hundreds of pixels."""


@pytest.mark.parametrize(("steps", "lost"), [(12, 0.14), (16, 0.13), (24, 0.12)])
def test_many_steps_keep_what_is_alike_over_many_pixels(steps, lost):
    def gaussian(x: torch.Tensor, t: float) -> torch.Tensor:
        cosine, sine = math.cos(t), math.sin(t)
        return x * sine * cosine * (WIDE - 1) / (cosine**2 * WIDE + sine**2)

    spread = SAMPLERS["dpmpp"](gaussian, torch.ones_like(WIDE), steps) / WIDE.sqrt()
    assert spread.min() > 1 - lost
    assert spread.max() < 1.04


def test_sampler_follows_its_recursion():
    nodes, gain = angles(5), 1.0
    for i in range(1, 5):
        begin = nodes[0] if i == 1 else nodes[i]
        velocity = spectral(torch.ones_like(EIGENVALUES), nodes[i])
        gain = gain + (begin - nodes[i + 1]) * gain * velocity
    found = variances(lambda *call: angle_euler(*call, nodes))
    np.testing.assert_allclose(found, (gain**2 / EIGENVALUES).numpy(), rtol=1e-12)


def test_ddim_contracts_as_its_update_says():
    nodes = log_angles(4)
    sigma = [math.tan(t) for t in nodes]
    gain = sigma[0] * np.ones(len(EIGENVALUES))
    for here, below in pairwise(sigma):
        shrink = EIGENVALUES.numpy() / (EIGENVALUES.numpy() + here**2)
        gain = gain * (shrink + below / here * (1 - shrink))
    expected = gain**2 / EIGENVALUES.numpy()
    np.testing.assert_allclose(variances(lambda *call: ddim(*call, nodes)), expected, rtol=1e-10)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp", 2), ("heun", 2)])
def test_solver_converges_with_its_order(name, order):
    """Down to sigma = 0.1, where the probability flow gives sqrt((v + 0.1^2) / (v + 16^2)) of the start."""
    start, noise = 16.0, torch.ones(1, 1, len(EIGENVALUES), dtype=torch.float64)
    exact = start * torch.sqrt((EIGENVALUES + 0.1**2) / (EIGENVALUES + start**2))
    errors = [
        float((REFERENCES[name](spectral, noise, log_angles(n)[:-1]) - exact).abs().max()) for n in (200, 400, 800)
    ]
    measured = [math.log2(a / b) for a, b in pairwise(errors)]
    np.testing.assert_allclose(measured, order, atol=0.1)


@pytest.mark.parametrize(
    ("name", "steps", "low", "high"),
    [("dpmpp", 3, 0.30, 0.62), ("dpmpp", 4, 0.36, 0.85), ("ddim", 3, 0.23, 0.34), ("ddim", 4, 0.33, 0.44)],
)
def test_few_steps_of_the_references_lose_variance(name, steps, low, high):
    left = variances(lambda *call: REFERENCES[name](*call, log_angles(steps)))
    assert low < left.min() < low + 0.02
    assert high - 0.02 < left.max() < high


def test_references_reach_the_posterior_with_many_steps():
    nodes = log_angles(400, largest=80.0, smallest=0.002)
    for name, bar in (("ddim", 0.06), ("dpmpp", 0.002), ("heun", 0.002)):
        assert np.abs(variances(lambda *call, solve=REFERENCES[name]: solve(*call, nodes)) - 1).max() < bar


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_ancestral_chain_keeps_every_eigenvalue(kind):
    """The T noises are orthogonal vectors, so that a sum of squares is a variance."""
    length, count = 1000, len(EIGENVALUES)

    def noise_fn(step):
        noise = torch.zeros(length, 1, count, dtype=torch.float64)
        noise[step - 1] = 1
        return noise

    found = ddpm_ancestral(spectral, noise_fn, ddpm_betas(length, kind)).square().sum(0)[0] / EIGENVALUES
    assert (found - 1).abs().max() < 0.03


def test_ancestral_chain_keeps_the_posterior_mean(posterior):
    silent = torch.zeros(1, 1, posterior.size, dtype=torch.float64)
    found = ddpm_ancestral(posterior.velocity(torch.float64), lambda step: silent, ddpm_betas(1000, "cosine"))
    np.testing.assert_allclose(found[0, 0], posterior.mean, rtol=0, atol=1e-3)


def test_ancestral_chain_asks_for_each_noise_once():
    asked = []

    def noise_fn(step):
        asked.append(step)
        return torch.zeros(1, 1, len(EIGENVALUES))

    ddpm_ancestral(spectral, noise_fn, ddpm_betas(7))
    assert asked == [7, 6, 5, 4, 3, 2, 1]
