"""Point spread functions in the plane from a pupil with Zernike aberrations: differentiable, in batches."""

import math

import torch
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics.optics import Optics

PADDING = 4
"""Side of the computed field over that of the point spread function, so that its far rings do not wrap into it."""


def orders(index: int) -> tuple[int, int]:
    """Radial degree n and azimuthal frequency m of the Zernike polynomial j = (n (n + 2) + m) / 2 (OSA/ANSI).

    Parameters
    ----------
    index
        From 0: piston, tilts, astigmatism, defocus (4), astigmatism, trefoil, coma (7), coma (8), ...

    Returns
    -------
    n, m
        |m| <= n, n - m even.
    """
    n = math.ceil((-3 + math.sqrt(9 + 8 * index)) / 2)
    return n, 2 * index - n * (n + 2)


def zernike(index: int, rho: Tensor, theta: Tensor) -> Tensor:
    """Zernike polynomial of unit root mean square over the disc.

    Parameters
    ----------
    index
        OSA/ANSI single index.
    rho, theta
        Radius, 1 at the disc's edge, and angle.

    Returns
    -------
    Tensor
        Of their shape.

    References
    ----------
    Thibos, Applegate, Schwiegerling, Webb 2002 (ANSI Z80.28).
    """
    n, m = orders(index)
    k = abs(m)
    radial = torch.zeros_like(rho)
    for s in range((n - k) // 2 + 1):
        numbers = math.factorial(s) * math.factorial((n + k) // 2 - s) * math.factorial((n - k) // 2 - s)
        radial = radial + (-1) ** s * math.factorial(n - s) / numbers * rho ** (n - 2 * s)
    if m == 0:
        return math.sqrt(n + 1) * radial
    return math.sqrt(2 * (n + 1)) * radial * (torch.cos(m * theta) if m > 0 else torch.sin(k * theta))


def pupil_psf(optics: Optics, coefficients: Tensor, *, size: int, defocus: Tensor | float = 0.0) -> Tensor:
    """Point spread functions of aberrated pupils.

    Parameters
    ----------
    optics
        Aperture, wavelength, index and pixel size.
    coefficients
        (b, modes): phases in radians, root mean square over the pupil, of Zernike polynomials from index 0 on.
    size
        Side in pixels, odd.
    defocus
        Distance from focus in um: a number, or one for each of the batch.

    Returns
    -------
    Tensor
        (b, size, size), each summing to one; read at the pixels' centres.

    Raises
    ------
    OptionError
        For an even size.

    References
    ----------
    Goodman 2005, Introduction to Fourier Optics: h = |F(A exp(i sum a_n Z_n + i k z sqrt(n^2 - NA^2 rho^2)))|^2.
    """
    if size % 2 == 0 or size < 1:
        raise OptionError(f"size {size} of a point spread function; expected an odd number")
    # A field sampled finer than half a period of its intensity's band keeps its square free of aliases.
    finer = max(1, math.ceil(optics.pixel_size * 4 * optics.na / optics.wavelength))
    finer += 1 - finer % 2  # odd: then every pixel's centre is a sample
    rho, theta, inside = _disc(optics, PADDING * size * finer, optics.pixel_size / finer, coefficients)
    waves = torch.stack([zernike(j, rho, theta) for j in range(coefficients.shape[1])])
    rise = torch.sqrt((optics.index**2 - (optics.na * rho) ** 2).clamp(min=0)) - optics.index
    distance = torch.as_tensor(defocus, dtype=rho.dtype, device=rho.device).reshape(-1, 1, 1)
    phase = torch.einsum("bm,mhw->bhw", coefficients, waves) + 2 * math.pi / optics.wavelength * distance * rise
    field = torch.fft.fftshift(torch.fft.ifft2(inside * torch.exp(1j * phase)), dim=(-2, -1))
    middle, reach = field.shape[-1] // 2, size // 2 * finer
    cut = slice(middle - reach, middle + reach + 1, finer)
    light = field[:, cut, cut].abs() ** 2
    return light / light.sum((1, 2), keepdim=True)


def _disc(optics: Optics, side: int, step: float, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Radius, angle and transmission of the pupil at the frequencies of a field; its edge lets through a part."""
    frequency = torch.fft.fftfreq(side, step, dtype=like.dtype, device=like.device)
    rows, columns = torch.meshgrid(frequency, frequency, indexing="ij")
    edge = optics.na / optics.wavelength
    rho = torch.hypot(rows, columns) / edge
    cell = 1 / (side * step) / edge
    return rho.clamp(max=1), torch.atan2(rows, columns), ((1 - rho) / cell + 0.5).clamp(0, 1)
