"""Clouds with the shadows they cast, linked by the geometry of sun and view.

The opacity of a cloud is a smoothstep of a fractal field. Its shadow is the same field displaced, in pixels, by
d = (h / GSD) [tan(theta_s) u(phi_s + 180) - tan(theta_v) u(phi_v + 180)], u(phi) = (-cos phi, sin phi): rows grow
south, columns east. Composite: out = J [1 - s (1 - D)] (1 - a) + A a, with the shadow s, the opacity a, the cloud's
reflectance A and the diffuse share D of the irradiance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sciddiff.physics.fractal import displaced, fade, field_layout, fractal_noise, nearest_apart, quantile, uniform
from sciddiff.physics.sensor import line_kernels

CLEAR, THIN, THICK, SHADOW = 0, 1, 2, 3
"""Classes of pixels."""

THIN_FROM, THICK_FROM, SHADOW_FROM = 0.05, 0.5, 0.1
"""Opacities above which a pixel is thin and thick cloud, and shadow above which one outside the cloud is shadow.
Below the first and the last there is none at all."""

SOLAR_RADIUS, VISIBLE = 0.27, 0.55
"""Half the angle of the sun's disc in degrees; wavelength in um at which opacity is meant."""

DIFFUSE: Mapping[float, float] = {0.4825: 0.35, 0.5625: 0.25, 0.6550: 0.18, 0.8650: 0.12, 1.6100: 0.05}
"""Diffuse share of the irradiance by wavelength in um: assumed, not measured."""

