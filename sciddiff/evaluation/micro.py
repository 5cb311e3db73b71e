"""Metrics of microscopy that do not punish another gain and offset: range-invariant PSNR, MicroSSIM, MicroMS3IM.

An average over crops is not the figure of the whole image, for PSNR is no linear measure and the largest value of a
crop is another: score images as large as they are.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from sciddiff.errors import InputError
from sciddiff.evaluation.ssim import Array, Local, Mask, checked_pair, local_statistics, ms_ssim, similarity, ssim

BACKGROUND = 3.0
"""Percentile that counts as the background."""
KEPT = 2**18
"""Positions over all images of a set that a fit keeps; beyond, a random half is dropped."""


@dataclass(frozen=True)
class Moments:
    """What range-invariant PSNR needs of pixels seen so far; sums of two are those of all their pixels.

    Attributes
    ----------
    count
        Of pixels.
    mean_x, mean_y
        Of result and truth.
    xx, yy, xy
        Sums of products of what is left without the means.
    low, high
        Least and largest value of the truth.
    """

    count: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @classmethod
    def of(cls, result: Array, truth: Array, *, valid: Mask | None = None) -> Self:
        """Moments of one pair of images of one shape."""
        mask = checked_pair(result, truth, valid)
        x, y = result[mask].astype(np.float64), truth[mask].astype(np.float64)
        if not x.size:
            return cls()
        mean_x, mean_y = float(x.mean()), float(y.mean())
        low, high = float(y.min()), float(y.max())
        x -= mean_x
        y -= mean_y
        return cls(x.size, mean_x, mean_y, float(x @ x), float(y @ y), float(x @ y), low, high)

    def __add__(self, other: Self) -> Self:
        """Moments of both sets of pixels (Chan, Golub, LeVeque 1983)."""
        count = self.count + other.count
        if not count:
            return self
        share = self.count * other.count / count
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        return type(self)(
            count,
            self.mean_x + dx * other.count / count,
            self.mean_y + dy * other.count / count,
            self.xx + other.xx + share * dx * dx,
            self.yy + other.yy + share * dy * dy,
            self.xy + other.xy + share * dx * dy,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def psnr(self) -> float:
        """Range-invariant PSNR in dB; see `range_invariant_psnr`."""
        if not self.high > self.low:
            return math.nan
        error = self.yy - (self.xy**2 / self.xx if self.xx > 0 else 0.0)
        peak = (self.high - self.low) ** 2 * self.count
        return math.inf if error <= 0 else 10 * math.log10(peak / error)


def range_invariant_psnr(result: Array, truth: Array, *, valid: Mask | None = None) -> float:
    """PSNR of the best affine map of the result onto the truth; the peak is the truth's range.

    Parameters
    ----------
    result, truth
        Of one shape, of any number of dimensions.
    valid
        Broadcast against them; what is not finite is invalid.

    Returns
    -------
    float
        In dB; beyond about 150 it is rounding. NaN where the truth is flat or nothing is valid.

    Raises
    ------
    InputError
        Shapes that differ.

    Notes
    -----
    With means removed, a = <y, x> / <x, x>, error = mean (y - a x)^2 and 10 log10(range(y)^2 / error). A negative a is
    allowed: an inverted image scores as well as the upright one.

    References
    ----------
    Weigert et al. 2018 (CARE), in the form of later work on joint denoising.
    """
    return Moments.of(result, truth, valid=valid).psnr


@dataclass(frozen=True)
class MicroFit:
    """One gain and offset for a whole data set.

    Attributes
    ----------
    offset_result, offset_truth
        The background, 3rd percentile of each, in the images' units.
    peak
        Largest value of the truth above its background.
    data_range
        Of the truth in units of `peak`.
    scale
        Of the result that gives the largest mean SSIM.
    """

    offset_result: float
    offset_truth: float
    peak: float
    data_range: float
    scale: float

    def normalised(self, result: Array, truth: Array) -> tuple[Array, Array]:
        """Both images without background, in units of the truth's peak, the result scaled."""
        x = (result.astype(np.float64) - self.offset_result) / self.peak * self.scale
        return x, (truth.astype(np.float64) - self.offset_truth) / self.peak


