"""A microscope's optics: what they pass, how finely it must be sampled, and when more is asked than they pass.

Lengths are in micrometres, frequencies in cycles a micrometre.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from sciddiff.errors import OptionError

Modality = Literal["widefield", "confocal", "two-photon", "light-sheet"]


@dataclass(frozen=True, kw_only=True)
class Optics:
    """A microscope as its point spread function needs it; lengths in um.

    Attributes
    ----------
    na
        Numerical aperture of the objective, below `index`.
    wavelength
        Of the emission, in vacuum.
    index
        Of the immersion medium.
    pixel_size
        In the sample.
    modality
        How light is sent in and collected.
    z_step
        Between planes of a stack.
    excitation
        Wavelength of the excitation, in vacuum; confocal and two-photon microscopes need it.
    pinhole
        Radius of a confocal pinhole in Airy units of the emission (first dark ring: 0.61 wavelength / na).
    sheet
        Standard deviation of the light sheet's profile along z.
    sample_index
        Of the sample's medium; that of immersion where not given.
    depth
        Of the emitter under the coverslip.
    """

    na: float
    wavelength: float
    index: float
    pixel_size: float
    modality: Modality = "widefield"
    z_step: float | None = None
    excitation: float | None = None
    pinhole: float = 1.0
    sheet: float | None = None
    sample_index: float | None = None
    depth: float = 0.0

    def __post_init__(self) -> None:
        faults = [*_wrong_lengths(self), *_missing(self)]
        if self.modality not in get_args(Modality):
            faults.append(f"modality {self.modality!r} is none of {', '.join(get_args(Modality))}")
        if not 0 < self.na < self.index:
            faults.append(f"na {self.na} must be above zero and below the immersion's index {self.index}")
        if faults:
            raise OptionError("; ".join(faults))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Optics":
        """Build from names and numbers, as a recipe or a file's metadata give them.

        Parameters
        ----------
        values
            By the names of the parameters.

        Returns
        -------
        Optics
            Checked.

        Raises
        ------
        OptionError
            For unknown and missing names and impossible numbers, all at once where possible.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = [name for name in ("na", "wavelength", "index", "pixel_size") if name not in values]
        if unknown or missing:
            raise OptionError(
                f"optics have unknown {', '.join(unknown) or 'nothing'} and miss {', '.join(missing) or 'nothing'}; "
                f"known are {', '.join(sorted(known))}"
            )
        return cls(**values)


def _wrong_lengths(optics: Optics) -> list[str]:
    """Lengths that are no micrometres: light and pixels are often given in nanometres by mistake."""
    faults = []
    for name in ("wavelength", "excitation"):
        length = getattr(optics, name)
        if length is not None and not 0.1 <= length <= 5:
            faults.append(f"{name} {length} is no light's in um; expected 0.1 to 5 (525 nm is 0.525)")
    for name in ("pixel_size", "z_step", "pinhole", "sheet"):
        length = getattr(optics, name)
        if length is not None and not 0 < length < math.inf:
            faults.append(f"{name} {length} must be above zero")
    if not optics.depth >= 0:
        faults.append(f"depth {optics.depth} must not be below zero")
    return faults


def _missing(optics: Optics) -> list[str]:
    faults = []
    if optics.modality in ("confocal", "two-photon") and optics.excitation is None:
        faults.append(f"a {optics.modality} microscope needs the excitation's wavelength")
    if optics.modality == "light-sheet" and optics.sheet is None:
        faults.append("a light-sheet microscope needs the sheet's standard deviation along z")
    return faults


def _wavelengths(optics: Optics) -> tuple[float, ...]:
    """Of each passage through the objective: their point spread functions multiply, their bands add."""
    if optics.modality == "confocal":
        return optics.wavelength, float(optics.excitation or 0)
    if optics.modality == "two-photon":
        return (float(optics.excitation or 0),) * 2
    return (optics.wavelength,)


def cutoff(optics: Optics) -> float:
    """Highest lateral frequency that the optics pass, in cycles a um.

    Parameters
    ----------
    optics
        The microscope.

    Returns
    -------
    float
        2 NA / wavelength for each passage of the objective. That of a confocal microscope holds for a closed pinhole;
        from 1 Airy unit on little is left above that of its excitation.
    """
    return sum(2 * optics.na / wavelength for wavelength in _wavelengths(optics))


def axial_cutoff(optics: Optics) -> float:
    """Highest frequency along z that the optics pass, in cycles a um.

    Parameters
    ----------
    optics
        The microscope; a light sheet's own profile is left out.

    Returns
    -------
    float
        (n - sqrt(n^2 - NA^2)) / wavelength for each passage of the objective.
    """
    rise = optics.index - math.sqrt(optics.index**2 - optics.na**2)
    return sum(rise / wavelength for wavelength in _wavelengths(optics))


def nyquist(optics: Optics) -> float:
    """Largest pixel, in um, that samples all that the optics pass: half the period at `cutoff`."""
    return 0.5 / cutoff(optics)


def axial_nyquist(optics: Optics) -> float:
    """Largest distance of planes, in um, that samples all that the optics pass along z."""
    return 0.5 / axial_cutoff(optics)


def warn_sampling(optics: Optics, *, factor: float = 1, z_factor: float = 1) -> tuple[str, ...]:
    """Say where pixels are too coarse for the optics, and where super-resolution asks for more than optics pass.

    Parameters
    ----------
    optics
        The microscope, with the pixels of the input.
    factor
        Of the super-resolution in the plane.
    z_factor
        Of the super-resolution along z.

    Returns
    -------
    tuple of str
        Sentences for a log or a report; none where all is well.
    """
    texts = _warnings("pixel", optics.pixel_size, nyquist(optics), factor)
    if optics.z_step is not None:
        texts += _warnings("plane distance", optics.z_step, axial_nyquist(optics), z_factor)
    return tuple(texts)


def _warnings(what: str, step: float, limit: float, factor: float) -> list[str]:
    texts = []
    if step > limit * (1 + 1e-6):
        texts.append(
            f"{what} {step:.4g} um is coarser than Nyquist of the optics, {limit:.4g} um: "
            f"finer structure is aliased in the input, and what a result shows of it is prior"
        )
    if factor > 1 and step / factor < limit * (1 - 1e-6):
        texts.append(
            f"{what} {step / factor:.4g} um after x{factor:g} is finer than Nyquist of the optics, {limit:.4g} um: "
            f"detail beyond a period of {2 * limit:.4g} um is prior, not data"
        )
    return texts
