"""Folders, patterns and lists of single-band files as one raster: Landsat, Sentinel-2 SAFE, or no product at all.

The image has the finest pixel size that several bands share; bands of other sizes are left out with a warning. If bands
are asked for by name, it has the finest size that all of these have. Quality bands, masks, angles and previews of a
folder or pattern are no bands; a list is taken as it is. Bands are called by the product (B4, B04, B8A), else by their
descriptions, else by what their file names do not share.
"""

import glob
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sciddiff.errors import InputError
from sciddiff.io.bands import match_bands
from sciddiff.io.cube import files_of_cube, is_cube
from sciddiff.io.dataset import Location, location, opened, remote
from sciddiff.io.products import Member, bands_in, counting, member, metadata_of, refuse_mixture, spectral
from sciddiff.io.profile import BandProfile, RasterWarning
from sciddiff.io.radiometry import DIVISOR_TAGS
from sciddiff.io.restated import axes_of
from sciddiff.io.separate import Single, joined, read_single


def rasters(source: Location | Sequence[Location]) -> list[str] | None:
    """Return the files that a folder, pattern or list stands for; None if it is a raster or store itself.

    Parameters
    ----------
    source
        A path, pattern or address, or several.

    Raises
    ------
    InputError
        No file.
    """
    if not isinstance(source, str | os.PathLike):
        if not source:
            raise InputError("the list of files is empty: give the files of the bands")
        return [location(path) for path in source]
    where = location(source)
    if remote(where) or is_cube(where):
        return None
    path = Path(where)
    if path.is_dir():
        return bands_in(path)
    if path.is_file():
        product = path.suffix.lower() == ".xml" and path.name.startswith("MTD_MSIL")
        return bands_in(path.parent) if product else None
    if not glob.has_magic(where):
        return None
    found = sorted((os.path.abspath(name) for name in glob.glob(where, recursive=True)), key=counting)
    chosen = [name for name in found if spectral(name)]
    if not chosen:
        others = f"quality or auxiliary rasters only, as {found[0]}" if found else "no file"
        raise InputError(f"{where}: the pattern matches {others}")
    return chosen


def one_raster(files: Sequence[str], *, bands: Sequence[str | int] | None = None) -> str:
    """Return files as one raster that GDAL opens: the text of a VRT, or the file itself if there is one.

    Parameters
    ----------
    files
        Of one scene.
    bands
        That are asked for; names decide on the grid.

    Raises
    ------
    InputError
        An unreadable file, files of several scenes or on different grids, or bands that no grid has.
    """
    members = [member(path) for path in files]
    refuse_mixture(members)
    if len(files) == 1 and members[0] == Member(files[0], members[0].name):
        return files[0]
    chosen = _on_one_grid(_named(members), bands)
    shared = {
        key: text
        for key, text in members[0].tags.items()
        if key in DIVISOR_TAGS and all(item.tags.get(key) == text for item in members)
    }
    return joined(chosen, tags=shared)


def files_of(source: Location | Sequence[Location]) -> list[Path]:
    """Return the local files behind an input, for example to see whether it has changed.

    Parameters
    ----------
    source
        As `sciddiff.open` takes it.

    Returns
    -------
    list of Path
        Absolute: rasters, with the files beside them that GDAL reads and the sources of a VRT; an archive; bands of all
        sizes and the metadata of a scene; every file of a Zarr store. What is not local has none.

    Raises
    ------
    InputError
        Missing or unreadable file.
    """
    if isinstance(source, str):
        _, source = axes_of(source)
    files = rasters(source)
    if files is None:
        where = location(source) if isinstance(source, str | os.PathLike) else ""
        if not remote(where) and is_cube(where):
            return files_of_cube(where)
        files = [where]
    names: list[str] = []
    for path in files:
        with opened(path) as src:
            names += src.files
        names += [str(beside)] if not remote(path) and (beside := metadata_of(path)) else []
    found = (_local(name) for name in dict.fromkeys(names))
    return list(dict.fromkeys(path for path in found if path is not None))


