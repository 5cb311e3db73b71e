"""OME-Zarr as others write it (NGFF 0.4 on Zarr v2, 0.5 on Zarr v3): its first image, its axes, what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from sciddiff.errors import InputError
from sciddiff.io.ome_xml import profile_from_ome
from sciddiff.io.stack_profile import (
    FORMAT,
    Channel,
    Spatial,
    StackProfile,
    Units,
    channel_names,
    stack_profile_from_dict,
)
from sciddiff.io.units import micrometres, seconds, symbol_of

ATTRIBUTE = "sciddiff"
FAULTS = (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError)
VERSIONS = ("0.4", "0.5")


def is_ngff(path: str) -> bool:
    """Return whether a folder is an OME-Zarr image, or holds some, as `bioformats2raw` or a plate lays them out.

    Parameters
    ----------
    path
        Of a folder.
    """
    try:
        _image(path)
    except InputError:  # a plate, which says what to open
        return True
    except FAULTS:
        return False
    return True


def _image(path: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Group, its first multiscale, and what holds that."""
    group: Any = zarr.open_group(path, mode="r")
    attrs = dict(group.attrs)
    said = attrs.get("ome", attrs)
    if "multiscales" not in said and ("bioformats2raw.layout" in said and "0" in group):
        group = group["0"]
        attrs = dict(group.attrs)
        said = attrs.get("ome", attrs)
    for kind, parts in (("plate", "wells"), ("well", "images")):
        if kind in said and "multiscales" not in said:
            names = [str(part["path"]) for part in said[kind][parts]]
            raise InputError(
                f"{path}: is a {kind} with {len(names)} {parts}, no image; open one of its images, such as "
                f"{path}/{names[0]}{'/0' if kind == 'plate' else ''}"
            )
    return group, said["multiscales"][0], said


def images_in(path: str) -> list[str]:
    """Return the names of the images that `bioformats2raw` laid out in an OME-Zarr; one nameless otherwise.

    Parameters
    ----------
    path
        Of its folder.
    """
    group: Any = zarr.open_group(path, mode="r")
    attrs = dict(group.attrs)
    said = attrs.get("ome", attrs)
    if "multiscales" in said or "bioformats2raw.layout" not in said:
        return [""]
    return sorted(name for name in group.group_keys() if name.isdecimal())


def open_ngff(path: str) -> tuple[str, Any]:
    """Return the axes, one letter a dimension, and the finest array of the first image of an OME-Zarr.

    Parameters
    ----------
    path
        Of its folder.

    Raises
    ------
    InputError
        It is damaged, is none, or is of a version that has no axes.
    """
    try:
        group, scales, _ = _image(path)
        array = group[scales["datasets"][0]["path"]]
        letters = "".join(_letter(axis) for axis in scales.get("axes", ()))
        count = len(array.shape)
    except FAULTS as error:
        raise InputError(f"{path}: cannot be opened as an OME-Zarr: {error!r}") from error
    if "axes" not in scales:
        version = scales.get("version", "unknown")
        raise InputError(
            f"{path}: an OME-Zarr of version {version} without axes; versions {', '.join(VERSIONS)} are read"
        )
    if len(letters) != count:
        raise InputError(f"{path}: has the axes {letters} but {count} dimensions: damaged")
    return letters, array


def _letter(axis: Any) -> str:
    """One of TCZYX, or ? for an axis of another name."""
    name = str(axis["name"] if isinstance(axis, Mapping) else axis)
    kind = str(axis.get("type", "")) if isinstance(axis, Mapping) else ""
    letter = {"time": "T", "channel": "C"}.get(kind, name.upper())
    return letter if letter in {*"TCZYX"} else "?"


def profile_from_ngff(path: str, *, axes: str, dtype: str, count: int) -> StackProfile:
    """Return what an OME-Zarr says beside its pixels.

    Parameters
    ----------
    path
        Of its folder.
    axes, dtype
        Of the pixels.
    count
        Of channels.

    Raises
    ------
    InputError
        It is damaged.
    """
    try:
        return _profile(path, axes, dtype, count)
    except FAULTS as error:
        raise InputError(f"{path}: its multiscales or omero are damaged: {error!r}") from error


