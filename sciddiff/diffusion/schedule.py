"""Schedules: plain lists of numbers."""

import math
from itertools import pairwise
from typing import Literal

from sciddiff.errors import OptionError

# Tangents for 2 to 8 evaluations: where the noise starts, then where the velocity is evaluated. They minimise the
# largest |log(w / v)| over v in 0.01-6, where w is the variance that `angle_euler` gives to a Gaussian residual of
# variance v. Largest error of w: 62, 13, 2.0, 1.3, 0.45, 0.13, 0.06 %.
_TANGENTS: dict[int, tuple[float, ...]] = {
    2: (2.04938, 1.25876),
    3: (7.83073, 1.81307, 0.15032),
    4: (32.36594, 2.81313, 0.52851, 0.0914),
    5: (6.06463, 3.59732, 1.80553, 0.48798, 0.08508),
    6: (58.20732, 3.92357, 1.09024, 0.41042, 0.11344, 0.03071),
    7: (math.inf, 5.4652, 1.64325, 0.77833, 0.2842, 0.08586, 0.03748),
    8: (math.inf, 5.09362, 1.5634, 0.77811, 0.31117, 0.10936, 0.03644, 0.01652),
}


def angles(steps: int) -> tuple[float, ...]:
    """Angles of the centred sampler, for a number of network evaluations.

    Parameters
    ----------
    steps : int
        Evaluations of one sample, the posterior mean's included.

    Returns
    -------
    tuple of float
        steps + 1 descending numbers: the angle whose state the pure noise is taken for (no evaluation: the centred
        velocity is zero at pi/2, where the mean is evaluated), the steps - 1 angles of evaluation, and 0.0.

    Raises
    ------
    OptionError
        If steps is below 1.

    Notes
    -----
    A Gaussian residual of variance v has centred velocity x sin t cos t (1 - v) / (v cos^2 t + sin^2 t); up to 8
    steps the angles are those that best keep every v in 0.01-6 (minimax of the log ratio). Beyond 8 the tangents are
    spaced logarithmically from 1.3 n^0.83 to 0.38 / n, which follows the best ends at each n and converges: largest
    error 3.7 % at 9 steps, 1.7 at 16, 0.5 at 32, 0.05 at 128.
    """
    check_steps(steps)
    if steps == 1:
        return (math.pi / 2, 0.0)
    tangents = _TANGENTS.get(steps) or (math.inf, *_geometric(1.3 * steps**0.83, 0.38 / steps, steps - 1))
    return (*map(math.atan, tangents), 0.0)


def log_angles(steps: int, *, largest: float = 16.0, smallest: float = 0.1) -> tuple[float, ...]:
    """Angles of the reference solvers: sigma = tan(angle) spaced logarithmically, then 0.

    Parameters
    ----------
    steps : int
        Number of intervals.
    largest, smallest : float
        First and last sigma above zero, in units of the residual's standard deviation.

    Returns
    -------
    tuple of float
        steps + 1 descending angles, the last 0.0.

    Raises
    ------
    OptionError
        If steps is below 1.
    """
    check_steps(steps)
    return (*map(math.atan, _geometric(largest, smallest, steps)), 0.0)


def ddpm_betas(steps: int, kind: Literal["linear", "cosine"] = "linear") -> tuple[float, ...]:
    """Variances of the noise that each step of the forward Markov chain adds.

    Parameters
    ----------
    steps : int
        Length T of the chain.
    kind : {"linear", "cosine"}
        Linear: 1e-4 to 0.02 at T = 1000, scaled by 1000 / T. Cosine: squared cosine of the remaining signal.

    Returns
    -------
    tuple of float
        T numbers in (0, 0.999], from the first noising step to the last.

    Raises
    ------
    OptionError
        If steps is below 1 or the kind is unknown.

    References
    ----------
    Ho et al. (2020), Denoising diffusion probabilistic models, section 4.
    Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, equation 17.
    """
    check_steps(steps)
    if kind == "linear":
        slope = (0.02 - 1e-4) / max(steps - 1, 1)
        return tuple(min(1000 / steps * (1e-4 + slope * i), 0.999) for i in range(steps))
    if kind != "cosine":
        raise OptionError(f"unknown schedule of betas {kind!r}: use 'linear' or 'cosine'")
    signal = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    return tuple(min(1 - after / before, 0.999) for before, after in pairwise(signal))


def _geometric(first: float, last: float, count: int) -> list[float]:
    return [first * (last / first) ** (i / max(count - 1, 1)) for i in range(count)]


def check_steps(steps: int) -> None:
    """
    Refuse less than one step.

    Raises
    ------
    OptionError
        If steps is below 1.
    """
    if steps < 1:
        raise OptionError(f"steps must be 1 or more, got {steps}")
