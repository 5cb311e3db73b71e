"""Bare, bright ground in place of a scene's own: what deserts, salt flats and snow do to the light, for training.

Few clear scenes are at hand of places without water, shade or forest; there the darkest object is bright, and what is
taken for haze is ground. Typical spectra, mixed into any scene, make such places.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciddiff.physics.fractal import fractal_noise, normal, uniform


class Ground(NamedTuple):
    """Typical reflectance at `CENTRES`, and how often it is drawn."""

    reflectance: tuple[float, ...]
    share: float


CENTRES = (0.48, 0.56, 0.66, 0.86, 1.61, 2.2)
"""Wavelengths of the typical spectra in um."""
BARE: Mapping[str, Ground] = {
    "dunes": Ground((0.22, 0.33, 0.46, 0.58, 0.68, 0.60), 0.15),
    "dry soil": Ground((0.10, 0.14, 0.19, 0.26, 0.37, 0.31), 0.5),
    "pale soil": Ground((0.18, 0.24, 0.29, 0.34, 0.40, 0.34), 0.25),
    "salt": Ground((0.50, 0.55, 0.58, 0.60, 0.42, 0.28), 0.05),
    "snow": Ground((0.90, 0.90, 0.88, 0.78, 0.10, 0.07), 0.05),
}
"""Round figures of the spectral libraries' classes (dune sand as over Libya-4, playa, halite crust, fresh snow)."""
SPREAD, OWN_SPREAD = 0.2, 0.07
"""Standard deviations of the logarithm of a ground's brightness: of all bands together, and of each band's own."""
COVER = (0.7, 1.0)
"""Range of the share of bare ground in a pixel; the rest is the scene's."""
TEXTURE = (0.02, 0.15)
"""Range of the relative standard deviation of its brightness from place to place."""


def draw_bare(clean: Tensor, wavelengths: Sequence[float], *, generator: torch.Generator) -> Tensor:
    """Scenes whose ground is mostly bare and bright: (1 - f) J + f G, with typical spectra G of random brightness.

    Parameters
    ----------
    clean
        Reflectance J, (b, c, h, w); a band that is zero everywhere is absent and stays so.
    wavelengths
        Centres of the c bands in um.
    generator
        Source of randomness, on the device of `clean`.

    Returns
    -------
    Tensor
        (b, c, h, w).
    """
    b, c, h, w = clean.shape
    there = clean.abs().amax((2, 3), keepdim=True) > 0
    table = np.array([np.interp(wavelengths, CENTRES, ground.reflectance) for ground in BARE.values()])
    shares = torch.tensor([ground.share for ground in BARE.values()], device=clean.device)
    kind = torch.multinomial(shares, b, replacement=True, generator=generator)
    level = SPREAD * normal(generator, (b, 1)) + OWN_SPREAD * normal(generator, (b, c))
    spectrum = torch.from_numpy(table).to(clean)[kind] * level.to(clean).exp()
    beta = uniform(generator, (b,), low=2.0, high=3.0)
    lowest = uniform(generator, (b,), low=1.0, high=6.0)
    relief = fractal_noise((b, h, w), generator=generator, beta=beta, lowest=lowest, device=clean.device)
    depth = uniform(generator, (b, 1, 1), low=TEXTURE[0], high=TEXTURE[1]).to(clean)
    cover = uniform(generator, (b, 1, 1, 1), low=COVER[0], high=COVER[1]).to(clean)
    bare = spectrum[..., None, None] * (1 + depth * relief.to(clean)).clamp_min(0)[:, None]
    return torch.lerp(clean, bare, cover) * there
