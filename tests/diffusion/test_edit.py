"""Changing an image: kept pixels arrive where they were, others follow them, strength means distance."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sciddiff.diffusion import SAMPLERS, keeping, partial_way, posterior_mean

SIDE = 12
HOLE = slice(4, 8)


class Field:
    """A Gaussian field whose covariance falls exponentially with the distance; the exact model of it."""

    def __init__(self, length: float) -> None:
        places = torch.cartesian_prod(*[torch.arange(SIDE, dtype=torch.float64)] * 2)
        self.covariance = torch.exp(-torch.cdist(places, places) / length)
        self.values, self.vectors = torch.linalg.eigh(self.covariance)

    def draw(self, count: int, seed: int) -> Tensor:
        white = noise(count, seed).flatten(1)
        return (white @ (self.vectors * self.values.sqrt()) @ self.vectors.T).view(count, 1, SIDE, SIDE)

    def velocity(self, x: Tensor, t: float) -> Tensor:
        sine, cosine = math.sin(t), math.cos(t)
        gain = cosine * self.values / (cosine**2 * self.values + sine**2)  # of the posterior mean
        return ((x.flatten(1) @ (self.vectors * (gain - cosine) / sine)) @ self.vectors.T).view_as(x)


def noise(count: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, SIDE, SIDE, dtype=torch.float64, generator=source)


def frame() -> Tensor:
    keep = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    keep[..., HOLE, HOLE] = False
    return keep


@pytest.mark.parametrize("steps", [2, 5, 12])
@pytest.mark.parametrize("name", SAMPLERS)
def test_kept_pixels_reach_what_they_were_with_every_sampler(name: str, steps: int) -> None:
    field, keep = Field(2.0), frame()
    known, start = 3 + field.draw(4, seed=0), noise(4, seed=1)
    held = keeping(field.velocity, known, start, keep)
    found = SAMPLERS[name](held, start, steps)
    error = ((found - known) * keep).square().mean().sqrt()
    # steps on the angle shrink what is left of the noise, the others remove it
    assert error < (1e-12 if name != "angle" else {2: 0.3, 5: 1e-3, 12: 1e-4}[steps])
    assert torch.equal(posterior_mean(held, start)[keep.expand_as(known)], known[keep.expand_as(known)])


def test_the_model_sees_kept_pixels_with_the_noise_of_each_level() -> None:
    keep, known, start = frame(), noise(1, seed=0), noise(1, seed=1)
    seen = []

    def spy(x: Tensor, t: float) -> Tensor:
        seen.append((t, x.clone()))
        return torch.zeros_like(x)

    SAMPLERS["angle"](keeping(spy, known, start, keep), start, 6)
    assert seen[0][0] == math.pi / 2
    assert not seen[0][1].any()
    for t, x in seen[1:]:
        assert torch.equal(x[keep], (math.cos(t) * known + math.sin(t) * start)[keep])
        assert not torch.allclose(x[~keep], (math.cos(t) * known + math.sin(t) * start)[~keep])


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_lies_between_kept_pixels_follows_them(name: str) -> None:
    field, keep = Field(1.5), frame()
    inside, outside = (~keep).flatten(), keep.flatten()
    known = field.draw(1, seed=6)
    weights = torch.linalg.solve(field.covariance[outside][:, outside], field.covariance[outside][:, inside])
    mean = weights.T @ known.flatten()[outside]
    rest = field.covariance[inside][:, inside] - field.covariance[inside][:, outside] @ weights
    start = torch.cat([noise(150, seed=3), -noise(150, seed=3)])  # the mean of all is then free of noise
    drawn = SAMPLERS[name](keeping(field.velocity, known, start, keep), start, 16).flatten(1)[:, inside]
    found = drawn.mean(0)
    assert torch.corrcoef(torch.stack([found, mean]))[0, 1] > 0.9
    assert 0.2 < (found @ mean) / (mean @ mean) < 1.1
    assert 0.8 * rest.diagonal().mean() < drawn.var(0).mean() < 1.6 * rest.diagonal().mean()
    free = SAMPLERS[name](field.velocity, start, 16).flatten(1)[:, inside].mean(0)
    assert free.abs().mean() < 0.2 * mean.abs().mean()


def test_nothing_kept_is_the_model_itself() -> None:
    field, start = Field(2.0), noise(2, seed=4)
    none = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    held = keeping(field.velocity, noise(2, seed=5), start, none)
    for sample in SAMPLERS.values():
        assert torch.equal(sample(held, start, 6), sample(field.velocity, start, 6))


def test_strength_is_how_far_an_image_goes() -> None:
    field = Field(2.0)
    image, start = field.draw(200, seed=7), noise(200, seed=8)
    correlation, spread = [], []
    for strength in (1e-4, 0.05, 0.25, 0.5, 0.75, 0.97):
        found = partial_way(field.velocity, image, start, strength=strength, steps=40)
        correlation.append(float(torch.corrcoef(torch.stack([found.flatten(), image.flatten()]))[0, 1]))
        spread.append(float(found.var()))
    assert torch.allclose(partial_way(field.velocity, image, start, strength=1e-4, steps=40), image, atol=1e-3)
    assert all(more > less + 0.01 for more, less in pairwise(correlation[1:]))
    assert correlation[0] > 0.9999
    assert correlation[-1] < 0.3
    assert all(abs(each - float(image.var())) < 0.1 for each in spread)


def test_coarse_structure_stays_longest() -> None:
    field = Field(2.0)
    image, start = field.draw(600, seed=9), noise(600, seed=10)
    found = partial_way(field.velocity, image, start, strength=0.5, steps=80)
    parts = [each.flatten(1) @ field.vectors for each in (found, image)]
    kept = (parts[0] * parts[1]).sum(0) / (parts[0].norm(dim=0) * parts[1].norm(dim=0))
    closed = (field.values / (field.values + 1)).sqrt()  # of the probability flow, at sigma = 1
    torch.testing.assert_close(kept, closed, rtol=0, atol=0.12)
    assert kept[field.values > 3].min() > 0.8 > 0.6 > kept[field.values < 0.3].max()


def test_kept_pixels_of_a_partial_way_stay_what_they_were() -> None:
    field, keep = Field(2.0), frame()
    image, start = field.draw(3, seed=11), noise(3, seed=12)
    held = keeping(field.velocity, image, start, keep)
    found = partial_way(held, image, start, strength=0.6, steps=12)
    assert ((found - image) * keep).abs().max() < 1e-12
    assert ((found - image) * ~keep).abs().max() > 0.3


def test_a_short_way_takes_its_share_of_the_steps_and_two_at_least() -> None:
    asked: list[float] = []

    def count(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x)

    for strength, steps, expected in ((0.5, 12, 6), (0.01, 12, 2), (0.99, 2, 2)):
        asked.clear()
        partial_way(count, noise(1, seed=0), noise(1, seed=1), strength=strength, steps=steps)
        assert len(asked) == expected
        assert asked[0] == pytest.approx(strength * math.pi / 2)
