"""Names of bands, and which band of a file is meant by a name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sciddiff.errors import InputError

COLOURS = ("red", "green", "blue")

# What a sensor's band numbers mean.
_SENTINEL2 = {
    "1": "coastal",
    "2": "blue",
    "3": "green",
    "4": "red",
    "5": "rededge1",
    "6": "rededge2",
    "7": "rededge3",
    "8": "nir",
    "8a": "nir_narrow",
    "9": "water_vapour",
    "10": "cirrus",
    "11": "swir1",
    "12": "swir2",
}
_LANDSAT8 = {
    "1": "coastal",
    "2": "blue",
    "3": "green",
    "4": "red",
    "5": "nir",
    "6": "swir1",
    "7": "swir2",
    "8": "pan",
    "9": "cirrus",
    "10": "tir1",
    "11": "tir2",
}
_LANDSAT7 = {"1": "blue", "2": "green", "3": "red", "4": "nir", "5": "swir1", "6": "tir1", "7": "swir2", "8": "pan"}
_MODIS = {"1": "red", "2": "nir", "3": "blue", "4": "green", "6": "swir1", "7": "swir2"}
_SENSORS = (
    (re.compile(r"^(s2|sentinel2|msi)"), _SENTINEL2),
    (re.compile(r"^(l[89]|lc0?[89]|landsat[89]|oli)"), _LANDSAT8),
    (re.compile(r"^(l[457]|l[te]0?[457]|landsat[457]|tm|etm)"), _LANDSAT7),
    (re.compile(r"^modis"), _MODIS),
)
# Names that only one sensor's products have: a thermal band 6, the reflectances of MOD09 and MCD43.
_SPELLED = (
    ("landsat7", re.compile(r"^(?:st b6|l[te]0?[457] .*|.*\bb6 vcid \d)$")),
    ("modis", re.compile(r"^(?:sur refl b\d|nadir reflectance band ?\d)")),
)

_NUMBER = re.compile(r"\b(?:band|b) ?0*(\d{1,2}a?)\b")
_UNNAMED = re.compile(r"^band_\d+$")
# First match wins, so that "red edge" is not red and "near infrared" not just infrared.
_WORDS = (
    ("coastal", re.compile(r"\b(?:coastal|ultra ?blue|aerosol)\b")),
    ("rededge", re.compile(r"\b(?:red ?edge|vre|re) ?(\d{1,3})?\b")),
    ("nir_narrow", re.compile(r"\b(?:nir ?narrow|narrow ?nir|nir ?0?8a?|nira)\b")),
    ("water_vapour", re.compile(r"\b(?:water ?vapou?r|wv|nir ?09)\b")),
    ("nir2", re.compile(r"\bnir ?2\b")),
    ("nir", re.compile(r"\b(?:nir ?1?|near ?infra ?red|infra ?red|ir|n)\b")),
    ("swir", re.compile(r"\b(?:swir|short ?wave ?infra ?red) ?(\d{1,2})?\b")),
    ("tir", re.compile(r"\b(?:tirs?|lwir|thermal(?: ?infra ?red)?) ?(\d{1,2})?\b")),
    ("cirrus", re.compile(r"\bcirrus\b")),
    ("pan", re.compile(r"\bpan(?:chromatic)?\b")),
    ("yellow", re.compile(r"\byellow\b")),
    ("red", re.compile(r"\b(?:red|r)\b")),
    ("green", re.compile(r"\b(?:green|g)\b")),
    ("blue", re.compile(r"\b(?:blue|b)\b")),
)
# Central wavelengths as they stand in common names: rededge071, swir16, lwir11.
_ORDINALS = {
    "rededge": {None: "1", "071": "1", "075": "2", "078": "3", "71": "1", "75": "2", "78": "3"},
    "swir": {None: "1", "16": "1", "22": "2"},
    "tir": {None: "1", "10": "1", "11": "1", "12": "2"},
}


@dataclass(frozen=True)
class _Meaning:
    text: str
    number: str | None
    colour: str | None


def band_names(
    descriptions: Sequence[str | None], *, tagged: Sequence[str | None], colours: Sequence[str], first: int = 1
) -> list[str]:
    """Return a name for each band: its description, else its BANDNAME tag, else red, green or blue, else band_1 ...

    A name that is there already gets a number, so that names are unique.

    Parameters
    ----------
    descriptions
        GDAL band descriptions.
    tagged
        The BANDNAME tag of each band.
    colours
        GDAL colour interpretation of each band.
    first
        Number of the first band.
    """
    names: list[str] = []
    for at, (description, tag, colour) in enumerate(zip(descriptions, tagged, colours, strict=True), start=first):
        spoken = (description or "").strip() or (tag or "").strip()
        name = spoken or (colour if colour in COLOURS else f"band_{at}")
        twin = 2
        unique = name
        while unique in names:
            unique, twin = f"{name}_{twin}", twin + 1
        names.append(unique)
    return names


def match_bands(wanted: Sequence[str], available: Sequence[str], *, sensor: str | None = None) -> list[int]:
    """Return where each wanted band stands among the available ones, by name with the usual aliases.

    B2, B02 and `Band 2` are one, and so are R and red, N and NIR. A number stands for a colour by way of the sensor:
    B02 is blue on Sentinel-2. With no sensor a number stands for a colour only where Sentinel-2 and Landsat 8
    agree. Where both names have a colour it alone decides: Sentinel-2's B05 is not the Landsat band `B5 nir`.
    Where only colours are wanted and all the numbers together are those of one sensor, they mean that sensor's.

    Parameters
    ----------
    wanted, available
        Band names.
    sensor
        Instrument whose numbers `wanted` means: sentinel2, landsat8, landsat7, landsat5 or modis; others give numbers
        no meaning.

    Raises
    ------
    InputError
        A wanted band is missing, or fits several; both sides are named.

    Examples
    --------
    >>> match_bands(["B04", "B08"], ["B2 blue", "B4 red", "NIR"], sensor="sentinel2")
    [1, 2]
    """
    offered = _offered(wanted, available, sensor)
    guessed = None if any(_meaning(name).number for name in wanted) else numbering(available)
    tables = _tables(guessed or sensor)
    known = (guessed or sensor) is not None and bool(tables)
    found: list[int] = []
    missing: list[str] = []
    for name in wanted:
        scores = [_score(_meaning(name), other, tables, known=known) for other in offered]
        best = max(scores, default=0)
        places = [at for at, score in enumerate(scores) if score == best]
        if not best:
            missing.append(name)
        elif len(places) > 1:
            several = ", ".join(repr(available[at]) for at in places)
            raise InputError(f"needs {name}, but {several} fit it: give the band by its exact name or number")
        else:
            found.append(places[0])
    if missing:
        lacking = f" (missing: {', '.join(missing)})" if len(missing) < len(wanted) else ""
        raise InputError(f"needs {', '.join(wanted)}; got {describe_bands(available)}{lacking}")
    if len(set(found)) < len(found):
        taken = ", ".join(f"{name} is {available[at]!r}" for name, at in zip(wanted, found, strict=True))
        raise InputError(f"needs {len(wanted)} different bands, but {taken}")
    return found


def _offered(wanted: Sequence[str], available: Sequence[str], sensor: str | None) -> list[_Meaning]:
    """Meanings of a file's names; only colours where its numbers are those of another sensor than the wanted ones."""
    offered = [_meaning(name) for name in available]
    own, exact = _spelled(available), {each.text for each in offered}
    if own is None or all(_meaning(name).text in exact for name in wanted) or _tables(own) == _tables(sensor):
        return offered
    (table,) = _tables(own)
    return [
        each if each.number is None else _Meaning("", None, each.colour or table.get(each.number)) for each in offered
    ]


