"""Classical pan-sharpening: a panchromatic image's detail injected into interpolated multispectral bands.

Bands first, float64, free of NaN. Notation of the literature: MS~ the bands interpolated to the grid of PAN,
P the panchromatic image, P_L what is left of it after the multispectral sensor and the interpolation.
Formulas after Vivone et al. 2015 and 2021, the papers of the "DLPan-Toolbox".

Two geometries say where a low pixel lies (`geometry_of`): that of published scores, where low pixels are the high
pixels [ratio / 2 :: ratio], and that of `sciddiff.physics.sensor`, where each covers its ratio x ratio block.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NotRequired, TypedDict, Unpack

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage, optimize, signal

from sciddiff.baselines.interpolation import bicubic
from sciddiff.errors import InputError
from sciddiff.physics import sensor

Array = NDArray[np.float64]
GeometryName = Literal["toolbox", "pixel"]

PAN_GAIN = 0.15
"""Gain of an unknown panchromatic sensor at the Nyquist frequency of the multispectral grid (DLPan-Toolbox)."""
KERNEL_SIZE = 41
"""Of the toolbox's kernel, in high-resolution pixels."""
LEAST_CONTRAST = 1e-9
"""Standard deviation, as a share of the image's largest value, below which an image holds nothing but rounding."""

_HALF_BAND = 2 * np.array([
    0.5, 0.305334091185, 0, -0.072698593239, 0, 0.021809577942, 0, -0.005192756653, 0, 0.000807762146, 0,
    -0.000060081482,
])  # fmt: skip


@dataclass(frozen=True)
class Geometry:
    """Where low pixels lie in the high grid, as three operators on (c, h, w) that agree on it."""

    up: Callable[[Array, int], Array]
    """Interpolate (c, h, w) by the ratio, to (c, ratio h, ratio w)."""
    lowpass: Callable[[Array, Sequence[float], int], Array]
    """Filter each band with the sensor's MTF, given its gain at the low grid's Nyquist frequency; same grid."""
    measure: Callable[[Array, Sequence[float], int], Array]
    """Filter as `lowpass` and decimate, to (c, h / ratio, w / ratio)."""


def interp23(ms: Array, ratio: int) -> Array:
    """Interpolate with the half-band filter of 23 taps, factor two by factor two; circular borders.

    Parameters
    ----------
    ms
        (c, h, w).
    ratio
        A power of two.

    Returns
    -------
    ndarray
        (c, ratio h, ratio w), which holds `ms` unchanged at [ratio / 2 :: ratio] of rows and columns.

    References
    ----------
    Aiazzi, Alparone, Baronti, Garzelli 2002.
    """
    if not _power_of_two(ratio):
        raise InputError(f"ratio is {ratio}; the 23-tap interpolator needs a power of two")
    line = np.concatenate([_HALF_BAND[:0:-1], _HALF_BAND])
    image = np.asarray(ms, np.float64)
    for stage in range(ratio.bit_length() - 1):
        first = 1 if stage == 0 else 0
        high = np.zeros((len(image), 2 * image.shape[1], 2 * image.shape[2]))
        high[:, first::2, first::2] = image
        rows = ndimage.correlate1d(high, line, axis=1, mode="wrap")
        image = ndimage.correlate1d(rows, line, axis=2, mode="wrap")
    return image


@cache
def toolbox_kernel(gain: float, ratio: int) -> Array:
    """Kernel (41, 41) of the DLPan-Toolbox: a Gaussian sampled in frequency, windowed, its sum not quite one.

    Parameters
    ----------
    gain
        Nominal gain at the low grid's Nyquist frequency. The kernel's own is about gain^((41 / 40)^2), as the
        frequencies are spaced for 40 intervals and transformed with 41.
    ratio
        High-resolution pixels along a low one.
    """
    tap = np.arange(KERNEL_SIZE) - (KERNEL_SIZE - 1) / 2
    alpha2 = (tap[-1] / ratio) ** 2 / (-2 * math.log(gain))
    response = np.exp(-(tap[:, None] ** 2 + tap[None] ** 2) / (2 * alpha2))
    kernel: Array = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(response))).real
    radius = np.hypot(tap[:, None], tap[None]) / tap[-1]
    window = np.interp(np.minimum(radius, 1), tap / tap[-1], np.kaiser(KERNEL_SIZE, 0.5))
    return kernel * np.where(radius <= 1, window, 0)


