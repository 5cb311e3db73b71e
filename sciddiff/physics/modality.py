"""Point spread functions of whole microscopes: widefield, confocal, two-photon, light sheet."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from scipy import signal
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics.gaussian_psf import widths
from sciddiff.physics.gibson_lanni import Objective, gibson_lanni_psf
from sciddiff.physics.optics import Optics


def objective(optics: Optics, wavelength: float) -> Objective:
    """The objective for light of one wavelength; a matched coverslip, as corrected objectives see it.

    Parameters
    ----------
    optics
        The microscope.
    wavelength
        In um.

    Returns
    -------
    Objective
        For `gibson_lanni_psf`.
    """
    sample = optics.index if optics.sample_index is None else optics.sample_index
    return Objective(
        na=optics.na,
        wavelength=wavelength,
        immersion=optics.index,
        sample=sample,
        coverslip=optics.index,
        depth=optics.depth,
    )


def psf(optics: Optics, shape: Sequence[int]) -> Tensor:
    """Point spread function of a microscope.

    Parameters
    ----------
    optics
        The microscope; `z_step` is needed for a volume.
    shape
        (d, h, w) for stacks, or (h, w) for the plane of focus alone; odd.

    Returns
    -------
    Tensor
        Of `shape`, summing to one, double precision.

    Raises
    ------
    OptionError
        For even sides, or a volume without a distance of planes.
    """
    if len(shape) == 2:
        plane = psf(replace(optics, z_step=optics.z_step or 1.0), (1, *shape))[0]
        return plane / plane.sum()
    if optics.z_step is None:
        raise OptionError("a point spread function in three dimensions needs z_step, the distance of planes in um")
    if optics.modality == "two-photon":
        volume = _of(optics, float(optics.excitation or 0), shape) ** 2
    elif optics.modality == "confocal":
        emitted = _of(optics, optics.wavelength, shape)
        volume = _of(optics, float(optics.excitation or 0), shape) * through_pinhole(optics, emitted)
    elif optics.modality == "light-sheet":
        volume = _of(optics, optics.wavelength, shape) * _sheet(optics, shape[0])
    else:
        volume = _of(optics, optics.wavelength, shape)
    return volume / volume.sum()


def _of(optics: Optics, wavelength: float, shape: Sequence[int]) -> Tensor:
    step = float(optics.z_step or 0)
    return gibson_lanni_psf(objective(optics, wavelength), shape, pixel_size=optics.pixel_size, z_step=step)


def through_pinhole(optics: Optics, emitted: Tensor) -> Tensor:
    """What of an emission passes a pinhole, by where the point lies: the spread function convolved with the pinhole.

    Parameters
    ----------
    optics
        Its pinhole has a radius of `pinhole` x 0.61 wavelength / na in the sample.
    emitted
        Point spread function of the emission, (d, h, w).

    Returns
    -------
    Tensor
        (d, h, w); nothing comes from outside the volume.
    """
    radius = optics.pinhole * 0.61 * optics.wavelength / optics.na / optics.pixel_size
    reach = math.ceil(radius)
    offset = torch.arange(-reach, reach + 1, dtype=emitted.dtype)
    disc = (radius + 0.5 - torch.hypot(offset[:, None], offset[None])).clamp(0, 1)  # its edge shares pixels
    passed = signal.fftconvolve(emitted.numpy(), (disc / disc.sum()).numpy()[None], mode="same", axes=(1, 2))
    return torch.from_numpy(passed.clip(min=0))


def _sheet(optics: Optics, planes: int) -> Tensor:
    z = (torch.arange(planes, dtype=torch.float64) - planes // 2) * float(optics.z_step or 0)
    return torch.exp(-(z**2) / (2 * float(optics.sheet or 0) ** 2))[:, None, None]


def gaussian_widths(optics: Optics) -> tuple[float, float]:
    """Standard deviations of a Gaussian in place of `psf`, for fast simulation with `gaussian_blur`.

    Parameters
    ----------
    optics
        The microscope.

    Returns
    -------
    lateral, axial
        In um. Products of Gaussians have summed inverse variances: excitation and emission through the pinhole (a disc
        of radius R adds R^2 / 4 to the emission's lateral variance), the excitation twice, detection and sheet.
    """

    def squares(wavelength: float) -> tuple[float, float]:
        lateral, axial = widths(optics.na, wavelength=wavelength, index=optics.index)
        return lateral**2, axial**2

    if optics.modality == "two-photon":
        lateral, axial = squares(float(optics.excitation or 0))
        return math.sqrt(lateral / 2), math.sqrt(axial / 2)
    lateral, axial = squares(optics.wavelength)
    if optics.modality == "confocal":
        sent = squares(float(optics.excitation or 0))
        lateral += (optics.pinhole * 0.61 * optics.wavelength / optics.na) ** 2 / 4
        return (1 / lateral + 1 / sent[0]) ** -0.5, (1 / axial + 1 / sent[1]) ** -0.5
    if optics.modality == "light-sheet":
        axial = 1 / (1 / axial + float(optics.sheet or 0) ** -2)
    return math.sqrt(lateral), math.sqrt(axial)