_MARGIN = 8  # pixels beyond what the displacement and the penumbra need


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where sun and sensor stand, and how high the cloud is; one number, or (b,) for each scene.

    Degrees; azimuths from north over east, from the ground to the sun and to the sensor. `gsd`, `height` in metres.
    """

    sun_zenith: float | Tensor
    sun_azimuth: float | Tensor
    view_zenith: float | Tensor = 0.0
    view_azimuth: float | Tensor = 0.0
    gsd: float | Tensor = 10.0
    height: float | Tensor = 1500.0


class Clouds(NamedTuple):
    """A cloudy scene (b, c, h, w), its `classes` (b, h, w) uint8, and `alpha` and `shadow` (b, 1, h, w).

    `alpha` is the opacity at 0.55 um. Pixels of class CLEAR are those where both are exactly 0.
    """

    cloudy: Tensor
    classes: Tensor
    alpha: Tensor
    shadow: Tensor


def displacement(geometry: Geometry) -> Tensor:
    """From a cloud's image to its shadow's, in pixels (rows south, columns east).

    Parameters
    ----------
    geometry
        Numbers, or (b,) each.

    Returns
    -------
    Tensor
        (2,) or (b, 2), float64.
    """
    sun = _away(geometry.sun_zenith, geometry.sun_azimuth)
    view = _away(geometry.view_zenith, geometry.view_azimuth)
    return (_double(geometry.height) / _double(geometry.gsd))[..., None] * (sun - view)


def penumbra(geometry: Geometry) -> Tensor:
    """Standard deviation of the shadow's edge from the sun's disc, in pixels: h tan(0.27 deg) / GSD, float64."""
    return 0.5 * _double(geometry.height) * 2 * math.tan(math.radians(SOLAR_RADIUS)) / _double(geometry.gsd)


def opacity(
    field: Tensor, *, cover: float | Tensor, softness: float | Tensor, peak: float | Tensor, visible: Tensor
) -> Tensor:
    """Opacity of clouds that cover a given share of the visible window: peak smoothstep((n - q) / softness).

    Parameters
    ----------
    field
        Fractal field n, (b, H, W), with variance 1.
    cover
        Share of the visible pixels with n above the quantile q, in [0, 1]; one or (b,).
    softness
        Rise of the field from edge to core, one or (b,); 0.05 to 0.3 for clouds.
    peak
        Opacity of the core, one or (b,).
    visible
        The part of `field` that is seen, (b, h, w).

    Returns
    -------
    Tensor
        (b, H, W).
    """
    cover, softness, peak = (torch.as_tensor(each).to(field).reshape(-1, 1, 1) for each in (cover, softness, peak))
    rise = ((field - quantile(visible, 1 - cover)) / softness).clamp(0, 1)
    return peak * rise * rise * (3 - 2 * rise)


def spectral_opacity(alpha: Tensor, wavelengths: Sequence[float], *, exponent: float | Tensor = 0.0) -> Tensor:
    """Opacity of every band from the optical thickness: 1 - exp(-tau (0.55 / lambda)^g), tau = -ln(1 - alpha).

    Parameters
    ----------
    alpha
        Opacity at 0.55 um, (b, 1, h, w).
    wavelengths
        Centres of the c bands in um.
    exponent
        The exponent g, one or (b,): 0 for water clouds, up to 1 for thin cirrus.

    Returns
    -------
    Tensor
        (b, c, h, w); exactly 0 where `alpha` is.
    """
    ratio = VISIBLE / torch.tensor(wavelengths, dtype=alpha.dtype, device=alpha.device)[:, None, None]
    power = torch.as_tensor(exponent).to(alpha).reshape(-1, 1, 1, 1)
    thickness = -torch.log1p(-alpha.clamp(max=1 - 1e-6))  # an opaque cloud keeps a finite one
    return -torch.expm1(-thickness * ratio**power)


def cast_shadow(alpha: Tensor, shift: Tensor, *, blur: Tensor, origin: Tensor, size: tuple[int, int]) -> Tensor:
    """Shadow in a window: the opacity displaced and softened by the penumbra.

    Parameters
    ----------
    alpha
        Opacity on the padded field, (b, H, W).
    shift
        From cloud to shadow in pixels, (b, 2).
    blur
        Standard deviation of the penumbra in pixels, (b,).
    origin
        First row and column of the window in the field, (b, 2).
    size
        (h, w) of the window.

    Returns
    -------
    Tensor
        (b, h, w), in [0, 1].
    """
    radius = _radius(blur)
    wide = displaced(alpha, shift, origin=origin - radius, size=(size[0] + 2 * radius, size[1] + 2 * radius))
    sigma = blur.clamp(min=1e-2).to(alpha)
    taps = line_kernels(sigma, radius, shift=torch.zeros_like(sigma), even=False)
    image = F.conv2d(wide[None], taps[:, None, :, None], groups=len(alpha))
    return F.conv2d(image, taps[:, None, None, :], groups=len(alpha))[0]


def diffuse_share(wavelengths: Sequence[float]) -> list[float]:
    """Diffuse share of each band's irradiance, interpolated in wavelength (um) and constant beyond the table's ends."""
    return np.interp(wavelengths, list(DIFFUSE), list(DIFFUSE.values())).tolist()


def composite(clean: Tensor, alpha: Tensor, *, shadow: Tensor, light: Tensor, diffuse: Tensor) -> Tensor:
    """A scene under clouds and their shadows: J [1 - s (1 - D)] (1 - a) + A a.

    Parameters
    ----------
    clean
        Reflectance or radiance J, (b, c, h, w).
    alpha
        Opacity a, (b, 1, h, w) or (b, c, h, w).
    shadow
        Shadow s on the ground, (b, 1, h, w).
    light
        Reflectance A of the cloud in the unit of `clean`, broadcast to (b, c, h, w).
    diffuse
        Diffuse share D of the irradiance, (c,).

    Returns
    -------
    Tensor
        (b, c, h, w); equal to `clean` bit for bit where `alpha` and `shadow` are 0.
    """
    ground = clean * (1 - shadow * (1 - diffuse[:, None, None]))
    return ground * (1 - alpha) + light * alpha


def classify(alpha: Tensor, shadow: Tensor) -> Tensor:
    """Class of each pixel, uint8: THICK or THIN by the opacity, else SHADOW where any is left, else CLEAR.

    Parameters
    ----------
    alpha, shadow
        Faded by `THIN_FROM` and `SHADOW_FROM` (see `fade`), of one shape.
    """
    cloud = torch.where(alpha > THICK_FROM, THICK, torch.where(alpha > 0, THIN, CLEAR))
    return torch.where((alpha == 0) & (shadow > 0), SHADOW, cloud).to(torch.uint8)


def draw_geometry(b: int, generator: torch.Generator | None, *, gsd: float, high: Tensor | bool = False) -> Geometry:
    """Random sun, view and cloud height.

    Parameters
    ----------
    b
        Scenes.
    generator
        Source of randomness; None gives the middle of each range, the sun in the south.
    gsd
        Ground sampling distance in metres.
    high
        Which scenes have cirrus at 6 to 12 km instead of low clouds at 0.5 to 3 km, one or (b,).

    Returns
    -------
    Geometry
        With (b,) numbers.
    """
    low_height = uniform(generator, (b,), low=500, high=3000)
    high_height = uniform(generator, (b,), low=6000, high=12000)
    return Geometry(
        sun_zenith=uniform(generator, (b,), low=20, high=60),
        sun_azimuth=uniform(generator, (b,), low=0, high=360),
        view_zenith=uniform(generator, (b,), low=0, high=10),
        view_azimuth=uniform(generator, (b,), low=0, high=360),
        gsd=gsd,
        height=torch.where(torch.as_tensor(high, device=low_height.device), high_height, low_height),
    )


def draw_clouds(
    clean: Tensor,
    wavelengths: Sequence[float],
    *,
    generator: torch.Generator | None,
    cover: tuple[float, float] = (0.1, 0.6),
    gsd: float = 10.0,
    geometry: Geometry | None = None,
    reflectance: Sequence[float] | None = None,
    diffuse: Sequence[float] | None = None,
    cirrus: float = 0.25,
) -> Clouds:
    """Cover scenes with random clouds and the shadows that belong to them.

    Parameters
    ----------
    clean
        Reflectance, (b, c, h, w).
    wavelengths
        Centres of the c bands in um.
    generator
        Source of randomness; None gives the middle of each range on the field of seed 0.
    cover
        Range of the share of the window under cloud.
    gsd
        Ground sampling distance in metres, where no geometry is given.
    geometry
        Of all scenes; drawn where not given.
    reflectance
        Of cloud in each band, as measured (95th percentile of cloudy pixels); else flat, from 0.5 to 0.8.
    diffuse
        Diffuse share of each band's irradiance; else `diffuse_share`.
    cirrus
        Share of scenes with thin high cloud instead of low cloud.

    Returns
    -------
    Clouds
        The cloudy scene, its exact classes, opacity and shadow.
    """
    b, c, h, w = clean.shape
    high = uniform(generator, (b,), low=0, high=1) < cirrus
    geometry = draw_geometry(b, generator, gsd=gsd, high=high) if geometry is None else geometry
    alpha, shadow = _draw_layers((b, h, w), generator, geometry=geometry, cover=cover, high=high, device=clean.device)
    alpha, shadow = alpha[:, None].to(clean.dtype), shadow[:, None].to(clean.dtype)
    exponent = torch.where(high, uniform(generator, (b,), low=0, high=1), 0)
    light = _draw_light((b, c, h, w), generator, reflectance=reflectance).to(clean)
    sky = torch.tensor(diffuse_share(wavelengths) if diffuse is None else diffuse).to(clean)
    through = spectral_opacity(alpha, wavelengths, exponent=exponent)
    cloudy = composite(clean, through, shadow=shadow, light=light, diffuse=sky)
    return Clouds(cloudy, classify(alpha, shadow)[:, 0], alpha, shadow)


def _draw_layers(
    shape: tuple[int, int, int],
    generator: torch.Generator | None,
    *,
    geometry: Geometry,
    cover: tuple[float, float],
    high: Tensor,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Faded opacity and shadow of random clouds, (b, h, w) each."""
    b, h, w = shape
    shift = displacement(geometry).expand(b, 2)
    blur = penumbra(geometry).expand(b)
    margin = _MARGIN + _radius(blur)
    shift = nearest_apart(shift, (h, w), margin=margin)
    padded, origin = field_layout(shift, (h, w), margin=margin)
    grain = uniform(generator, (b,), low=1, high=4) * max(padded) / max(h, w)  # cycles of the window, not of the field
    beta = uniform(generator, (b,), low=2.67, high=3.6)
    field = fractal_noise((b, *padded), generator=generator, beta=beta, lowest=grain, device=device)
    visible = displaced(field, 0 * shift, origin=origin, size=(h, w))
    share = uniform(generator, (b,), low=cover[0], high=cover[1])
    softness = uniform(generator, (b,), low=0.05, high=0.3) * torch.where(high, 5, 1)
    veil, core = uniform(generator, (b,), low=0.15, high=0.5), uniform(generator, (b,), low=0.85, high=0.99)
    peak = torch.where(high, veil, core)
    alpha = fade(opacity(field, cover=share, softness=softness, peak=peak, visible=visible), THIN_FROM)
    shadow = fade(cast_shadow(alpha, shift, blur=blur, origin=origin, size=(h, w)), SHADOW_FROM)
    return displaced(alpha, 0 * shift, origin=origin, size=(h, w)), shadow


