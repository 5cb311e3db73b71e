"""Clouds replaced from other dates: median, nearest clear date, nearest clear date made to look like the target.

A series is (t, c, h, w) of floats with masks (t, h, w), true where clear. What stands under a cloud has no part in any
result. Where no date is clear the membrane of what is round about stands in (`inpainting.smooth_fill`).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sciddiff.baselines.inpainting import smooth_fill
from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST = 32
"""Pixels, clear at both dates, that a regression needs."""
ROUNDS = 20
"""Of reweighting."""


def _checked(series: Array, clear: Mask) -> None:
    if series.ndim != 4 or clear.shape != (len(series), *series.shape[2:]) or clear.dtype != np.bool_:
        raise InputError(
            f"series {series.shape} and masks {clear.shape} of {clear.dtype}; "
            "expected (dates, bands, h, w) and a boolean (dates, h, w)"
        )
    if not np.issubdtype(series.dtype, np.floating):
        raise InputError(f"series of {series.dtype}; expected floating point numbers")
    if not clear.any():
        raise InputError("no pixel is clear at any date: nothing to fill from")
    if not np.isfinite(series.swapaxes(0, 1)[:, clear]).all():
        raise InputError("a pixel that the masks call clear is not finite; take it out of them")


def median_composite(series: Array, clear: Mask) -> Array:
    """Median of the clear dates of each pixel and band.

    Parameters
    ----------
    series
        (t, c, h, w), any unit.
    clear
        (t, h, w), true where clear.

    Returns
    -------
    ndarray
        (c, h, w), of the series' type; the mean of the two middle ones for an even number of dates.

    Raises
    ------
    InputError
        Shapes or types that do not fit, no clear pixel, or a clear one that is not finite.
    """
    _checked(series, clear)
    ordered = np.sort(np.where(clear[:, None], series, np.inf), axis=0)  # infinite ones go to the end
    count = clear.sum(0)
    never = count == 0
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    picks = [np.take_along_axis(ordered, np.minimum(rank, len(series) - 1)[None, None], 0)[0] for rank in (low, high)]
    middle: Array = np.where(never, 0, picks).mean(0, dtype=np.float64).astype(series.dtype)
    return smooth_fill(middle, never)


def nearest_clear_index(clear: Mask, *, target: int = 0, days: ArrayLike | None = None) -> NDArray[np.intp]:
    """Which date each pixel is taken from, (h, w): the target where clear, else the nearest clear one, else -1.

    Parameters
    ----------
    clear
        (t, h, w), true where clear.
    target
        Number of the date to be filled.
    days
        (t,), in days from any start; by default the dates are one day apart. Of two that are equally near, the
        first of the series is taken.

    Returns
    -------
    ndarray
        (h, w), numbers of dates.
    """
    when = np.arange(len(clear), dtype=np.float64) if days is None else np.asarray(days, np.float64)
    if when.shape != (len(clear),) or not -len(clear) <= target < len(clear):
        raise InputError(f"target {target} and days of shape {when.shape} for {len(clear)} dates")
    order = np.argsort(np.abs(when - when[target]), kind="stable")
    order = np.concatenate([[target % len(clear)], order[order != target % len(clear)]])
    first = clear[order].argmax(0)
    return np.where(clear.any(0), order[first], -1)


def nearest_clear_date(series: Array, clear: Mask, *, target: int = 0, days: ArrayLike | None = None) -> Array:
    """The target with each cloudy pixel from the nearest date that is clear there, as it was.

    Parameters
    ----------
    series, clear
        See `median_composite`.
    target, days
        See `nearest_clear_index`.

    Returns
    -------
    ndarray
        (c, h, w); the target's clear pixels bit for bit.
    """
    _checked(series, clear)
    index = nearest_clear_index(clear, target=target, days=days)
    picked = np.take_along_axis(series, np.maximum(index, 0)[None, None], 0)[0]
    return smooth_fill(picked, index < 0)


def _spread(values: Double) -> float:
    """Standard deviation of a normal distribution with this median absolute value."""
    return float(1.4826 * np.median(np.abs(values)))


def robust_line(x: Array, y: Array) -> tuple[float, float]:
    """Gain and offset of y = gain x + offset, unmoved by a fifth of wild pairs.

    Parameters
    ----------
    x, y
        (n,), finite.

    Returns
    -------
    gain, offset
        Gain 1 and the median difference where x has fewer than `LEAST` values or hardly varies.

    Notes
    -----
    Start: median slope of the pairs (i, i + n / 2) in order of x (Theil-Sen on long steps only); then least squares
    with Tukey's weights, cut at 4.685 standard deviations.
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order].astype(np.float64), y[order].astype(np.float64)
    half = len(x) // 2
    step = x[half : 2 * half] - x[:half]
    wide = step > 1e-9 * max(float(np.abs(x).max(initial=0)), 1e-300)
    if wide.sum() < LEAST // 2:
        return 1.0, float(np.median(y - x)) if len(x) >= LEAST else 0.0
    gain = float(np.median((y[half : 2 * half] - y[:half])[wide] / step[wide]))
    offset = float(np.median(y - gain * x))
    for _ in range(ROUNDS):
        rest = y - gain * x - offset
        spread = _spread(rest)
        if spread <= 1e-12 * float(np.abs(y).max()):
            break
        weights = np.maximum(1 - (rest / (4.685 * spread)) ** 2, 0) ** 2
        weights /= weights.sum()
        centre, level = float(weights @ x), float(weights @ y)
        variance = float(weights @ (x - centre) ** 2)
        if variance == 0:
            break
        gain = float(weights @ ((x - centre) * (y - level))) / variance
        offset = level - gain * centre
    return gain, offset


def relative_normalise(reference: Array, target: Array, *, clear: Mask) -> Array:
    """A reference date with the target's radiometry: band by band, a robust line over pixels clear at both.

    Parameters
    ----------
    reference, target
        (c, h, w), in one unit.
    clear
        (h, w), true where both dates are.

    Returns
    -------
    ndarray
        (c, h, w), of the reference's type; with fewer than `LEAST` such pixels, the reference as it is.

    References
    ----------
    Hall, Strebel, Nickeson, Goetz 1991; Du, Teillet, Cihlar 2002.
    """
    if reference.shape != target.shape or reference.ndim != 3 or clear.shape != target.shape[1:]:
        raise InputError(f"dates {reference.shape} and {target.shape}, mask {clear.shape}; expected (bands, h, w)")
    result = reference.copy()
    if clear.sum() < LEAST:
        return result
    for band, (source, goal) in enumerate(zip(reference, target)):
        gain, offset = robust_line(source[clear], goal[clear])
        result[band] = gain * source.astype(np.float64) + offset
    return result


def best_of_dates(series: Array, clear: Mask, *, target: int = 0, days: ArrayLike | None = None) -> Array:
    """The target with each cloudy pixel from the nearest clear date, after `relative_normalise` of that date.

    Parameters
    ----------
    series, clear
        See `median_composite`.
    target, days
        See `nearest_clear_index`.

    Returns
    -------
    ndarray
        (c, h, w); the target's clear pixels bit for bit.
    """
    _checked(series, clear)
    known = np.where(clear[:, None], series, 0)
    like = [
        date if number == target % len(series) else relative_normalise(date, known[target], clear=seen & clear[target])
        for number, (date, seen) in enumerate(zip(known, clear))
    ]
    return nearest_clear_date(np.stack(like), clear, target=target, days=days)
