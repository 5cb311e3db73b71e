"""What a TIFF of a microscope says beside its pixels, in itself or in a file beside it, as the profile of a stack."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import tifffile

from sciddiff.errors import InputError
from sciddiff.io.imagej import profile_from_imagej
from sciddiff.io.ome_xml import elements, profile_from_ome
from sciddiff.io.stack_profile import Annotation, Channel, Spatial, StackProfile, channel_names

PRIVATE = (
    *("andor", "fei", "fluoview", "lsm", "mediacy", "metaseries", "micromanager", "nih", "scanimage", "sem", "sis"),
    *("stk", "tvips"),
)
"""Formats by the names of tifffile whose own tags a profile has no place for."""
SHAPE = {"shape", "axes", "truncated"}
"""What tifffile writes of the pixels in a description, and reads itself."""
SHOWN = {
    tifffile.PHOTOMETRIC.PALETTE: "colour map",
    tifffile.PHOTOMETRIC.MINISWHITE: "that zero is shown white",
}
"""Ways to show pixels, which stay as they are."""


def text_apart(path: str, tiff: Any) -> str | None:
    """Return the OME-XML of a TIFF that is a part of a set, from the TIFF or XML beside it that has that of the set.

    Parameters
    ----------
    path
        Of the part.
    tiff
        It, open.

    Returns
    -------
    str or None
        None of a file that speaks for itself, and where the other is not there.

    Raises
    ------
    InputError
        The other is no OME-XML.
    """
    name = _metadata_file(tiff)
    file = None if name is None else os.path.join(os.path.dirname(path), name)
    if file is None or not os.path.isfile(file):
        return None
    text = _text_of(file)
    if text is not None and not elements(text, "OME"):
        raise InputError(f"{file}: cannot be read as OME-XML, of which {path} is a part; fetch it again")
    return text


def _text_of(file: str) -> str | None:
    """Empty where it cannot be read."""
    try:
        if file.lower().endswith((".tif", ".tiff")):
            with tifffile.TiffFile(file) as master:
                return master.ome_metadata
        with open(file, encoding="utf-8") as text:
            return text.read()
    except (OSError, ValueError, tifffile.TiffFileError):
        return ""


def _metadata_file(tiff: Any) -> str | None:
    text = tiff.ome_metadata or ""
    parts = elements(text, "BinaryOnly") if "BinaryOnly" in text else []  # a long text is not read for nothing
    return parts[0].get("MetadataFile") if parts else None


def profile_from_tiff(tiff: Any, *, axes: str, dtype: str, shape: Mapping[str, int]) -> StackProfile:
    """Return what a TIFF says: OME-XML, what ImageJ writes, the voxels of LSM, a description.

    Parameters
    ----------
    tiff
        Open, with the text of `text_apart` if there is one.
    axes, dtype
        Of the pixels.
    shape
        Size of each axis.
    """
    profile = _said(tiff, axes=axes, dtype=dtype, shape=shape)
    return replace(profile, left_out=(*profile.left_out, *_left_out(tiff)))


def _said(tiff: Any, *, axes: str, dtype: str, shape: Mapping[str, int]) -> StackProfile:
    count = shape.get("C", 1)
    if tiff.is_ome:
        text, name = tiff.ome_metadata or "", tiff.filehandle.name
        return profile_from_ome(text, axes=axes, dtype=dtype, count=count, file=name)
    if tiff.is_imagej:
        tags = tiff.pages.first.tags
        resolution = (_ratio(tags.get("XResolution")), _ratio(tags.get("YResolution")))
        return profile_from_imagej(tiff.imagej_metadata or {}, resolution, axes=axes, shape=shape, dtype=dtype)
    voxel = tiff.lsm_metadata if isinstance(tiff.lsm_metadata, Mapping) else {}
    metres = (voxel.get(f"VoxelSize{axis}", 0) for axis in "XYZ")
    size = Spatial(*(1e6 * length if length > 0 else None for length in metres))
    first, shaped = tiff.pages.first, tiff.shaped_metadata or ()
    pairs = tuple((key, str(value)) for told in shaped[:1] for key, value in told.items() if key not in SHAPE)
    return StackProfile(
        dtype,
        tuple(map(Channel, channel_names([None] * count))),
        axes,
        pixel_size=size,
        description=None if shaped else first.description or None,
        acquired=None if first.datetime is None else first.datetime.isoformat(),
        annotations=(Annotation("tifffile", pairs),) if pairs else (),
    )


def _left_out(tiff: Any) -> Iterator[str]:
    """What nothing here reads."""
    if (name := _metadata_file(tiff)) is not None:
        yield f"all of {name} (not there)"
    yield from (f"tags of {kind}" for kind in PRIVATE if kind in tiff.flags)
    photometric = tiff.pages.first.photometric
    if photometric in SHOWN:
        yield SHOWN[photometric]


def _ratio(tag: Any) -> float | None:
    if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2 or not tag.value[1]:
        return None
    return float(tag.value[0] / tag.value[1])
