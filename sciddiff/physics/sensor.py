"""Optical sensors: the band's MTF as a Gaussian, decimation on exact pixel geometry, noise.

Model of one band: MTF(f) = exp(-2 pi^2 sigma^2 f^2) with the gain G at the low grid's Nyquist frequency
1 / (2 ratio), so sigma = ratio sqrt(-2 ln G) / pi in high-resolution pixels (Aiazzi et al. 2006).
A low pixel covers exactly its ratio x ratio block of high pixels: it reads the blurred scene at the block's
centre, which for an even ratio is the mean of the four centre pixels.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.errors import OptionError

GENERIC_MTF = 0.30
"""Gain at Nyquist assumed for an unknown sensor."""
GAIN_RADIUS = 8
"""How far `with_gain` looks, in pixels."""

MTF: Mapping[str, Mapping[str, float]] = {
    "generic": {},
    "sentinel2": {
        "B01": 0.3175, "B02": 0.275, "B03": 0.28, "B04": 0.25, "B05": 0.365, "B06": 0.33, "B07": 0.34,
        "B08": 0.24, "B8A": 0.32, "B09": 0.295, "B10": 0.30, "B11": 0.205, "B12": 0.235,
    },
    "landsat8": {},
    "quickbird": {"blue": 0.34, "green": 0.32, "red": 0.30, "nir": 0.22},
    "ikonos": {"blue": 0.26, "green": 0.28, "red": 0.29, "nir": 0.28},
    "geoeye1": {"blue": 0.23, "green": 0.23, "red": 0.23, "nir": 0.23},
    "worldview2": {
        "coastal": 0.35, "blue": 0.35, "green": 0.35, "yellow": 0.35, "red": 0.35, "rededge": 0.35,
        "nir1": 0.35, "nir2": 0.27,
    },
    "worldview3": {
        "coastal": 0.325, "blue": 0.355, "green": 0.360, "yellow": 0.350, "red": 0.365, "rededge": 0.360,
        "nir1": 0.335, "nir2": 0.315,
    },
    "worldview4": {"blue": 0.23, "green": 0.23, "red": 0.23, "nir": 0.23},
    "gaofen2": {"blue": 0.30, "green": 0.30, "red": 0.30, "nir": 0.30},
}  # fmt: skip
"""Gain of each band at its own Nyquist frequency: of an input, and as `target_mtf` of a result that is to look like an
image of that sensor. Sources: DLPan-Toolbox (Vivone et al. 2021) and the Sentinel-2 quality reports; no band source is
known for Landsat-8, which takes the generic value."""


def nominal_mtf(sensor: str, bands: Sequence[str], override: float | Mapping[str, float] | None = None) -> list[float]:
    """Gain at Nyquist of each band, from the sensor's table or from the caller's own numbers.

    Parameters
    ----------
    sensor
        A key of `MTF`.
    bands
        Band names as the table spells them; others take `GENERIC_MTF`.
    override
        One gain for all bands, or gains by band name.

    Returns
    -------
    list of float
        One gain in (0, 1) for each band.

    Raises
    ------
    OptionError
        Where the sensor is not in the table.
    """
    if isinstance(override, float | int):
        return [float(override)] * len(bands)
    if sensor not in MTF:
        raise OptionError(f"unknown sensor {sensor!r}; known are {', '.join(MTF)}")
    gains = {**MTF[sensor], **(override or {})}
    return [gains.get(band, GENERIC_MTF) for band in bands]


def mtf_sigma(gain: Tensor, ratio: int) -> Tensor:
    """Standard deviation of the point spread function, in high-resolution pixels, from the gain at Nyquist."""
    return ratio * torch.sqrt(-2 * torch.log(gain)) / math.pi


@functools.cache
def _gain_taps(ratio: float) -> Tensor:
    """Taps whose frequency response is ratio^(4 f^2), f in cycles a pixel: Fourier's series of it, cut off."""
    f = (np.arange(512) + 0.5) / 1024
    waves = np.cos(2 * math.pi * np.arange(-GAIN_RADIUS, GAIN_RADIUS + 1)[:, None] * f)
    taps = (waves * ratio ** (4 * f**2)).mean(1)
    return torch.from_numpy(taps / taps.sum())


