"""Changing an image that is there: transforms of a velocity function, and where a sampler sets out."""

import math

import torch
from torch import Tensor

from sciddiff.diffusion.sample import Velocity, dpmpp_2m
from sciddiff.diffusion.schedule import log_angles

SMALLEST = 0.02
"""Last noise level above zero of a partial way, in units of the residual's standard deviation."""


def keeping(model: Velocity, residual: Tensor, noise: Tensor, keep: Tensor) -> Velocity:
    """Hold some pixels to a known image all the way: the model sees them as the process would have them at each level.

    Parameters
    ----------
    model : callable
        (x, t) -> velocity.
    residual : Tensor
        Of the known image, (b, c, h, w).
    noise : Tensor
        That from which the sampler sets out, likewise.
    keep : Tensor
        Pixels that are held, (b, 1, h, w), bool.

    Returns
    -------
    callable
        (x, t) -> velocity.

    Notes
    -----
    The model is shown the state cos(t) r + sin(t) n of the known pixels, whatever the sampler has there, so that the
    others see at each level what they border on: Lugmayr et al. (2022), RePaint, equation 8, with one noise for all
    levels. Their velocity is the one whose denoised estimate is r, to which any sampler leads them. At pi/2, where the
    mean is asked for, the state is zero and stays so.

    An approximation: what borders on known pixels sees them with noise. Of the conditional mean of a Gaussian field
    a quarter to a half arrives (where its covariance falls to 1 / e within 1.5 to 3 pixels).
    """

    def velocity(x: Tensor, t: float) -> Tensor:
        sine, cosine = math.sin(t), math.cos(t)
        known = x if t == math.pi / 2 else cosine * residual + sine * noise
        found = model(torch.where(keep, known, x), t)
        return torch.where(keep, (residual - cosine * x) / sine, found)

    return velocity


def partial_way(model: Velocity, residual: Tensor, noise: Tensor, *, strength: float, steps: int) -> Tensor:
    """Noise an image up to a level and come back from there: coarse structure stays, detail is made anew.

    Parameters
    ----------
    model : callable
        (x, t) -> velocity.
    residual : Tensor
        Of the image, (b, c, h, w).
    noise : Tensor
        Unit noise, likewise.
    strength : float
        Above 0, below 1: the share of the angle pi/2 that is gone back.
    steps : int
        Network evaluations of the way from pi/2; of this one at least two, and the same share as of the angle.

    Returns
    -------
    Tensor
        (b, c, h, w).

    References
    ----------
    Meng et al. (2022), SDEdit: guided image synthesis and editing with stochastic differential equations.
    """
    sigma = math.tan(strength * math.pi / 2)
    angles = log_angles(max(2, round(strength * steps)), largest=sigma, smallest=min(SMALLEST, sigma / 2))
    return dpmpp_2m(model, noise + residual / sigma, angles)
