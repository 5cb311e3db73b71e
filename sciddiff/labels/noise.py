"""Random fields that shapes are cut from."""

import math

import numpy as np
from numpy.typing import NDArray


def fractal(shape: tuple[int, ...], rng: np.random.Generator, *, beta: float, largest: float) -> NDArray[np.float32]:
    """A field whose power falls as frequency^-beta (spectral synthesis, Voss 1985), mean 0, variance 1.

    Parameters
    ----------
    shape
        (h, w).
    rng
        Source of randomness.
    beta
        Exponent: 2 is rough, 4 smooth; the relief of land has about 3.2.
    largest
        Pixels of the largest structures: below their frequency the power is flat.

    Returns
    -------
    ndarray
        (h, w), float32. It is cut from a field twice as large where structures are large, so that its sides differ.
    """
    from scipy import fft

    sides = [fft.next_fast_len(side + math.ceil(min(side, largest)), real=True) for side in shape]
    down, along = np.fft.fftfreq(sides[0])[:, None], np.fft.rfftfreq(sides[1])[None]
    frequency = np.hypot(down, along).astype(np.float32)
    gain = np.maximum(frequency, 1 / largest) ** np.float32(-beta / 2)
    gain[0, 0] = 0
    white = rng.standard_normal(sides, np.float32)
    return _normal(fft.irfft2(fft.rfft2(white) * gain, s=sides)[: shape[0], : shape[1]])


def smooth(shape: tuple[int, ...], rng: np.random.Generator, *, scale: float) -> NDArray[np.float32]:
    """White noise blurred by a Gaussian of a scale in pixels, mean 0, variance 1; (h, w), float32."""
    from scipy import ndimage

    return _normal(ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), scale))


def _normal(field: NDArray[np.float32]) -> NDArray[np.float32]:
    field = field - field.mean()
    spread = float(field.std())
    return (field / spread if spread > 0 else field).astype(np.float32)
