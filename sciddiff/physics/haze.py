"""Multispectral haze: I_b = J_b t_b + A_b (1 - t_b), in linear top-of-atmosphere reflectance or radiance.

One density field gives the transmission t1 at the reference wavelength of 0.443 um; the other bands follow by an
Angstrom-type law whose exponent depends on the thickness, t_b = exp((0.443 / lambda_b)^gamma ln t1): thin haze
dims the blue much more than the infrared, thick haze is grey.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciddiff.errors import InputError, OptionError
from sciddiff.io.bands import match_bands
from sciddiff.physics.fractal import fractal_noise, uniform

REFERENCE = 0.443
"""Wavelength of the reference transmission in um."""

WAVELENGTHS: Mapping[str, Mapping[str, float]] = {
    "generic": {
        "coastal": 0.443, "blue": 0.490, "green": 0.560, "yellow": 0.605, "red": 0.665, "rededge1": 0.705,
        "rededge2": 0.740, "rededge3": 0.783, "nir": 0.842, "nir_narrow": 0.865, "water_vapour": 0.945,
        "cirrus": 1.375, "swir1": 1.610, "swir2": 2.190,
    },
    "sentinel2": {
        "B01": 0.443, "B02": 0.490, "B03": 0.560, "B04": 0.665, "B05": 0.705, "B06": 0.740, "B07": 0.783,
        "B08": 0.842, "B8A": 0.865, "B09": 0.945, "B10": 1.375, "B11": 1.610, "B12": 2.190,
    },
    "landsat8": {
        "coastal": 0.4430, "blue": 0.4825, "green": 0.5625, "red": 0.6550, "nir": 0.8650, "swir1": 1.6100,
        "swir2": 2.2000, "cirrus": 1.3735,
    },
    "landsat7": {"blue": 0.485, "green": 0.560, "red": 0.660, "nir": 0.835, "swir1": 1.650, "swir2": 2.220},
    "quickbird": {"blue": 0.485, "green": 0.560, "red": 0.660, "nir": 0.830},
    "ikonos": {"blue": 0.480, "green": 0.551, "red": 0.665, "nir": 0.805},
    "geoeye1": {"blue": 0.480, "green": 0.545, "red": 0.673, "nir": 0.850},
    "worldview2": {
        "coastal": 0.425, "blue": 0.480, "green": 0.545, "yellow": 0.605, "red": 0.660, "rededge": 0.725,
        "nir1": 0.833, "nir2": 0.950,
    },
    "worldview3": {
        "coastal": 0.425, "blue": 0.480, "green": 0.545, "yellow": 0.605, "red": 0.660, "rededge": 0.725,
        "nir1": 0.833, "nir2": 0.950,
    },
    "worldview4": {"blue": 0.480, "green": 0.545, "red": 0.673, "nir": 0.850},
    "gaofen2": {"blue": 0.485, "green": 0.555, "red": 0.660, "nir": 0.830},
}  # fmt: skip
"""Centre of each band in um: the operators' own figures, or the middle of the band's published limits. The generic
sensor has the centres of Sentinel-2 under the common names."""

MEAN_LIGHT: Mapping[float, float] = {
    0.4430: 0.4676, 0.4825: 0.4556, 0.5625: 0.4893, 0.6550: 0.5147, 0.8650: 0.6082, 1.6100: 0.5750, 2.2000: 0.5435,
}  # fmt: skip
"""Atmospheric light by wavelength in um: reflectance of Landsat-8 bands 1 to 7, averaged over 77 hazy scenes."""

GAMMA = (-21.547, 41.224, -27.465, 6.537)
"""Coefficients of the exponent in u = 1 - t1, highest power first."""

LOWEST = 1e-3
"""Transmission below which the model no longer tells thicknesses apart; keeps the logarithm finite."""

KNOTS = 513
"""Thicknesses at which the wavelength law is tabulated for its inverse."""

_ABSORBED = ((0.93, 0.96), (1.33, 1.45))  # um, water vapour: bands that see little of the ground


class Haze(NamedTuple):
    """A simulated hazy scene: `hazy` and `transmission` (b, c, h, w), `light` (b, c)."""

    hazy: Tensor
    transmission: Tensor
    light: Tensor


def wavelengths(sensor: str, bands: Sequence[str]) -> list[float]:
    """Centre wavelength of each band in um, by the band's name in the sensor's table or a usual alias of it.

    Parameters
    ----------
    sensor
        A key of `WAVELENGTHS`; `generic` knows the common names.
    bands
        Band names, such as B02, blue or nir.

    Returns
    -------
    list of float
        One wavelength for each band.

    Raises
    ------
    OptionError
        Where the sensor or bands are not known; names them all.
    """
    if sensor not in WAVELENGTHS:
        raise OptionError(f"unknown sensor {sensor!r}; known are {', '.join(WAVELENGTHS)}")
    table = WAVELENGTHS[sensor]
    numbering = None if sensor == "generic" else sensor
    found: list[float] = []
    unknown: list[str] = []
    for band in bands:
        try:
            name = band if band in table else list(table)[match_bands([band], list(table), sensor=numbering)[0]]
        except InputError:
            unknown.append(band)
            continue
        found.append(table[name])
    if unknown:
        raise OptionError(
            f"no wavelength is known for {', '.join(unknown)} of sensor {sensor!r} (known: {', '.join(table)}); "
            "give the bands' wavelengths in micrometres"
        )
    return found


def angstrom_exponent(t1: Tensor) -> Tensor:
    """Exponent gamma of the wavelength law from the reference transmission: 4 for thin haze, 0 for thick.

    Parameters
    ----------
    t1
        Transmission at 0.443 um in (0, 1], any shape.

    Returns
    -------
    Tensor
        Same shape: a cubic in 1 - t1, clipped to [0, 4].
    """
    u = 1 - t1
    gamma = torch.zeros_like(u)
    for coefficient in GAMMA:
        gamma = gamma * u + coefficient
    return gamma.clamp(0, 4)


def transmission(t1: Tensor, wavelengths: Sequence[float]) -> Tensor:
    """Transmission of every band from that at the reference wavelength.

    Parameters
    ----------
    t1
        Transmission at 0.443 um, (b, 1, h, w); values below `LOWEST` are taken as that.
    wavelengths
        Centres of the c bands in um.

    Returns
    -------
    Tensor
        (b, c, h, w).
    """
    t1 = t1.clamp(min=LOWEST)
    ratio = REFERENCE / torch.tensor(wavelengths, dtype=t1.dtype, device=t1.device)[:, None, None]
    return torch.exp(ratio ** angstrom_exponent(t1) * torch.log(t1))


def reference_transmission(through: Tensor, wavelengths: Sequence[float]) -> Tensor:
    """Transmission at the reference wavelength that each band's own tells: the inverse of `transmission`.

    Parameters
    ----------
    through
        Transmission of each band, (b, c, h, w); what is outside [`LOWEST`, 1] is taken as the nearer end.
    wavelengths
        Centres of the c bands in um.

    Returns
    -------
    Tensor
        (b, c, h, w). Interpolated between `KNOTS` thicknesses, to about 1e-4 in the visible; in the infrared a thin
        haze hardly shows, and the answer is as unsure as the band.
    """
    knots = torch.linspace(LOWEST, 1, KNOTS, dtype=through.dtype, device=through.device)
    table = transmission(knots[None, None, None], wavelengths)[0, :, 0]  # c n, rising
    flat = through.transpose(0, 1).flatten(1).contiguous()
    upper = torch.searchsorted(table, flat).clamp(1, KNOTS - 1)
    low, high = table.gather(1, upper - 1), table.gather(1, upper)
    part = ((flat - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    found = torch.lerp(knots[upper - 1], knots[upper], part)
    return found.unflatten(1, (-1, *through.shape[2:])).transpose(0, 1)


def mean_light(wavelengths: Sequence[float]) -> list[float]:
    """Mean atmospheric light of each band, interpolated in wavelength (um) and constant beyond the table's ends."""
    return np.interp(wavelengths, list(MEAN_LIGHT), list(MEAN_LIGHT.values())).tolist()


