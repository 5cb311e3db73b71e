"""OME-XML (2016-06 and the earlier ones, whose elements have the same names) read into the profile of a stack."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from sciddiff.io.stack_profile import Annotation, Channel, Objective, Spatial, StackProfile, Units, channel_names
from sciddiff.io.units import LENGTHS, micrometres, seconds, symbol_of

CARRIED = (
    "AcquisitionMode",
    "ContrastMethod",
    "IlluminationType",
    "NDFilter",
    "PinholeSize",
    "PinholeSizeUnit",
    "PockelCellSetting",
)
"""Attributes of a channel that are written again as they were read."""
OBJECTIVE = (
    "Manufacturer",
    "Model",
    "SerialNumber",
    "LotNumber",
    "Correction",
    "CalibratedMagnification",
    "WorkingDistance",
    "WorkingDistanceUnit",
    "Iris",
)
LEFT_OUT = {
    *("Arc", "Dataset", "Detector", "Dichroic", "Experiment", "Experimenter", "ExperimenterGroup", "Filament"),
    *("Filter", "FilterSet", "Folder", "GenericExcitationSource", "ImagingEnvironment", "Laser"),
    *("LightEmittingDiode", "MicrobeamManipulation", "Plate", "Project", "Rights", "ROI", "Screen", "StageLabel"),
    *(f"{kind}Annotation" for kind in ("Boolean", "Comment", "Double", "File", "List", "Long", "Tag", "Term")),
    *("TimestampAnnotation", "XMLAnnotation"),
}
"""Elements that a profile has no place for."""
WORDS = {
    "AcquisitionMode": "WideField LaserScanningConfocalMicroscopy SpinningDiskConfocal SlitScanConfocal "
    "MultiPhotonMicroscopy StructuredIllumination SingleMoleculeImaging TotalInternalReflection FluorescenceLifetime "
    "SpectralImaging FluorescenceCorrelationSpectroscopy NearFieldScanningOpticalMicroscopy "
    "SecondHarmonicGenerationImaging PALM STORM STED TIRF FSM LCM Other BrightField SweptFieldConfocal SPIM",
    "ContrastMethod": "Brightfield Phase DIC HoffmanModulation ObliqueIllumination PolarizedLight Darkfield "
    "Fluorescence Other",
    "Correction": "UV PlanApo PlanFluor SuperFluor VioletCorrected Achro Achromat Fluor Fl Fluar Neofluar Fluotar Apo "
    "PlanNeofluar Other",
    "IlluminationType": "Transmitted Epifluorescence Oblique NonLinear Other",
    "Iris": "true false 1 0",
    "Type": "Upright Inverted Dissection Electrophysiology Other",
}
"""What attributes may say; others than these make a file that readers refuse."""
NUMBERS = ("CalibratedMagnification", "NDFilter", "PinholeSize", "PockelCellSetting", "WorkingDistance")
MICROSCOPE = ("Manufacturer", "Model", "SerialNumber", "LotNumber", "Type")


def elements(text: str | None, name: str) -> list[Any]:
    """Return the elements of a name, in the order of the text; none of a text that is no XML.

    Parameters
    ----------
    text
        OME-XML.
    name
        Without its namespace.
    """
    return [] if (root := _root(text)) is None else _all(root, name)


def profile_from_ome(text: str, *, axes: str, dtype: str, count: int, file: str = "") -> StackProfile:
    """Return what OME-XML says of its first image, or of the first with pixels in a file.

    Parameters
    ----------
    text
        OME-XML; where it is damaged the profile says what is known otherwise.
    axes, dtype
        Of the pixels.
    count
        Of channels.
    file
        Name of a TIFF of the set that the text tells of.
    """
    root = _root(text)
    image = None if root is None else _image(root, file)
    pixels = None if image is None else _first(image, "Pixels")
    if root is None or image is None or pixels is None:
        return StackProfile(dtype, tuple(Channel(name) for name in channel_names([None] * count)), axes)
    planes = _all(pixels, "Plane")
    first = next((plane for plane in planes if _at(plane) == (0, 0, 0)), None)
    place, place_unit = _triple(first, "Position{}", "reference frame")
    size, size_unit = _triple(pixels, "PhysicalSize{}", "µm")
    sizes = Spatial(*(_positive(number, unit) for number, unit in zip(size, size_unit, strict=True)))
    left_out = {name for element in root.iter() if (name := _name(element)) in LEFT_OUT}
    left_out |= {f"{name} of {text}" for element in root.iter() for name, text in _strange(element)}
    date = _text(image, "AcquisitionDate")
    left_out |= {f"AcquisitionDate of {date}"} if date and not _is_date(date) else set()
    return StackProfile(
        dtype,
        _channels(pixels, planes, count),
        axes,
        pixel_size=sizes,
        pixel_unit=size_unit,
        position=place,
        position_unit=place_unit,
        rise=_rise(planes),
        time_increment=_time(pixels, "TimeIncrement"),
        time_unit=symbol_of(pixels.get("TimeIncrementUnit", "s")),
        times=_times(planes, int(pixels.get("SizeT", 1))),
        objective=_objective(root, image),
        name=image.get("Name"),
        description=_text(image, "Description"),
        acquired=date if date and _is_date(date) else None,
        significant_bits=_bits(pixels.get("SignificantBits", ""), dtype),
        microscope=_kept(_referred(root, image, "InstrumentRef", "Instrument", "Microscope"), MICROSCOPE),
        annotations=tuple(_annotation(element) for element in _all(root, "MapAnnotation")),
        left_out=tuple(sorted(left_out | _single(planes) | _no_sizes(pixels, sizes))),
    )


def _root(text: str | None) -> Any:
    if not text:
        return None
    try:
        return ET.fromstring(text)  # noqa: S314 - expat bounds what entities grow to
    except ET.ParseError:
        return None


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _all(parent: Any, name: str) -> list[Any]:
    return [element for element in parent.iter() if _name(element) == name]


def _first(parent: Any, name: str) -> Any:
    return next((element for element in parent.iter() if _name(element) == name), None)


def _image(root: Any, file: str) -> Any:
    images = _all(root, "Image")
    return next((image for image in images if _is_in(image, root.get("UUID"), file)), images[0] if images else None)


def _is_in(image: Any, uuid: str | None, file: str) -> bool:
    """Whether some pixels of an image are in a file, or nothing is said of files."""
    links = _all(image, "UUID")
    return not links or any(link.text == uuid or link.get("FileName", "").lower() == file.lower() for link in links)


def _text(parent: Any, name: str) -> str | None:
    found = next((element for element in parent if _name(element) == name), None)
    return None if found is None or not found.text else str(found.text)


def number_of(text: str | None) -> float | None:
    """Return a finite number, or None for what is none.

    Parameters
    ----------
    text
        Of an attribute.
    """
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _positive(number: float | None, unit: str) -> float | None:
    return number if number is not None and number > 0 and micrometres(unit) is not None else None


def _no_sizes(pixels: Any, sizes: Spatial) -> set[str]:
    """Sizes that are none: not above zero, or in a unit that is none; pixels of one pixel say nothing."""
    told = dict(zip((f"PhysicalSize{axis}" for axis in "XYZ"), sizes, strict=True))
    told["TimeIncrement"] = _time(pixels, "TimeIncrement")
    said = {name: f"{pixels.get(name)} {pixels.get(f'{name}Unit', '')}".strip() for name in told if pixels.get(name)}
    lost = [name for name, number in told.items() if number is None and not said.get(name, "pixel").endswith("pixel")]
    return {f"{name} of {said[name]}" for name in lost}


def _triple(element: Any, pattern: str, default: str) -> tuple[Spatial, Units]:
    """Numbers along x, y and z in micrometres (as they are where their unit is no length), and their units."""
    if element is None:
        return Spatial(), Units()
    numbers: list[float | None] = []
    units = []
    for axis in "XYZ":
        name = pattern.format(axis)
        number = number_of(element.get(name))
        unit = symbol_of(element.get(f"{name}Unit", default))
        numbers.append(None if number is None else number * (micrometres(unit) or 1.0))
        units.append("µm" if number is None else unit)
    return Spatial(*numbers), Units(*units)


def _time(element: Any, name: str) -> float | None:
    number = number_of(element.get(name))
    unit = seconds(element.get(f"{name}Unit", "s"))
    return None if number is None or unit is None else number * unit


def _at(plane: Any) -> tuple[int, int, int]:
    t, c, z = (number_of(plane.get(name, "0")) for name in ("TheT", "TheC", "TheZ"))
    return (-1, -1, -1) if t is None or c is None or z is None else (int(t), int(c), int(z))


def _times(planes: Sequence[Any], frames: int) -> tuple[float, ...]:
    known = {place[0]: _time(plane, "DeltaT") for plane in planes if (place := _at(plane))[1:] == (0, 0)}
    times = [time for frame in range(frames) if (time := known.get(frame)) is not None]
    return tuple(times) if len(times) == frames else ()


def _rise(planes: Sequence[Any]) -> int:
    """Which way the planes of the first frame and channel lie; upwards where the file does not say."""
    known = {place[2]: number_of(plane.get("PositionZ")) for plane in planes if (place := _at(plane))[:2] == (0, 0)}
    heights = [height for _, height in sorted(known.items()) if height is not None]
    return 1 if len(heights) < 2 else (heights[-1] > heights[0]) - (heights[-1] < heights[0])


def _single(planes: Sequence[Any]) -> set[str]:
    """What planes say that is not the same throughout a frame (times), a channel (exposures), a depth (places)."""
    kept = {"DeltaT": 0, "ExposureTime": 1, "PositionX": None, "PositionY": None, "PositionZ": 2}
    found = set()
    for name, axis in kept.items():
        said: dict[int, set[str]] = {}
        for plane in planes:
            if (text := plane.get(name)) is not None:
                said.setdefault(0 if axis is None else _at(plane)[axis], set()).add(text)
        if any(len(each) > 1 for each in said.values()):
            found.add(f"{name} of single planes")
    return found


def _channels(pixels: Any, planes: Sequence[Any], count: int) -> tuple[Channel, ...]:
    found = [element for element in pixels if _name(element) == "Channel"][:count]
    names = channel_names([element.get("Name") for element in found] + [None] * (count - len(found)))
    exposures: dict[int, float | None] = {}
    for plane in planes:
        exposures.setdefault(_at(plane)[1], _time(plane, "ExposureTime"))
    channels = [_channel(element, name, exposures.get(at)) for at, (element, name) in enumerate(zip(found, names))]
    return (
        *channels,
        *(Channel(name, exposure=exposures.get(at)) for at, name in enumerate(names) if at >= len(found)),
    )


def _channel(element: Any, name: str, exposure: float | None) -> Channel:
    colour = number_of(element.get("Color"))
    return Channel(
        name,
        colour=None if colour is None else f"{int(colour) & 0xFFFFFFFF:08X}",
        emission=_wavelength(element, "EmissionWavelength"),
        excitation=_wavelength(element, "ExcitationWavelength"),
        exposure=exposure,
        fluor=element.get("Fluor"),
        attributes=_kept(element, CARRIED),
    )


def _wavelength(element: Any, name: str) -> float | None:
    """In nm."""
    number = number_of(element.get(name))
    unit = micrometres(element.get(f"{name}Unit", "nm"))
    if number is None or number <= 0 or unit is None:
        return None
    return number if unit == 1e-3 else number * unit * 1e3


def _is_date(text: str) -> bool:
    try:
        return "T" in text and datetime.fromisoformat(text.strip()) is not None
    except ValueError:
        return False


def _bits(text: str, dtype: str) -> int | None:
    known = text.isdecimal() and 0 < int(text) <= 8 * np.dtype(dtype).itemsize
    return int(text) if known else None


def _kept(element: Any, names: Sequence[str]) -> dict[str, str]:
    if element is None:
        return {}
    return {name: text for name in names if (text := element.get(name)) and _is_said_well(name, text)}


def _is_said_well(name: str, text: str) -> bool:
    """Whether an attribute that is written again as it was read is one that readers take."""
    if name in NUMBERS:
        return number_of(text) is not None
    if name.endswith("Unit"):
        return text in LENGTHS or text in ("pixel", "reference frame")
    return name not in WORDS or text in WORDS[name].split()


def _strange(element: Any) -> Iterator[tuple[str, str]]:
    """Attributes that `_kept` leaves out of an element."""
    names = {"Channel": CARRIED, "Objective": OBJECTIVE, "Microscope": MICROSCOPE}.get(_name(element), ())
    yield from ((name, text) for name in names if (text := element.get(name)) and not _is_said_well(name, text))
    positive = {"Channel": ("EmissionWavelength", "ExcitationWavelength"), "Objective": ("LensNA",)}
    for name in positive.get(_name(element), ()):
        if (number := number_of(element.get(name))) is not None and number <= 0:
            yield name, element.get(name)


def _referred(root: Any, image: Any, reference: str, kind: str, inner: str) -> Any:
    """The inner element of what an image refers to; None where it does not."""
    link = next((element for element in image if _name(element) == reference), None)
    if link is None:
        return None
    holder = next((element for element in _all(root, kind) if element.get("ID") == link.get("ID")), None)
    return None if holder is None else _first(holder, inner)


def _objective(root: Any, image: Any) -> Objective | None:
    settings = next((element for element in image if _name(element) in {"ObjectiveSettings", "ObjectiveRef"}), None)
    found = _all(root, "Objective")
    if settings is not None:
        found = [element for element in found if element.get("ID") == settings.get("ID")]
    elif len(found) > 1:  # which of them took the image, nobody knows
        return None
    if not found:
        return None
    element = found[0]
    na = number_of(element.get("LensNA"))
    return Objective(
        na=na if na is not None and na > 0 else None,
        magnification=number_of(element.get("NominalMagnification")),
        immersion=element.get("Immersion"),
        refractive_index=None if settings is None else number_of(settings.get("RefractiveIndex")),
        attributes=_kept(element, OBJECTIVE),
    )


def _annotation(element: Any) -> Annotation:
    pairs = tuple((pair.get("K") or "", pair.text or "") for pair in _all(element, "M"))
    return Annotation(element.get("Namespace") or "", pairs)
