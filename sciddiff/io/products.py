"""What the names of single-band files and the metadata beside them say: Landsat, Sentinel-2, and no product at all."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

from sciddiff.errors import InputError

SUFFIXES = (".tif", ".tiff", ".jp2", ".img", ".vrt")
"""Of rasters in a folder."""

_SENTINEL2 = re.compile(r"^(?P<scene>(?:L\dC_|L2A_)?T\d\d[A-Z]{3}_\d{8}T\d{6})_(?P<band>B\d\d|B8A)?", re.IGNORECASE)
_LANDSAT = re.compile(
    r"^(?P<scene>L[COTEM]\d\w*?)_(?:(?P<level>SR|ST|TOA|TA|BT)_?)?B(?:AND)?(?P<band>\d{1,2}(?:_VCID_\d)?)$",
    re.IGNORECASE,
)
_LANDSAT_FILE = re.compile(r"^L[COTEM]0?[1-9]\d*_", re.IGNORECASE)
_BAND = re.compile(r"(?:^|[\W_])(?P<band>B\d{1,2}A?)(?:[\W_]\d\dm)?$", re.IGNORECASE)
_QUALITY = re.compile(
    r"(?:^|[\W_])(?:QA\w*|BQA|\w*_QA|SCL|TCI|PVI|AOT|WVP|MSK\w*|CLM|CLP|FMASK|(?:SAA|SZA|VAA|VZA)|angle)(?:[\W_]\d\dm)?$",
    re.IGNORECASE,
)
# By band_id of the metadata (Sentinel-2 Products Specification Document, Physical_Band).
_BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
# Factors of a Landsat MTL, the most wanted first, and the unit of what they give (USGS Data Format Control Books).
_RESCALING = (
    ("REFLECTANCE_{}_BAND_{}", "1"),
    ("TEMPERATURE_{}_BAND_ST_B{}", "K"),
    ("RADIANCE_{}_BAND_{}", "W m-2 sr-1 um-1"),
)


@dataclass(frozen=True)
class Member:
    """One file of a scene, with what its product says where the file itself is silent.

    Attributes
    ----------
    path
        Of the file.
    name
        Of the band; None if neither product nor file name tell.
    scene
        What the files of one scene have in common in their names.
    nodata, scale, offset, units
        Of the stored numbers.
    tags
        Of the band.
    """

    path: str
    name: str | None = None
    scene: str | None = None
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def member(path: str) -> Member:
    """Return what is known of a file without opening it.

    Parameters
    ----------
    path
        Of a raster.

    Raises
    ------
    InputError
        Metadata beside it that cannot be read.
    """
    stem = Path(path).stem
    if (found := _SENTINEL2.match(stem)) and found["band"]:
        return _sentinel2(path, found["band"].upper(), found["scene"])
    if found := _LANDSAT.match(stem):
        return _landsat(path, found)
    found = _BAND.search(stem)
    return Member(path, found["band"].upper() if found else None)


def spectral(path: str) -> bool:
    """Return whether a file of a folder is a band, and no quality band, mask, angle, preview or auxiliary of a product.

    Parameters
    ----------
    path
        Of a raster.
    """
    stem = Path(path).stem
    product = _SENTINEL2.match(stem)
    if product:
        return bool(product["band"])
    return bool(_LANDSAT.match(stem)) or not (_LANDSAT_FILE.match(stem) or _QUALITY.search(stem))


def bands_in(folder: Path) -> list[str]:
    """Return the files of a folder that are bands, sorted as people count: B2 before B10.

    Parameters
    ----------
    folder
        Of a scene; of a Sentinel-2 product, or one of its granules, its images are taken.

    Raises
    ------
    InputError
        None, or those of several granules.
    """
    granules = sorted((folder / "GRANULE").glob("*/IMG_DATA")) or _images_of(folder)
    if len(granules) > 1:
        names = " and ".join(granule.parent.name for granule in granules[:2])
        raise InputError(f"{folder}: has {len(granules)} granules, {names} among them; give the folder of one of them")
    found = granules[0].rglob("*.jp2") if granules else folder.iterdir()
    rasters = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    chosen = sorted((str(path) for path in rasters if spectral(str(path))), key=counting)
    if not chosen:
        others = f"{len(rasters)} quality or auxiliary rasters only" if rasters else f"no {', '.join(SUFFIXES)} files"
        raise InputError(f"{folder}: has {others}; give a raster, or a folder of single-band rasters")
    return chosen


def _images_of(granule: Path) -> list[Path]:
    """Where the images of a Sentinel-2 granule are, or those of the folder of them all; nothing of any other folder."""
    inside = (granule, granule / "IMG_DATA")
    return [folder for folder in inside if folder.name == "IMG_DATA" and any(folder.rglob("*.jp2"))]


def counting(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people count; B8A follows B8.

    Parameters
    ----------
    path
        Or name.
    """
    parts = re.split(r"(\d+)", os.path.splitext(path)[0])
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def metadata_of(path: str) -> Path | None:
    """Return the metadata file of the product that a file belongs to, if it stands where it should.

    Parameters
    ----------
    path
        Of a band.
    """
    place, stem = Path(path), Path(path).stem
    if _SENTINEL2.match(stem):
        roots = [parent.parent for parent in place.parents if parent.name == "GRANULE"]
        return next(iter(sorted(roots[0].glob("MTD_MSIL*.xml"))), None) if roots else None
    if found := _LANDSAT.match(stem):
        names = [f"{found['scene']}_MTL.{suffix}" for suffix in ("txt", "json")]
        return next((place.with_name(name) for name in names if place.with_name(name).is_file()), None)
    return None


