"""Haze of widefield microscopes, for pairs to train by: every plane's light out of focus, and a smooth background.

With a stack, the widefield image of plane z0 is the sum over z of (x_z convolved with h_(z - z0)) + b. With a picture
alone, copies of it stand for the planes that were not taken.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.errors import InputError
from sciddiff.physics.blur import blur, gaussian_blur
from sciddiff.physics.gaussian_psf import widths
from sciddiff.physics.optics import Optics


def widefield(volume: Tensor, psf: Tensor, *, background: Tensor | float = 0.0) -> Tensor:
    """Image a stack: each plane sees the light of all planes within the point spread function.

    Parameters
    ----------
    volume
        Light given off, (b, c, d, h, w).
    psf
        (d', h', w'), odd.
    background
        What broadcasts against the stack, as of `smooth_background`.

    Returns
    -------
    Tensor
        (b, c, d, h, w). Beyond the stack its last planes go on.
    """
    return blur(volume, psf) + background


def widefield_plane(volume: Tensor, psf: Tensor, *, background: Tensor | float = 0.0) -> Tensor:
    """Image the middle plane of a stack, with the light of the others out of focus.

    Parameters
    ----------
    volume
        Light given off, (b, c, d, h, w), d odd.
    psf
        (d, h', w'), odd: as many planes as the stack.
    background
        What broadcasts against the plane.

    Returns
    -------
    Tensor
        (b, c, h, w).

    Raises
    ------
    InputError
        Where stack and point spread function have other numbers of planes.
    """
    b, c, d, h, w = volume.shape
    if psf.shape[0] != d or d % 2 == 0:
        raise InputError(f"stack of {d} planes, point spread function of {psf.shape[0]}; expected one odd number")
    # A plane d above focus is seen through the plane of the spread function that far below: convolution along z.
    kernel = psf.flip((0, 1, 2)).to(volume)
    pad = [psf.shape[2] // 2] * 2 + [psf.shape[1] // 2] * 2
    planes = F.pad(volume.reshape(b * c, d, h, w), pad, mode="replicate")
    return F.conv2d(planes, kernel[None]).reshape(b, c, h, w) + background


def defocused_width(optics: Optics, distance: float) -> float:
    """Standard deviation in um of a Gaussian with the spread, along each axis, of a point out of focus.

    Parameters
    ----------
    optics
        The microscope.
    distance
        From focus, um.

    Returns
    -------
    float
        Root of the sum of the variances in focus and of the cone of light, R^2 / 4 for a disc of radius
        R = |distance| tan(asin(NA / n)).
    """
    focus, _ = widths(optics.na, wavelength=optics.wavelength, index=optics.index)
    radius = abs(distance) * math.tan(math.asin(optics.na / optics.index))
    return math.hypot(focus, radius / 2)


def haze_of_picture(
    image: Tensor, *, optics: Optics, generator: torch.Generator, planes: int = 4, step: float = 1.0, share: float = 0.5
) -> Tensor:
    """Light from planes that were not taken, made of the picture: turned, mirrored, shifted and out of focus.

    Parameters
    ----------
    image
        Light given off in focus, (b, c, h, w), square for turns by 90 degrees (others are mirrored and shifted only).
    optics
        The microscope.
    generator
        Of turns, shifts and weights.
    planes
        Planes on either side of focus together; at distances step, step, 2 step, 2 step, ...
    step
        Between planes, um.
    share
        Mean of the haze over that of the picture.

    Returns
    -------
    Tensor
        (b, c, h, w), to be added to the picture; not negative for a picture that is not.
    """
    total = torch.zeros_like(image)
    weights = torch.rand(planes, generator=generator, device=image.device) + 0.25
    for plane, weight in enumerate(weights / weights.sum()):
        moved = _moved(image, generator)
        # Beyond a third of the picture a blur only takes the mean; wider kernels would cost and change nothing.
        width = min(defocused_width(optics, step * (plane // 2 + 1)) / optics.pixel_size, min(image.shape[-2:]) / 6)
        total = total + weight * gaussian_blur(moved, (width, width))
    return share * total


def _moved(image: Tensor, generator: torch.Generator) -> Tensor:
    turn, mirror, down, right = (
        int(torch.randint(high, (), generator=generator, device=image.device))
        for high in (4, 2, image.shape[-2], image.shape[-1])
    )
    if image.shape[-2] != image.shape[-1]:
        turn = 2 * (turn // 2)
    turned = torch.rot90(image, turn, (-2, -1))
    return (turned.flip(-1) if mirror else turned).roll((down, right), (-2, -1))


def smooth_background(
    shape: tuple[int, ...], generator: torch.Generator, *, level: float, width: float, contrast: float = 0.3
) -> Tensor:
    """Draw a smooth, positive field: light from far out of focus, from the medium, and the sample's own.

    Parameters
    ----------
    shape
        (b, c, h, w) or (b, c, d, h, w).
    generator
        Of the draw.
    level
        Mean.
    width
        Standard deviation in pixels of the Gaussian that smooths white noise in the plane.
    contrast
        Standard deviation of the field's logarithm.

    Returns
    -------
    Tensor
        Log-normal, of `shape`; one draw for all planes of a stack.
    """
    plane = (*shape[:2], *shape[-2:])
    # Smoothed on a grid of about a third of the width, then interpolated: the same field, at a fraction of the cost.
    coarse = max(1, int(width / 3))
    reach = math.ceil(4 * width / coarse)
    side = [math.ceil(n / coarse) + 2 * reach + 1 for n in shape[-2:]]
    noise = torch.randn((*plane[:2], *side), generator=generator, device=generator.device)
    smooth = gaussian_blur(noise, (width / coarse,) * 2)[..., reach:-reach, reach:-reach]
    smooth = smooth * (2 * math.sqrt(math.pi) * width / coarse)  # back to unit variance
    fine = [(n - 1) * coarse + 1 for n in smooth.shape[-2:]]
    field = F.interpolate(smooth, size=fine, mode="bicubic", align_corners=True)[..., : shape[-2], : shape[-1]]
    result = level * torch.exp(contrast * field - contrast**2 / 2)
    return result if len(shape) == 4 else result[:, :, None].expand(shape)
