"""Filling, matching and fitting in: exact where they must be, local, free of contrast, blind to what is under holes."""

import numpy as np
import pytest
import torch

from sciddiff.baselines import inpainting
from sciddiff.physics import gaps
from sciddiff.physics.fractal import fractal_noise
from sciddiff.tasks import masked


def scene(side: int = 192, bands: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return fractal_noise((bands, side, side), generator=generator, beta=2.6)[None]


def holes(side: int = 192) -> torch.Tensor:
    return ~gaps.slc_off((side, side))[None, None]


def test_known_pixels_stay_to_the_last_bit() -> None:
    image = scene()
    image[0, 0, 5, 5] = -0.0
    filled = masked.fill(image, holes())
    known = holes().expand_as(image)
    assert torch.equal(filled[known].view(torch.int32), image[known].view(torch.int32))


def test_a_plain_image_is_continued_exactly_as_far_as_promised() -> None:
    image = torch.full((1, 1, 512, 512), 20_000.0)
    known = torch.zeros(1, 1, 512, 512, dtype=torch.bool)
    known[..., 130, 120] = True
    filled = masked.fill(image, known)
    reach = masked.REACH
    near = filled[..., 130 - reach : 131 + reach, 120 - reach : 121 + reach]
    torch.testing.assert_close(near, torch.full_like(near, 20_000.0), rtol=1e-6, atol=0)
    assert set(filled.unique().round().tolist()) == {0.0, 20_000.0}


def test_what_stands_in_holes_and_gains_and_offsets_change_nothing() -> None:
    image, known = scene().double(), holes()
    plain = masked.fill(image, known)
    dirty = masked.fill(torch.where(known, image, 1e6), known)
    torch.testing.assert_close(dirty, plain, rtol=0, atol=0)
    torch.testing.assert_close(masked.fill(3 * image + 500, known), 3 * plain + 500, rtol=0, atol=1e-9)


def test_the_fill_is_close_to_the_membrane_and_better_than_fillnodata() -> None:
    image, known = scene(), holes()
    missing = ~known[0, 0].numpy()
    truth = image[0].numpy()

    def error(estimate: np.ndarray) -> float:
        return float(np.square(estimate - truth)[:, missing].mean())

    fill = error(masked.fill(image, known)[0].numpy())
    assert fill < 0.97 * error(inpainting.fill_nodata(truth, missing))
    assert fill < 1.1 * error(inpainting.smooth_fill(truth, missing))


def test_sides_need_not_be_whole_cells() -> None:
    image, known = scene(), holes()
    inside = masked.fill(image, known)[..., :32, :32]
    cut = masked.fill(image[..., :181, :163], known[..., :181, :163])
    assert cut.shape[2:] == (181, 163)
    torch.testing.assert_close(cut[..., :32, :32], inside, rtol=0, atol=0.02)


@pytest.mark.parametrize("at", [(320, 320), (351, 352), (335, 300)])
def test_the_fill_looks_no_further_than_it_says(at: tuple[int, int]) -> None:
    known = torch.rand(1, 1, 640, 640, generator=torch.Generator().manual_seed(0)) < 3e-4
    known[..., at[0], at[1]] = True
    image = torch.zeros(1, 1, 640, 640, dtype=torch.float64)
    image[..., at[0], at[1]] = 1.0
    changed = masked.fill(image, known).ne(0).nonzero()[:, 2:] - torch.tensor(at)
    assert 0 < changed.abs().max() <= masked.FILL_RADIUS


def test_a_date_of_another_radiometry_is_matched_exactly() -> None:
    image = scene().double()
    known, seen = holes(), torch.ones(1, 1, 192, 192, dtype=torch.bool)
    date = torch.where(seen, 40 * image - 3000, 0)
    matched, error = masked.match(date, image, seen=seen, known=known)
    varied = image.square().mean()
    # all that is lost is the ridge, which shrinks the gain
    assert (matched - image).square().mean() < 1e-3 * varied
    assert (error < 1e-2 * varied).all()
    torch.testing.assert_close(masked.match(5 * date + 7, 2 * image - 9, seen=seen, known=known)[0], 2 * matched - 9)


def test_a_date_that_tells_nothing_gives_the_local_mean_and_says_so() -> None:
    image, date = scene(seed=1), torch.randn(1, 2, 192, 192, generator=torch.Generator().manual_seed(0))
    matched, error = masked.match(date, image, seen=torch.ones_like(holes()), known=holes())
    assert matched.var() < 1.1 * image.var()
    inner = holes().expand_as(image)
    told = error[inner].mean()
    assert 0.5 < told / (matched - image)[inner].square().mean() < 2


def test_matching_is_blind_to_holes_and_local() -> None:
    image, date = scene(320, 1).double(), scene(320, 1, 1).double()
    common = torch.ones(1, 1, 320, 320, dtype=torch.bool)
    seen = torch.ones_like(common)
    common[..., 100:120, 90:140] = False
    plain = masked.match(date, image, seen=seen, known=common)[0]
    dirty = masked.match(date, torch.where(common, image, 1e3), seen=seen, known=common)[0]
    torch.testing.assert_close(dirty, plain, rtol=0, atol=0)
    bumped = image.clone()
    bumped[..., 160, 160] += 10
    changed = (masked.match(date, bumped, seen=seen, known=common)[0] != plain).nonzero()[:, 2:] - 160
    assert 0 < changed.abs().max() <= masked.MATCH_RADIUS
    nowhere, error = masked.match(date, image, seen=seen, known=common & False)
    assert not nowhere.any()
    assert error.isinf().all()


def test_a_membrane_leaves_no_step_at_the_rim() -> None:
    image = scene().double()
    known = holes()
    offset = torch.linspace(0, 2, 192, dtype=torch.float64).expand_as(image)
    fitted = masked.membrane(image + offset, image, known)
    assert (fitted - image)[known.expand_as(image)].abs().max() < 1e-12
    assert (fitted - image).abs().max() < 0.1
