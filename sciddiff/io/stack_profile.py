"""What a microscopy file says beside its pixels: axes, sizes, places, channels, the objective."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sciddiff.errors import InputError
from sciddiff.io.units import micrometres

if TYPE_CHECKING:
    from affine import Affine

INDEXES = {"Oil": 1.515, "Water": 1.333, "WaterDipping": 1.333, "Glycerol": 1.47, "Air": 1.0}
"""Nominal refractive indexes of what OME-XML calls immersions."""
FORMAT = "sciddiff-stack/1"


class Spatial(NamedTuple):
    """A number along each axis of space; None where a file does not say."""

    x: float | None = None
    y: float | None = None
    z: float | None = None


class Units(NamedTuple):
    """The unit in which a file says the number along each axis; the numbers themselves are micrometres."""

    x: str = "µm"
    y: str = "µm"
    z: str = "µm"


UNKNOWN = Spatial()
MICROMETRES = Units()


@dataclass(frozen=True)
class Channel:
    """What a file says of one channel."""

    name: str
    colour: str | None = None
    """RRGGBBAA in hexadecimal."""
    emission: float | None = None
    """Wavelength in nm."""
    excitation: float | None = None
    """Wavelength in nm."""
    exposure: float | None = None
    """Of its first plane, in seconds."""
    fluor: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further attributes by their OME names, such as AcquisitionMode or PinholeSize."""


@dataclass(frozen=True)
class Objective:
    """What a file says of the objective."""

    na: float | None = None
    magnification: float | None = None
    """Nominal."""
    immersion: str | None = None
    refractive_index: float | None = None
    """As the file gives it; see `index`."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further attributes by their OME names, such as Model or WorkingDistance."""

    @property
    def index(self) -> float | None:
        """Refractive index of the immersion: as the file gives it, else the nominal one of its kind."""
        return self.refractive_index or INDEXES.get(self.immersion or "")


@dataclass(frozen=True)
class Annotation:
    """Keys and values under a namespace."""

    namespace: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StackProfile:
    """Everything about a stack but its pixels; travels as `image.encoding["stack"]`.

    Lengths are in micrometres and times in seconds, whatever the file's units, which are kept to be written again.
    """

    dtype: str
    channels: tuple[Channel, ...]
    axes: str = "CYX"
    """Of the file, slowest first, letters of TCZYX."""
    pixel_size: Spatial = UNKNOWN
    pixel_unit: Units = MICROMETRES
    position: Spatial = UNKNOWN
    """Of the centre of the first pixel of the first plane on the stage; in micrometres where its unit is a length."""
    position_unit: Units = MICROMETRES
    rise: int = 1
    """1 where planes follow each other upwards on the stage, -1 downwards, 0 where all are said to be at one height."""
    time_increment: float | None = None
    time_unit: str = "s"
    times: tuple[float, ...] = ()
    """Of the first plane of each frame; empty where the file does not say."""
    objective: Objective | None = None
    name: str | None = None
    description: str | None = None
    acquired: str | None = None
    """Date and time by ISO 8601."""
    significant_bits: int | None = None
    microscope: Mapping[str, str] = field(default_factory=dict)
    """By the names of OME: Manufacturer, Model, ..."""
    annotations: tuple[Annotation, ...] = ()
    left_out: tuple[str, ...] = ()
    """What the file says beyond that, by the names of OME: it is not written again."""

    @property
    def names(self) -> tuple[str, ...]:
        """Channel names."""
        return tuple(channel.name for channel in self.channels)

    @property
    def calibrated(self) -> bool:
        """The file says the pixel size along x and y."""
        return self.pixel_size.x is not None and self.pixel_size.y is not None

    @property
    def largest(self) -> int | None:
        """The number that a saturated pixel has; None for floats."""
        if np.dtype(self.dtype).kind not in "iu":
            return None
        limit = int(np.iinfo(self.dtype).max)
        bits = self.significant_bits
        return limit if bits is None or np.dtype(self.dtype).kind == "i" else min(limit, 2**bits - 1)

    def select(self, channels: Sequence[str]) -> "StackProfile":
        """Return the profile of the named channels, in that order; names that it lacks become plain channels.

        Parameters
        ----------
        channels
            Names.
        """
        known = {channel.name: channel for channel in self.channels}
        return replace(self, channels=tuple(known.get(name) or Channel(name) for name in channels))

    def with_dtype(self, dtype: str) -> "StackProfile":
        """Return the profile for pixels stored as another type.

        Parameters
        ----------
        dtype
            Name of a NumPy type.
        """
        dtype = np.dtype(dtype).name
        return self if dtype == self.dtype else replace(self, dtype=dtype, significant_bits=None)

    def rescaled(self, ratio_yx: float, ratio_z: float = 1.0) -> "StackProfile":
        """Return the profile for pixels `ratio_yx` times, and planes `ratio_z` times, closer on the same ground.

        OME positions are those of pixel centres, so the first centre moves: x0' = x0 - size / 2 + size' / 2.

        Parameters
        ----------
        ratio_yx, ratio_z
            Old size divided by new size.

        Raises
        ------
        InputError
            A ratio that is not above 0.
        """
        if not (ratio_yx > 0 and ratio_z > 0):
            raise InputError(f"ratios {ratio_yx} and {ratio_z} of pixel sizes: give numbers above 0")
        ratios = (ratio_yx, ratio_yx, ratio_z)
        new = [None if size is None else size / ratio for size, ratio in zip(self.pixel_size, ratios, strict=True)]
        return self._with_sizes(new, [0.0, 0.0, 0.0])

    def on_grid(self, affine: "Affine") -> "StackProfile":
        """Return the profile for another pixel grid of the same image: a crop, a finer or a coarser one.

        Parameters
        ----------
        affine
            From pixels to micrometres from the corner of this image, as `grid_of` gives it for parts of the image.
        """
        if not self.calibrated:
            return self
        return self._with_sizes([affine.a, affine.e, self.pixel_size.z], [affine.c, affine.f, 0.0])

    def _with_sizes(self, new: Sequence[float | None], corner: Sequence[float]) -> "StackProfile":
        places: list[float | None] = []
        for at, place in enumerate(self.position):
            size, other = self.pixel_size[at], new[at]
            movable = place is not None and micrometres(self.position_unit[at]) is not None
            if (
                movable
                and place is not None
                and size is not None
                and other is not None
                and (size, 0) != (other, corner[at])
            ):
                turned = self.rise if at == 2 else 1
                place = place + turned * (corner[at] - size / 2 + other / 2)
            places.append(place)
        sizes = Spatial(*(None if size is None else abs(size) for size in new))
        return replace(self, pixel_size=sizes, position=Spatial(*places))


