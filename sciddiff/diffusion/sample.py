"""Samplers: pure functions (model, noise, angles) -> residual.

The model is a velocity F(x, t) of a state of unit variance at angle t, its condition closed over. The default is
`angle_euler`; the others are references, written in their papers' variables: z = x / cos(t), sigma = tan(t).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from sciddiff.diffusion.precondition import denoised
from sciddiff.diffusion.schedule import angles as angles_of
from sciddiff.diffusion.schedule import check_steps, log_angles

Velocity = Callable[[Tensor, float], Tensor]
"""Velocity of a state (b, c, *spatial) at an angle in radians."""

MANY, WIDE = 10, {"largest": 80.0, "smallest": 0.05}
"""From how many intervals on the reference solvers go a longer way, and its ends."""


class Sampler(Protocol):
    """What `SAMPLERS` holds: one sample of the residual in a number of network evaluations.

    Parameters are the model, unit noise (b, c, *spatial), the number of evaluations (1: the posterior mean, whatever
    the noise) and the posterior mean where it is known already: all begin with it.
    """

    def __call__(self, model: Velocity, noise: Tensor, steps: int, mean: Tensor | None = None) -> Tensor:
        """Return one sample of the residual, shaped like the noise."""


def posterior_mean(model: Velocity, like: Tensor) -> Tensor:
    """Mean of the residual given the condition: one evaluation at the end of pure noise, the state zero.

    Parameters
    ----------
    model : callable
        Velocity of a state at an angle.
    like : Tensor
        (b, c, *spatial); its shape, type and device are taken, its values are not.

    Returns
    -------
    Tensor
        (b, c, *spatial).
    """
    return model(torch.zeros_like(like), math.pi / 2)


def angle_euler(model: Velocity, noise: Tensor, angles: Sequence[float], mean: Tensor | None = None) -> Tensor:
    """Sample by Euler steps on the angle, from the noise centred on the posterior mean.

    Parameters
    ----------
    model : callable
        Velocity of a state at an angle.
    noise : Tensor
        (b, c, *spatial), unit variance.
    angles : sequence of float
        Descending: where the noise starts, where the velocity is evaluated, the end 0; see `schedule.angles`.
    mean : Tensor, optional
        The posterior mean, (b, c, *spatial), where it is known already: all samples share it.

    Returns
    -------
    Tensor
        (b, c, *spatial).

    Notes
    -----
    x' is the state less cos(t) m. As x' has no velocity at pi/2, its first step leads from the first angle to the
    third with the velocity found at the second; every other step evaluates where it begins. With two angles there
    is no step and the result is the mean.
    """
    if mean is None:
        mean = posterior_mean(model, noise)
    if len(angles) == 2:
        return mean
    state = noise
    edges = (angles[0], *angles[2:])
    for angle, begin, end in zip(angles[1:-1], edges, edges[1:]):
        velocity = model(state + math.cos(angle) * mean, angle) - math.sin(angle) * mean
        state = state + (begin - end) * velocity
    return mean + state


def ddim(model: Velocity, noise: Tensor, angles: Sequence[float], mean: Tensor | None = None) -> Tensor:
    """Sample by the first-order solver of the probability flow.

    Parameters
    ----------
    model : callable
        Velocity of a state at an angle.
    noise : Tensor
        (b, c, *spatial), unit variance.
    angles : sequence of float
        Descending, the last 0.
    mean : Tensor, optional
        The posterior mean, (b, c, *spatial); zero where not given. See `_begun`.

    Returns
    -------
    Tensor
        (b, c, *spatial).

    References
    ----------
    Song et al. (2021), Denoising diffusion implicit models, equation 12 at eta = 0.
    """
    sigmas = [math.tan(angle) for angle in angles]
    z = _begun(noise, angles[0], mean)
    for angle, sigma, below in zip(angles, sigmas, sigmas[1:]):
        estimate = _denoise(model, z, angle)
        z = estimate + below / sigma * (z - estimate)
    return z


def heun(model: Velocity, noise: Tensor, angles: Sequence[float], mean: Tensor | None = None) -> Tensor:
    """Sample by the second-order solver of Heun, two evaluations a step and one in the last.

    Parameters
    ----------
    model : callable
        Velocity of a state at an angle.
    noise : Tensor
        (b, c, *spatial), unit variance.
    angles : sequence of float
        Descending, the last 0.
    mean : Tensor, optional
        The posterior mean, (b, c, *spatial); zero where not given. See `_begun`.

    Returns
    -------
    Tensor
        (b, c, *spatial).

    References
    ----------
    Karras et al. (2022), Elucidating the design space of diffusion-based generative models, algorithm 1.
    """
    z = _begun(noise, angles[0], mean)
    for angle, after in pairwise(angles):
        sigma, below = math.tan(angle), math.tan(after)
        slope = (z - _denoise(model, z, angle)) / sigma
        reached = z + (below - sigma) * slope
        if below > 0:
            slope = (slope + (reached - _denoise(model, reached, after)) / below) / 2
            reached = z + (below - sigma) * slope
        z = reached
    return z


def dpmpp_2m(model: Velocity, noise: Tensor, angles: Sequence[float], mean: Tensor | None = None) -> Tensor:
    """Sample by DPM-Solver++(2M), the two-step solver in log sigma; the first and last steps are of first order.

    Parameters
    ----------
    model : callable
        Velocity of a state at an angle.
    noise : Tensor
        (b, c, *spatial), unit variance.
    angles : sequence of float
        Descending, the last 0.
    mean : Tensor, optional
        The posterior mean, (b, c, *spatial); zero where not given. See `_begun`.

    Returns
    -------
    Tensor
        (b, c, *spatial).

    References
    ----------
    Lu et al. (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models, algorithm 2.
    """
    sigmas = [math.tan(angle) for angle in angles]
    z = _begun(noise, angles[0], mean)
    before: Tensor | None = None
    for i, (sigma, below) in enumerate(pairwise(sigmas)):
        estimate = extrapolated = _denoise(model, z, angles[i])
        if before is not None and below > 0:
            share = math.log(sigma / below) / math.log(sigmas[i - 1] / sigma) / 2
            extrapolated = (1 + share) * estimate - share * before
        z = extrapolated + below / sigma * (z - extrapolated)
        before = estimate
    return z


def ddpm_ancestral(model: Velocity, noise_fn: Callable[[int], Tensor], betas: Sequence[float]) -> Tensor:
    """Sample by the reverse Markov chain, one evaluation and fresh noise a step.

    Parameters
    ----------
    model : callable
        Velocity of a state at an angle.
    noise_fn : callable
        Independent unit noise (b, c, *spatial) for each number: T for the start, and t for the step from t + 1 to t,
        t = T - 1 ... 1.
    betas : sequence of float
        Variances of the T forward steps; see `schedule.ddpm_betas`.

    Returns
    -------
    Tensor
        (b, c, *spatial).

    References
    ----------
    Ho et al. (2020), Denoising diffusion probabilistic models: the mean of equation 7 and, of the two variances of
    section 3.2, beta_t, which a Gaussian residual needs (the other loses 7 % of a variance of 0.01 at T = 1000).
    """
    signal = [1.0]
    for beta in betas:
        signal.append(signal[-1] * (1 - beta))
    x = noise_fn(len(betas))
    for t in range(len(betas), 0, -1):
        beta, here, below = betas[t - 1], signal[t], signal[t - 1]
        angle = math.acos(math.sqrt(here))
        estimate = denoised(model(x, angle), x, angle)
        x = (math.sqrt(below) * beta * estimate + math.sqrt(1 - beta) * (1 - below) * x) / (1 - here)
        if t > 1:
            x = x + math.sqrt(beta) * noise_fn(t - 1)
    return x


def _begun(noise: Tensor, angle: float, mean: Tensor | None) -> Tensor:
    """z at the first noise level: the noise, about the posterior mean.

    At a finite level z still holds the residual. Noise alone tells the network that there is none: a residual that is
    alike over many pixels, such as all that a synthesis makes, is seen through noise many times its size, and comes out
    at half of it.
    """
    z = math.tan(angle) * noise
    return z if mean is None else mean + z


def _denoise(model: Velocity, z: Tensor, angle: float) -> Tensor:
    x = math.cos(angle) * z
    return denoised(model(x, angle), x, angle)


def _angle(model: Velocity, noise: Tensor, steps: int, mean: Tensor | None = None) -> Tensor:
    return angle_euler(model, noise, angles_of(steps), mean)


def _reference(solve: Callable[[Velocity, Tensor, Sequence[float], Tensor], Tensor], evaluations: int = 1) -> Sampler:
    """Solver on log-spaced sigma from the mean, with as many intervals as the other `steps - 1` evaluations allow.

    What is alike over many pixels, such as how bright an object is, has a variance of hundreds in its one direction and
    is decided at a sigma of tens. With intervals enough the way is from 80 to 0.05: eleven of DPM-Solver++ keep 0.87 to
    1.02 of the standard deviation of any Gaussian residual of variance 0.01 to 1000; from 16 to 0.1 it is 0.45 to 1.01.
    A few intervals are better spent on what a restoration leaves open.
    """

    def sample(model: Velocity, noise: Tensor, steps: int, mean: Tensor | None = None) -> Tensor:
        check_steps(steps)
        if mean is None:
            mean = posterior_mean(model, noise)
        if steps == 1:
            return mean
        intervals = (steps + evaluations - 2) // evaluations
        ends = WIDE if intervals >= MANY else {}
        return solve(model, noise, log_angles(intervals, **ends), mean)

    return sample


SAMPLERS: dict[str, Sampler] = {
    "angle": _angle,
    "dpmpp": _reference(dpmpp_2m),
    "ddim": _reference(ddim),
    "heun": _reference(heun, evaluations=2),
}
"""Samplers by name, all called alike: `SAMPLERS[name](model, noise, steps, mean)`."""
