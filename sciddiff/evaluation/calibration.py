"""Whether a stated uncertainty is the true one: spread against error, coverage, CRPS, ranks, conformal scale.

Samples stand first: (k, ...) against a truth (...). Pixels that are not finite anywhere are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]


@dataclass(frozen=True)
class SpreadError:
    """Error against stated spread in bins of equal count, the smallest spread first.

    Attributes
    ----------
    spread
        Root mean variance (RMV) of each bin, in the unit of the image.
    error
        Root mean square error (RMSE) of each bin.
    count
        Pixels of each bin.
    slope, offset
        Least squares of error on spread: 1 and 0 where calibrated; NaN where all bins have one spread.
    """

    spread: Double
    error: Double
    count: NDArray[np.int64]
    slope: float
    offset: float

    @property
    def ratio(self) -> Double:
        """Error over spread of each bin: above 1 the model is too sure."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.error / self.spread)


def spread_error(
    mean: Array, std: Array, truth: Array, *, bins: int = 20, variance: Array | None = None
) -> SpreadError:
    """RMSE against RMV in bins of the stated standard deviation.

    Parameters
    ----------
    mean, std, truth
        Of one shape.
    bins
        How many.
    variance
        Of the truth's own noise, of that shape too: what it adds to the squared error. Its mean in a bin is taken off
        that of the squared error there, which stays at zero at least.

    Raises
    ------
    InputError
        Shapes that differ, negative standard deviations, or fewer valid pixels than bins.

    References
    ----------
    Levi, Gispan, Giladi, Fetaya 2022: the reliability diagram of regression.
    """
    own = np.zeros_like(truth, np.float64) if variance is None else variance
    center, spread, value, excess = _finite(mean, std, truth, own)
    if spread.size < bins or bins < 1:
        raise InputError(f"{spread.size} valid pixels cannot fill {bins} bins")
    if spread.min() < 0:
        raise InputError(f"a standard deviation is {spread.min():g}; expected none below zero")
    order = np.argsort(spread, kind="stable")
    parts = np.array_split(order, bins)
    rmv = np.array([math.sqrt((spread[part] ** 2).mean()) for part in parts])
    squared = (value - center) ** 2 - excess
    rmse = np.array([math.sqrt(max(squared[part].mean(), 0)) for part in parts])
    flat = np.ptp(rmv) <= 1e-12 * rmv.max()
    slope, offset = (math.nan, math.nan) if flat else np.polyfit(rmv, rmse, 1)
    return SpreadError(rmv, rmse, np.array([len(part) for part in parts]), float(slope), float(offset))


def coverage(lower: Array, upper: Array, truth: Array) -> float:
    """Share of pixels whose truth lies within [lower, upper].

    Parameters
    ----------
    lower, upper, truth
        Of one shape.

    Raises
    ------
    InputError
        Shapes that differ, or no valid pixel.
    """
    low, high, value = _finite(lower, upper, truth)
    return float(((low <= value) & (value <= high)).mean())