def _local(name: str) -> Path | None:
    """The file of a GDAL path; of one in an archive the archive."""
    inner = name
    while inner.startswith(("/vsizip/", "/vsitar/", "/vsigzip/")):
        inner = inner.split("/", 2)[2]
    if remote(inner):
        return None
    path = Path(inner).absolute()
    return next((part for part in (path, *path.parents) if part.is_file()), None)


def _named(members: Sequence[Member]) -> list[Single]:
    """Headers, with names and what the products say; the file's own word goes first."""
    singles = [read_single(item.path) for item in members]
    spoken = [(single.band.description or "").strip() for single in singles]
    stems = [Path(item.path).stem for item in members]
    start = _shared_start(stems) if len(stems) > 1 else 0
    distinct = all(spoken) and len(set(spoken)) == len(spoken)
    names = [
        item.name or (text if distinct else stem[start:])
        for item, text, stem in zip(members, spoken, stems, strict=True)
    ]
    return [
        single.called(_band(single.band, item, name))
        for single, item, name in zip(singles, members, names, strict=True)
    ]


def _shared_start(stems: Sequence[str]) -> int:
    """Return where the first word begins that names do not share."""
    alike = 0
    for letters in zip(*stems, strict=False):
        if len(set(letters)) > 1:
            break
        alike += 1
    return max(stems[0].rfind(mark, 0, alike) for mark in "_-. ") + 1


def _band(band: BandProfile, item: Member, name: str) -> BandProfile:
    silent = (band.scale, band.offset) == (1, 0)
    own = {key: text for key, text in item.tags.items() if key not in DIVISOR_TAGS}
    general = {**band.tags.get("", {}), **own}
    return replace(
        band,
        name=name,
        description=name,
        nodata=item.nodata if band.nodata is None else band.nodata,
        scale=item.scale if silent else band.scale,
        offset=item.offset if silent else band.offset,
        units=band.units or item.units,
        tags={**band.tags, "": general} if general else band.tags,
    )


def _on_one_grid(singles: Sequence[Single], bands: Sequence[str | int] | None) -> list[Single]:
    """Return the bands of the pixel size that is wanted."""
    sizes: dict[float, list[Single]] = {}
    for single in singles:
        sizes.setdefault(_pixel_size(single), []).append(single)
    for group in sizes.values():
        _refuse_twins(group)
    names = [str(band) for band in bands or () if isinstance(band, str)]
    ordered = sorted(sizes)
    if names and not isinstance(bands, str):
        return next((sizes[size] for size in ordered if _has(sizes[size], names)), None) or _refuse(singles, names)
    size = next((size for size in ordered if len(sizes[size]) > 1), ordered[0])
    taken = {single.band.name for single in sizes[size]}
    left = [f"{single.band.name} ({other:g})" for other in ordered for single in sizes[other] if other != size]
    left = [text for text in dict.fromkeys(left) if text.split(" (")[0] not in taken]
    if left and not bands:
        message = f"bands of another pixel size than {size:g} are left out: {', '.join(left)}; ask for them by name"
        warnings.warn(message, RasterWarning, stacklevel=4)
    return sizes[size]


def _pixel_size(single: Single) -> float:
    """Side of a pixel, in units of the CRS, to six digits."""
    return float(f"{math.sqrt(abs(single.profile.transform.determinant)):.6g}")


def _refuse_twins(group: Sequence[Single]) -> None:
    seen: dict[str, Single] = {}
    for single in group:
        twin = seen.setdefault(single.band.name, single)
        if twin is not single:
            message = f"{twin.path} and {single.path} are both band {single.band.name}; give the files of one scene"
            raise InputError(message)


def _has(group: Sequence[Single], names: Sequence[str]) -> bool:
    try:
        match_bands(names, [single.band.name for single in group])
    except InputError:
        return False
    return True


def _refuse(singles: Sequence[Single], names: Sequence[str]) -> list[Single]:
    where = os.path.dirname(singles[0].path)
    offered = list(dict.fromkeys(single.band.name for single in singles))
    try:
        match_bands(names, offered)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    each = ", ".join(f"{single.band.name} ({_pixel_size(single):g})" for single in singles)
    raise InputError(f"{where}: no pixel size has all of {', '.join(names)}; there are {each}: open them apart")
