"""Metrics of pan-sharpening: with a truth Q2n, Q and SCC; without one D_lambda, D_s, HQNR and re-projection.

Bands first, images of the result first, free of NaN. The metrics without a truth come in two modes:

toolbox
    What published tables hold (DLPan-Toolbox, Vivone et al. 2021): images rounded to uint16 for Q2n, the toolbox's
    kernel and `interp23`. Images must be in digital numbers.
physical
    Real numbers in any unit, the exact Gaussian MTF, low pixels on their blocks as `sciddiff.physics.sensor` has them.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.baselines.fusion import Geometry, geometry_of, shrink
from sciddiff.baselines.registered_fusion import geometry_at
from sciddiff.errors import InputError
from sciddiff.evaluation.metrics import ergas, sam

Array = NDArray[np.float64]
Mode = Literal["toolbox", "physical"]
Offset = tuple[float, float]

BLOCK = 32
"""Side of the blocks of Q and Q2n, in pixels."""


class NoReference(NamedTuple):
    """Scores at full resolution."""

    d_lambda: float
    d_s: float
    hqnr: float


class Reprojection(NamedTuple):
    """Scores of the degraded result against what was measured."""

    ergas: float
    sam: float
    q2n: float


def _pair(result: NDArray[np.floating], truth: NDArray[np.floating]) -> tuple[Array, Array]:
    if result.shape != truth.shape or result.ndim != 3:
        raise InputError(f"result and truth are {result.shape} and {truth.shape}; expected the same (bands, h, w)")
    return np.asarray(result, np.float64), np.asarray(truth, np.float64)


def _blocks(image: Array, side: int) -> Array:
    """Whole blocks of (c, h, w) as (c, blocks, side^2)."""
    c, h, w = len(image), image.shape[1] // side, image.shape[2] // side
    cut = image[:, : h * side, : w * side].reshape(c, h, side, w, side)
    return cut.transpose(0, 1, 3, 2, 4).reshape(c, h * w, side * side)


def q_bands(result: NDArray[np.floating], truth: NDArray[np.floating], *, block: int = BLOCK) -> Array:
    """Universal image quality index of each band, (c,): mean over whole blocks side by side.

    Parameters
    ----------
    result, truth
        (c, h, w); symmetric.
    block
        Side in pixels.

    Raises
    ------
    InputError
        Shapes that differ, or an image smaller than a block.

    Notes
    -----
    4 cov mean_a mean_x / ((var_a + var_x)(mean_a^2 + mean_x^2)); where both variances are zero the factor of the
    means alone, 1 where those are zero too.

    References
    ----------
    Wang, Bovik 2002.
    """
    x, a = (_blocks(image, block) for image in _pair(result, truth))
    if x.shape[1] == 0:
        raise InputError(f"images of {result.shape[1:]} pixels hold no block of {block} x {block}")
    mean_x, mean_a = x.mean(-1), a.mean(-1)
    covariance = ((x - mean_x[..., None]) * (a - mean_a[..., None])).sum(-1) / (block**2 - 1)
    power, variance = mean_x**2 + mean_a**2, x.var(-1, ddof=1) + a.var(-1, ddof=1)
    bias = np.divide(2 * mean_x * mean_a, power, out=np.ones_like(power), where=power > 0)
    index = np.divide(2 * covariance, variance, out=np.ones_like(power), where=variance * power > 0) * bias
    return np.asarray(index.mean(1))


def q_index(result: NDArray[np.floating], truth: NDArray[np.floating], *, block: int = BLOCK) -> float:
    """Universal image quality index, the mean of `q_bands` over the bands."""
    return float(q_bands(result, truth, block=block).mean())


@cache
def product_signs(order: int) -> Array:
    """Signs of the Cayley-Dickson products of basis elements: e_i e_j = signs[i, j] e_(i xor j).

    Parameters
    ----------
    order
        A power of two: 1 real, 2 complex, 4 quaternions, 8 octonions, and so on.

    Notes
    -----
    (a1, a2)(b1, b2) = (a1 b1 - conj(b2) a2, b2 a1 + a2 conj(b1)).
    """
    if order == 1:
        return np.ones((1, 1))
    half = product_signs(order // 2)
    conjugate = np.where(np.arange(order // 2) == 0, 1.0, -1.0)[None]
    return np.block([[half, half.T], [half * conjugate, -half.T * conjugate]])


def q2n(
    result: NDArray[np.floating], truth: NDArray[np.floating], *, block: int = BLOCK, rounding: bool = False
) -> float:
    """Hypercomplex quality index of all bands at once: Q4 of four, Q8 of eight.

    Parameters
    ----------
    result, truth
        (c, h, w). Bands are filled up with zeros to a power of two, borders mirrored to whole blocks.
    block
        Side in pixels.
    rounding
        Round to uint16 first, as published scores do; images in digital numbers.

    Returns
    -------
    float
        In [0, 1]; 1 for equal images.

    References
    ----------
    Garzelli, Nencini 2009.
    """
    x, a = _pair(result, truth)
    if rounding:
        x, a = (np.clip(np.floor(image + 0.5), 0, 2**16 - 1) for image in (x, a))  # half up, as MATLAB's uint16
    c, h, w = a.shape
    order = 1 << (c - 1).bit_length()
    pad = ((0, 0), (0, -h % block), (0, -w % block))
    x, a = (_blocks(np.pad(image, pad, "symmetric"), block) for image in (x, a))
    x, a = (np.concatenate([image, np.zeros((order - c, *image.shape[1:]))]) for image in (x, a))
    return float(_block_indices(*_normalised(x, a)).mean())


def _normalised(x: Array, a: Array) -> tuple[Array, Array]:
    """Blocks (n, blocks, pixels) in units of the truth's mean and standard deviation; the result conjugated."""
    mean = a.mean(-1, keepdims=True)
    a, x = (_unless_rounding(image - mean, mean) for image in (a, x))
    spread = np.sqrt((a**2).sum(-1, keepdims=True) / (a.shape[-1] - 1))
    spread[spread == 0] = np.finfo(np.float64).eps
    x = np.where(mean == 0, x, x / spread) + 1
    x[1:] *= -1
    return x, a / spread + 1