def _profile(path: str, axes: str, dtype: str, count: int) -> StackProfile:
    group, scales, said = _image(path)
    own = group.attrs.get(ATTRIBUTE)
    if isinstance(own, Mapping) and own.get("format") == FORMAT:
        return replace(stack_profile_from_dict(own["profile"]), axes=axes, dtype=dtype)
    xml = Path(path, "OME", "METADATA.ome.xml")
    if xml.is_file():
        base = profile_from_ome(xml.read_text(encoding="utf-8"), axes=axes, dtype=dtype, count=count)
    else:
        base = StackProfile(dtype, _channels(said.get("omero") or {}, count), axes, name=scales.get("name"))
    if "labels" in group:
        base = replace(base, left_out=(*base.left_out, "labels"))
    return _placed(base, scales, axes)


def _placed(profile: StackProfile, scales: Mapping[str, Any], axes: str) -> StackProfile:
    """The profile with the sizes and places of the axes that have a unit; others stay as they are."""
    scale, shift = _transform(scales, len(axes))
    units = {letter: _unit(axis) or "" for letter, axis in zip(axes, scales["axes"], strict=True)}
    said = {axis: (seconds if axis == "T" else micrometres)(unit) for axis, unit in units.items()}
    factors = {axis: factor for axis, factor in said.items() if factor is not None}
    sizes = dict(zip(axes, scale or ()))
    sized = {axis: size * factors[axis] for axis, size in sizes.items() if axis in factors and size > 0}
    lost = [axis for axis, size in sizes.items() if axis != "C" and axis not in sized and size != 1]
    if "T" in sized:
        profile = replace(profile, time_increment=sized["T"], time_unit=units["T"])
    if shift is not None:
        told = {axis: place * factors[axis] for axis, place in zip(axes, shift) if axis in factors}
        lengths = Units(*(units.get(axis) or "µm" for axis in "XYZ"))
        profile = replace(profile, position=Spatial(*map(told.get, "XYZ")), position_unit=lengths)
    before = zip("XYZ", profile.pixel_size, profile.pixel_unit, strict=True)
    pairs = [(sized[axis], units[axis]) if axis in sized else (size, unit) for axis, size, unit in before]
    return replace(
        profile,
        pixel_size=Spatial(*(size for size, _ in pairs)),
        pixel_unit=Units(*(unit for _, unit in pairs)),
        left_out=(*profile.left_out, *(f"scale of {axis} in no unit of length or time" for axis in lost)),
    )


def _unit(axis: Any) -> str | None:
    unit = axis.get("unit") if isinstance(axis, Mapping) else None
    return None if unit is None else symbol_of(str(unit))


def _transform(scales: Mapping[str, Any], count: int) -> tuple[list[float] | None, list[float] | None]:
    """Scale and translation of the finest level, those of the whole image applied after; None where not said."""
    steps = [*scales["datasets"][0].get("coordinateTransformations", ())]
    steps += scales.get("coordinateTransformations", ())
    scale, shift = np.ones(count), np.zeros(count)
    for step in steps:
        if any(
            isinstance(told := step.get(name), Sequence) and len(told) != count for name in ("scale", "translation")
        ):
            raise ValueError(f"{step} is not of {count} axes")
        if isinstance(factor := step.get("scale"), Sequence):
            scale, shift = scale * factor, shift * factor
        elif isinstance(further := step.get("translation"), Sequence):
            shift = shift + further
    sized, moved = (any(name in step for step in steps) for name in ("scale", "translation"))
    numbers = [float(number) for number in scale], [float(number) for number in shift]
    return numbers[0] if sized else None, numbers[1] if moved else None


def _channels(omero: Mapping[str, Any], count: int) -> tuple[Channel, ...]:
    said = [*(omero.get("channels") or ())][:count]
    labels = [item.get("label") for item in said] + [None] * (count - len(said))
    names = channel_names([None if label is None else str(label) for label in labels])
    colours = [str(item.get("color", "")).lstrip("#").upper() for item in said] + [""] * count
    return tuple(
        Channel(name, colour=f"{colour}FF" if len(colour) == 6 else None) for name, colour in zip(names, colours)
    )