def plain_stack_profile(names: Sequence[str], *, dtype: str, pixel_size: Spatial = UNKNOWN) -> StackProfile:
    """Return the profile of a stack that came from no file.

    Parameters
    ----------
    names
        Of the channels.
    dtype
        Name of a NumPy type.
    pixel_size
        In micrometres.
    """
    return StackProfile(np.dtype(dtype).name, tuple(Channel(name) for name in names), pixel_size=pixel_size)


def channel_names(said: Sequence[str | None]) -> list[str]:
    """Return different names of channels: those that a file gives, `channel_1` ... where it gives none.

    >>> channel_names(["DAPI", None, "DAPI"])
    ['DAPI', 'channel_2', 'DAPI_2']

    Parameters
    ----------
    said
        One a channel.
    """
    names: list[str] = []
    for at, text in enumerate(said, 1):
        wanted = (text or "").strip() or f"channel_{at}"
        name, number = wanted, 1
        while name in names:
            number += 1
            name = f"{wanted}_{number}"
        names.append(name)
    return names


def stack_profile_to_dict(profile: StackProfile) -> dict[str, Any]:
    """Return what a profile says as plain JSON values.

    Parameters
    ----------
    profile
        Of a stack.
    """
    return {"format": FORMAT, **asdict(profile)}


def stack_profile_from_dict(data: Mapping[str, Any]) -> StackProfile:
    """Return the profile that `stack_profile_to_dict` gave.

    Parameters
    ----------
    data
        After JSON, too.

    Raises
    ------
    InputError
        It is of another format.
    """
    if data.get("format") != FORMAT:
        raise InputError(f"the profile of a stack has the format {data.get('format')}; this version reads {FORMAT}")
    pairs = [(item["namespace"], item["pairs"]) for item in data["annotations"]]
    made = {
        "channels": tuple(Channel(**channel) for channel in data["channels"]),
        "pixel_size": Spatial(*data["pixel_size"]),
        "pixel_unit": Units(*data["pixel_unit"]),
        "position": Spatial(*data["position"]),
        "position_unit": Units(*data["position_unit"]),
        "times": tuple(data["times"]),
        "left_out": tuple(data["left_out"]),
        "objective": None if data["objective"] is None else Objective(**data["objective"]),
        "annotations": tuple(Annotation(space, tuple((k, v) for k, v in items)) for space, items in pairs),
    }
    plain = {name: value for name, value in data.items() if name != "format"}
    return StackProfile(**{**plain, **made})