def _unless_rounding(deviation: Array, mean: Array) -> Array:
    """Zero where a deviation is no more than the rounding of the mean, or a block of one value would be noise."""
    return np.where(np.abs(deviation) <= 1e-12 * np.abs(mean), 0, deviation)


def _block_indices(x: Array, a: Array) -> Array:
    """Index of each block, (blocks,), from what `_normalised` gives."""
    order, _, n = a.shape
    mean_x, mean_a = x.mean(-1), a.mean(-1)
    covariance = np.einsum("ibp,jbp->ijb", a - mean_a[..., None], x - mean_x[..., None], optimize=True) / (n - 1)
    terms = product_signs(order)[..., None] * covariance
    # e_i e_j lies on e_(i xor j): column k of row i holds the j that leads to k.
    element = np.arange(order)
    product = terms[element[:, None], element[:, None] ^ element[None]].sum(0)
    variance = a.var(-1, ddof=1).sum(0) + x.var(-1, ddof=1).sum(0)
    power_a, power_x = (mean_a**2).sum(0), (mean_x**2).sum(0)
    bias = 2 * np.sqrt(power_a * power_x) / (power_a + power_x)
    correlation = np.divide(2 * np.sqrt((product**2).sum(0)), variance, out=np.ones_like(variance), where=variance > 0)
    return np.asarray(correlation * bias)


