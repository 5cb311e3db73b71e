"""Stacks as OME-TIFF and OME-Zarr, from arrays that are read plane by plane."""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from sciddiff.errors import OptionError, OutputError
from sciddiff.io.ngff import finite, multiscale, shown
from sciddiff.io.ome import is_big, layout_of, write_levels
from sciddiff.io.ome_build import ome_from_profile
from sciddiff.io.profile import RasterWarning, plain_profile
from sciddiff.io.pyramid import add_levels, coding
from sciddiff.io.stack_ngff import ATTRIBUTE
from sciddiff.io.stack_profile import FORMAT, StackProfile, stack_profile_to_dict
from sciddiff.io.units import LENGTHS, TIMES, name_of

AXES = ("t", "c", "z", "y", "x")
NGFF = ("0.5", "0.4")
"""Versions that are written, the one that is meant first."""


def write_stack_ome_tiff(
    pixels: Any,
    path: Path,
    *,
    profile: StackProfile,
    provenance: Mapping[str, str],
    options: Mapping[str, str],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write stored numbers as an OME-TIFF: pages in the order XYZCT, tiled, with a pyramid in SubIFDs.

    Parameters
    ----------
    pixels
        (t, c, z, h, w), of the type that the profile names; a row of tiles is held at a time.
    path
        Of the file; scratch for the pyramid, a third of the pixels, stands beside it meanwhile.
    profile
        Of the stack.
    provenance
        Goes to a map annotation in the namespace `sciddiff`.
    options
        COMPRESS (DEFLATE, ZSTD, LZW, NONE), LEVEL, BLOCKSIZE.
    check
        Called between rows of tiles; may raise.

    Raises
    ------
    OutputError
        OME-TIFF does not know the type of the pixels, or they do not fit the profile.
    OptionError
        An option that it does not know.
    """
    _refuse_unfit(pixels, path, profile)
    warn_left_out(profile)
    layout = stack_layout_of(path, profile, options, shape=pixels.shape[-2:])
    scratch = path.with_name(f"{path.name}.levels.zarr")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        group = zarr.create_group(scratch, zarr_format=3)
        levels = _add_levels(group, pixels, profile, check)
        text = ome_from_profile(profile, shape=pixels.shape, provenance=provenance)
        with tifffile.TiffWriter(path, bigtiff=is_big(pixels, profile.dtype)) as writer:
            told = {"description": text, "metadata": None, "software": "sciddiff"}
            write_levels(writer, [pixels, *levels], layout, told=told, check=check)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def stack_layout_of(
    path: Path, profile: StackProfile, options: Mapping[str, str], *, shape: tuple[int, int]
) -> dict[str, Any]:
    """Return how the OME-TIFF of a stack is laid out, in the words of tifffile; tiles no larger than planes.

    Parameters
    ----------
    path, profile, options
        See `write_stack_ome_tiff`.
    shape
        Height and width.

    Raises
    ------
    OutputError
        OME-TIFF does not know the type of the pixels.
    OptionError
        An option that it does not know.
    """
    layout = layout_of(path, profile, options)
    if "BLOCKSIZE" not in {name.upper() for name in options}:
        side = min(layout["tile"][0], -(-max(shape) // 16) * 16)
        layout["tile"] = (side, side)
    return layout


def _refuse_unfit(pixels: Any, path: Path, profile: StackProfile) -> None:
    if len(pixels.shape) != len(AXES) or pixels.shape[1] != len(profile.channels):
        told = f"{len(profile.channels)} channels"
        raise OutputError(f"{path}: pixels of shape {tuple(pixels.shape)} are no (t, c, z, y, x) of {told}")
    if np.dtype(pixels.dtype) != np.dtype(profile.dtype):
        raise OutputError(f"{path}: pixels are {pixels.dtype}, the profile says {profile.dtype}")


def warn_left_out(profile: StackProfile) -> None:
    """Warn of what the source says and no file of ours.

    Parameters
    ----------
    profile
        Of the stack.
    """
    if profile.left_out:
        message = f"of the source's metadata {', '.join(profile.left_out)} are not kept"
        warnings.warn(message, RasterWarning, stacklevel=3)


def _add_levels(group: Any, pixels: Any, profile: StackProfile, check: Callable[[], None]) -> list[Any]:
    single = plain_profile(["plane"], dtype=profile.dtype)
    return add_levels(group, pixels, None, profile=single, name=str, axes=AXES, check=check)


def finish_stack_ome_zarr(
    group_path: Path,
    *,
    profile: StackProfile,
    provenance: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Make a group that holds the pixels an OME-Zarr with a pyramid; may be done twice.

    Parameters
    ----------
    group_path
        Of a Zarr v3 group with the array `0` (or `pixels`, which becomes `0`) of (t, c, z, y, x).
    profile
        Of the stack.
    provenance
        Goes to the attribute `sciddiff`.
    options
        NGFF: 0.5, or 0.4, whose arrays are copied to Zarr v2 in a folder beside, which then takes the group's place.
    check
        Called between blocks; may raise.

    Raises
    ------
    OptionError
        An option that it does not know.
    OutputError
        The pixels do not fit the profile.
    """
    version = ngff_version(options or {})
    older = group_path.with_name(f"{group_path.name}.v2")
    if not group_path.exists() and older.exists():  # killed between two renames
        os.rename(older, group_path)
    if (group_path / "pixels").exists():
        os.rename(group_path / "pixels", group_path / "0")
    group: Any = zarr.open_group(group_path, mode="r+")
    _refuse_unfit(group["0"], group_path, profile)
    warn_left_out(profile)
    if version == "0.4" and group.metadata.zarr_format == 3:
        shutil.rmtree(older, ignore_errors=True)
        copied: Any = zarr.create_group(older, zarr_format=2)
        _copy(group["0"], copied, check)
        _describe(copied, profile, provenance, version, check)
        _replace(older, group_path)
        return
    _describe(group, profile, provenance, version, check)


def ngff_version(options: Mapping[str, str]) -> str:
    """Return the version of NGFF that creation options ask for.

    Parameters
    ----------
    options
        NGFF alone.

    Raises
    ------
    OptionError
        Another option, or a version that is not written.
    """
    given = {name.upper(): text for name, text in options.items()}
    unknown = sorted(set(given) - {"NGFF"})
    if unknown:
        raise OptionError(f"--co {unknown[0]}: OME-Zarr takes NGFF")
    version = given.get("NGFF", NGFF[0])
    if version not in NGFF:
        raise OptionError(f"--co NGFF={version}: OME-Zarr is written in the versions {', '.join(NGFF)}")
    return version


def _copy(pixels: Any, group: Any, check: Callable[[], None]) -> None:
    """Copy an array into another group, rows of chunks of a plane at a time."""
    side = min(1024, max(pixels.shape[-2:]))
    chunks = (1, 1, 1, side, side)
    array = group.create_array(
        "0", shape=pixels.shape, chunks=chunks, dtype=pixels.dtype, fill_value=0, **coding(group, AXES)
    )
    for plane in np.ndindex(tuple(pixels.shape[:3])):
        for row in range(0, pixels.shape[3], side):
            check()
            array[(*plane, slice(row, row + side))] = pixels[(*plane, slice(row, row + side))]


def _replace(new: Path, old: Path) -> None:
    former = old.with_name(f"{old.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    os.rename(old, former)
    os.rename(new, old)
    shutil.rmtree(former, ignore_errors=True)


def _describe(
    group: Any, profile: StackProfile, provenance: Mapping[str, str], version: str, check: Callable[[], None]
) -> None:
    """Add the pyramid and the metadata."""
    levels = [group["0"], *_add_levels(group, group["0"], profile, check)]
    scales = _multiscale(profile, len(levels))
    omero = {"name": scales["name"], "channels": _channels(profile, levels[-1])}
    told = {"format": FORMAT, "profile": stack_profile_to_dict(profile), "provenance": dict(provenance)}
    if version == "0.4":
        said = {"multiscales": [{"version": version, **scales}], "omero": {"version": version, **omero}}
        group.attrs.update({**said, ATTRIBUTE: told})
    else:
        group.attrs.update({"ome": {"version": version, "multiscales": [scales], "omero": omero}, ATTRIBUTE: told})


def _multiscale(profile: StackProfile, levels: int) -> dict[str, Any]:
    """Sizes and places in the units of the file; 1 and 0 without a unit where it says none."""
    axes: list[dict[str, str]] = []
    size, origin = [], []
    for axis in AXES:
        if axis == "c":
            length, place, unit = None, None, None
        elif axis == "t":
            unit, place = profile.time_unit if profile.time_unit in TIMES else "s", None
            length = None if profile.time_increment is None else profile.time_increment / TIMES[unit]
        else:
            unit = getattr(profile.pixel_unit, axis)
            length, place = (_in(getattr(part, axis), unit) for part in (profile.pixel_size, profile.position))
            if getattr(profile.position_unit, axis) not in LENGTHS:
                place = None
        kind = {"t": "time", "c": "channel"}.get(axis, "space")
        known = {"unit": name_of(unit)} if length is not None and unit is not None and name_of(unit) else {}
        axes.append({"name": axis, "type": kind, **{key: text for key, text in known.items() if text}})
        size.append(1.0 if length is None else length)
        origin.append(0.0 if place is None or length is None else place)
    return multiscale(axes, size=size, origin=origin, levels=levels, name=profile.name or "image")


def _in(number: float | None, unit: str) -> float | None:
    return None if number is None else number / LENGTHS.get(unit, 1.0)


def _channels(profile: StackProfile, coarsest: Any) -> list[dict[str, Any]]:
    """How viewers show the channels: the range of the middle plane of the first frame."""
    middle = coarsest.shape[2] // 2
    return [
        shown(at, channel.name, finite(np.asarray(coarsest[0, at, middle])), colour=(channel.colour or "")[:6] or None)
        for at, channel in enumerate(profile.channels)
    ]