def atmospheric_light(scene: Tensor, wavelengths: Sequence[float]) -> Tensor:
    """Atmospheric light of a scene, stabilised by the mean spectrum of many.

    A = 0.1 A_scene + 0.9 A_mean r, at most 1, where A_scene is the mean of the brightest 0.01 % of the pixels and r the
    ratio of A_scene to A_mean in the two bands of longest wavelength (Landsat-8 bands 6 and 7).

    Parameters
    ----------
    scene
        Reflectance, (b, c, h, w). Pixels with NaN are passed over.
    wavelengths
        Centres of the c bands in um.

    Returns
    -------
    Tensor
        (b, c).
    """
    brightness = scene.mean(1).flatten(1).nan_to_num(nan=-math.inf)
    count = max(1, math.ceil(1e-4 * brightness.shape[1]))
    brightest = brightness.topk(count, dim=1).indices
    own = scene.flatten(2).gather(2, brightest[:, None].expand(-1, scene.shape[1], -1)).mean(2)
    mean = torch.tensor(mean_light(wavelengths), dtype=scene.dtype, device=scene.device)
    longest = _longest(wavelengths)
    ratio = own[:, longest].mean(1, keepdim=True) / mean[longest].mean()
    return (0.1 * own + 0.9 * mean * ratio).clamp(max=1)


