"""How a place looks at another date: each kind of surface changes in its own way, under other light and air.

What a pixel becomes is J' = J exp(g_b + sum_j a_jb tanh(2 (q_j - t_j)) + f_b n) + o_b + k_b m, then displaced by a part
of a pixel and noisy. q_j are random mixtures of the standardised bands, so that surfaces that look alike change alike,
as crops and forests do with the season; n and m are fractal fields, of moisture or illumination and of haze.
The form and its ranges are assumptions, wide on purpose.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.physics.fractal import displaced, fractal_noise, normal, quantile, uniform

CLASSES = 2
"""Mixtures of bands by which surfaces are told apart."""
GAIN, CLASS_GAIN, FIELD_GAIN = 0.15, 0.2, 0.08
"""Standard deviations of the logarithm of the gains at full strength: of all, by surface, by place."""
OFFSET, HAZE = 0.008, 0.01
"""Standard deviations in reflectance at full strength: of the offset of a band, of the haze."""
ALIKE = 0.8
"""Correlation of the gains of two bands."""
_EDGE = 2  # pixels beyond the window that a displacement by a part of a pixel reads


def draw_change(
    clean: Tensor,
    *,
    generator: torch.Generator,
    shift: float = 0.5,
    noise: tuple[float, float] = (0.002, 0.02),
    replaced: float = 0.3,
) -> Tensor:
    """Another date of the same place, drawn between hardly changed and another season.

    Parameters
    ----------
    clean
        Reflectance, (b, c, h, w); zero in a band that a scene lacks.
    generator
        Source of randomness, on the device of `clean`.
    shift
        Largest displacement in pixels.
    noise
        Range of the white noise as a share of each band's mean (uniform).
    replaced
        Share of the scenes where up to a tenth of the surface has become something else.

    Returns
    -------
    Tensor
        (b, c, h, w).
    """
    b, c, h, w = clean.shape
    strength = uniform(generator, (b, 1, 1, 1), low=0, high=1) ** 1.5
    gain = GAIN * _alike(generator, (b, c)) + surface_gain(clean, generator=generator)
    field = fractal_noise((2 * b, h, w), generator=generator, beta=3.5)[:, None]
    gain = gain + FIELD_GAIN * field[:b] * _alike(generator, (b, c))
    offset = OFFSET * normal(generator, (b, c, 1, 1)) + HAZE * field[b:] * normal(generator, (b, 1, 1, 1))
    changed = clean * torch.exp(strength * gain) + strength * offset
    changed = _replace(changed, generator=generator, share=replaced)
    changed = _displace(changed, shift * uniform(generator, (b, 2), low=-1, high=1))
    level = uniform(generator, (b, 1, 1, 1), low=noise[0], high=noise[1]) * clean.abs().mean((2, 3), keepdim=True)
    changed = changed + level * normal(generator, (b, c, h, w))
    return torch.where(clean.abs().amax((2, 3), keepdim=True) > 0, changed, 0)


def surface_gain(clean: Tensor, *, generator: torch.Generator) -> Tensor:
    """Logarithm of the gain by the kind of surface, (b, c, h, w): sum_j a_jb tanh(2 (q_j - t_j)).

    Parameters
    ----------
    clean
        See `draw_change`.
    generator
        Source of randomness.
    """
    b, c = clean.shape[:2]
    spread = clean.std((2, 3), keepdim=True)
    standard = (clean - clean.mean((2, 3), keepdim=True)) / torch.where(spread > 0, spread, 1)
    gain = torch.zeros_like(clean)
    for _ in range(CLASSES):
        mixture = (standard * normal(generator, (b, c, 1, 1))).sum(1, keepdim=True)
        mixture = mixture / mixture.std((2, 3), keepdim=True).clamp_min(1e-6)
        threshold = normal(generator, (b, 1, 1, 1))
        gain = gain + CLASS_GAIN * _alike(generator, (b, c)) * torch.tanh(2 * (mixture - threshold))
    return gain


def _alike(generator: torch.Generator, size: tuple[int, int]) -> Tensor:
    """Standard normal numbers for each band, correlated over the bands; (b, c, 1, 1)."""
    common, own = normal(generator, (size[0], 1, 1, 1)), normal(generator, (*size, 1, 1))
    return ALIKE**0.5 * common + (1 - ALIKE) ** 0.5 * own


def _replace(image: Tensor, *, generator: torch.Generator, share: float) -> Tensor:
    """Patches of some scenes become what is found elsewhere in the scene."""
    b, _, h, w = image.shape
    which = (uniform(generator, (b,), low=0, high=1) < share)[:, None, None]
    field = fractal_noise((b, h, w), generator=generator, beta=3.0, lowest=3.0)
    least = quantile(field, 1 - 0.1 * uniform(generator, (b,), low=0, high=1))
    part = ((field - least) / 0.1).clamp(0, 1) * which
    return torch.lerp(image, image.roll((h // 2, w // 2), (2, 3)), part[:, None])


def _displace(image: Tensor, shift: Tensor) -> Tensor:
    """Images moved by parts of a pixel, (b, 2), edges continued."""
    b, c, h, w = image.shape
    padded = F.pad(image, (_EDGE,) * 4, mode="replicate").flatten(0, 1)
    moved = displaced(
        padded,
        shift.repeat_interleave(c, 0).cpu().double(),
        origin=torch.full((b * c, 2), _EDGE),
        size=(h, w),
    )
    return moved.view(b, c, h, w)
