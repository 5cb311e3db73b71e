"""Drawn changes between dates: keyed, neutral where a band is missing, from hardly any to another season."""

import torch

from sciddiff.physics.change import draw_change, surface_gain
from sciddiff.physics.fractal import fractal_noise


def scene(b: int = 6, size: int = 64) -> torch.Tensor:
    fields = fractal_noise((3 * b, size, size), generator=torch.Generator().manual_seed(0)).view(b, 3, size, size)
    return 0.2 + 0.03 * fields


def draw(clean: torch.Tensor, seed: int) -> torch.Tensor:
    return draw_change(clean, generator=torch.Generator().manual_seed(seed))


def test_changes_are_keyed_by_their_generator() -> None:
    clean = scene()
    assert torch.equal(draw(clean, 1), draw(clean, 1))
    assert not torch.equal(draw(clean, 1), draw(clean, 2))


def test_some_dates_are_hardly_changed_and_some_are_another_season() -> None:
    clean = scene(40)
    change = (draw(clean, 0) - clean).square().mean((1, 2, 3)).sqrt()
    assert change.min() < 0.01 < 0.04 < change.max() < 0.3


def test_a_missing_band_stays_missing() -> None:
    clean = scene()
    clean[:, 1] = 0
    changed = draw(clean, 0)
    assert not changed[:, 1].any()
    assert changed.isfinite().all()


def test_what_looks_alike_changes_alike() -> None:
    """The gain of a pixel is a function of its spectrum alone, given the scene."""
    clean = scene(1)
    clean[..., :32] = clean[..., 32:]
    gain = surface_gain(clean, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gain[..., :32], gain[..., 32:])
    assert gain.std() > 0.01


def test_a_flat_scene_changes_without_noise_from_nowhere() -> None:
    clean = torch.full((2, 2, 32, 32), 0.1)
    assert draw(clean, 0).isfinite().all()