def central_interval(samples: Array, level: float) -> tuple[Double, Double]:
    """Ends of the central interval that holds a further sample of the same kind with the probability `level`.

    Parameters
    ----------
    samples
        (k, ...).
    level
        In (0, 1), at most (k - 1) / (k + 1), which is what lies between the least and the largest sample.

    Raises
    ------
    InputError
        Too few samples for the level.

    Notes
    -----
    Quantiles at p (k + 1), whose coverage is exact for exchangeable samples where that is whole; plain quantiles of
    few samples cover too little.
    """
    k = len(samples)
    if not 0 < level <= (k - 1) / (k + 1):
        least = math.ceil((1 + level) / (1 - level)) if 0 < level < 1 else None
        told = "expected a level between 0 and 1" if least is None else f"take {least} samples"
        raise InputError(f"{k} samples have no central interval of level {level:g}; {told}")
    ends = np.quantile(samples.astype(np.float64), [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
    return ends[0], ends[1]


def coverage_curve(samples: Array, truth: Array, *, levels: Sequence[float]) -> list[float]:
    """Empirical coverage of the central intervals of samples; equal to the levels where calibrated.

    Parameters
    ----------
    samples
        (k, ...).
    truth
        (...).
    levels
        See `central_interval`.
    """
    return [coverage(*central_interval(samples, level), truth) for level in levels]


def crps(samples: Array, truth: Array) -> float:
    """Continuous ranked probability score, mean over pixels, in the unit of the image; the fair form.

    Parameters
    ----------
    samples
        (k, ...), k at least 2.
    truth
        (...).

    Raises
    ------
    InputError
        One sample, shapes that do not fit, or no valid pixel.

    Notes
    -----
    mean |x_i - y| - sum_ij |x_i - x_j| / (2 k (k - 1)): its expectation does not depend on k, so that figures of
    different numbers of samples compare. The double sum comes from sorted samples: sum_i (2 i - k - 1) x_(i).

    References
    ----------
    Gneiting, Raftery 2007; Ferro 2014 (fair scores).
    """
    x, y = _samples(samples, truth)
    k = len(x)
    if k < 2:
        raise InputError(f"{k} sample has no spread; the score needs 2 or more")
    weights = 2 * np.arange(1, k + 1) - k - 1.0
    pairs = weights @ np.sort(x, 0) / (k * (k - 1))
    return float((np.abs(x - y).mean(0) - pairs).mean())


def rank_histogram(samples: Array, truth: Array) -> Double:
    """How often the truth is above 0, 1 ... k of the samples, (k + 1,); flat where calibrated, U where too sure.

    Parameters
    ----------
    samples
        (k, ...).
    truth
        (...).

    Returns
    -------
    ndarray
        Shares that sum to 1; a truth equal to some samples is spread evenly over the ranks that it could have.

    References
    ----------
    Talagrand; Hamill 2001.
    """
    x, y = _samples(samples, truth)
    below, equal = (x < y).sum(0), (x == y).sum(0)
    weight = 1 / (equal + 1)
    steps = np.zeros(len(x) + 2)
    np.add.at(steps, below, weight)
    np.add.at(steps, below + equal + 1, -weight)
    return np.asarray(steps.cumsum()[:-1] / y.size)


def conformal_scale(mean: Array, std: Array, truth: Array, *, level: float = 0.9) -> float:
    """Factor q for which mean +- q std holds a new pixel of the same kind with the probability `level` or more.

    Parameters
    ----------
    mean, std, truth
        Of one shape; calibration data, on which nothing else was fitted.
    level
        In (0, 1).

    Raises
    ------
    InputError
        Shapes that differ, a level outside, or too few pixels for it.

    Notes
    -----
    The ceil((n + 1) level)-th smallest |truth - mean| / std of n. The promise is marginal and needs exchangeable
    pixels: neighbours are alike, so take many places, not many pixels of one. Where std is 0 the score is infinite
    unless the error is 0 too.

    References
    ----------
    Angelopoulos et al. 2022 (arXiv 2202.05265).
    """
    scores = conformal_scores(mean, std, truth)
    if not 0 < level < 1:
        raise InputError(f"level is {level}; expected a share between 0 and 1")
    rank = math.ceil((scores.size + 1) * level)
    if rank > scores.size:
        least = math.ceil(level / (1 - level) - 1e-9)
        raise InputError(f"{scores.size} pixels are too few for a level of {level}; take {least} or more")
    return float(np.partition(scores, rank - 1)[rank - 1])


def conformal_scores(mean: Array, std: Array, truth: Array) -> Double:
    """|truth - mean| / std of each pixel, flat; where std is 0 infinite, or 0 where the error is 0 too.

    Parameters
    ----------
    mean, std, truth
        Of one shape.

    Raises
    ------
    InputError
        Shapes that differ, or no valid pixel.
    """
    center, spread, value = _finite(mean, std, truth)
    error = np.abs(value - center)
    return np.divide(error, spread, out=np.where(error > 0, np.inf, 0.0), where=spread > 0)


def scenes_scale(scores: Sequence[Double], *, level: float) -> float:
    """Factor q for which mean +- q std holds pixels of several scenes with the probability `level`, each scene alike.

    Parameters
    ----------
    scores
        Of each scene, see `conformal_scores`.
    level
        In (0, 1).

    Raises
    ------
    InputError
        Too few pixels for the level.

    Notes
    -----
    The least q for which the mean over scenes of #{score <= q} / (n + 1) is `level`: of one scene the
    `conformal_scale`; of several a large one counts no more than a small one.

    References
    ----------
    Lee, Barber, Willett 2023 (arXiv 2306.06342), without the mass that they leave to the scene to come, which no
    finite factor covers with fewer than 1 / (1 - level) scenes.
    """
    values = np.concatenate(scores)
    weights = np.concatenate([np.full(each.size, 1 / ((each.size + 1) * len(scores))) for each in scores])
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(weights[order]), level - 1e-12))
    if place == values.size:
        raise InputError(f"{values.size} pixels are too few for a level of {level}; take more")
    return float(values[order[place]])


def _finite(*arrays: Array) -> list[Double]:
    """Flat values where all are finite."""
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1:
        raise InputError(f"arrays are {', '.join(map(str, shapes))}; expected one shape")
    mask = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    if not mask.any():
        raise InputError("no pixel is valid: nothing to calibrate with")
    return [array[mask].astype(np.float64) for array in arrays]


def _samples(samples: Array, truth: Array) -> tuple[Double, Double]:
    """(k, n) and (n,), where all are finite."""
    if samples.ndim != truth.ndim + 1 or samples.shape[1:] != truth.shape:
        raise InputError(f"samples are {samples.shape} and the truth {truth.shape}; expected (k, ...) and (...)")
    *parts, value = _finite(*samples, truth)
    return np.stack(parts), value
