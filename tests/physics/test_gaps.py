import pytest
import torch
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics import gaps

SHAPE = (660, 720)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def share(mask: Tensor) -> float:
    return mask.double().mean().item()


def test_the_nominal_gaps_of_landsat7() -> None:
    mask = gaps.slc_off(SHAPE)
    assert mask.dtype == torch.bool
    assert share(mask) == pytest.approx(0.212, abs=0.005)
    assert share(mask[:, 355:365]) == pytest.approx(0.003, abs=0.001)
    for edge in (mask[:, :5], mask[:, -5:]):
        assert share(edge) == pytest.approx(0.42, abs=0.01)


def test_the_gaps_repeat_and_move_with_their_phase() -> None:
    mask = gaps.slc_off(SHAPE)
    assert torch.equal(mask[33:], mask[:-33])
    assert torch.equal(gaps.slc_off(SHAPE, phase=5)[5:], mask[:-5])
    assert torch.equal(gaps.slc_off(SHAPE, phase=33), mask)


def test_a_window_is_a_part_of_its_swath() -> None:
    part = gaps.slc_off((660, 100), swath=720, first_column=500)
    assert torch.equal(part, gaps.slc_off(SHAPE)[:, 500:600])


# At 45 degrees a gap starts where row + (col - 200) + [right half] 17 is a multiple of 34.
@pytest.mark.parametrize(("column", "row"), [(300, 19), (301, 18), (100, 32), (99, 33)])
def test_where_a_gap_starts(column: int, row: int) -> None:
    mask = gaps.slc_off((68, 400), period=34.0, heading=45.0)[:, column].int()
    assert row in ((mask[1:] - mask[:-1]) == 1).nonzero()[:, 0] + 1


def test_lines_and_columns() -> None:
    rows = gaps.dropped_lines((400, 30), generator=seeded(), share=0.1)
    assert torch.equal(rows.any(1), rows.all(1))
    assert 0.04 < share(rows) < 0.14
    columns = gaps.dead_columns((30, 400), generator=seeded(), share=0.1)
    assert torch.equal(columns.any(0), columns.all(0))
    assert share(columns) == pytest.approx(0.1)
    assert gaps.dead_columns((4, 4), generator=seeded(), share=0.0).any()


def test_blobs_cover_their_share() -> None:
    mask = gaps.blobs((50, 60), generator=seeded(), share=0.2)
    assert share(mask) == pytest.approx(0.2)
    edges = (mask[1:] != mask[:-1]).double().mean() + (mask[:, 1:] != mask[:, :-1]).double().mean()
    assert edges < 0.3  # areas, not grains: scattered pixels would give 0.64


def test_drawn_gaps_repeat_and_differ() -> None:
    one, two, other = (gaps.draw_gaps((8, 64, 64), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.shape == (8, 64, 64)
    assert one.dtype == torch.bool
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize("kind", list(gaps.KINDS))
def test_every_kind_leaves_something(kind: str) -> None:
    masks = gaps.draw_gaps((12, 64, 64), generator=seeded(), kinds=[kind])
    assert 0.005 < share(masks) < 0.5
    assert gaps.draw_gaps((1, 64, 64), generator=None, kinds=[kind]).any()


def test_the_nominal_gaps_and_an_unknown_kind() -> None:
    assert torch.equal(gaps.draw_gaps((1, *SHAPE), generator=None)[0], gaps.slc_off(SHAPE))
    for kinds in (["holes"], []):
        with pytest.raises(OptionError, match="known are slc_off"):
            gaps.draw_gaps((1, 8, 8), generator=None, kinds=kinds)


def image(b: int = 2, c: int = 3, h: int = 8, w: int = 4000) -> Tensor:
    values = torch.rand((b, c, h, w), generator=seeded(7), dtype=torch.float64)
    values[..., 0, 0], values[..., 0, 1] = 0.0, 1.0
    return 5 * values


def test_stripes_by_hand_and_their_statistics() -> None:
    clean = image()
    drawn = gaps.stripe(clean, seeded())
    assert torch.equal(drawn.image, (1 + drawn.gains[:, :, None]) * clean + drawn.offsets[:, :, None])
    assert drawn.gains.shape == (2, 3, 4000)
    assert drawn.gains.std().item() == pytest.approx(0.02, rel=0.03)
    assert drawn.offsets.std().item() == pytest.approx(0.01 * 5, rel=0.03)
    assert drawn.gains.mean().abs() < 0.001


def test_stripes_of_rows_repeat_with_their_detectors() -> None:
    drawn = gaps.stripe(image(w=40, h=96), seeded(), lines="rows", period=16)
    assert torch.equal(drawn.gains[..., 16:], drawn.gains[..., :-16])
    assert torch.equal(drawn.offsets[..., 16:], drawn.offsets[..., :-16])
    assert drawn.gains[0, 0].unique().numel() == 16
    blocks = gaps.stripe(image(w=40), seeded(), block=8).gains
    assert torch.equal(blocks[..., ::8].repeat_interleave(8, -1), blocks)


def test_stripes_repeat_by_seed_and_none_means_none() -> None:
    clean = image(w=64)
    one, two, other = (gaps.stripe(clean, seeded(seed), drift_spread=0.02).image for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(gaps.stripe(clean, None).image, clean)


def test_nodata_stays_where_it_is() -> None:
    clean = image(w=64)
    clean[0, 0] = torch.nan
    clean[1, :, 3, 5] = torch.nan
    drawn = gaps.stripe(clean, seeded())
    assert torch.equal(drawn.image.isnan(), clean.isnan())
    assert drawn.offsets.isfinite().all()


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_drift_is_an_autoregression(memory: float) -> None:
    noise = torch.randn((3, 777), generator=seeded(), dtype=torch.float64)
    expected = [noise[:, 0]]
    for at in range(1, 777):
        expected.append(memory * expected[-1] + (1 - memory**2) ** 0.5 * noise[:, at])
    torch.testing.assert_close(gaps.autoregress(noise, memory), torch.stack(expected, -1))


def test_the_drift_is_slow() -> None:
    clean = image()
    drift = gaps.stripe(clean, seeded(), gain_spread=0, offset_spread=0, drift_spread=0.05, drift_memory=0.9).offsets
    assert drift.std().item() == pytest.approx(0.05 * 5, rel=0.1)
    assert torch.corrcoef(torch.stack((drift[..., 1:].flatten(), drift[..., :-1].flatten())))[0, 1] > 0.88
