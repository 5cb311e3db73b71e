"""Resolution of one image without a reference or a threshold, from where its phases stop to correlate."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from sciddiff.errors import InputError
from sciddiff.evaluation.fourier import taper

Double = NDArray[np.float64]

RADII = 200
"""Steps of the radius from the mean to Nyquist."""
FILTERS = 20
"""High-pass filters, from one of the whole image's width to one of the finest detail."""
DROP = 5e-4
"""How far a curve has to fall behind a peak to make it one."""


class Decorrelation(NamedTuple):
    """`length` in units of the pixel's length; `radius` is its frequency in shares of Nyquist's, `peak` the height."""

    length: float
    radius: float
    peak: float


def decorrelation(image: NDArray[np.floating], *, pixel: float = 1.0) -> Decorrelation:
    """Resolution by decorrelation analysis: 2 pixels over the largest radius at which a filtered image has its peak.

    Parameters
    ----------
    image
        (h, w), finite; a pixel should be at most half of the resolution.
    pixel
        Its length.

    Returns
    -------
    Decorrelation
        Infinite length where no filter leaves a peak, as of pure noise.

    Raises
    ------
    InputError
        Not two axes of 16 pixels or more, values that are not finite, or a flat image.

    Notes
    -----
    With F the transform of the tapered image without its mean and F/|F| cut to a disc of radius r, the correlation
    is d(r) = sum_r |F| / sqrt(sum |F|^2 N(r)), N(r) pixels within r. High-passing F by 1 - exp(-2 pi^2 s^2 f^2), s
    from a quarter of the side to 0.15 pixels, moves the peak out until only noise is left.

    References
    ----------
    Descloux, Grussmayer, Radenovic 2019.
    """
    if image.ndim != 2 or min(image.shape) < 16:
        raise InputError(f"the image is {image.shape}; expected two axes of 16 pixels or more")
    if not np.isfinite(image).all() or np.ptp(image) == 0:
        raise InputError("the image is flat or has pixels that are not finite: it has no resolution")
    weights = taper(image.shape, "tukey")
    values = np.asarray(image, np.float64)
    spectrum = np.abs(fft.fft2(weights * (values - (weights * values).sum() / weights.sum())))
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None])
    inside = (frequency <= 0.5) & (frequency > 0)
    amplitude, radius = spectrum[inside], 2 * frequency[inside]
    ring = np.minimum((radius * RADII).astype(np.int64), RADII - 1)
    count = np.bincount(ring, minlength=RADII).cumsum()
    best = Decorrelation(math.inf, 0.0, 0.0)
    for width in (math.inf, *np.geomspace(min(image.shape) / 4, 0.15, FILTERS)):
        passed = 1.0 if math.isinf(width) else -np.expm1(-2 * (math.pi * width * radius / 2) ** 2)
        at, peak = _peak(_curve(amplitude * passed, ring, count))
        if at > best.radius:
            best = Decorrelation(2 * pixel / at, at, peak)
    return best


def _curve(amplitude: Double, ring: NDArray[np.int64], count: NDArray[np.int64]) -> Double:
    """The correlation d within each radius."""
    total = np.bincount(ring, weights=amplitude, minlength=RADII).cumsum()
    norm = np.sqrt((amplitude**2).sum() * count)
    return np.divide(total, norm, out=np.zeros(RADII), where=norm > 0)


def _peak(curve: Double) -> tuple[float, float]:
    """Radius and height of the highest place behind which the curve falls; radius 0 where there is none."""
    end = len(curve)
    while end > 1:
        at = int(curve[:end].argmax())
        if curve[at] - curve[at:].min() > DROP:
            return (at + 1) / len(curve), float(curve[at])
        end = at
    return 0.0, 0.0