def _sentinel2(path: str, band: str, scene: str) -> Member:
    source = metadata_of(path)
    if source is None:
        return Member(path, band, scene, nodata=0)
    tags, offsets, nodata = _mtd(source, source.stat().st_mtime_ns)
    return Member(path, band, scene, nodata=nodata, tags={**tags, **offsets.get(band, {})})


@cache
def _mtd(path: Path, modified: int) -> tuple[dict[str, str], dict[str, dict[str, str]], float]:  # noqa: ARG001
    """Tags of all bands, tags of each, nodata. The names of the tags are those of the XML."""
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - expat bounds the expansion of entities
        shared = {
            tag: text.strip()
            for tag in ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
            if (text := root.findtext(f".//{tag}")) is not None
        }
        offsets = {
            _BAND_IDS[int(item.get("band_id", ""))]: {tag: (item.text or "").strip()}
            for tag in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
            for item in root.iter(tag)
        }
        special = {item.findtext("SPECIAL_VALUE_TEXT"): item for item in root.iter("Special_Values")}
        empty = special["NODATA"].findtext("SPECIAL_VALUE_INDEX") if "NODATA" in special else None
        return shared, offsets, float(empty or 0)
    except (ET.ParseError, OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: cannot be read as metadata of Sentinel-2: {error}") from error


def _landsat(path: str, found: re.Match[str]) -> Member:
    """Reflectance at the top of the atmosphere is that of the MTL, not corrected for the elevation of the sun."""
    name, level = f"B{found['band'].upper()}", (found["level"] or "").upper()
    plain = Member(path, name, found["scene"], nodata=0)
    source = metadata_of(path)
    if source is None or level not in {"", "SR", "ST"}:
        return plain
    factors = _mtl(source, source.stat().st_mtime_ns)[bool(level)]
    for pattern, units in _RESCALING:
        scale, offset = (factors.get(pattern.format(word, name[1:])) for word in ("MULT", "ADD"))
        if scale is not None and offset is not None:
            return Member(path, name, found["scene"], nodata=0, scale=scale, offset=offset, units=units)
    return plain


@cache
def _mtl(path: Path, modified: int) -> tuple[dict[str, float], dict[str, float]]:  # noqa: ARG001
    """Rescaling factors of level 1 and of level 2, which an MTL of level 2 has both."""
    try:
        text = path.read_text()
        groups = _json_groups(json.loads(text)) if path.suffix.lower() == ".json" else _text_groups(text)
        levels: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for group, key, value in groups:
            if re.match(r"(REFLECTANCE|RADIANCE|TEMPERATURE)_(MULT|ADD)_BAND_", key):
                number = float(value)
                if not math.isfinite(number):
                    raise ValueError(f"{key} is {value}")
                levels[group.startswith("LEVEL2")][key] = number
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as metadata of Landsat: {error}") from error
    return levels


def _json_groups(data: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[tuple[str, str, str]]:
    return [
        (group, key, value)
        for product in data.values()
        for group, entries in product.items()
        for key, value in entries.items()
    ]


def _text_groups(text: str) -> list[tuple[str, str, str]]:
    entries, group = [], ""
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif equals and key != "END_GROUP":
            entries.append((group, key, value))
    return entries


def refuse_mixture(members: Sequence[Member]) -> None:
    """Raise if files belong to different scenes by their names.

    Parameters
    ----------
    members
        Of one image to be.

    Raises
    ------
    InputError
        They do; two of them are named.
    """
    first = members[0]
    for other in members[1:]:
        if other.scene != first.scene:
            raise InputError(f"{first.path} and {other.path} are no parts of one scene; give the files of one scene")
