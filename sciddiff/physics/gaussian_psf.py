"""Gaussian approximations of a microscope's point spread function (Zhang, Zerubia, Olivo-Marin 2007)."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from sciddiff.physics.blur import gaussian_line

PARAXIAL = 0.7
"""Numerical aperture below which the paraxial widths are used."""


def widths(na: float, *, wavelength: float, index: float) -> tuple[float, float]:
    """Standard deviations of a widefield microscope's point spread function.

    Parameters
    ----------
    na
        Numerical aperture.
    wavelength
        In vacuum.
    index
        Of the immersion medium.

    Returns
    -------
    lateral, axial
        In the wavelength's unit.

    References
    ----------
    Zhang, Zerubia, Olivo-Marin 2007, Applied Optics 46, 1819: table 2.
    """
    k = 2 * math.pi / wavelength
    if na < PARAXIAL:
        return math.sqrt(2) / (k * na), 2 * math.sqrt(6) * index / (k * na**2)
    c = math.cos(math.asin(na / index))
    lateral = ((4 - 7 * c**1.5 + 3 * c**3.5) / (7 * (1 - c**1.5))) ** -0.5 / (index * k)
    root = 4 * c**5 - 25 * c**3.5 + 42 * c**2.5 - 25 * c**1.5 + 4
    return lateral, 5 * math.sqrt(7) * (1 - c**1.5) / (math.sqrt(6) * index * k * math.sqrt(root))


def gaussian_psf(sigmas: Sequence[float]) -> Tensor:
    """A Gaussian in as many axes as widths are given.

    Parameters
    ----------
    sigmas
        Standard deviations in pixels.

    Returns
    -------
    Tensor
        Odd sides 2 ceil(4 sigma) + 1, unit sum, double precision.
    """
    return reduce(
        lambda done, sigma: done[..., None] * gaussian_line(sigma), sigmas, torch.ones((), dtype=torch.float64)
    )
