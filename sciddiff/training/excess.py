"""Noise of the states that a sampler of few steps visits.

Every sample begins with noise of variance one, whatever the variance v of the residual there, although the process
has v cos^2 t + sin^2 t. Where little is left to know, v is small, and it takes a sampler many steps to forget the
difference: until then its states hold up to (1 - v) cos^2 t more noise than their angle says. A network that only saw
the process takes that noise for texture, and keeps it.
"""

import torch
from torch import Generator, Tensor

from sciddiff.tasks.local import box_mean

FINE, SPREAD = 5, 17
"""Sides in pixels of the mean less which the residual is fine, like noise, and of that over which its power is told."""
MOST = 4.0
"""Largest factor of the noise's variance: at small angles any factor is a part of so little noise."""


def excess(residual: Tensor, t: Tensor, *, share: float, generator: Generator | None) -> Tensor:
    """Factor of the noise of training states, so that a network knows those that its samplers visit.

    Parameters
    ----------
    residual
        (b, c, h, w), of variance one on the average.
    t
        Angles (b,) in (0, pi/2].
    share
        Of the windows that have more noise than their angle says, by any part of what samplers may have.
    generator
        Source of the draws.

    Returns
    -------
    Tensor
        (b, c, h, w), one or more: sqrt(1 + e (1 - v) cot^2 t), 0 <= e <= 1, v the local power of the fine residual up
        to 1.
    """
    drawn = torch.rand(len(residual), generator=generator, device=residual.device)
    part = (drawn - (1 - share)).clamp_min(0) / share
    fine = (residual - box_mean(residual, FINE)).square() / (1 - 1 / FINE**2)
    known = 1 - box_mean(fine, SPREAD).clamp(0, 1)
    return (1 + (part / t.tan().square()).view(-1, 1, 1, 1) * known).clamp_max(MOST).sqrt()
