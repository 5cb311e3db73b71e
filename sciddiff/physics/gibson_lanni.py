"""Scalar point spread function of an objective that looks into a sample of another index (Gibson and Lanni 1992).

The field at radius r and stage position z is the integral over the pupil of J0(k NA r rho) exp(i k W(rho)) rho, where
W is the optical path through sample, coverslip and immersion, less that of the design.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special
from torch import Tensor

from sciddiff.errors import OptionError

Double = NDArray[np.float64]

NODES = 2001
"""Of Simpson's rule over the pupil."""

FINE = 10
"""Radii computed in each pixel, between which planes are interpolated."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective, what lies between it and the emitter, and what it was made for; lengths in um.

    Attributes
    ----------
    na
        Numerical aperture.
    wavelength
        In vacuum.
    immersion, sample, coverslip
        Refractive indices.
    design_immersion, design_coverslip
        Refractive indices of the design; as they are where not given.
    depth
        Of the emitter under the coverslip.
    thickness, design_thickness
        Of the coverslip.
    working_distance
        Thickness of the immersion in the design.
    """

    na: float
    wavelength: float
    immersion: float
    sample: float
    coverslip: float = 1.5255
    design_immersion: float | None = None
    design_coverslip: float | None = None
    depth: float = 0.0
    thickness: float = 170.0
    design_thickness: float = 170.0
    working_distance: float = 150.0


def path_difference(objective: Objective, rho: ArrayLike, z: ArrayLike) -> Double:
    """Optical path at pupil radius rho, of which 1 is the numerical aperture, less that of the design.

    Parameters
    ----------
    objective
        Indices and thicknesses.
    rho
        Radii in the pupil, (p,).
    z
        Positions of paraxial focus in um, (n,), from the coverslip into the sample.

    Returns
    -------
    ndarray
        (n, p), um. The immersion is as thick as focuses the depth z by paraxial rays.
    """
    o = objective
    ni, ns, ng = o.immersion, o.sample, o.coverslip
    ni0 = ni if o.design_immersion is None else o.design_immersion
    ng0 = ng if o.design_coverslip is None else o.design_coverslip
    height = (o.na * np.asarray(rho, np.float64)) ** 2

    def along(index: float) -> Double:
        return np.sqrt(np.maximum(index**2 - height, 0))

    focus = o.depth * (1 - ni / ns) + ni * (o.design_thickness / ng0 + o.working_distance / ni0 - o.thickness / ng)
    fixed = o.depth * along(ns) + o.thickness * along(ng) - o.design_thickness * along(ng0)
    fixed -= o.working_distance * along(ni0)
    return fixed[None] + (focus - np.asarray(z, np.float64)[:, None]) * along(ni)[None]


def intensity(objective: Objective, r: ArrayLike, z: ArrayLike) -> Double:
    """Light of a point at radii r and positions of focus z.

    Parameters
    ----------
    objective
        Indices and thicknesses.
    r
        Distances from the axis in um, (m,).
    z
        Positions of paraxial focus in um, (n,), from the coverslip into the sample.

    Returns
    -------
    ndarray
        (n, m); 1/4 at an ideal focus with the whole pupil open.

    References
    ----------
    Gibson and Lanni 1992, JOSA A 9, 154. The pupil ends where light is totally reflected.
    """
    o = objective
    k = 2 * math.pi / o.wavelength
    edge = min(1.0, o.sample / o.na, o.immersion / o.na, o.coverslip / o.na)
    rho = np.linspace(0, edge, NODES)
    weight = _simpson(rho) * rho
    waves = special.j0(k * o.na * rho[:, None] * np.asarray(r, np.float64)[None])
    phase = np.exp(1j * k * path_difference(o, rho, z))
    return np.abs((phase * weight) @ waves) ** 2


def _simpson(nodes: Double) -> Double:
    """Weights of Simpson's rule at an odd number of equal steps."""
    weights = np.ones_like(nodes)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return weights * (nodes[1] - nodes[0]) / 3


def peak(objective: Objective) -> float:
    """Position of paraxial focus, in um from the coverslip, at which a point is brightest.

    Parameters
    ----------
    objective
        Indices and thicknesses.

    Returns
    -------
    float
        The emitter's depth where indices match; spherical aberration moves it.
    """
    reach = objective.depth * 0.5 + 3 * objective.wavelength
    z = np.linspace(objective.depth - reach, objective.depth + reach, 801)
    light = intensity(objective, [0.0], z)[:, 0]
    best = int(light.argmax())
    near = np.linspace(z[max(best - 1, 0)], z[min(best + 1, len(z) - 1)], 41)
    return float(near[intensity(objective, [0.0], near)[:, 0].argmax()])


def gibson_lanni_psf(objective: Objective, shape: Sequence[int], *, pixel_size: float, z_step: float) -> Tensor:
    """Point spread function as a volume, its brightest plane in the middle.

    Parameters
    ----------
    objective
        Indices and thicknesses.
    shape
        (d, h, w), odd.
    pixel_size, z_step
        In um.

    Returns
    -------
    Tensor
        (d, h, w), summing to one, double precision. Read at the pixels' centres.

    Raises
    ------
    OptionError
        For even sides.
    """
    if len(shape) != 3 or any(side % 2 == 0 for side in shape):
        raise OptionError(f"shape {tuple(shape)} of a point spread function; expected three odd sides")
    d, h, w = (np.arange(side) - side // 2 for side in shape)
    radius = np.hypot(h[:, None], w[None])  # pixels
    fine = np.arange(math.ceil(radius.max() * FINE) + 2) / FINE
    planes = intensity(objective, fine * pixel_size, peak(objective) + d * z_step)
    volume = np.stack([np.interp(radius, fine, plane) for plane in planes])
    return torch.from_numpy(volume / volume.sum())