def shrink(image: Array, ratio: int) -> Array:
    """Antialiased bicubic reduction (c, h, w) to (c, h / ratio, w / ratio), at the centres of the blocks.

    Keys' cubic stretched by the ratio, borders mirrored: what MATLAB's imresize computes.
    """
    tap = np.arange(-2 * ratio, 3 * ratio)
    x = np.abs(tap - (ratio - 1) / 2) / ratio
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    line = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    line /= line.sum()
    padded = np.pad(image, ((0, 0), *((2 * ratio, 2 * ratio),) * 2), mode="symmetric")
    rows = sliding_window_view(padded, len(line), axis=1)[:, ::ratio] @ line
    return np.asarray(sliding_window_view(rows, len(line), axis=2)[:, :, ::ratio] @ line)


def geometry_of(name: GeometryName, ratio: int) -> Geometry:
    """Operators of a geometry for a ratio.

    Parameters
    ----------
    name
        "toolbox": `interp23`, `toolbox_kernel`, decimation at [ratio / 2 :: ratio]; any ratio but a power of two
        takes "pixel" instead, as that interpolator has none. "pixel": cubic convolution on exact pixel geometry,
        exact Gaussian, `sciddiff.physics.sensor.degrade`.
    ratio
        High-resolution pixels along a low one.

    Raises
    ------
    InputError
        Another name, or a ratio below two.
    """
    if name not in ("toolbox", "pixel") or ratio < 2:
        raise InputError(f"geometry {name!r} of ratio {ratio}; expected toolbox or pixel, and 2 or more")
    if name == "toolbox" and _power_of_two(ratio):
        return Geometry(interp23, _toolbox_lowpass, _toolbox_measure)
    return Geometry(_pixel_up, _pixel_lowpass, _pixel_measure)


def _power_of_two(ratio: int) -> bool:
    return ratio >= 1 and ratio & (ratio - 1) == 0


