"""Guidance as a transform of velocities."""

import pytest
import torch

from sciddiff.diffusion import SAMPLERS, autoguided, classifier_free, denoised


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
