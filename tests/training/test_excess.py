"""Training states with more noise than their angle says: as much as the states that samplers visit, and no more."""

import math
from itertools import pairwise

import pytest
import torch

from sciddiff.diffusion.schedule import angles
from sciddiff.training.excess import MOST, excess


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("v", [0.0, 0.05, 0.3, 0.9])
def test_samplers_visit_states_within_its_range(steps: int, v: float) -> None:
    variance = 1.0
    for t, following in pairwise(angles(steps)[1:]):  # the first evaluation gives the mean and leaves the noise
        own = v * math.cos(t) ** 2 + math.sin(t) ** 2
        assert own - 1e-6 <= variance <= own + (1 - v) * math.cos(t) ** 2 + 1e-6
        slope = math.sin(t) * math.cos(t) * (1 - v) / own
        variance *= (1 - (t - following) * slope) ** 2


def test_known_places_get_it_and_textures_do_not() -> None:
    source = torch.Generator().manual_seed(0)
    residual = torch.zeros(64, 1, 64, 128)
    residual[..., 64:] = torch.randn(64, 1, 64, 64, generator=source)
    t = torch.full((64,), 0.7)
    factor = excess(residual, t, share=0.5, generator=source)
    smooth, rough = factor[..., 24:40], factor[..., -40:]
    assert smooth.min() >= 1
    assert smooth.max() > 1.4
    torch.testing.assert_close(smooth.amax((1, 2, 3)), smooth.amin((1, 2, 3)))
    more = smooth.amax((1, 2, 3)) > 1
    assert 16 < more.sum() < 48
    part = (smooth[more].amax((1, 2, 3)) ** 2 - 1) * math.tan(0.7) ** 2
    assert part.max() <= 1 + 1e-5
    assert 0.3 < part.mean() < 0.7
    assert (rough**2 - 1).mean() < 0.1 * (smooth**2 - 1).mean()


def test_it_is_bounded_and_leaves_the_mean_alone() -> None:
    residual = torch.zeros(8, 2, 32, 32)
    assert excess(residual, torch.full((8,), 1e-3), share=1.0, generator=None).square().max() <= MOST
    assert torch.allclose(excess(residual, torch.full((8,), torch.pi / 2), share=1.0, generator=None), torch.ones(()))
