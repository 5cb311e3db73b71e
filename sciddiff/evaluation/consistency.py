"""Whether a result explains what was measured: its residual in units of the noise. Needs no truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]


@dataclass(frozen=True)
class Consistency:
    """Of the whitened residual: `mean` should be 0 and `chi_square`, its mean square, 1; over `count` pixels."""

    mean: float
    chi_square: float
    count: int


def whitened(measured: Array, expected: Array, *, gain: float, variance: float) -> Double:
    """Residual of the measurement in standard deviations of its noise, NaN where either is not finite.

    Parameters
    ----------
    measured
        y, any shape, in the unit of the camera.
    expected
        A(x), what the forward model makes of the result, in the same shape and unit.
    gain, variance
        Of the noise law Var[y] = gain E[y] + variance; gain 0 for noise of one level. An offset o of a camera of
        variance g (E[y] - o) + g^2 s^2 belongs into `variance`, as g^2 s^2 - g o.

    Raises
    ------
    InputError
        Shapes that differ, or a noise law that gives an expected pixel no variance.
    """
    if measured.shape != expected.shape:
        raise InputError(f"measured and expected are {measured.shape} and {expected.shape}; expected one shape")
    model = expected.astype(np.float64)
    noise = gain * model + variance
    known = np.isfinite(measured) & np.isfinite(model)
    if not (noise[known] > 0).all():
        low = float(model[known].min() if gain >= 0 else model[known].max())
        worst = gain * low + variance
        raise InputError(
            f"the noise law {gain:g} x + {variance:g} gives a pixel of {low:g} a variance of {worst:g}; "
            "expected more than zero: check gain, offset and read noise"
        )
    residual = np.full(model.shape, np.nan)
    residual[known] = (measured[known] - model[known]) / np.sqrt(noise[known])
    return residual


def consistency(measured: Array, expected: Array, *, gain: float, variance: float) -> Consistency:
    """Reduced chi-square of the residual of a whole image.

    Parameters
    ----------
    measured, expected, gain, variance
        See `whitened`.

    Raises
    ------
    InputError
        As `whitened`, or no valid pixel.

    Notes
    -----
    No degree of freedom is taken off for what the result was fitted to: below 1 it follows the noise.
    """
    residual = whitened(measured, expected, gain=gain, variance=variance)
    known = residual[np.isfinite(residual)]
    if not known.size:
        raise InputError("no pixel is valid in both the measurement and what is expected of it")
    return Consistency(float(known.mean()), float((known**2).mean()), known.size)


def chi_square_map(residual: Array, *, block: int = 16) -> tuple[Double, NDArray[np.int64]]:
    """Reduced chi-square by region.

    Parameters
    ----------
    residual
        (..., h, w), as `whitened` gives it.
    block
        Side of a region in pixels; the last ones may be smaller.

    Returns
    -------
    values
        (..., ceil(h / block), ceil(w / block)); NaN for a region without valid pixels.
    count
        Valid pixels of each region.
    """
    starts = [np.arange(0, side, block) for side in residual.shape[-2:]]
    known = np.isfinite(residual)

    def sums(image: NDArray[np.float64]) -> Double:
        return np.asarray(np.add.reduceat(np.add.reduceat(image, starts[0], -2), starts[1], -1))

    count = sums(known.astype(np.float64))
    total = sums(np.where(known, residual, 0).astype(np.float64) ** 2)
    values = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return values, count.astype(np.int64)


def chi_square_limit(count: NDArray[np.int64] | int, *, level: float = 0.999) -> Double:
    """Reduced chi-square that a region of `count` independent pixels of pure noise stays below with `level`.

    Parameters
    ----------
    count
        Any shape; NaN for 0.
    level
        In (0, 1). Of many regions some exceed it by chance: divide what is left to 1 by their number.
    """
    number = np.asarray(count, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(stats.chi2.ppf(level, number) / number)
