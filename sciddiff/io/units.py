"""Units of length and time by the names of OME-XML, OME-Zarr and ImageJ; micrometres and seconds inside."""

PREFIXES = {
    "Y": ("yotta", 24),
    "Z": ("zetta", 21),
    "E": ("exa", 18),
    "P": ("peta", 15),
    "T": ("tera", 12),
    "G": ("giga", 9),
    "M": ("mega", 6),
    "k": ("kilo", 3),
    "h": ("hecto", 2),
    "da": ("deca", 1),
    "": ("", 0),
    "d": ("deci", -1),
    "c": ("centi", -2),
    "m": ("milli", -3),
    "µ": ("micro", -6),
    "n": ("nano", -9),
    "p": ("pico", -12),
    "f": ("femto", -15),
    "a": ("atto", -18),
    "z": ("zepto", -21),
    "y": ("yocto", -24),
}
"""Symbols of SI, their names, and the powers of ten."""
LENGTHS: dict[str, float] = {f"{symbol}m": float(f"1e{power + 6}") for symbol, (_, power) in PREFIXES.items()} | {
    "Å": 1e-4,
    "thou": 25.4,
    "li": 25.4e3 / 12,
    "in": 25.4e3,
    "ft": 304.8e3,
    "yd": 914.4e3,
    "mi": 1609.344e6,
    "ua": 149597870700e6,
    "ly": 9460730472580800e6,
    "pc": 3.0856775814913673e22,
    "pt": 25.4e3 / 72,
}
"""Micrometres in each unit of length of OME-XML 2016-06; `pixel` and `reference frame` are no lengths."""
TIMES: dict[str, float] = {f"{symbol}s": float(f"1e{power}") for symbol, (_, power) in PREFIXES.items()} | {
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
"""Seconds in each unit of time of OME-XML 2016-06."""
_LONG = {f"{name}meter": f"{symbol}m" for symbol, (name, _) in PREFIXES.items()}
_LONG |= {f"{name}second": f"{symbol}s" for symbol, (name, _) in PREFIXES.items()}
_LONG |= {"angstrom": "Å", "inch": "in", "foot": "ft", "yard": "yd", "mile": "mi", "parsec": "pc"}
_LONG |= {"minute": "min", "hour": "h", "day": "d"}
_SAID = {"um": "µm", "us": "µs", "micron": "µm", "sec": "s", "pixels": "pixel", "inches": "in"}
_SAID |= {"metre": "m", "micrometre": "µm", "nanometre": "nm", "millimetre": "mm", "centimetre": "cm", "msec": "ms"}
_NAMES = {symbol: name for name, symbol in _LONG.items()}


def symbol_of(unit: str) -> str:
    """Return the symbol by which OME-XML calls a unit, or the unit as it is if that is not known.

    >>> symbol_of("micron"), symbol_of("nanometer"), symbol_of("\\\\u00B5m")
    ('µm', 'nm', 'µm')

    Parameters
    ----------
    unit
        As a file says it: a symbol, or a name, the Greek letter as itself, as U+00B5, or escaped as ImageJ does.
    """
    plain = unit.strip().replace("\\u00B5", "µ").replace("μ", "µ").replace("Å", "Å")
    if plain in LENGTHS or plain in TIMES:
        return plain
    names = plain.lower(), plain.lower().removesuffix("s")  # one or several
    return next((known[name] for name in names for known in (_LONG, _SAID) if name in known), plain)


def name_of(unit: str) -> str | None:
    """Return the name by which OME-Zarr calls a unit (that of UDUNITS-2), None where it has none.

    Parameters
    ----------
    unit
        A symbol of OME-XML.
    """
    return _NAMES.get(unit)


def micrometres(unit: str) -> float | None:
    """Return how many micrometres a unit is; None for pixels, reference frames and what is not known.

    Parameters
    ----------
    unit
        See `symbol_of`.
    """
    return LENGTHS.get(symbol_of(unit))


def seconds(unit: str) -> float | None:
    """Return how many seconds a unit is; None for what is not known.

    Parameters
    ----------
    unit
        See `symbol_of`.
    """
    return TIMES.get(symbol_of(unit))
