"""Scenes of tasks that learn from what was really measured: levels, pairs of little and much light, noise alone."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.physics.noise_estimation import noise_law

DARK, BRIGHT = 0.01, 0.995
"""Quantiles of a clean image that become zero and one."""


def clean_levels(image: xr.DataArray) -> xr.DataArray:
    """An image without noise, (band, y, x), each band zero in the dark and one in its bright structures."""
    values, valid = io.read_window(image, slice(None), slice(None))
    dark, bright = np.array([np.quantile(band[known], (DARK, BRIGHT)) for band, known in zip(values, valid)]).T
    spread = np.where(bright > dark, bright - dark, 1)
    return _with(image, (values - dark[:, None, None]) / spread[:, None, None])


def electrons(noisy: xr.DataArray) -> tuple[xr.DataArray, list[tuple[float, float]]]:
    """A noisy image (band, y, x) in units in which the noise has the variance of the mean, and the law of each band.

    With Var[y] = a E[y] + b, y / a + b / a^2 is such a unit: that of electrons, read noise added to the background.
    """
    values, valid = io.read_window(noisy, slice(None), slice(None))
    laws = [_counting(np.where(known, band, np.nan)) for band, known in zip(values, valid)]
    counts = np.stack([band / a + b / a**2 for band, (a, b) in zip(values, laws)])
    return _with(noisy, counts), laws


def paired(clean: xr.DataArray, noisy: xr.DataArray, *, name: str) -> tuple[xr.DataArray, xr.DataArray]:
    """A reference and what was measured with little light, both in electrons of the latter; (band, y, x) each.

    The reference's own unit and offset are free: noisy ~ alpha reference + beta is fitted over all pixels, in this
    direction because the reference has the less noise.

    Raises
    ------
    InputError
        Where the two differ in shape.
    """
    if clean.shape != noisy.shape:
        raise InputError(f"{name}: {clean.shape} pixels, its noisy image {noisy.shape}; a pair needs the same pixels")
    counts, _ = electrons(noisy)
    (high, known), (low, seen) = (io.read_window(each, slice(None), slice(None)) for each in (clean, counts))
    lines = [
        np.polyfit(reference[both], measured[both], 1) for reference, measured, both in zip(high, low, known & seen)
    ]
    return _with(clean, np.stack([np.polyval(line, band) for line, band in zip(lines, high)])), counts


def _counting(band: NDArray[np.floating]) -> tuple[float, float]:
    """Noise law whose slope is not zero: Gaussian noise is that of very many electrons."""
    a, b = noise_law(band)
    return max(a, 1e-3 * float(np.sqrt(max(b, 0)))), b


def _with(image: xr.DataArray, values: NDArray[np.floating]) -> xr.DataArray:
    bands = [str(name) for name in image.band.values]
    _, valid = io.read_window(image, slice(None), slice(None))
    return io.from_array(values.astype(np.float32), grid=io.grid_of(image), bands=bands, valid=valid)