def _draw_light(
    shape: tuple[int, int, int, int], generator: torch.Generator | None, *, reflectance: Sequence[float] | None
) -> Tensor:
    """Reflectance of the cloud with a fine texture, (b, c, h, w)."""
    b, c, h, w = shape
    level = uniform(generator, (b, 1), low=0.5, high=0.8)
    jitter = uniform(generator, (b, c), low=0.95, high=1.05)
    noise = fractal_noise((b, h, w), generator=generator, beta=2.0, lowest=8.0)
    texture = 0.9 + 0.2 * torch.special.ndtr(noise)
    level = level if reflectance is None else torch.tensor(reflectance).to(level)[None]
    return (level * jitter)[:, :, None, None] * texture[:, None]


def _double(value: float | Tensor) -> Tensor:
    """A handful of numbers, reckoned on the CPU: not every accelerator has double precision, and none need wait."""
    return torch.as_tensor(value).cpu().double()


def _away(zenith: float | Tensor, azimuth: float | Tensor) -> Tensor:
    """Horizontal way of a ray from above, for one unit of height, away from where it comes from: (..., 2)."""
    slope, heading = torch.tan(torch.deg2rad(_double(zenith))), torch.deg2rad(_double(azimuth) + 180)
    return torch.stack((-slope * torch.cos(heading), slope * torch.sin(heading)), -1)


def _radius(blur: Tensor) -> int:
    """Pixels that the widest penumbra reaches: four standard deviations."""
    return max(1, math.ceil(4 * float(blur.max())))