def with_gain(image: Tensor, ratio: Tensor) -> Tensor:
    """What the image would be had its sensor `ratio` times the gain at the Nyquist frequency of the image's own grid.

    Parameters
    ----------
    image
        (b, c, h, w). Edges are continued by their last pixel, `GAIN_RADIUS` pixels are looked at around each.
    ratio
        Of the gains of two Gaussian MTFs, (b, c); above one sharpens.

    Notes
    -----
    The ratio of two Gaussians of the frequency is ratio^(4 (fx^2 + fy^2)): both axes in turn.
    """
    b, c, h, w = image.shape
    taps = torch.stack([_gain_taps(round(each, 6)) for each in ratio.flatten().tolist()]).to(image)[:, None]
    rows = F.conv2d(_padded(image.reshape(1, b * c, h, w), (GAIN_RADIUS,) * 4), taps[..., None], groups=b * c)
    return F.conv2d(rows, taps[..., None, :], groups=b * c).contiguous().reshape(b, c, h, w)


def coarser_gain(gain: float, factor: int) -> float:
    """Gain at the Nyquist frequency of a grid coarser by `factor` that keeps every `factor`-th pixel as it is.

    Parameters
    ----------
    gain
        At the Nyquist frequency of the fine grid, in (0, 1).
    factor
        Fine pixels along a coarse one.

    Notes
    -----
    A Gaussian of the frequency, hence G^(1 / factor^2). Averaging the blocks, too, multiplies it by
    1 / (factor sin(pi / (2 factor))): 0.707 for 2, 0.667 for 3, 0.637 in the limit.
    """
    return float(gain ** (1 / factor**2))


def blur_radius(gain: float, ratio: int) -> int:
    """Radius of the discrete kernel in high-resolution pixels: four standard deviations."""
    return math.ceil(4 * ratio * math.sqrt(-2 * math.log(gain)) / math.pi)


def line_kernels(sigma: Tensor, radius: int, *, shift: Tensor, even: bool) -> Tensor:
    """Unit-sum Gaussian taps at whole pixels, averaged over two neighbours where the ratio is even.

    Parameters
    ----------
    sigma
        Standard deviation in high-resolution pixels, shape (n,).
    radius
        Of the Gaussian, in pixels.
    shift
        Offset of the Gaussian in high-resolution pixels, shape (n,).
    even
        Whether to average the two centre pixels.

    Returns
    -------
    Tensor
        Shape (n, 2 radius + 1), or one tap more where `even`.
    """
    tap = torch.arange(-radius, radius + 1, device=sigma.device, dtype=sigma.dtype)
    weights = torch.exp(-((tap - shift[:, None]) ** 2) / (2 * sigma[:, None] ** 2))
    weights = weights / weights.sum(1, keepdim=True)
    if even:
        weights = (F.pad(weights, (0, 1)) + F.pad(weights, (1, 0))) / 2
    return weights


def degrade(high: Tensor, ratio: int, *, sigma: Tensor, shift: Tensor | None = None, radius: int) -> Tensor:
    """What a sensor with a Gaussian point spread function measures of a scene, without noise.

    Parameters
    ----------
    high
        The scene, (b, c, h, w), sides multiples of `ratio`. Edges are continued by their last pixel.
    ratio
        High-resolution pixels along a low one.
    sigma
        Standard deviations (b, c, 2) along rows and columns, in high-resolution pixels; b may be 1 for all.
    shift
        Offsets of the point spread function (b, c, 2), in high-resolution pixels.
    radius
        Of the kernel, in high-resolution pixels.

    Returns
    -------
    Tensor
        (b, c, h / ratio, w / ratio).
    """
    even = ratio % 2 == 0
    shift = torch.zeros_like(sigma) if shift is None else shift
    kernels = line_kernels(sigma.reshape(-1), radius, shift=shift.reshape(-1), even=even)
    return _read(high, ratio, kernels=kernels, radius=radius)