def scc(result: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Spatial correlation: cosine between the Sobel magnitudes of all bands, one pixel of border cut off first.

    Parameters
    ----------
    result, truth
        (c, h, w); symmetric.

    Returns
    -------
    float
        1 for equal images; NaN where one of them has no edge at all.

    References
    ----------
    Zhou, Civco, Silander 1998; Sobel magnitudes and zero padding as in the DLPan-Toolbox.
    """
    x, a = (_edges(image[:, 1:-1, 1:-1]) for image in _pair(result, truth))
    norm = math.sqrt(float((x**2).sum() * (a**2).sum()))
    return float((x * a).sum()) / norm if norm > 0 else math.nan


def _edges(image: Array) -> Array:
    """Sobel magnitude of each band of (c, h, w), zero beyond the borders."""
    along_y, along_x = (np.stack([ndimage.sobel(band, axis, mode="constant") for band in image]) for axis in (0, 1))
    return np.asarray(np.hypot(along_y, along_x))


def _geometry(mode: Mode, ratio: int, offset: Offset | None) -> Geometry:
    if mode not in ("toolbox", "physical"):
        raise InputError(f"unknown mode {mode!r}; known are toolbox, physical")
    if offset is not None:
        if mode == "toolbox":
            raise InputError(f"an offset of {offset} in the mode toolbox, whose low pixels have their place")
        return geometry_at(ratio, offset)
    return geometry_of("toolbox" if mode == "toolbox" else "pixel", ratio)


def d_lambda(
    fused: Array,
    ms: Array,
    *,
    ratio: int,
    gains: Sequence[float],
    mode: Mode = "toolbox",
    offset: Offset | None = None,
    block: int = BLOCK,
) -> float:
    """Spectral distortion 1 - Q2n of the fused image, low-passed but not decimated, against the interpolated bands.

    Parameters
    ----------
    fused
        (c, ratio h, ratio w).
    ms
        What was measured, (c, h, w).
    ratio
        High-resolution pixels along a low one; for "toolbox" a power of two, or both geometries are the same.
    gains
        Of the bands' MTF at their own Nyquist frequency, (c,).
    mode
        See the module.
    offset
        For "physical" alone: rows and columns by which the fused image begins after the bands, in its pixels; the MTF
        is then read at the exact centres of low pixels. Where not given, both begin at one corner and an even
        ratio's low pixels are the mean of their centre pixels, as `sciddiff.physics.sensor.degrade` has it.
    block
        Side in pixels. The toolbox asks for images of whole blocks; others are mirrored here.

    References
    ----------
    Khan, Alparone, Chanussot 2009.
    """
    geometry = _geometry(mode, ratio, offset)
    blurred = geometry.lowpass(np.asarray(fused, np.float64), gains, ratio)
    high = geometry.up(np.asarray(ms, np.float64), ratio)
    return 1 - q2n(blurred, high, block=block, rounding=mode == "toolbox")


def d_s(
    fused: Array,
    ms: Array,
    pan: Array,
    *,
    ratio: int,
    gains: Sequence[float],
    mode: Mode = "toolbox",
    offset: Offset | None = None,
    block: int = BLOCK,
) -> float:
    """Spatial distortion: mean over bands of |Q(F_b, P) - Q(MS~_b, P_L)|, with Q of `q_bands`.

    Parameters
    ----------
    fused, ms
        See `d_lambda`.
    pan
        Panchromatic image, (ratio h, ratio w).
    ratio
        See `d_lambda`.
    gains
        For "physical" alone: P_L is what a sensor with their mean measures of P, interpolated. The toolbox reduces P
        bicubically.
    mode, offset, block
        See `d_lambda`.

    References
    ----------
    Alparone et al. 2008.
    """
    geometry = _geometry(mode, ratio, offset)
    high = geometry.up(np.asarray(ms, np.float64), ratio)
    pan = np.asarray(pan, np.float64)[None]
    reduced = shrink(pan, ratio) if mode == "toolbox" else geometry.measure(pan, [float(np.mean(gains))], ratio)
    low = geometry.up(reduced, ratio)
    fine = q_bands(fused, np.repeat(pan, len(fused), 0), block=block)
    coarse = q_bands(high, np.repeat(low, len(high), 0), block=block)
    return float(np.abs(fine - coarse).mean())


def hqnr(
    fused: Array,
    ms: Array,
    pan: Array,
    *,
    ratio: int,
    gains: Sequence[float],
    mode: Mode = "toolbox",
    offset: Offset | None = None,
    block: int = BLOCK,
) -> NoReference:
    """Hybrid quality without a reference, (1 - D_lambda)(1 - D_s), and both distortions.

    Parameters
    ----------
    fused, ms, pan, ratio, gains, mode, offset, block
        See `d_lambda` and `d_s`.

    References
    ----------
    Aiazzi et al. 2014.
    """
    spectral = d_lambda(fused, ms, ratio=ratio, gains=gains, mode=mode, offset=offset, block=block)
    spatial = d_s(fused, ms, pan, ratio=ratio, gains=gains, mode=mode, offset=offset, block=block)
    return NoReference(spectral, spatial, (1 - spectral) * (1 - spatial))


def reprojection(
    fused: Array,
    ms: Array,
    *,
    ratio: int,
    gains: Sequence[float],
    mode: Mode = "physical",
    offset: Offset | None = None,
    block: int = BLOCK,
    border: int = 0,
) -> Reprojection:
    """Scores of the fused image, degraded to the low grid, against the measured bands: ERGAS, SAM and Q2n.

    Parameters
    ----------
    fused, ms, ratio, gains, mode, offset, block
        See `d_lambda`.
    border
        Low pixels left out along the edges, whose blur reaches beyond them.

    References
    ----------
    Wald, Ranchin, Mangolini 1997: the consistency property.
    """
    degraded = _geometry(mode, ratio, offset).measure(np.asarray(fused, np.float64), gains, ratio)
    degraded, ms = (x[:, border : x.shape[1] - border, border : x.shape[2] - border] for x in (degraded, ms))
    index = q2n(degraded, ms, block=block, rounding=mode == "toolbox")
    return Reprojection(ergas(degraded, ms, ratio=ratio), sam(degraded, ms), index)