def _toolbox_lowpass(image: Array, gains: Sequence[float], ratio: int) -> Array:
    padded = np.pad(image, ((0, 0), *((KERNEL_SIZE // 2,) * 2,) * 2), mode="edge")
    return np.stack([signal.fftconvolve(band, toolbox_kernel(g, ratio), "valid") for band, g in zip(padded, gains)])


def _toolbox_measure(image: Array, gains: Sequence[float], ratio: int) -> Array:
    return _toolbox_lowpass(image, gains, ratio)[:, ratio // 2 :: ratio, ratio // 2 :: ratio]


def _pixel_up(image: Array, ratio: int) -> Array:
    return np.asarray(bicubic(torch.from_numpy(np.ascontiguousarray(image))[None], ratio)[0])


def _pixel_lowpass(image: Array, gains: Sequence[float], ratio: int) -> Array:
    sigmas = sensor.mtf_sigma(torch.tensor(gains, dtype=torch.float64), ratio).tolist()
    radius = max(sensor.blur_radius(gain, ratio) for gain in gains)
    return np.stack([ndimage.gaussian_filter(b, s, radius=radius, mode="nearest") for b, s in zip(image, sigmas)])


def _pixel_measure(image: Array, gains: Sequence[float], ratio: int) -> Array:
    sigma = sensor.mtf_sigma(torch.tensor(gains, dtype=torch.float64), ratio)[None, :, None].expand(1, -1, 2)
    radius = max(sensor.blur_radius(gain, ratio) for gain in gains)
    scene = torch.from_numpy(np.ascontiguousarray(image))[None]
    return np.asarray(sensor.degrade(scene, ratio, sigma=sigma, radius=radius)[0])


class Sensors(TypedDict):
    """Keywords of every fusion; see `exp`."""

    ratio: int
    gains: Sequence[float]
    pan_gain: NotRequired[float]
    geometry: NotRequired[GeometryName]


@dataclass(frozen=True)
class _Scene:
    """Checked input of a fusion; `ms` is MS~, (c, rh, rw)."""

    ms: Array
    pan: Array
    ratio: int
    gains: Sequence[float]
    pan_gain: float
    geometry: Geometry

    def low(self, pans: Array, gains: Sequence[float]) -> Array:
        """P_L of each image (c, rh, rw): measured with the gain, then interpolated as MS was."""
        return self.geometry.up(self.geometry.measure(pans, gains, self.ratio), self.ratio)


def _scene(ms: Array, pan: Array, **sensors: Unpack[Sensors]) -> _Scene:
    ratio, gains, pan_gain = sensors["ratio"], sensors["gains"], sensors.get("pan_gain", PAN_GAIN)
    operators = geometry_of(sensors.get("geometry", "toolbox"), ratio)
    if ms.ndim != 3 or pan.shape != (ms.shape[1] * ratio, ms.shape[2] * ratio):
        raise InputError(f"ms {ms.shape} and pan {pan.shape}; expected (c, h, w) and ({ratio} h, {ratio} w)")
    if len(gains) != len(ms) or not all(0 < gain < 1 for gain in (*gains, pan_gain)):
        raise InputError(f"gains {list(gains)} and pan_gain {pan_gain}; expected {len(ms)} and one, each in (0, 1)")
    high = operators.up(np.asarray(ms, np.float64), ratio)
    return _Scene(high, np.asarray(pan, np.float64), ratio, gains, pan_gain, operators)


def _quotient(a: Array, b: Array, *, least: Array | float, default: float) -> Array:
    """Elements a / b, and `default` where |b| is no more than `least`."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(b.shape, float(default)), where=np.abs(b) > least)


def _peak(image: Array) -> float:
    return float(np.abs(image).max())


def _covariance(a: Array, b: Array) -> Array:
    """Over the pixels of each band of (c, h, w) or of one (h, w), to broadcast against them."""
    product = (a - a.mean((-2, -1), keepdims=True)) * (b - b.mean((-2, -1), keepdims=True))
    return np.asarray(product.mean((-2, -1), keepdims=True))


def _regress(bands: Array, target: Array) -> Array:
    """Weights (c,) of the combination of bands (c, h, w) nearest to the target (h, w); no intercept."""
    return np.asarray(np.linalg.lstsq(bands.reshape(len(bands), -1).T, target.ravel(), rcond=None)[0])


def exp(ms: Array, pan: Array, **sensors: Unpack[Sensors]) -> Array:
    """Interpolated bands alone, MS~: what every fusion must improve on.

    Parameters
    ----------
    ms
        Multispectral image (c, h, w), in any unit linear in radiance.
    pan
        Panchromatic image (ratio h, ratio w), in the same unit.
    **sensors
        ratio: high-resolution pixels along a low one. gains: of the bands' MTF at their own Nyquist frequency,
        1 / (2 ratio) cycles per pixel of `pan`, (c,). pan_gain: of the panchromatic sensor's MTF at the same
        frequency, `PAN_GAIN` by default. geometry: see `geometry_of`; "toolbox" by default.

    Returns
    -------
    ndarray
        (c, ratio h, ratio w), in the unit of `ms`.

    Raises
    ------
    InputError
        Shapes that do not fit, or a gain outside (0, 1).
    """
    return _scene(ms, pan, **sensors).ms


def brovey(ms: Array, pan: Array, *, weights: Sequence[float] | None = None, **sensors: Unpack[Sensors]) -> Array:
    """Weighted Brovey transform F_b = MS~_b P / sum_i w_i MS~_i, as GDAL computes it (Gillespie et al. 1987).

    Parameters
    ----------
    weights
        Of the bands in the intensity; 1 / c each by default.
    """
    scene = _scene(ms, pan, **sensors)
    intensity = scene.ms.mean(0) if weights is None else np.tensordot(np.asarray(weights), scene.ms, 1)
    return scene.ms * _quotient(scene.pan, intensity, least=1e-12 * _peak(intensity), default=1)


def bt_h(ms: Array, pan: Array, *, haze: Literal["minimum", "bgrn"] = "minimum", **sensors: Unpack[Sensors]) -> Array:
    """Brovey transform with haze correction (Lolli, Alparone, Garzelli, Vivone 2017).

    Parameters
    ----------
    haze
        Path radiance L_b: each band's minimum, or, for bands blue, green, red, near infrared (QuickBird, IKONOS,
        GeoEye-1), 0.95, 0.45, 0.40, 0.05 of their first percentiles.

    Notes
    -----
    alpha regresses P_L on MS~; I = sum_b alpha_b (MS~_b - L_b); P' is P with the mean and standard deviation of I;
    F_b = max(MS~_b - L_b, 0) P' / I + L_b. P_L takes the mean gain of the bands.
    """
    scene = _scene(ms, pan, **sensors)
    low = scene.low(scene.pan[None], [float(np.mean(scene.gains))])[0]
    path = _haze(scene.ms, haze)
    above = scene.ms - path
    intensity = np.tensordot(_regress(scene.ms, low), above, 1)
    scale = _quotient(intensity.std(), low.std(), least=LEAST_CONTRAST * _peak(low), default=0)
    matched = (scene.pan - low.mean()) * scale + intensity.mean()
    return np.maximum(above, 0) * _quotient(matched, intensity, least=1e-12 * _peak(scene.ms), default=1) + path


def _haze(bands: Array, method: Literal["minimum", "bgrn"]) -> Array:
    """L (c, 1, 1) of interpolated bands; see `bt_h`."""
    if method == "minimum":
        return bands.min((1, 2), keepdims=True)
    if len(bands) != 4:
        raise InputError(f"haze of blue, green, red, near infrared asked for, but there are {len(bands)} bands")
    first = np.percentile(bands, 1, axis=(1, 2), keepdims=True, method="hazen")  # as MATLAB's prctile
    return np.asarray(np.array([0.95, 0.45, 0.40, 0.05])[:, None, None] * first)


def gsa(ms: Array, pan: Array, **sensors: Unpack[Sensors]) -> Array:
    """Gram-Schmidt adaptive (Aiazzi, Baronti, Selva 2007).

    Notes
    -----
    Of bands and P without their means: alpha regresses the starlet-smoothed P on MS~; I = sum_b alpha_b MS~_b;
    F_b = MS~_b + cov(I, MS~_b) / var(I) (P - I).
    """
    scene = _scene(ms, pan, **sensors)
    means = scene.ms.mean((1, 2), keepdims=True)
    bands, detail = scene.ms - means, scene.pan - scene.pan.mean()
    intensity = np.tensordot(_regress(bands, _starlet(detail, scene.ratio)), bands, 1)
    least = (LEAST_CONTRAST * _peak(scene.pan)) ** 2
    injection = _quotient(_covariance(bands, intensity), _covariance(intensity, intensity), least=least, default=0)
    return bands + injection * (detail - intensity) + means


def _starlet(image: Array, ratio: int) -> Array:
    """Coarse plane of the starlet transform, one dilated cubic B-spline for each factor of two."""
    for level in range(math.ceil(math.log2(ratio))):
        line = np.zeros(4 * 2**level + 1)
        line[:: 2**level] = np.array([1, 4, 6, 4, 1]) / 16
        rows = ndimage.correlate1d(image, line, axis=0, mode="mirror")
        image = ndimage.correlate1d(rows, line, axis=1, mode="mirror")
    return image


def mtf_glp_fs(ms: Array, pan: Array, **sensors: Unpack[Sensors]) -> Array:
    """Generalised Laplacian pyramid, injection regressed at full scale (Vivone, Restaino, Chanussot 2018).

    Notes
    -----
    F_b = MS~_b + cov(MS~_b, P) / cov(P_L,b, P) (P - P_L,b), with P_L,b of the MTF of band b (Aiazzi et al. 2006).
    """
    scene = _scene(ms, pan, **sensors)
    low = scene.low(np.broadcast_to(scene.pan, scene.ms.shape), scene.gains)
    least = (LEAST_CONTRAST * _peak(scene.pan)) ** 2
    injection = _quotient(_covariance(scene.ms, scene.pan), _covariance(low, scene.pan), least=least, default=0)
    return scene.ms + injection * (scene.pan - low)


def mtf_glp_hpm(ms: Array, pan: Array, **sensors: Unpack[Sensors]) -> Array:
    """Generalised Laplacian pyramid, high-pass modulation (Aiazzi et al. 2003, 2006; Vivone et al. 2014).

    Notes
    -----
    F_b = MS~_b P_b / P_L,b, with P_b the panchromatic image whose low-passed version has the mean and the standard
    deviation of MS~_b.
    """
    scene = _scene(ms, pan, **sensors)
    blurred = scene.geometry.lowpass(np.broadcast_to(scene.pan, scene.ms.shape), scene.gains, scene.ratio)
    (mean, spread), (pan_mean, pan_spread) = (
        (image.mean((1, 2), keepdims=True), image.std((1, 2), keepdims=True)) for image in (scene.ms, blurred)
    )
    scale = _quotient(spread, pan_spread, least=LEAST_CONTRAST * _peak(scene.pan), default=0)
    matched = (scene.pan - pan_mean) * scale + mean
    return scene.ms * _quotient(matched, scene.low(matched, scene.gains), least=1e-12 * _peak(scene.ms), default=1)


def bdsd_pc(ms: Array, pan: Array, **sensors: Unpack[Sensors]) -> Array:
    """Band-dependent spatial detail with physical constraints (Garzelli et al. 2008; Vivone 2019).

    Notes
    -----
    At reduced scale, with T = `shrink` (MS~), T_L = T low-passed by the bands' MTF and P_R the panchromatic image
    measured with its own MTF: gamma_b minimises |T_b - T_L,b - [P_R, T_L] gamma|^2 with gamma_P >= 0 and gamma_MS
    <= 0. Then F_b = MS~_b + [P, MS~] gamma_b.
    """
    scene = _scene(ms, pan, **sensors)
    target = shrink(scene.ms, scene.ratio)
    low = scene.geometry.lowpass(target, scene.gains, scene.ratio)
    pan_low = scene.geometry.measure(scene.pan[None], [scene.pan_gain], scene.ratio)
    design = np.concatenate([pan_low, low]).reshape(len(ms) + 1, -1).T
    gamma = _signed_regression(design, (target - low).reshape(len(ms), -1).T)
    return scene.ms + np.tensordot(gamma.T, np.concatenate([scene.pan[None], scene.ms]), 1)


def _signed_regression(design: Array, target: Array) -> Array:
    """Weights (k, c) of targets (n, c) on a design (n, k), the first of them not negative, the rest not positive."""
    q, r = np.linalg.qr(design)  # the same least squares in k equations rather than n
    free = r.shape[1] - 1
    bounds = ([0, *[-np.inf] * free], [np.inf, *[0] * free])
    scale = _peak(r) or 1.0  # the solver's tolerance is absolute
    r, projected = r / scale, q.T @ target / scale
    return np.stack([optimize.lsq_linear(r, column, bounds, method="bvls").x for column in projected.T], 1)


FUSIONS: Mapping[str, Callable[..., Array]] = {
    "EXP": exp, "Brovey": brovey, "BT-H": bt_h, "GSA": gsa, "MTF-GLP-FS": mtf_glp_fs, "MTF-GLP-HPM": mtf_glp_hpm,
    "BDSD-PC": bdsd_pc,
}  # fmt: skip
"""All of them, by the names that published tables use; called as `exp`."""
