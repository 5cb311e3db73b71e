"""What ImageJ writes beside the pixels of its TIFFs, as the profile of a stack."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sciddiff.io.stack_profile import Annotation, Channel, Spatial, StackProfile, Units, channel_names
from sciddiff.io.units import micrometres, seconds, symbol_of

STRUCTURE = {"ImageJ", "images", "channels", "slices", "frames", "hyperstack", "Labels", "LUTs", "Overlays", "ROI"}
STRUCTURE |= {"unit", "yunit", "zunit", "spacing", "finterval", "tunit", "IJMetadata"}
"""What has a place of its own in a profile, or is none of pixels."""

DROPPED = {
    "Labels": "labels of planes",
    "Overlays": "overlays",
    "ROI": "region of interest",
}
"""What of ImageJ has no place in our files, and what it is called; labels stay where they name the channels."""


def profile_from_imagej(
    said: Mapping[str, Any],
    resolution: tuple[float | None, float | None],
    *,
    axes: str,
    shape: Mapping[str, int],
    dtype: str,
) -> StackProfile:
    """Return what ImageJ says of an image.

    Parameters
    ----------
    said
        Its keys and values, as tifffile gives them.
    resolution
        Pixels a unit along x and y.
    axes
        Of the pixels.
    shape
        Size of each axis.
    dtype
        Of the pixels.
    """
    units = [symbol_of(str(said.get(name) or said.get("unit") or "pixel")) for name in ("unit", "yunit", "zunit")]
    lengths = [None if not number else 1 / number for number in resolution]
    spacing = _number(said.get("spacing"))
    sizes = [
        None if size is None or unit is None else abs(size) * unit
        for size, unit in zip([*lengths, spacing], map(micrometres, units), strict=True)
    ]
    interval, time_unit = _number(said.get("finterval")), symbol_of(str(said.get("tunit") or "s"))
    length = seconds(time_unit)
    channels = _channels(said, shape)
    named = all(channel.name in map(str, said.get("Labels") or ()) for channel in channels)
    strange = [unit for size, unit in zip(sizes, units, strict=True) if size is None and unit not in {"pixel", ""}]
    strange += [time_unit] if interval and length is None else []
    pairs = tuple(
        (key, str(value)) for key, value in said.items() if key not in STRUCTURE and (_plain(value) or key == "Ranges")
    )
    return StackProfile(
        dtype,
        channels,
        axes,
        pixel_size=Spatial(*sizes),
        pixel_unit=Units(*("µm" if size is None else unit for size, unit in zip(sizes, units, strict=True))),
        time_increment=interval * length if interval and length and "T" in axes else None,
        time_unit="s" if length is None else time_unit,
        annotations=(Annotation("imagej", pairs),) if pairs else (),
        left_out=(
            *(what for key, what in DROPPED.items() if said.get(key) and not (key == "Labels" and named)),
            *(f"sizes in {unit}" for unit in dict.fromkeys(strange) if micrometres(unit) is None),
        ),
    )


def _channels(said: Mapping[str, Any], shape: Mapping[str, int]) -> tuple[Channel, ...]:
    count = shape.get("C", 1)
    labels: Sequence[Any] = said.get("Labels") or ()
    single = shape.get("T", 1) * shape.get("Z", 1) == 1 and len(labels) == count
    names = channel_names([str(label) for label in labels] if single else [None] * count)
    tables = list(said.get("LUTs") or ())
    colours = [_colour(table) for table in tables] + [None] * count
    return tuple(Channel(name, colour=colour) for name, colour in zip(names, colours))


def _colour(table: Any) -> str | None:
    lut = np.asarray(table)
    return "".join(f"{int(level):02X}" for level in lut[:, -1]) + "FF" if lut.shape == (3, 256) else None


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    return number if math.isfinite(number) else None


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)
