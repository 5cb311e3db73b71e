"""The profile of a stack as OME-XML 2016-06."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from sciddiff.io.stack_profile import Annotation, Channel, Objective, Spatial, StackProfile
from sciddiff.io.units import LENGTHS, TIMES

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
SCHEMA = f"{NAMESPACE} {NAMESPACE}/ome.xsd"
OWN = "sciddiff"
"""Namespace of the annotation that says how a file was made."""
PIXELS = {"float32": "float", "float64": "double"}
IMMERSIONS = ("Oil", "Water", "WaterDipping", "Air", "Multi", "Glycerol", "Other")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def ome_from_profile(
    profile: StackProfile, *, shape: tuple[int, int, int, int, int], provenance: Mapping[str, str]
) -> bytes:
    """Return OME-XML for pages in the order XYZCT.

    Parameters
    ----------
    profile
        Of the stack.
    shape
        (t, c, z, h, w).
    provenance
        Goes to a map annotation in the namespace `sciddiff`, in the place of one that the profile has.
    """
    root = ET.Element(
        "OME",
        {"xmlns": NAMESPACE, "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance", "xsi:schemaLocation": SCHEMA},
        Creator="sciddiff",
    )
    if profile.objective is not None or profile.microscope:
        _add_instrument(root, profile)
    image = _add(root, "Image", ID="Image:0", Name=profile.name)
    for name, text in (("AcquisitionDate", profile.acquired), ("Description", profile.description)):
        if text:
            _add(image, name).text = _clean(text)
    if profile.objective is not None or profile.microscope:
        _add(image, "InstrumentRef", ID="Instrument:0")
    if profile.objective is not None:
        index = profile.objective.refractive_index
        _add(image, "ObjectiveSettings", ID="Objective:0:0", RefractiveIndex=index)
    _add_pixels(image, profile, shape)
    annotations = [item for item in profile.annotations if item.namespace != OWN]
    if provenance:
        annotations.append(Annotation(OWN, tuple(provenance.items())))
    _add_annotations(root, image, annotations)
    return ET.tostring(root, encoding="UTF-8", xml_declaration=True)


def _add(parent: Any, name: str, **attributes: Any) -> Any:
    """Add an element; attributes that are None are left out."""
    given = {key: _clean(value) for key, value in attributes.items() if value is not None}
    return ET.SubElement(parent, name, given)


def _clean(value: Any) -> str:
    return _FORBIDDEN.sub("", repr(value) if isinstance(value, float) else str(value))


def _add_instrument(root: Any, profile: StackProfile) -> None:
    instrument = _add(root, "Instrument", ID="Instrument:0")
    if profile.microscope:
        _add(instrument, "Microscope", **profile.microscope)
    if profile.objective is not None:
        _add(instrument, "Objective", ID="Objective:0:0", **_objective(profile.objective))


def _objective(objective: Objective) -> dict[str, Any]:
    known = objective.immersion in IMMERSIONS
    return {
        "LensNA": objective.na,
        "NominalMagnification": objective.magnification,
        "Immersion": objective.immersion if known or objective.immersion is None else "Other",
        **objective.attributes,
    }


def _add_pixels(image: Any, profile: StackProfile, shape: tuple[int, int, int, int, int]) -> None:
    frames, channels, depth, height, width = shape
    pixels = _add(
        image,
        "Pixels",
        ID="Pixels:0",
        DimensionOrder="XYZCT",
        Type=PIXELS.get(profile.dtype, profile.dtype),
        SignificantBits=profile.significant_bits,
        SizeX=width,
        SizeY=height,
        SizeZ=depth,
        SizeC=channels,
        SizeT=frames,
        **_lengths("PhysicalSize", profile.pixel_size, profile.pixel_unit),
        **_time("TimeIncrement", profile.time_increment, profile.time_unit),
    )
    for at, channel in enumerate(profile.channels):
        _add(pixels, "Channel", ID=f"Channel:0:{at}", SamplesPerPixel=1, **_channel(channel))
    _add(pixels, "TiffData", IFD=0, PlaneCount=frames * channels * depth)
    _add_planes(pixels, profile, shape[:3])


def _lengths(name: str, numbers: Spatial, units: tuple[str, str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for axis, number, unit in zip("XYZ", numbers, units, strict=True):
        if number is not None:
            told |= {f"{name}{axis}": float(number / LENGTHS.get(unit, 1.0)), f"{name}{axis}Unit": unit}
    return told


def _time(name: str, number: float | None, unit: str) -> dict[str, Any]:
    if number is None:
        return {}
    unit = unit if unit in TIMES else "s"
    return {name: float(number / TIMES[unit]), f"{name}Unit": unit}


def _channel(channel: Channel) -> dict[str, Any]:
    colour = None if channel.colour is None else int.from_bytes(bytes.fromhex(channel.colour), "big", signed=True)
    told: dict[str, Any] = {"Name": channel.name, "Color": colour, "Fluor": channel.fluor}
    for name, wavelength in (("Emission", channel.emission), ("Excitation", channel.excitation)):
        if wavelength is not None:
            told |= {f"{name}Wavelength": float(wavelength), f"{name}WavelengthUnit": "nm"}
    return told | dict(channel.attributes)


def _add_planes(pixels: Any, profile: StackProfile, counts: tuple[int, int, int]) -> None:
    frames, channels, depth = counts
    times = profile.times if len(profile.times) == frames else ()
    placed = any(number is not None for number in profile.position)
    if not (placed or times or any(channel.exposure is not None for channel in profile.channels)):
        return
    rise = None if profile.pixel_size.z is None else profile.pixel_size.z * profile.rise
    rise = rise if profile.position_unit.z in LENGTHS else None
    for frame in range(frames):
        for at in range(channels):
            for level in range(depth):
                height = profile.position.z
                raised = height if height is None or rise is None else height + level * rise
                place = profile.position._replace(z=raised)
                told = _lengths("Position", place, profile.position_unit)
                told |= _time("DeltaT", times[frame] if times else None, profile.time_unit)
                told |= _time("ExposureTime", profile.channels[at].exposure, "s")
                _add(pixels, "Plane", TheZ=level, TheC=at, TheT=frame, **told)


def _add_annotations(root: Any, image: Any, annotations: list[Annotation]) -> None:
    if not annotations:
        return
    holder = _add(root, "StructuredAnnotations")
    for at, annotation in enumerate(annotations):
        _add(image, "AnnotationRef", ID=f"Annotation:{at}")
        element = _add(holder, "MapAnnotation", ID=f"Annotation:{at}", Namespace=annotation.namespace or None)
        value = _add(element, "Value")
        for key, text in annotation.pairs:
            _add(value, "M", K=key).text = _clean(text)