def _longest(wavelengths: Sequence[float]) -> list[int]:
    """The two bands of longest wavelength outside strong water vapour absorption, or of all if there are no others."""
    order = sorted(range(len(wavelengths)), key=lambda at: wavelengths[at])
    open_air = [at for at in order if not any(low < wavelengths[at] < high for low, high in _ABSORBED)]
    return (open_air or order)[-2:]


def scatter(clean: Tensor, transmission: Tensor, *, light: Tensor) -> Tensor:
    """A scene seen through haze: J t + A (1 - t).

    Parameters
    ----------
    clean
        (b, c, h, w), reflectance or radiance.
    transmission
        (b, c, h, w), in [0, 1].
    light
        Atmospheric light in the unit of `clean`, (c,) or (b, c).

    Returns
    -------
    Tensor
        (b, c, h, w).
    """
    return clean * transmission + light[..., None, None] * (1 - transmission)


def unscatter(hazy: Tensor, transmission: Tensor, *, light: Tensor, t_min: float = 0.1) -> Tensor:
    """The scene behind haze of known transmission: (I - A (1 - t)) / max(t, t_min).

    Parameters
    ----------
    hazy
        (b, c, h, w), reflectance or radiance.
    transmission
        (b, c, h, w), in [0, 1].
    light
        Atmospheric light in the unit of `hazy`, (c,) or (b, c).
    t_min
        Transmission below which nothing is extrapolated: there the result is no measurement.

    Returns
    -------
    Tensor
        (b, c, h, w).
    """
    return (hazy - light[..., None, None] * (1 - transmission)) / transmission.clamp(min=t_min)


def draw_haze(
    clean: Tensor,
    wavelengths: Sequence[float],
    *,
    generator: torch.Generator | None,
    strength: tuple[float, float] = (0.05, 1.0),
    light: Tensor | None = None,
    even: float = 0.0,
) -> Haze:
    """Cover scenes with random haze, from thin to thick, of a density that varies over the scene.

    Haze over a dark lake is as bright as over a town: a window's own brightest pixels do not tell its light. So the
    light is the mean of many scenes at a level that varies, unless it is given, say from `atmospheric_light` of the
    whole scene.

    Parameters
    ----------
    clean
        Reflectance, (b, c, h, w).
    wavelengths
        Centres of the c bands in um.
    generator
        Source of randomness; None gives the middle of each range on the density field of seed 0.
    strength
        Range of w in t1 = 1 - w c with the density c in [0, 1], drawn uniformly in its logarithm.
    light
        Atmospheric light, (c,) or (b, c); else that of `mean_light` times 0.8 to 1.2 (an assumed range).
    even
        Share of the scenes of whose haze a part, uniform in 0 to 1 of it, is the same everywhere: a veil, as the air is
        one, under or over a haze that varies.

    Returns
    -------
    Haze
        The hazy scene, the transmission of each band and the atmospheric light.
    """
    b, c, h, w = clean.shape
    weight = uniform(generator, (b, 1, 1), low=math.log(strength[0]), high=math.log(strength[1])).exp()
    beta = uniform(generator, (b,), low=2.6, high=4.0)
    lowest = uniform(generator, (b,), low=0.5, high=3.0)
    field = fractal_noise((b, h, w), generator=generator, beta=beta, lowest=lowest, device=clean.device)
    low, high = field.amin((1, 2), keepdim=True), field.amax((1, 2), keepdim=True)
    density = (field - low) / torch.where(high > low, high - low, 1)
    if even:
        chosen = uniform(generator, (b, 1, 1), low=0, high=1) < even
        veil = torch.where(chosen, uniform(generator, (b, 1, 1), low=0, high=1), 0).to(density)
        density = torch.lerp(density, torch.ones_like(density), veil)
    t1 = 1 - weight.to(clean.device) * density
    through = transmission(t1[:, None].to(clean.dtype), wavelengths)
    if light is None:
        light = torch.tensor(mean_light(wavelengths)) * uniform(generator, (b, 1), low=0.8, high=1.2).cpu()
    light = light.to(clean).expand(b, c)
    return Haze(scatter(clean, through, light=light), through, light)