def fit_micro(pairs: Iterable[tuple[Array, Array]]) -> MicroFit:
    """Find background and scale of a data set, reading each pair once.

    Parameters
    ----------
    pairs
        Results and truths, each pair of one shape; what is not finite is left out. Any number of dimensions.

    Returns
    -------
    MicroFit
        For `micro_ssim` and `micro_ms3im` of every pair of the set.

    Raises
    ------
    InputError
        No pair has a whole window of valid pixels, or the truth is flat.

    Notes
    -----
    Percentiles and the mean SSIM are those of all positions up to `KEPT`, and of a random share of them beyond. Local
    statistics follow a gain in closed form, so the search for the scale filters nothing: it is bounded, over a factor
    of e^3 both ways from the ratio of the root mean squares.

    References
    ----------
    Ashesh, Deschamps, Jug 2024 (MicroSSIM).
    """
    values, windows = _Sample(), _Sample()
    low, high = math.inf, -math.inf
    for result, truth in pairs:
        mask = checked_pair(result, truth)
        values.add(np.stack([result[mask], truth[mask]]).astype(np.float64))
        windows.add(np.stack(local_statistics(result, truth)))
        if mask.any():
            low, high = min(low, float(truth[mask].min())), max(high, float(truth[mask].max()))
    local, pixels = Local(*windows.all(5)), values.all(2)
    if not local.cov.size:
        raise InputError("no image holds a window of 11 valid pixels along each axis; MicroSSIM needs one")
    offset_result, offset_truth = (float(np.percentile(part, BACKGROUND)) for part in pixels)
    peak = high - offset_truth
    if not peak > 0:
        raise InputError(f"the truth is flat ({low:g} everywhere above its background): MicroSSIM has no scale")
    moved = Local(
        (local.mean_x - offset_result) / peak,
        (local.mean_y - offset_truth) / peak,
        *(part / peak**2 for part in local[2:]),
    )
    data_range = (high - low) / peak
    return MicroFit(offset_result, offset_truth, peak, data_range, _best_scale(moved, data_range))


def _best_scale(local: Local, data_range: float) -> float:
    power_x, power_y = (
        float((mean**2 + variance).mean())
        for mean, variance in ((local.mean_x, local.var_x), (local.mean_y, local.var_y))
    )
    if power_x == 0 or power_y == 0:
        return 1.0
    start = 0.5 * math.log(power_y / power_x)

    def loss(exponent: float) -> float:
        parts = similarity(local, data_range=data_range, scale=math.exp(exponent))
        return -float((parts.luminance * parts.structure).mean())

    found = minimize_scalar(loss, bounds=(start - 3, start + 3), method="bounded", options={"xatol": 1e-7})
    return math.exp(found.x)


def micro_ssim(result: Array, truth: Array, *, fit: MicroFit) -> float:
    """SSIM after the background and the scale of the data set; NaN where no window fits.

    Parameters
    ----------
    result, truth
        Of one shape, of any number of dimensions.
    fit
        Of the data set they belong to; see `fit_micro`.
    """
    return ssim(*fit.normalised(result, truth), data_range=fit.data_range)


def micro_ms3im(result: Array, truth: Array, *, fit: MicroFit) -> float:
    """Multi-scale SSIM after the background and the scale of the data set, the scale being that of MicroSSIM.

    Parameters
    ----------
    result, truth, fit
        See `micro_ssim`.
    """
    return ms_ssim(*fit.normalised(result, truth), data_range=fit.data_range)


class _Sample:
    """Columns of numbers; a random half of all is dropped whenever they grow beyond `KEPT`."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.float64]] = []
        self.share = 1.0
        self.rng = np.random.default_rng(0)

    def add(self, columns: NDArray[np.float64]) -> None:
        self.parts.append(self._thinned(columns, self.share))
        while sum(part.shape[1] for part in self.parts) > KEPT:
            self.share /= 2
            self.parts = [self._thinned(part, 0.5) for part in self.parts]

    def all(self, rows: int) -> NDArray[np.float64]:
        return np.concatenate([np.zeros((rows, 0)), *self.parts], 1)

    def _thinned(self, columns: NDArray[np.float64], share: float) -> NDArray[np.float64]:
        return columns if share == 1 else columns[:, self.rng.random(columns.shape[1]) < share]
