"""References brought to the unit of what was measured of the same pixels."""

import numpy as np
import xarray as xr
from scipy import ndimage

from sciddiff.training import levels


def image_of(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values[None], dims=("band", "y", "x"))


def texture(height: int, width: int) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 30, (height, width)), 3))


def test_a_reference_far_from_what_was_measured_follows_the_line_of_the_whole() -> None:
    clean = texture(300, 80)
    measured = 3 * clean + 100
    measured[:200] = np.nan
    found = levels.brought_onto(image_of(clean), image_of(measured))
    assert found is not None
    np.testing.assert_allclose(found.values[0], 3 * clean + 100, atol=0.1)


def test_a_high_offset_does_not_drown_what_the_pictures_show() -> None:
    clean = texture(200, 200) + 1e7
    found = levels.brought_onto(image_of(clean), image_of(3 * (clean - 1e7)))
    assert found is not None
    np.testing.assert_allclose(found.values[0], 3 * (clean - 1e7), atol=0.01)
