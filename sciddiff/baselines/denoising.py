"""Classical denoisers of images and stacks, on the counts or on stabilised counts, tuned on training pairs.

Each takes an image (h, w) or a stack (d, h, w), one strength, and the noise's standard deviation in units of the image;
what a strength means stands with the function. Filters and non-local means are those of SciPy and scikit-image.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft, ndimage

from sciddiff.errors import InputError, OptionError
from sciddiff.physics import anscombe

Array = NDArray[Any]
Law = tuple[float, float]
"""a and b of Var[y] = a E[y] + b."""

BLOCK = 8
"""Side of the blocks of `cosine`."""


def median(image: Array, strength: float, _sigma: float) -> Array:
    """Median of a neighbourhood of 2 strength + 1 pixels in the plane, and of three planes in a stack."""
    side = 2 * round(strength) + 1
    return ndimage.median_filter(image, size=(3, side, side)[-image.ndim :], mode="nearest")


def gaussian(image: Array, strength: float, _sigma: float) -> Array:
    """Gaussian mean of standard deviation `strength` pixels, half of it across planes."""
    return ndimage.gaussian_filter(image, (strength / 2, strength, strength)[-image.ndim :], mode="nearest")


def non_local_means(image: Array, strength: float, sigma: float) -> Array:
    """Mean of pixels with like patches: 5 x 5 (x 3), within 6 (1) pixels; filtering parameter strength times sigma.

    Planes of a stack one by one: patches of three dimensions in neighbourhoods of this size take minutes.

    References
    ----------
    Buades, Coll, Morel 2005; Darbon et al. 2008 for the fast form.
    """
    from skimage.restoration import denoise_nl_means

    planes = image[None] if image.ndim == 2 else image
    done = [
        denoise_nl_means(plane, patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma) for plane in planes
    ]
    return np.stack(done).reshape(image.shape)


def total_variation(image: Array, strength: float, sigma: float) -> Array:
    """Least total variation, weighed by strength times sigma (Rudin, Osher, Fatemi 1992; Chambolle 2004)."""
    from skimage.restoration import denoise_tv_chambolle

    # In units of sigma, where the iteration's end is the same for all images.
    return np.asarray(denoise_tv_chambolle(image / sigma, weight=strength, eps=1e-4)) * sigma


def cosine(image: Array, strength: float, sigma: float) -> Array:
    """Threshold the cosine transform of sliding blocks at strength times sigma.

    Planes of a stack one by one.

    References
    ----------
    Yu and Sapiro 2011, Image Processing On Line 1: DCT denoising; blocks slide by two pixels.
    """
    pad = [(0, 0)] * (image.ndim - 2) + [(BLOCK, 2 * BLOCK - side % BLOCK) for side in image.shape[-2:]]
    padded = np.pad(image.astype(np.float64), pad, mode="symmetric")
    total = np.zeros_like(padded)
    for down, right in product(range(0, BLOCK, 2), repeat=2):
        shifted = np.roll(padded, (-down, -right), (-2, -1))
        *planes, h, w = shifted.shape
        blocks = shifted.reshape(*planes, h // BLOCK, BLOCK, w // BLOCK, BLOCK)
        spectrum = fft.dctn(blocks, axes=(-3, -1), norm="ortho")
        mean = spectrum[..., :1, :, :1].copy()
        spectrum[np.abs(spectrum) < strength * sigma] = 0
        spectrum[..., :1, :, :1] = mean
        back = fft.idctn(spectrum, axes=(-3, -1), norm="ortho").reshape(shifted.shape)
        total += np.roll(back, (down, right), (-2, -1))
    h, w = image.shape[-2:]
    return (total / (BLOCK // 2) ** 2)[..., BLOCK : BLOCK + h, BLOCK : BLOCK + w].astype(image.dtype)


Denoiser = Callable[[Array, float, float], Array]

DENOISERS: Mapping[str, tuple[Denoiser, Sequence[float]]] = MappingProxyType(
    {
        "median": (median, (1, 2, 3, 4)),
        "gaussian": (gaussian, (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)),
        "non-local means": (non_local_means, (0.4, 0.6, 0.8, 1.0)),
        "total variation": (total_variation, (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)),
        "cosine": (cosine, (2.0, 2.5, 3.0, 3.5, 4.0)),
    }
)
"""Each with the strengths among which `tuned` chooses."""


def denoise(image: Array, method: str, *, strength: float, law: Law, stabilised: bool = True) -> Array:
    """Denoise by one method.

    Parameters
    ----------
    image
        (h, w) or (d, h, w).
    method
        A key of `DENOISERS`.
    strength
        As the method takes it.
    law
        Of the noise, as `noise_estimation.noise_law` gives it.
    stabilised
        Whether the method sees the image after the generalised Anscombe transformation, with noise of unit variance;
        the result goes back by the exact unbiased inverse. Without, it sees the counts, and the noise at their mean.

    Returns
    -------
    ndarray
        Of the image's shape; single precision, or double for an image in double.

    Raises
    ------
    OptionError
        For an unknown method.
    InputError
        Where the law gives no noise at the image's mean.
    """
    if method not in DENOISERS:
        raise OptionError(f"unknown method {method!r}; known are {', '.join(DENOISERS)}")
    function, _ = DENOISERS[method]
    kind = np.result_type(image.dtype, np.float32)
    values = image.astype(np.float64)
    a, b = law
    variance = a * values.mean() + b
    if not variance > 0:
        raise InputError(f"variance {variance:.4g} at the image's mean by the law a = {a:.4g}, b = {b:.4g}")
    if not stabilised:
        return function(values, strength, math.sqrt(variance)).astype(kind)
    steady = anscombe.stabilise(torch.from_numpy(values), a=a, b=b).numpy()
    done = torch.from_numpy(function(steady, strength, 1.0))
    return anscombe.unstabilise(done, a=a, b=b).numpy().astype(kind)


@dataclass(frozen=True)
class Tuned:
    """A denoiser with the strength that served training pairs best; `psnr` in dB is the mean over them."""

    method: str
    strength: float
    stabilised: bool
    psnr: float

    def __call__(self, image: Array, law: Law) -> Array:
        return denoise(image, self.method, strength=self.strength, law=law, stabilised=self.stabilised)


def tuned(
    method: str, pairs: Sequence[tuple[Array, Array]], laws: Sequence[Law], *, stabilised: bool | None = None
) -> Tuned:
    """Choose a method's strength on training pairs; never on what is tested.

    Parameters
    ----------
    method
        A key of `DENOISERS`.
    pairs
        Noisy and clean images of one unit.
    laws
        Of the noise of each pair.
    stabilised
        As `denoise` takes it; both are tried where not given.

    Returns
    -------
    Tuned
        Best by the mean over pairs of the peak signal-to-noise ratio, the peak being each clean image's range.

    Raises
    ------
    InputError
        For no pairs, not one law a pair, or a clean image that is constant.
    """
    if not pairs or len(pairs) != len(laws):
        raise InputError(f"{len(pairs)} pairs and {len(laws)} noise laws; expected one law a pair, one pair at least")
    if any(np.ptp(clean) == 0 for _, clean in pairs):
        raise InputError("a clean image is constant; its peak signal-to-noise ratio has no peak")
    if method not in DENOISERS:
        raise OptionError(f"unknown method {method!r}; known are {', '.join(DENOISERS)}")
    ways = (True, False) if stabilised is None else (stabilised,)
    trials = [
        Tuned(method, strength, way, _mean_psnr(pairs, laws, method, strength, way))
        for way, strength in product(ways, DENOISERS[method][1])
    ]
    return max(trials, key=lambda trial: trial.psnr)


def _mean_psnr(
    pairs: Sequence[tuple[Array, Array]], laws: Sequence[Law], method: str, strength: float, stabilised: bool
) -> float:
    values = []
    for (noisy, clean), law in zip(pairs, laws):
        done = denoise(noisy, method, strength=strength, law=law, stabilised=stabilised)
        error = float(((done - clean.astype(np.float64)) ** 2).mean())
        values.append(10 * math.log10(float(np.ptp(clean)) ** 2 / max(error, 1e-300)))
    return float(np.mean(values))