def _spelled(names: Sequence[str]) -> str | None:
    """Sensor that any of the names can only be of."""
    texts = [_meaning(name).text for name in names]
    return next((sensor for sensor, pattern in _SPELLED if any(pattern.match(text) for text in texts)), None)


def numbering(names: Sequence[str]) -> str | None:
    """Return the sensor whose band numbers a file's names are, or None where several have such.

    Parameters
    ----------
    names
        All band names of the file.

    Examples
    --------
    >>> numbering(["B02", "B03", "B04", "B08"]), numbering(["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"])
    ('sentinel2', 'landsat8')
    """
    if (own := _spelled(names)) is not None:
        return own
    numbers = {meaning.number for meaning in map(_meaning, names) if meaning.number and meaning.colour is None}
    if {"8a", "12"} & numbers or ("8" in numbers and not {"5", "6", "7"} & numbers):
        return "sentinel2"
    if {"2", "3", "4", "5", "6", "7"} <= numbers and "8" not in numbers:
        return "landsat8"
    return "landsat7" if numbers == {"1", "2", "3", "4", "5", "7"} else None


def describe_bands(names: Sequence[str]) -> str:
    """Return names for a message, or how many there are if they are unnamed.

    Parameters
    ----------
    names
        Band names.
    """
    if names and all(_UNNAMED.match(name) for name in names):
        return f"{len(names)} unnamed band{'s' if len(names) > 1 else ''}"
    return ", ".join(names) or "no bands"


def _tables(sensor: str | None) -> list[dict[str, str]]:
    if sensor is None:
        return [_SENTINEL2, _LANDSAT8]
    plain = re.sub(r"[\W_]", "", sensor.lower())
    return [table for pattern, table in _SENSORS if pattern.match(plain)]


def _meaning(name: str) -> _Meaning:
    text = re.sub(r"[\W_]+", " ", name.strip().lower()).strip()
    if _UNNAMED.match(name):
        return _Meaning(text, None, None)
    number = _NUMBER.search(text)
    rest = _NUMBER.sub(" ", text)
    for colour, pattern in _WORDS:
        word = pattern.search(rest)
        if word is None:
            continue
        if colour in _ORDINALS:
            colour += _ORDINALS[colour].get(word[1], word[1])
        return _Meaning(text, number and number[1], colour)
    return _Meaning(text, number and number[1], None)


def _score(wanted: _Meaning, other: _Meaning, tables: list[dict[str, str]], *, known: bool) -> int:
    """How well a band fits: 3 the same name, 2 the same number and no contradiction, 1 the same colour, 0 not."""
    if wanted.text == other.text:
        return 3
    landsat = bool(tables) and _SENTINEL2 not in tables
    if wanted.colour and other.colour:
        colours = [_broad(item.colour or "", landsat=landsat) for item in (wanted, other)]
        return (1 + (wanted.number == other.number)) if colours[0] == colours[1] else 0
    if wanted.colour is None and other.colour is None:
        return 2 if wanted.number is not None and wanted.number == other.number else 0
    spoken, numbered = (wanted, other) if wanted.colour else (other, wanted)
    if numbered.number is None:
        return 0
    if not known and re.search(rf"\bb{numbered.number}\b", spoken.text) and numbered.text == f"b{numbered.number}":
        return 2  # `B5` of someone who reads the file's own names
    meant = {table.get(numbered.number) for table in tables}
    colour = _broad(spoken.colour or "", landsat=landsat)
    return 1 + (wanted.number == other.number) if meant == {colour} else 0


def _broad(colour: str, *, landsat: bool) -> str:
    """The near infrared of Landsat 8 is as narrow as Sentinel-2's B8A, and is called nir08 too."""
    return "nir" if landsat and colour == "nir_narrow" else colour
