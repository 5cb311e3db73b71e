"""Numbers of a measured instrument: the range of its gains, what a user may say of it, and what the network sees."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.tasks.base import Instrument

Limits = Mapping[str, tuple[float, float, int]]
"""Least and largest value of each number by name, and how many there may be where there is not one for all."""


def gain_range(nominal: Tensor, drawn: tuple[float, float]) -> tuple[float, float]:
    """Least and largest gain at Nyquist that a task meets, nominal or drawn in training.

    Parameters
    ----------
    nominal
        One a band.
    drawn
        Range of training.
    """
    return min(drawn[0], float(nominal.min())), max(drawn[1], float(nominal.max()))


def checked(instrument: Instrument | None, limits: Limits, *, task: str) -> Instrument:
    """What a user says of an instrument, if it is meant and possible.

    Parameters
    ----------
    instrument
        Numbers by name.
    limits
        What the task knows; empty where it knows none.
    task
        As a message calls it.

    Raises
    ------
    OptionError
        Where a name is none of these, or a number is out of its range.
    """
    given = instrument or {}
    if given and not limits:
        raise OptionError(f"{task} knows no {', '.join(given)} of an instrument; leave it out")
    for name, numbers in given.items():
        if name not in limits:
            raise OptionError(f"{task} knows no {name!r} of an instrument; it knows {', '.join(limits)}")
        low, high, most = limits[name]
        if len(numbers) not in (1, most) or not all(low <= number <= high for number in numbers):
            raise OptionError(f"{name} is {list(numbers)}; needs 1 or {most} numbers from {low:.3g} to {high:.3g}")
    return given


def network_numbers(gain: Tensor, noise: Tensor, *, gain_known: Tensor, noise_known: Tensor) -> Tensor:
    """Gains (b, c) and noise (b,) as the network sees them, (b, c + 3): zero with a zero flag where unknown."""
    gains = (gain - 0.275) / 0.07 * gain_known[:, None]
    level = (torch.log(noise.clamp_min(1e-6)) - math.log(1e-3)) / 2 * noise_known
    return torch.cat([gains, gain_known[:, None], level[:, None], noise_known[:, None]], 1)
