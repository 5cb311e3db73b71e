"""Guidance as a transform of velocities."""

import math

import pytest
import torch

from sciddiff.diffusion import SAMPLERS, autoguided, classifier_free, denoised, posterior_mean, within

MEANS = torch.tensor([[-1.5, 0.3], [1.0, 1.2], [0.4, -1.4]], dtype=torch.float64)
VARIANCES = torch.tensor([0.1, 0.4, 0.2], dtype=torch.float64)
PRIOR = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def strong(x, t):
    return 0.3 * x + t


def weak(x, t):
    return torch.sin(x) - t


@pytest.mark.parametrize("guide", [classifier_free, autoguided])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.5])
def test_guidance_extrapolates_the_denoiser(guide, weight):
    x, t = torch.linspace(-2, 2, 7, dtype=torch.float64)[None, None], 0.8
    guided = denoised(guide(strong, weak, weight)(x, t), x, t)
    target, origin = denoised(strong(x, t), x, t), denoised(weak(x, t), x, t)
    torch.testing.assert_close(guided, origin + weight * (target - origin))


@pytest.mark.parametrize("guide", [classifier_free, autoguided])
def test_weight_one_costs_one_model(guide):
    def never(x, t):
        raise AssertionError("evaluated without need")

    x = torch.ones(1, 1, 3)
    assert torch.equal(guide(strong, never, 1.0)(x, 0.4), strong(x, 0.4))


@pytest.mark.parametrize("name", SAMPLERS)
def test_guided_model_is_a_model_to_every_sampler(name):
    noise = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0))
    shifted = classifier_free(lambda x, t: torch.ones_like(x), lambda x, t: torch.zeros_like(x), 3.0)
    expected = SAMPLERS[name](lambda x, t: torch.full_like(x, 3.0), noise, 4)
    torch.testing.assert_close(SAMPLERS[name](shifted, noise, 4), expected)


def log_joint(z, sigma):
    """Log density of (z, class) of a Gaussian mixture with noise, (n, classes)."""
    variance = VARIANCES + sigma**2
    square = (z[:, None] - MEANS).square().sum(2)
    return PRIOR.log() - square / (2 * variance) - torch.log(2 * math.pi * variance)


def mixture(of_class=None):
    """Velocity of the mixture, or of one of its classes: the score in closed form."""
    chosen = slice(None) if of_class is None else slice(of_class, of_class + 1)

    def velocity(x, t):
        if t == math.pi / 2:  # the mean of all, whatever the state
            share = PRIOR[chosen] / PRIOR[chosen].sum()
            return (share @ MEANS[chosen]).expand_as(x)
        sigma, z = math.tan(t), x / math.cos(t)
        variance = VARIANCES[chosen] + sigma**2
        share = torch.softmax(log_joint(z, sigma)[:, chosen], 1)
        score = (share[..., None] * (MEANS[chosen] - z[:, None]) / variance[:, None]).sum(1)
        return ((z + sigma**2 * score) - math.cos(t) * x) / math.sin(t)

    return velocity


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("sigma", [0.05, 0.7, 4.0])
def test_guidance_adds_the_gradient_of_the_classifier(weight, sigma):
    angle, label = math.atan(sigma), 1
    z = 2 * torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = z * math.cos(angle)
    found = denoised(classifier_free(mixture(label), mixture(), weight)(x, angle), x, angle)
    z.requires_grad_()
    logs = log_joint(z, sigma)
    (score,) = torch.autograd.grad(torch.logsumexp(logs, 1).sum(), z, retain_graph=True)
    (classifier,) = torch.autograd.grad(torch.log_softmax(logs, 1)[:, label].sum(), z)
    torch.testing.assert_close(found, (z + sigma**2 * (score + weight * classifier)).detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_scale_of_zero_asks_for_nothing_and_one_for_the_class_alone(name):
    noise = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sample = SAMPLERS[name]
    for weight, plain in ((0.0, mixture()), (1.0, mixture(2))):
        guided = classifier_free(mixture(2), mixture(), weight)
        torch.testing.assert_close(sample(guided, noise, 8), sample(plain, noise, 8), rtol=0, atol=1e-6)


def test_more_guidance_brings_more_samples_that_the_classifier_knows():
    noise = torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    sure = []
    for weight in (0.0, 1.0, 3.0):
        samples = SAMPLERS["dpmpp"](classifier_free(mixture(1), mixture(), weight), noise, 24)
        sure.append(float(torch.log_softmax(log_joint(samples, 0.1), 1)[:, 1].exp().mean()))
    assert abs(sure[0] - PRIOR[1]) < 0.1
    assert sure[0] + 0.5 < sure[1] < sure[2]


def test_outside_its_interval_only_the_plain_model_is_asked():
    asked = []

    def seen(name, value):
        def velocity(x, t):
            asked.append((name, round(math.tan(t), 6)))
            return torch.full_like(x, value)

        return velocity

    velocity = within(seen("guided", 2.0), seen("plain", 1.0), (0.2, 3.0))
    x = torch.zeros(1, 1, 2)
    values = [float(velocity(x, math.atan(sigma)).mean()) for sigma in (0.1, 0.19, 0.2, 1.0, 3.0, 3.1, 40.0)]
    assert values == [1, 1, 2, 2, 2, 1, 1]
    assert [name for name, _ in asked] == ["plain"] * 2 + ["guided"] * 3 + ["plain"] * 2


def test_an_interval_without_an_end_holds_the_mean_too():
    ones, twos = (lambda x, t: torch.ones_like(x)), (lambda x, t: 2 * torch.ones_like(x))
    x = torch.zeros(1, 1, 2)
    assert float(posterior_mean(within(twos, ones, (0.0, math.inf)), x).mean()) == 2
    assert float(posterior_mean(within(twos, ones, (0.0, 50.0)), x).mean()) == 1
