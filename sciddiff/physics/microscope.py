"""The optics that a microscopy file tells of, and the blur that they mean for a grid of pixels and planes."""

import math

from sciddiff.errors import OptionError
from sciddiff.io.stack_profile import StackProfile
from sciddiff.physics.gaussian_psf import widths
from sciddiff.physics.optics import Optics


def optics_of(profile: StackProfile) -> list[Optics | None]:
    """Optics of each channel: numerical aperture, index, emission and pixel size; None where the file lacks one.

    Parameters
    ----------
    profile
        Of a stack.
    """
    objective, size = profile.objective, profile.pixel_size
    if objective is None or objective.na is None or objective.index is None or size.x is None:
        return [None] * len(profile.channels)
    found: list[Optics | None] = []
    for channel in profile.channels:
        try:
            found.append(
                Optics(
                    na=objective.na,
                    wavelength=(channel.emission or 0) / 1000,
                    index=objective.index,
                    pixel_size=size.x,
                    z_step=size.z,
                )
            )
        except OptionError:  # no emission, or numbers that no microscope has
            found.append(None)
    return found


def lateral_width(optics: Optics) -> float:
    """Standard deviation, in pixels, of the Gaussian point spread function in focus."""
    lateral, _ = widths(optics.na, wavelength=optics.wavelength, index=optics.index)
    return lateral / optics.pixel_size


def lateral_gain(optics: Optics) -> float:
    """Gain of the Gaussian point spread function at the Nyquist frequency of the pixels.

    exp(-2 pi^2 s^2 f^2) at f = 1 / (2 pixel).
    """
    lateral, _ = widths(optics.na, wavelength=optics.wavelength, index=optics.index)
    return _gain(lateral, optics.pixel_size)


def axial_gain(optics: Optics) -> float | None:
    """Gain, at the Nyquist frequency of the planes, of what blurs more in depth than across; None without planes."""
    if optics.z_step is None:
        return None
    lateral, axial = widths(optics.na, wavelength=optics.wavelength, index=optics.index)
    return _gain(math.sqrt(max(axial**2 - lateral**2, 0)), optics.z_step)


def _gain(width: float, step: float) -> float:
    return math.exp(-((math.pi * width / step) ** 2) / 2)