def degrade_rows(high: Tensor, ratio: int, *, sigma: Tensor, shift: Tensor | None = None, radius: int) -> Tensor:
    """What `degrade` gives along the rows axis alone, as planes of a stack sample a scene in depth.

    Parameters
    ----------
    high
        Sections of the scene, (b, c, h, w), h a multiple of `ratio`.
    ratio
        Rows of the scene for a measured one.
    sigma, shift
        Of the blur along rows, (b, c), in rows of the scene.
    radius
        Of the kernel.

    Returns
    -------
    Tensor
        (b, c, h / ratio, w).
    """
    b, c, h, w = high.shape
    shift = torch.zeros_like(sigma) if shift is None else shift
    kernels = line_kernels(sigma.reshape(-1), radius, shift=shift.reshape(-1), even=ratio % 2 == 0)
    first = (ratio - 1) // 2 - radius
    last = (h // ratio - 1) * ratio + first + kernels.shape[1] - h
    image = _padded(high.reshape(1, b * c, h, w), (0, 0, -first, last))
    image = F.conv2d(image, kernels[:, None, :, None].to(high.dtype), stride=(ratio, 1), groups=b * c)
    return image.contiguous().reshape(b, c, h // ratio, w)


def degrade_at(high: Tensor, ratio: int, *, sigma: Tensor, offset: Tensor, radius: int) -> Tensor:
    """What `degrade` gives, for low pixels anywhere: the Gaussian is read at their exact, sub-pixel centres.

    Parameters
    ----------
    high
        The scene, (b, c, h, w), sides multiples of `ratio`. Edges are continued by their last pixel.
    ratio
        High-resolution pixels along a low one.
    sigma
        Standard deviations (b, c, 2) along rows and columns, in high-resolution pixels.
    offset
        Rows and columns (b, c, 2) by which the first high pixel's corner lies after that of the first low pixel, in
        high-resolution pixels.
    radius
        Of the kernel, in high-resolution pixels: that of the Gaussian and of the offset.

    Returns
    -------
    Tensor
        (b, c, h / ratio, w / ratio).
    """
    centre = (ratio - 1) / 2 - (ratio - 1) // 2 - offset
    kernels = line_kernels(sigma.reshape(-1), radius, shift=centre.reshape(-1), even=False)
    return _read(high, ratio, kernels=kernels, radius=radius)


def _read(high: Tensor, ratio: int, *, kernels: Tensor, radius: int) -> Tensor:
    """Filter (b, c, h, w) by line kernels (2 b c or 2 c, taps), rows and columns in turn, at every block's centre."""
    b, c, h, w = high.shape
    groups = kernels.shape[0] // 2
    kernels = kernels.reshape(groups, 2, -1)
    first = (ratio - 1) // 2 - radius  # of the taps that the first low pixel reads
    last = (h // ratio - 1) * ratio + first + kernels.shape[2] - h
    pad = (-first, last)
    image = _padded(high.reshape(-1, groups, h, w), (*pad, *pad))
    image = F.conv2d(image, kernels[:, 0, None, :, None].to(high.dtype), stride=(ratio, 1), groups=groups)
    image = F.conv2d(image, kernels[:, 1, None, None, :].to(high.dtype), stride=(1, ratio), groups=groups)
    return image.contiguous().reshape(b, c, h // ratio, w // ratio)


def _padded(image: Tensor, pad: tuple[int, ...]) -> Tensor:
    """Edges continued by their last pixel; channels last, as one filter a channel takes processors half the time."""
    return F.pad(image, pad, mode="replicate").contiguous(memory_format=torch.channels_last)
