"""Fractal random fields, windows of them, and the draws of parameters that the simulations share.

A field is white noise whose spectrum is multiplied by f^(-beta/2) (spectral synthesis, Voss 1985), so that its power
falls as f^-beta in two dimensions: beta = 2 H + 2 for the Hurst exponent H. It is periodic over its own window.
"""

import torch
from torch import Tensor

from sciddiff.errors import OptionError


def uniform(generator: torch.Generator | None, size: tuple[int, ...], *, low: float, high: float) -> Tensor:
    """Uniform numbers in [low, high), or the middle of the range where there is no generator.

    Parameters
    ----------
    generator
        Source of randomness; the numbers lie on its device.
    size
        Shape of the result.
    low, high
        The range.

    Returns
    -------
    Tensor
        Of `size`, float32.
    """
    if generator is None:
        return torch.full(size, (low + high) / 2)
    return low + (high - low) * torch.rand(size, generator=generator, device=generator.device)


def normal(generator: torch.Generator | None, size: tuple[int, ...]) -> Tensor:
    """Standard normal numbers on the generator's device, float32; zeros where there is no generator."""
    if generator is None:
        return torch.zeros(size)
    return torch.randn(size, generator=generator, device=generator.device)


def fractal_noise(
    shape: tuple[int, int, int],
    *,
    generator: torch.Generator | None,
    beta: float | Tensor = 3.0,
    lowest: float | Tensor = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Random fields with the spectrum f^-beta, each with mean 0 and variance 1.

    Parameters
    ----------
    shape
        (b, h, w).
    generator
        Source of randomness. A field has no nominal value: None gives the fields of seed 0.
    beta
        Exponent of the spectral power, one or (b,): 2 is rough, 4 smooth; 2.67 follows the -5/3 law of clouds.
    lowest
        Cycles along the longer side up to which the power is flat, one or (b,): the size of the largest structures.
    device
        Of the result; the generator's own where not given. The draw is made on the generator's device, so that one
        seed means one field on every device.

    Returns
    -------
    Tensor
        (b, h, w), float32. A window of one pixel is 0.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    white = torch.randn(shape, generator=generator, device=generator.device)
    white = white if device is None else white.to(device)
    _, h, w = shape
    down = torch.fft.fftfreq(h, device=white.device)[:, None]
    along = torch.fft.rfftfreq(w, device=white.device)[None]
    cycles = torch.sqrt(down**2 + along**2) * max(h, w)
    beta, lowest = (torch.as_tensor(each, device=white.device).reshape(-1, 1, 1) for each in (beta, lowest))
    gain = torch.maximum(cycles, lowest.clamp(min=1e-3)) ** (-beta / 2)
    gain = torch.where(cycles > 0, gain, 0)
    field = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(h, w))
    field = field - field.mean((1, 2), keepdim=True)
    spread = field.square().mean((1, 2), keepdim=True).sqrt()
    return field / torch.where(spread > 0, spread, 1)


def quantile(values: Tensor, share: Tensor) -> Tensor:
    """Quantile of each field at its own share, linear between neighbours; (b, 1, 1) from (b, h, w)."""
    ordered = values.flatten(1).sort(1).values
    at = (share.reshape(-1, 1).expand(len(values), 1) * (ordered.shape[1] - 1)).clamp(min=0)
    lower = at.floor().long().clamp(max=ordered.shape[1] - 1)
    upper = (lower + 1).clamp(max=ordered.shape[1] - 1)
    return torch.lerp(ordered.gather(1, lower), ordered.gather(1, upper), at - lower)[..., None]


def displaced(field: Tensor, shift: Tensor, *, origin: Tensor, size: tuple[int, int]) -> Tensor:
    """A window of a larger field, displaced by parts of pixels: result(x) = field(origin + x - shift), bilinear.

    Parameters
    ----------
    field
        (b, H, W).
    shift
        Rows and columns, (b, 2).
    origin
        First row and column of the window in the field, (b, 2).
    size
        (h, w) of the window.

    Returns
    -------
    Tensor
        (b, h, w). Whole shifts copy the field exactly.

    Raises
    ------
    OptionError
        Where the field does not hold all that the window reads: nothing wraps round.
    """
    start = origin.to(shift) - shift
    whole = start.floor()
    part = (start - whole).to(field)
    room = torch.tensor(field.shape[1:], device=start.device)
    end = whole + torch.tensor(size, device=start.device) + (start > whole)
    if (whole < 0).any() or (end > room).any():
        raise OptionError(f"a field of {tuple(field.shape[1:])} pixels is too small for a shift of {shift.tolist()}")
    batch = torch.arange(len(field), device=field.device)[:, None, None]
    rows, cols = (_lines(whole[:, axis], size[axis], limit=field.shape[1 + axis]).to(field.device) for axis in (0, 1))
    window = field[batch, rows[:, :, None], cols[:, None, :]]
    down, along = part[:, 0, None, None], part[:, 1, None, None]
    window = window[:, :-1] * (1 - down) + window[:, 1:] * down
    return window[:, :, :-1] * (1 - along) + window[:, :, 1:] * along


def field_layout(shift: Tensor, size: tuple[int, int], *, margin: int) -> tuple[tuple[int, int], Tensor]:
    """Field large enough for a window and for what is displaced into it.

    Parameters
    ----------
    shift
        Of what casts upon the window, rows and columns in pixels, (b, 2).
    size
        (h, w) of the window.
    margin
        Pixels to spare on all sides.

    Returns
    -------
    size : tuple of int
        (H, W) of the field: padded only on the side from which that comes.
    origin : Tensor
        First row and column of each window in it, (b, 2), int64.
    """
    reach = shift.abs().ceil()
    most = [int(each) for each in reach.amax(0).tolist()]
    origin = margin + torch.where(shift > 0, reach, 0).long()
    return (size[0] + most[0] + 2 * margin, size[1] + most[1] + 2 * margin), origin


def nearest_apart(shift: Tensor, size: tuple[int, int], *, margin: int) -> Tensor:
    """Shifts shortened to where the window and the source of what falls into it no longer meet.

    Beyond that nothing is seen together with what it casts, and a longer shift would only cost a larger field.
    """
    room = torch.tensor(size) + 2 * margin
    return shift / (shift.abs() / room).amax(1, keepdim=True).clamp(min=1)


def fade(field: Tensor, floor: float) -> Tensor:
    """Zero up to `floor`, unchanged from twice that, continuous between: labels cut at `floor` are then exact."""
    return torch.minimum(field, 2 * (field - floor).clamp(min=0))


def _lines(first: Tensor, count: int, *, limit: int) -> Tensor:
    """Indices of `count` lines and the next one, (b, count + 1); the next one has no weight where it is not there."""
    return (first[:, None].long() + torch.arange(count + 1, device=first.device)).clamp(max=limit - 1)
