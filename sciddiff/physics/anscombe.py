"""Variance stabilisation of the noise law Var[y] = a E[y] + b: the generalised Anscombe transformation and its inverse.

a is in ADU an electron (the gain), b in ADU^2 (read variance less gain times offset); both are numbers or tensors
that broadcast against the image (b, c, [d,] h, w). After `stabilise` the noise has unit variance at every intensity,
which is what a diffusion noise level means. Where a vanishes against sqrt(b) the noise is Gaussian and all maps scale
by sqrt(b).
"""

import math

import torch
from torch import Tensor

from sciddiff.physics.camera import Number

GAUSSIAN = 1e-4
"""Below this ratio of a to sqrt(b) the law counts as pure Gaussian noise. There the root of single precision, about
2 sqrt(b) / a, would keep no more than a thousandth of the noise, and a signal of a thousand standard deviations changes
its noise by 5 % only."""

_DARK = math.sqrt(1.5)  # stabilised value of no electrons without read noise
_SLOPE = 26 / 9 * math.sqrt(1.5) / 4  # of the inverse there
_TINY = 1e-30  # squared electrons under a root, for its gradient
_STEPS = 5  # of Newton's method; the fourth already changes nothing in double precision


def stabilise(y: Tensor, *, a: Number, b: Number) -> Tensor:
    """Transform an image so that its noise has unit variance: (2 / a) sqrt(max(a y + 3/8 a^2 + b, 0)).

    Parameters
    ----------
    y
        Image in ADU, (b, c, [d,] h, w).
    a, b
        The noise law; a >= 0, and b > 0 where a is zero.

    Returns
    -------
    Tensor
        y / sqrt(b) where a is zero.

    References
    ----------
    Starck, Murtagh, Bijaoui 1998.
    """
    a, b, gaussian, deviation = _law(y, a, b)
    root = 2 / a * torch.sqrt(torch.maximum(a * y + 0.375 * a**2 + b, _TINY * a**2))
    return torch.where(gaussian, y / deviation, root)


def unstabilise(d: Tensor, *, a: Number, b: Number) -> Tensor:
    """Expected image whose stabilised mean is d: the closed form of the exact unbiased inverse.

    Parameters
    ----------
    d
        Denoised, stabilised image (b, c, [d,] h, w); any number.
    a, b
        The noise law, as `stabilise` takes it.

    Returns
    -------
    Tensor
        In ADU; d sqrt(b) where a is zero. Rises with d everywhere: below the value of no light and no read noise,
        sqrt(3/2), the inverse goes on as its tangent, so that averages over the noise of a dark image stay unbiased.

    References
    ----------
    Makitalo and Foi 2011 (closed form for Poisson noise), 2013 (Poisson-Gaussian noise).
    """
    a, b, gaussian, deviation = _law(d, a, b)
    return torch.where(gaussian, d * deviation, a * _electrons(d) - b / a)


def stabilised_mean(x: Tensor, *, a: Number, b: Number) -> Tensor:
    """Mean of the stabilised noisy image of an expected image x: the inverse function of `unstabilise`.

    Parameters
    ----------
    x
        Expected image in ADU, (b, c, [d,] h, w).
    a, b
        The noise law, as `stabilise` takes it.

    Returns
    -------
    Tensor
        x / sqrt(b) where a is zero.
    """
    a, b, gaussian, deviation = _law(x, a, b)
    electrons = torch.where(gaussian, 1.0, (x + b / a) / a)
    bright = electrons.clamp(min=0)
    root = 2 * torch.sqrt(bright + 0.375)
    for _ in range(_STEPS):
        root = root - (_closed_form(root) - bright) / _derivative(root)
    tangent = _DARK + electrons.clamp(max=0) / _SLOPE
    return torch.where(gaussian, x / deviation, torch.where(electrons > 0, root, tangent))


def _law(image: Tensor, a: Number, b: Number) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The law as tensors, a replaced where noise is Gaussian; where it is; its standard deviation, one elsewhere."""
    a, b = (torch.as_tensor(value, dtype=image.dtype, device=image.device) for value in (a, b))
    gaussian = a <= GAUSSIAN * torch.sqrt(b.clamp(min=0))
    return torch.where(gaussian, 1.0, a), b, gaussian, torch.sqrt(torch.where(gaussian, b, 1.0))


def _closed_form(d: Tensor) -> Tensor:
    """Electrons and read variance of a stabilised mean of sqrt(3/2) or more."""
    c = math.sqrt(1.5)
    return d**2 / 4 + c / (4 * d) - 11 / (8 * d**2) + 5 * c / (8 * d**3) - 1 / 8


def _derivative(d: Tensor) -> Tensor:
    c = math.sqrt(1.5)
    return d / 2 - c / (4 * d**2) + 11 / (4 * d**3) - 15 * c / (8 * d**4)


def _electrons(d: Tensor) -> Tensor:
    return _closed_form(d.clamp(min=_DARK)) + _SLOPE * (d - _DARK).clamp(max=0)
