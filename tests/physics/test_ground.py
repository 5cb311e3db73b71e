"""Bare ground over a scene: typical spectra, texture kept, absent bands left alone."""

import pytest
import torch

from sciddiff.physics.ground import BARE, CENTRES, COVER, draw_bare

BANDS = (0.49, 0.56, 0.665, 0.842, 1.61, 2.19)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shares_are_whole_and_spectra_reflect() -> None:
    assert sum(ground.share for ground in BARE.values()) == pytest.approx(1)
    for ground in BARE.values():
        assert len(ground.reflectance) == len(CENTRES)
        assert all(0 < value <= 1 for value in ground.reflectance)


def test_a_dark_scene_becomes_one_of_the_typical_grounds() -> None:
    clean = torch.full((400, len(BANDS), 8, 8), 0.01)
    spectra = draw_bare(clean, BANDS, generator=seeded()).mean((2, 3))
    table = torch.tensor([ground.reflectance for ground in BARE.values()])
    shape = spectra / spectra.norm(dim=1, keepdim=True)
    angle = torch.arccos((shape @ (table / table.norm(dim=1, keepdim=True)).T).clamp(-1, 1))
    nearest = angle.min(1)
    assert nearest.values.quantile(0.9) < 0.2  # rad: between dunes and snow there is a whole one
    found = torch.bincount(nearest.indices, minlength=len(BARE)) / len(clean)
    shares = torch.tensor([ground.share for ground in BARE.values()])
    soils = [list(BARE).index(name) for name in ("dunes", "dry soil", "pale soil")]  # much alike
    assert found[soils].sum() == pytest.approx(float(shares[soils].sum()), abs=0.05)


def test_no_pixel_is_darker_than_its_share_of_the_scene_and_the_rest_of_it_shows_through() -> None:
    clean = 0.2 * torch.rand(16, len(BANDS), 32, 32, generator=seeded(1))
    bare = draw_bare(clean, BANDS, generator=seeded())
    assert (bare >= (1 - COVER[1]) * clean).all()
    assert bare.amin((2, 3)).mean() > clean.mean()
    flat = draw_bare(clean.mean((2, 3), keepdim=True).expand_as(clean), BANDS, generator=seeded())
    share = (bare - flat)[:, 0].std((1, 2)) / clean[:, 0].std((1, 2))
    assert ((share >= 1 - COVER[1] - 1e-3) & (share <= 1 - COVER[0] + 1e-3)).all()


def test_absent_bands_stay_absent_and_draws_are_keyed() -> None:
    clean = 0.1 * torch.rand(4, len(BANDS), 16, 16, generator=seeded(1))
    clean[2, 3:] = 0
    one, two, other = (draw_bare(clean, BANDS, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not one[2, 3:].any()
