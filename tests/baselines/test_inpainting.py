"""Fillers against closed forms, and what holds for all of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sciddiff.baselines import inpainting
from sciddiff.errors import InputError
from sciddiff.physics import gaps

FILLERS = [
    inpainting.nearest,
    inpainting.fill_nodata,
    inpainting.smooth_fill,
    inpainting.biharmonic,
    inpainting.telea,
]
Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]
every = pytest.mark.parametrize("fill", FILLERS, ids=lambda fill: fill.__name__)


def scene(seed: int, side: int = 40, bands: int = 3, cover: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image of some physical range and a mask of blobs."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(bands, side, side)), (0, 4, 4)) * 5000 + 1200
    blobs = ndimage.gaussian_filter(rng.normal(size=(side, side)), 3)
    return image, blobs > np.quantile(blobs, 1 - cover)


def ramp(side: int = 48) -> np.ndarray:
    y, x = np.mgrid[:side, :side].astype(float)
    return np.stack([3 * x + 2 * y + 100, -0.25 * x + y])


def holes(side: int = 48) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[10:25, 8:40] = mask[30:40, 30:33] = mask[35, 5] = True
    return mask


@every
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), rubbish=st.sampled_from([np.nan, np.inf, -1e30]))
def test_only_the_holes_change_and_what_stood_in_them_has_no_part(fill: Filler, seed: int, rubbish: float):
    image, missing = scene(seed)
    spoilt = np.where(missing, rubbish, image)
    before = spoilt.copy()
    filled = fill(spoilt, missing)
    np.testing.assert_array_equal(spoilt, before)
    np.testing.assert_array_equal(filled, fill(image, missing))
    np.testing.assert_array_equal(filled[:, ~missing], image[:, ~missing])
    known = image[:, ~missing]
    assert (filled >= known.min(1)[:, None, None]).all()
    assert (filled <= known.max(1)[:, None, None]).all()


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_type_is_kept_nothing_missing_is_a_copy_and_a_constant_stays_one(fill: Filler, dtype: type):
    image = scene(1)[0].astype(dtype)
    same = fill(image, np.zeros(image.shape[1:], bool))
    np.testing.assert_array_equal(same, image)
    assert same is not image
    flat = np.full((1, 48, 48), 0.1, dtype)
    filled = fill(flat, holes())
    assert filled.dtype == dtype
    np.testing.assert_array_equal(filled, flat)


@every
def test_bands_are_filled_apart(fill: Filler):
    image, missing = scene(2)
    alone = np.concatenate([fill(band[None], missing) for band in image])
    np.testing.assert_allclose(fill(image, missing), alone, rtol=1e-6)


@every
def test_one_known_pixel_is_enough(fill: Filler):
    missing = np.ones((9, 7), bool)
    missing[4, 2] = False
    np.testing.assert_allclose(fill(np.full((2, 9, 7), 5.0), missing), 5)


@pytest.mark.parametrize(
    ("fill", "within"),
    [
        (inpainting.smooth_fill, 1e-6),
        (inpainting.biharmonic, 1e-8),
        (lambda image, missing: inpainting.telea(image, missing, slope=1), 1e-9),
    ],
    ids=["smooth_fill", "biharmonic", "telea"],
)
def test_a_plane_is_filled_exactly(fill: Filler, within: float):
    np.testing.assert_allclose(fill(ramp(), holes()), ramp(), atol=within)


def test_membrane_is_the_mean_of_four_neighbours_and_has_no_flow_through_edges():
    image, missing = scene(3)
    filled = inpainting.smooth_fill(image, missing)
    padded = np.pad(filled, ((0, 0), (1, 1), (1, 1)), mode="edge")
    mean = (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4
    np.testing.assert_allclose(filled[:, missing], mean[:, missing], rtol=1e-7)


def test_membrane_of_many_unknowns_by_multigrid_equals_the_direct_solution(monkeypatch):
    image, missing = scene(4, side=96, cover=0.6)
    assert missing.sum() > 5 * inpainting.COARSEST
    filled = inpainting.smooth_fill(image, missing)
    monkeypatch.setattr(inpainting, "COARSEST", 10**6)
    np.testing.assert_allclose(filled, inpainting.smooth_fill(image, missing), rtol=1e-8)


def test_membrane_where_the_coarsest_grid_is_singular():
    missing = gaps.blobs((120, 120), generator=torch.Generator().manual_seed(31), share=0.3).numpy()
    row, col = np.mgrid[:120.0, :120.0]
    plane = (2 * row - col)[None]
    filled = inpainting.smooth_fill(plane, missing)
    padded = np.pad(filled, ((0, 0), (1, 1), (1, 1)), mode="edge")
    mean = (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4
    np.testing.assert_allclose(filled[:, missing], mean[:, missing], atol=1e-5)


def test_plate_obeys_the_13_point_biharmonic_stencil():
    image, missing = scene(5, side=60, cover=0.1)
    missing[:2] = missing[-2:] = missing[:, :2] = missing[:, -2:] = False
    image[:, 0, [0, -1]] = [-1e5, 1e5]  # out of reach of the holes: no value is clipped
    filled = inpainting.biharmonic(image, missing)
    laplace = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], float)
    for band in filled:
        rest = ndimage.convolve(ndimage.convolve(band, laplace), laplace)
        assert np.abs(rest[missing]).max() < 1e-6


def test_plate_continues_curvature_that_the_membrane_flattens():
    y, x = np.mgrid[:32, :32] / 32.0
    image = np.sin(3 * x + 2 * y)[None]
    missing = np.zeros((32, 32), bool)
    missing[12:20, 12:20] = True
    error = [np.abs(fill(image, missing) - image).max() for fill in (inpainting.biharmonic, inpainting.smooth_fill)]
    assert error[0] < error[1] / 5


def test_a_large_hole_gets_the_membrane_and_small_ones_still_the_plate():
    image, _ = scene(6)
    missing = np.zeros((40, 40), bool)
    missing[5:20, 5:30] = missing[30:33, 30:33] = True
    filled = inpainting.biharmonic(image, missing, largest=100)
    membrane, plate = inpainting.smooth_fill(image, missing), inpainting.biharmonic(image, missing)
    np.testing.assert_array_equal(filled[:, :25], membrane[:, :25])
    np.testing.assert_allclose(filled[:, 25:], plate[:, 25:], rtol=1e-9)
    assert not np.allclose(filled[:, 30:33, 30:33], membrane[:, 30:33, 30:33], rtol=1e-6)


def test_known_pixels_on_one_line_leave_the_plate_to_the_membrane():
    missing = np.ones((8, 8), bool)
    missing[2] = False
    image = np.broadcast_to(np.arange(8.0), (1, 8, 8)).copy()
    np.testing.assert_array_equal(inpainting.biharmonic(image, missing), inpainting.smooth_fill(image, missing))


def test_nearest_and_telea_by_hand():
    image = np.array([[[1.0, 2, 99, 99, 5]]])
    missing = np.array([[False, False, True, True, False]])
    np.testing.assert_array_equal(inpainting.nearest(image, missing), [[[1, 2, 2, 5, 5]]])
    # distance 1 on both sides: pixel 2 sees 2 at one pixel, 1 at two, 5 at two; levels 0, -1 and 0
    t2 = np.array([1.0, 1 / 4, 1 / 4]) / (1 + np.array([1.0, 2.0, 1.0]))
    expected = (t2 * [2, 1, 5]).sum() / t2.sum()
    assert inpainting.telea(image, missing, radius=2)[0, 0, 2] == pytest.approx(expected)


def test_telea_has_no_preferred_direction():
    image, missing = scene(7)
    filled = inpainting.telea(image, missing)
    turned = inpainting.telea(image[:, ::-1, ::-1].swapaxes(1, 2), missing[::-1, ::-1].T)
    np.testing.assert_allclose(turned.swapaxes(1, 2)[:, ::-1, ::-1], filled, rtol=1e-9)


def test_what_gdal_does_not_reach_gets_the_nearest():
    image, missing = np.zeros((1, 60, 60)), np.ones((60, 60), bool)
    missing[:, :2] = False
    image[:, :, :2] = 7
    np.testing.assert_allclose(inpainting.fill_nodata(image, missing, distance=5), 7)


@every
def test_what_cannot_be_filled_is_said(fill: Filler):
    image, missing = scene(8)
    with pytest.raises(InputError, match="every pixel is missing"):
        fill(image, np.ones_like(missing))
    with pytest.raises(InputError, match="not finite"):
        fill(np.where(missing, image, np.nan), missing)
    with pytest.raises(InputError, match="boolean"):
        fill(image, missing.astype(np.uint8))
    with pytest.raises(InputError, match="floating"):
        fill(image.astype(np.int32), missing)
    with pytest.raises(InputError, match="expected"):
        fill(image[0], missing)
