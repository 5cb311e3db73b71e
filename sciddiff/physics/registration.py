"""By how much one image lies off another: phase correlation to a fraction of a pixel."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = 8
"""Largest shift that is looked for, in pixels."""
SPREAD = 0.15
"""Standard deviation of the frequencies that count, in cycles a pixel: above, bands that alias differ."""
STEP = 0.02
"""Spacing of the places at which the correlation is computed last, in pixels."""


class Shift(NamedTuple):
    """Place of the correlation's peak, in pixels, and its height: 1 for images that differ by a shift alone."""

    row: float
    col: float
    peak: float


def phase_correlation(image: Array, reference: Array) -> Shift:
    """Shift by which an image shows what the reference shows, further down and to the right.

    Parameters
    ----------
    image, reference
        (h, w), of one size, free of NaN; gain and offset do not matter.

    Notes
    -----
    The cross-power spectrum of both, tapered by a Hann window and made of unit modulus (Kuglin, Hines 1975), is weighed
    by a Gaussian over frequencies and transformed back at ever finer places around its peak by a product of matrices
    (Guizar-Sicairos et al. 2008).
    """
    spectra = [np.fft.fft2(_tapered(each)) for each in (image, reference)]
    cross = spectra[0] * spectra[1].conj()
    modulus = np.abs(cross)
    fy, fx = (np.fft.fftfreq(side).astype(np.float64) for side in image.shape)
    weight = np.exp(-(fy[:, None] ** 2 + fx[None] ** 2) / (2 * SPREAD**2))
    weight[0, 0] = 0  # the mean says nothing of the place
    unit = np.divide(cross, modulus, out=np.zeros_like(cross), where=modulus > 1e-12 * modulus.max()) * weight
    row, col, step = 0.0, 0.0, 1.0
    reach = float(MOST)
    while True:
        rows, cols = (at + np.arange(-reach, reach + step / 2, step) for at in (row, col))
        near = _transformed(unit, rows, cols, fy, fx) / weight.sum()
        best = np.unravel_index(near.argmax(), near.shape)
        row, col = float(rows[best[0]]), float(cols[best[1]])
        if step <= STEP:
            return Shift(round(row, 4), round(col, 4), float(near[best]))
        reach, step = step, step / 7


def _tapered(image: Array) -> Array:
    rows, cols = (np.hanning(side + 2)[1:-1] for side in image.shape)
    return np.asarray((image - image.mean()) * rows[:, None] * cols[None])


def _transformed(spectrum: NDArray[np.complex128], rows: Array, cols: Array, fy: Array, fx: Array) -> Array:
    """Real part of the inverse transform at any places."""
    left = np.exp(2j * np.pi * rows[:, None] * fy[None])
    right = np.exp(2j * np.pi * fx[:, None] * cols[None])
    return np.asarray((left @ spectrum @ right).real)
