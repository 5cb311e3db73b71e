"""Clouds and shadows by tests of single pixels, softened to probabilities.

The tests are those of Fmask (Zhu and Woodcock 2012) for reflectance: clouds are bright, white, and bluer than land of
their brightness (haze-optimised transform, Zhang et al. 2002); shadows are dark in the near infrared beside what is
around, and no water. The thresholds stand between those for the top of the atmosphere and those for the surface.
"""

import torch
from torch import Tensor

HOT_FROM, HOT_WIDTH = 0.07, 0.012
"""Haze-optimised transform, blue - red / 2, at which a cloud is as likely as not, and how softly."""
BRIGHT_FROM, BRIGHT_WIDTH = 0.14, 0.02
"""Mean of blue, green and red, likewise."""
SURE_FROM, SURE_WIDTH = 0.35, 0.03
"""The same mean, beyond which white and hazy pixels are no land but snow and salt."""
WHITE_TO, WHITE_WIDTH = 0.6, 0.08
"""Mean departure of the three from their mean, relative to it, likewise."""
DARK_TO, DARK_WIDTH = 0.7, 0.07
"""Near infrared relative to the clear surroundings, likewise."""
LAND_FROM, LAND_WIDTH = 0.10, 0.02
"""Near infrared of the clear surroundings: where they are water, nothing is told by darkness."""
WATER_FROM, WATER_WIDTH = 0.05, 0.05
"""Normalised difference of green and near infrared from which on a dark pixel is water."""
FLOOR = 1e-3
"""Least reflectance in a ratio."""


def haze_optimised(blue: Tensor, red: Tensor) -> Tensor:
    """Blue less half of red: rises with cloud and haze, hardly with the brightness of land."""
    return blue - 0.5 * red


def cloud_guess(blue: Tensor, green: Tensor, red: Tensor) -> Tensor:
    """Probability of cloud, in 0..1.

    Parameters
    ----------
    blue, green, red
        Reflectance, of one shape.

    Returns
    -------
    Tensor
        Of that shape.
    """
    mean = (blue + green + red) / 3
    departure = ((blue - mean).abs() + (green - mean).abs() + (red - mean).abs()) / 3
    whiteness = 3 * departure / mean.clamp(min=FLOOR)
    hazy = torch.sigmoid((haze_optimised(blue, red) - HOT_FROM) / HOT_WIDTH)
    bright = torch.sigmoid((mean - BRIGHT_FROM) / BRIGHT_WIDTH)
    return hazy * bright * torch.sigmoid((WHITE_TO - whiteness) / WHITE_WIDTH)


def surely_cloud(blue: Tensor, green: Tensor, red: Tensor) -> Tensor:
    """Probability below which cloud cannot be, whatever stands around: that of the tests where the pixel is dazzling.

    Parameters
    ----------
    blue, green, red
        Reflectance, of one shape.

    Returns
    -------
    Tensor
        Of that shape; snow and salt count as cloud.
    """
    dazzling = torch.sigmoid(((blue + green + red) / 3 - SURE_FROM) / SURE_WIDTH)
    return cloud_guess(blue, green, red) * dazzling


def shadow_guess(nir: Tensor, green: Tensor, *, around: Tensor) -> Tensor:
    """Probability of shadow, in 0..1.

    Parameters
    ----------
    nir, green
        Reflectance, of one shape.
    around
        Near infrared of what is clear around.

    Returns
    -------
    Tensor
        Of that shape.
    """
    darkness = nir.clamp(min=FLOOR) / around.clamp(min=FLOOR)
    water = (green - nir) / (green.abs() + nir.abs()).clamp(min=FLOOR)
    dark = torch.sigmoid((DARK_TO - darkness) / DARK_WIDTH)
    land = torch.sigmoid((around - LAND_FROM) / LAND_WIDTH)
    return dark * land * torch.sigmoid((WATER_FROM - water) / WATER_WIDTH)
