"""Local convolution of images and volumes with a point spread function, edges continued by their last pixel."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.errors import InputError

GAUSSIAN_RADIUS = 4
"""Of a Gaussian, in standard deviations."""


def radius(psf: Tensor) -> tuple[int, ...]:
    """How many pixels `blur` looks at on each side, axis by axis.

    Parameters
    ----------
    psf
        ([d,] h, w), odd sides.

    Returns
    -------
    tuple of int
        (side - 1) / 2.
    """
    return tuple(side // 2 for side in psf.shape)


def blur(image: Tensor, psf: Tensor) -> Tensor:
    """Convolve every channel with one point spread function.

    Parameters
    ----------
    image
        (b, c, h, w) or (b, c, d, h, w).
    psf
        (h', w') or (d', h', w'), odd sides.

    Returns
    -------
    Tensor
        Of the image's shape.

    Raises
    ------
    InputError
        Where axes differ in number or a side is even.
    """
    axes = image.dim() - 2
    if psf.dim() != axes or any(side % 2 == 0 for side in psf.shape):
        raise InputError(f"point spread function of shape {tuple(psf.shape)}; expected {axes} axes with odd sides")
    kernel = psf.flip(tuple(range(axes))).to(image)[None, None]
    flat = image.reshape(-1, 1, *image.shape[2:])
    pad = [side for r in reversed(radius(psf)) for side in (r, r)]
    convolve = F.conv2d if axes == 2 else F.conv3d
    return convolve(F.pad(flat, pad, mode="replicate"), kernel).reshape(image.shape)


def gaussian_line(sigma: float) -> Tensor:
    """Taps of a Gaussian at whole pixels, of unit sum; one tap for a width of zero.

    Parameters
    ----------
    sigma
        Standard deviation in pixels.

    Returns
    -------
    Tensor
        (2 ceil(4 sigma) + 1,), double precision.
    """
    reach = math.ceil(GAUSSIAN_RADIUS * sigma)
    tap = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-(tap**2) / (2 * max(sigma, 1e-9) ** 2))
    return weights / weights.sum()


def gaussian_blur(image: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Convolve with a Gaussian, axis by axis.

    Parameters
    ----------
    image
        (b, c, [d,] h, w).
    sigmas
        Standard deviations in pixels, one for each axis after the channels.

    Returns
    -------
    Tensor
        Of the image's shape; radius ceil(4 sigma) on each axis.
    """
    axes = image.dim() - 2
    for axis, sigma in enumerate(sigmas):
        line = gaussian_line(sigma)
        image = blur(image, line.reshape([-1 if n == axis else 1 for n in range(axes)]))
    return image


def otf(psf: Tensor, shape: Sequence[int]) -> Tensor:
    """Optical transfer function of a point spread function.

    Parameters
    ----------
    psf
        ([d,] h, w), odd sides, centred.
    shape
        Sides of the spectrum, none below the function's own.

    Returns
    -------
    Tensor
        Complex, of `shape`, frequencies as `torch.fft.fftfreq` orders them; 1 at zero for a sum of one.
    """
    padded = psf.new_zeros(tuple(shape))
    padded[tuple(slice(side) for side in psf.shape)] = psf
    axes = tuple(range(psf.dim()))
    return torch.fft.fftn(padded.roll([-r for r in radius(psf)], dims=axes))
