"""Classical fusion of images whose grids lie at any distance, brought to a geometry of `fusion` first.

Low pixel i of a row of the high grid is centred at ratio (i + 1/2) - offset, counted from the high grid's first
corner. With an offset of -1/2 that is the high pixel [ratio / 2 :: ratio] of the published geometry ("toolbox"); with
1/2 it is so for the mirrored images; with 0 it is the centre of the block ("pixel").
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.baselines.fusion import Geometry, geometry_of
from sciddiff.physics import sensor

Array = NDArray[np.float64]


def fuse(
    method: Callable[..., Array],
    ms: Array,
    pan: Array,
    *,
    ratio: int,
    offset: tuple[float, float],
    gains: Sequence[float],
) -> Array:
    """Result of a method of `fusion.FUSIONS` on the grid of PAN.

    Parameters
    ----------
    method
        The method.
    ms
        (c, h, w).
    pan
        (H, W), at most (ratio h, ratio w).
    ratio
        High-resolution pixels along a low one.
    offset
        Rows and columns by which the high grid begins after the low one, in high-resolution pixels.
    gains
        Of the bands' MTF at their own Nyquist frequency.

    Returns
    -------
    ndarray
        (c, H, W).
    """
    shape = pan.shape
    full = [ratio * side for side in ms.shape[1:]]
    pan = np.pad(pan, [(0, want - side) for want, side in zip(full, shape)], mode="edge")
    power_of_two = ratio & (ratio - 1) == 0
    if power_of_two and all(abs(abs(o) - 0.5) < 1e-3 for o in offset):
        turned = [axis for axis, o in enumerate(offset) if o > 0]
        fused = _turn(method(_turn(ms, turned), _turn(pan, turned), ratio=ratio, gains=gains), turned)
    else:
        moved = _moved(pan, [-o for o in offset])
        fused = method(ms, moved, ratio=ratio, gains=[_told(gain, ratio) for gain in gains], geometry="pixel")
        fused = np.stack([_moved(band, offset) for band in fused])
    return fused[:, : shape[0], : shape[1]]


def fuse_guides(
    method: Callable[..., Array],
    ms: Array,
    guide: Array,
    *,
    ratio: int,
    offset: tuple[float, float],
    gains: Sequence[float],
) -> Array:
    """`fuse` with several guide bands, (g, H, W): each band takes the result of the guide band that it resembles most.

    Resemblance is the correlation with the guide's mean over ratio x ratio blocks (Selva et al. 2015).
    """
    fine = np.pad(guide, [(0, 0), *((0, ratio * s - g) for s, g in zip(ms.shape[1:], guide.shape[1:]))], mode="edge")
    low = fine.reshape(len(guide), ms.shape[1], ratio, ms.shape[2], ratio).mean((2, 4))
    table = np.corrcoef(np.concatenate([ms, low]).reshape(len(ms) + len(low), -1))[: len(ms), len(ms) :]
    chosen = np.nan_to_num(table).argmax(1)
    result = np.empty((len(ms), *guide.shape[1:]))
    for number in np.unique(chosen):
        fused = fuse(method, ms, guide[number], ratio=ratio, offset=offset, gains=gains)
        result[chosen == number] = fused[chosen == number]
    return result


def geometry_at(ratio: int, offset: tuple[float, float]) -> Geometry:
    """Operators for low pixels anywhere: the exact Gaussian read at their centres; cubic interpolation.

    Parameters
    ----------
    ratio, offset
        See `fuse`.
    """
    blocks = geometry_of("pixel", ratio)

    def up(image: Array, ratio: int) -> Array:
        return np.stack([_moved(band, offset) for band in blocks.up(image, ratio)])

    def measure(image: Array, gains: Sequence[float], ratio: int) -> Array:
        sigma = sensor.mtf_sigma(torch.tensor(gains, dtype=torch.float64), ratio)[None, :, None].expand(1, -1, 2)
        radius = max(sensor.blur_radius(gain, ratio) for gain in gains) + ratio
        scene = torch.from_numpy(np.ascontiguousarray(image))[None]
        place = torch.tensor(offset, dtype=torch.float64).expand_as(sigma)
        return np.asarray(sensor.degrade_at(scene, ratio, sigma=sigma, offset=place, radius=radius)[0])

    return Geometry(up, blocks.lowpass, measure)


def _turn(image: Array, axes: Sequence[int]) -> Array:
    """Mirrored along rows (0) or columns (1), the last two axes."""
    return np.ascontiguousarray(np.flip(image, tuple(axis - 2 for axis in axes)))


def _moved(image: Array, by: Sequence[float]) -> Array:
    """Values at places `by` pixels further on, by cubic splines."""
    if not any(abs(distance) > 1e-6 for distance in by):
        return image
    return np.asarray(ndimage.shift(image, [-distance for distance in by], order=3, mode="nearest"))


def _told(gain: float, ratio: int) -> float:
    """Gain to ask of the "pixel" geometry for a kernel of `gain`: reading a block's centre of an even ratio it averages
    two pixels of each axis."""
    return gain if ratio % 2 else min(gain / math.cos(math.pi / (2 * ratio)), 0.99)
