"""Cameras of microscopes: photons to counts, with shot, dark, multiplication and read noise.

Electrons E ~ Poisson(photons + dark), capped at the full well, multiplied where the camera multiplies electrons;
y = g (E + r) + o in ADU with r ~ N(0, s^2), rounded and clipped where the camera has bits. Gain g (ADU an electron),
offset o (ADU) and read noise s (electrons) are numbers, or maps of a scientific CMOS sensor's pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sciddiff.errors import InputError, OptionError

Number = Tensor | float
"""A number for all pixels, or a tensor that broadcasts against the image."""

EXCESS = 2.0
"""Excess noise factor F^2 of an electron multiplier of high gain: shot noise has twice the variance."""


class PixelMaps(NamedTuple):
    """The pixels of a scientific CMOS sensor: gain (ADU an electron), offset (ADU), read noise (electrons)."""

    gain: Tensor
    offset: Tensor
    read_noise: Tensor


def expose(
    photons: Tensor,
    *,
    gain: Number,
    offset: Number,
    read_noise: Number,
    generator: torch.Generator,
    dark: Number = 0.0,
    full_well: float | None = None,
    em_gain: Number | None = None,
    bits: int | None = None,
) -> Tensor:
    """Read a scene with a camera.

    Parameters
    ----------
    photons
        Expected photo-electrons of each pixel (b, c, [d,] h, w): photons times quantum efficiency times exposure.
    gain
        ADU an electron (after multiplication).
    offset
        ADU.
    read_noise
        Standard deviation in electrons (after multiplication).
    generator
        Of all draws, on the image's device.
    dark
        Expected electrons of each pixel without light: dark current times exposure, and clock-induced charge.
    full_well
        Electrons that a pixel holds at most.
    em_gain
        Mean gain of the electron multiplier (EMCCD): n electrons become Gamma(n) times it.
    bits
        Of the converter: counts are rounded and clipped to 0 and 2^bits - 1. Without, counts stay continuous.

    Returns
    -------
    Tensor
        Counts in ADU, of the shape and type of `photons`.

    Raises
    ------
    InputError
        For light below zero.

    References
    ----------
    Janesick 2007, Photon Transfer; Hirsch, Wareham, Martin-Fernandez, Hobson, Rolfe 2013 for the multiplier.
    """
    light = photons + dark
    if (light < 0).any():
        raise InputError(f"photons go down to {light.min().item():.4g}; expected none below zero, clip the scene first")
    electrons = torch.poisson(light, generator=generator)
    if full_well is not None:
        electrons = electrons.clamp(max=full_well)
    if em_gain is not None:
        electrons = _multiplied(electrons, generator) * em_gain
    noise = torch.randn(photons.shape, generator=generator, device=photons.device, dtype=photons.dtype)
    counts = gain * (electrons + read_noise * noise) + offset
    return counts.to(photons) if bits is None else counts.round().clamp(0, 2**bits - 1).to(photons)


def _multiplied(electrons: Tensor, generator: torch.Generator) -> Tensor:
    """A draw of Gamma(n, 1) for every n; zero stays zero."""
    draw: Tensor = torch._standard_gamma(electrons.clamp(min=1), generator=generator)
    return torch.where(electrons > 0, draw, 0)


def moments(
    photons: Tensor,
    *,
    gain: Number,
    offset: Number,
    read_noise: Number,
    dark: Number = 0.0,
    em_gain: Number | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean and variance of what `expose` reads, far from full well, zero and the last count, before rounding.

    Parameters
    ----------
    photons
        Expected photo-electrons (b, c, [d,] h, w).
    gain, offset, read_noise, dark, em_gain
        As `expose` takes them.

    Returns
    -------
    mean, variance
        In ADU and ADU^2. Rounding adds 1/12.
    """
    a, b = law(gain=gain, offset=offset, read_noise=read_noise, em_gain=em_gain)
    mean = gain * (photons + dark) * (1.0 if em_gain is None else em_gain) + offset
    return mean, a * mean + b


def law(*, gain: Number, offset: Number, read_noise: Number, em_gain: Number | None = None) -> tuple[Number, Number]:
    """The noise law Var[y] = a E[y] + b of a camera.

    Parameters
    ----------
    gain, offset, read_noise, em_gain
        As `expose` takes them.

    Returns
    -------
    a, b
        In ADU and ADU^2: a = gain and b = (gain read_noise)^2 - gain offset; with a multiplier a = 2 gain em_gain.
    """
    a = gain if em_gain is None else EXCESS * gain * em_gain
    return a, (gain * read_noise) ** 2 - a * offset


def scmos_maps(
    shape: Sequence[int],
    generator: torch.Generator,
    *,
    gain: float = 0.46,
    offset: float = 100.0,
    read_noise: float = 1.0,
    gain_spread: float = 0.015,
    offset_spread: float = 2.0,
    noise_spread: float = 0.2,
    hot: float = 0.01,
) -> PixelMaps:
    """Draw the pixels of a scientific CMOS sensor.

    Parameters
    ----------
    shape
        Of each map, usually (1, 1, h, w): the pixels keep their places over batches, channels and planes.
    generator
        Of all draws.
    gain
        Mean, ADU an electron.
    offset
        Mean, ADU.
    read_noise
        Median, electrons.
    gain_spread
        Standard deviation of the gain, relative.
    offset_spread
        Standard deviation of the offset, ADU.
    noise_spread
        Standard deviation of the logarithm of the read noise.
    hot
        Share of pixels with two to many times (exponential, four on average) the read noise: random telegraph noise.

    Returns
    -------
    PixelMaps
        float32, each of `shape`.

    References
    ----------
    Huang et al. 2013 (Nature Methods 10, 653): maps of read noise with a long tail, median about 1 electron and
    root mean square about 1.6.
    """
    if not 0 <= hot <= 1:
        raise OptionError(f"hot is {hot}; expected a share of pixels, 0 to 1")
    device = generator.device
    normal = torch.randn((3, *shape), generator=generator, device=device)
    chance = torch.rand((2, *shape), generator=generator, device=device)
    tail = torch.where(chance[0] < hot, 2 - 2 * torch.log1p(-chance[1]), 1)
    return PixelMaps(
        gain * (1 + gain_spread * normal[0].clamp(-4, 4)),
        offset + offset_spread * normal[1].clamp(-4, 4),
        read_noise * torch.exp(noise_spread * normal[2]) * tail,
    )


def bin_photons(photons: Tensor, factor: int | Sequence[int]) -> Tensor:
    """Sum the photons that fall on each larger pixel.

    A coarser camera sees sums of photons and then draws its noise: never bin or resample what is noisy already.

    Parameters
    ----------
    photons
        (..., [d,] h, w).
    factor
        Small pixels along a large one, in rows and columns, or one for each of the last axes.

    Returns
    -------
    Tensor
        The last axes divided by their factors.

    Raises
    ------
    InputError
        Where a side is no multiple of its factor.
    """
    factors = (factor, factor) if isinstance(factor, int) else tuple(factor)
    sides = photons.shape[-len(factors) :]
    if any(side % f for side, f in zip(sides, factors)):
        raise InputError(f"sides {tuple(sides)} are no multiples of {factors}; crop the image first")
    blocks = [n for side, f in zip(sides, factors) for n in (side // f, f)]
    split = photons.reshape(*photons.shape[: -len(factors)], *blocks)
    return split.sum(dim=tuple(range(-2 * len(factors) + 1, 0, 2)))
