"""Guidance: transforms of a velocity function into another. A sampler never knows of them.

The denoiser is affine in the velocity at a given state and angle, so that extrapolating one extrapolates the other.
"""

import math

from torch import Tensor

from sciddiff.diffusion.sample import Velocity


def classifier_free(conditional: Velocity, unconditional: Velocity, weight: float) -> Velocity:
    """Guide by the same network without its condition: D_uncond + weight (D_cond - D_uncond).

    Parameters
    ----------
    conditional, unconditional : callable
        (x, t) -> velocity, with and without the condition.
    weight : float
        1 is the conditional model (the other is then not evaluated), 0 the unconditional one.

    Returns
    -------
    callable
        (x, t) -> velocity.

    References
    ----------
    Ho and Salimans (2022), Classifier-free diffusion guidance.
    """
    return _extrapolated(conditional, unconditional, weight)


def autoguided(model: Velocity, weaker: Velocity, weight: float) -> Velocity:
    """Guide by a weaker version of the same model: D_weaker + weight (D - D_weaker).

    Parameters
    ----------
    model, weaker : callable
        (x, t) -> velocity, under the same condition; the weaker is smaller or trained for less.
    weight : float
        1 is the model itself (the weaker is then not evaluated).

    Returns
    -------
    callable
        (x, t) -> velocity.

    References
    ----------
    Karras et al. (2024), Guiding a diffusion model with a bad version of itself.
    """
    return _extrapolated(model, weaker, weight)


def within(guided: Velocity, plain: Velocity, interval: tuple[float, float]) -> Velocity:
    """Guide at the middle noise levels only: at high ones guidance drives samples together, at low ones it is idle.

    Parameters
    ----------
    guided, plain : callable
        (x, t) -> velocity.
    interval : tuple of float
        Least and largest sigma = tan(t) that are guided, in units of the residual's standard deviation.

    Returns
    -------
    callable
        (x, t) -> velocity; outside the interval only `plain` is evaluated.

    References
    ----------
    Kynkaanniemi et al. (2024), Applying guidance in a limited interval improves sample and distribution quality.
    """
    low, high = (math.atan(sigma) for sigma in interval)

    def velocity(x: Tensor, t: float) -> Tensor:
        return guided(x, t) if low <= t <= high else plain(x, t)

    return velocity


def _extrapolated(target: Velocity, origin: Velocity, weight: float) -> Velocity:
    if weight == 1:
        return target

    def velocity(x: Tensor, t: float) -> Tensor:
        start = origin(x, t)
        return start + weight * (target(x, t) - start)

    return velocity
