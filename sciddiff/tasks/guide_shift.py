"""By how much the main image lies off its guide, measured in the middle of both."""

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.io.align import offset_of
from sciddiff.physics import sensor
from sciddiff.physics.registration import Shift, phase_correlation

SIDE = 320
"""Largest side of what is looked at, in pixels of the image."""
LEAST_SIDE = 24
"""Smallest side that says anything."""
LEAST_PEAK = 0.2
"""Height of the correlation's peak below which the shift is not to be trusted."""
LEAST_VALID = 0.9
"""Share of valid pixels below which their outline would decide."""


def measured_shift(image: xr.DataArray, guide: xr.DataArray, *, ratio: int, gain: float) -> Shift | None:
    """Place of the image less that of the guide, in pixels of the guide; None where they do not tell.

    Parameters
    ----------
    image
        (c, y, x), whose pixels are `ratio` times those of the guide.
    guide
        (g, y, x), on any grid parallel to the image's.
    ratio
        Guide pixels along one of the image.
    gain
        Of the image's MTF at its Nyquist frequency.

    Notes
    -----
    The guide is degraded to the pixels of the image. Bands of both are mixed to one image each: the guide's bands in
    equal parts of their spread, the image's bands by the weights that come nearest to that.
    """
    begins = offset_of(image, io.grid_of(guide))
    if begins is None:
        return None
    rows, cols = (
        _axis(size, fine, ratio, begin)
        for size, fine, begin in zip(image.shape[1:], guide.shape[1:], begins, strict=True)
    )
    if min(rows[2], cols[2]) < LEAST_SIDE:
        return None
    coarse = _window(image, rows[0], cols[0], rows[2], cols[2])
    fine = _window(guide, rows[1], cols[1], rows[2] * ratio, cols[2] * ratio)
    if coarse is None or fine is None:
        return None
    offset = torch.tensor([[[axis[3] for axis in (rows, cols)]]], dtype=torch.float64).expand(1, len(fine), 2)
    sigma = sensor.mtf_sigma(torch.full((1, len(fine), 2), gain, dtype=torch.float64), ratio)
    radius = sensor.blur_radius(gain, ratio) + ratio
    low = sensor.degrade_at(torch.from_numpy(fine)[None], ratio, sigma=sigma, offset=offset, radius=radius)[0].numpy()
    wanted = low.mean(0)
    weights = np.linalg.lstsq(coarse.reshape(len(coarse), -1).T, wanted.ravel(), rcond=None)[0]
    found = phase_correlation(np.tensordot(weights, coarse, 1), wanted)
    if found.peak < LEAST_PEAK:
        return None
    return Shift(ratio * found.row, ratio * found.col, found.peak)


def _axis(size: int, fine: int, ratio: int, begin: float) -> tuple[int, int, int, float]:
    """First pixel of the image and of the guide, pixels of the image, and the offset between both, of the middle part
    that both cover; `begin` is where the guide begins in pixels of the image."""
    first, last = max(0, math.ceil(begin + 0.5)), min(size, math.floor(begin + fine / ratio - 0.5))
    length = min(SIDE, last - first)
    first += (last - first - length) // 2
    at = round((first - begin) * ratio)
    return first, at, length, begin * ratio + at - first * ratio


def _window(image: xr.DataArray, row: int, col: int, height: int, width: int) -> NDArray[np.float64] | None:
    """A part with each band of mean zero and spread one, zero where invalid; None where much of it is."""
    values, valid = io.read_window(image, slice(row, row + height), slice(col, col + width))
    known = valid.all(0)
    if known.mean() < LEAST_VALID:
        return None
    inside = values[:, known].astype(np.float64)
    mean, spread = inside.mean(1)[:, None, None], inside.std(1)[:, None, None]
    return np.where(known, (values - mean) / np.where(spread > 0, spread, 1), 0.0)
