"""The noising process and the velocity that the network learns.

With the residual's variance as unit, t = atan(sigma) turns z = r + sigma n into a rotation: the state
x = cos(t) r + sin(t) n has unit variance at every t and the velocity F = sin(t) r - cos(t) n = -dx/dt is well
conditioned at both ends. This is Karras et al. (2022), Elucidating the design space of diffusion-based generative
models, equation 7, at sigma_data = 1.
"""

import math

import torch
from torch import Tensor


def state(residual: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """State of the process at angle t: x = cos(t) r + sin(t) n.

    Parameters
    ----------
    residual, noise : Tensor
        (b, c, *spatial), unit variance.
    t : Tensor or float
        Angles in [0, pi/2], (b,) or one for all.

    Returns
    -------
    Tensor
        (b, c, *spatial).
    """
    cosine, sine = _turn(t, residual)
    return cosine * residual + sine * noise


def velocity_target(residual: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
    """Velocity that the network is to predict: F = sin(t) r - cos(t) n, which is -dx/dt.

    Parameters
    ----------
    residual, noise : Tensor
        (b, c, *spatial), unit variance.
    t : Tensor or float
        Angles in [0, pi/2], (b,) or one for all.

    Returns
    -------
    Tensor
        (b, c, *spatial).
    """
    cosine, sine = _turn(t, residual)
    return sine * residual - cosine * noise


def denoised(velocity: Tensor, x: Tensor, t: Tensor | float) -> Tensor:
    """Estimate of the residual from the velocity at a state: D = cos(t) x + sin(t) F.

    Parameters
    ----------
    velocity, x : Tensor
        (b, c, *spatial).
    t : Tensor or float
        Angles in [0, pi/2], (b,) or one for all.

    Returns
    -------
    Tensor
        (b, c, *spatial).
    """
    cosine, sine = _turn(t, x)
    return cosine * x + sine * velocity


def draw_angles(uniform: Tensor, sigma_median: float, sigma_spread: float) -> Tensor:
    """Angles whose sigma = tan(t) is log-normal, by the inverse of its distribution.

    Stratified uniforms, (k + u_k) / b for k = 0 ... b - 1, give stratified angles.

    Parameters
    ----------
    uniform : Tensor
        Numbers in [0, 1], any shape.
    sigma_median : float
        Median of sigma, in units of the residual's standard deviation.
    sigma_spread : float
        Standard deviation of log(sigma).

    Returns
    -------
    Tensor
        Angles in [0, pi/2], shaped like `uniform`, growing with it.
    """
    return torch.atan(sigma_median * torch.exp(sigma_spread * torch.special.ndtri(uniform)))


def _turn(t: Tensor | float, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
    if not isinstance(t, Tensor):
        return math.cos(t), math.sin(t)
    t = t.reshape(-1, *[1] * (like.ndim - 1))  # b 1 1 1
    return t.cos(), t.sin()
