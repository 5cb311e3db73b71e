"""From stored numbers to physical values and back, exactly.

A stored number n means (n scale + offset) / divisor. GDAL scale and offset come first. Where a file has neither, the
Sentinel-2 tags hold: `BOA_ADD_OFFSET` (`RADIO_ADD_OFFSET` at level 1) as offset and `BOA_QUANTIFICATION_VALUE` or
`QUANTIFICATION_VALUE` as divisor, for integers only: pixels that are floats already had them applied.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError

OFFSET_TAGS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
DIVISOR_TAGS = ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
SENTINEL2_QUANTIFICATION = 10000.0
"""Of every Sentinel-2 product; taken where a file has the offset only."""
EXACT_IN_FLOAT64 = 2**53


@dataclass(frozen=True)
class Radiometry:
    """A stored number n means (n scale + offset) / divisor."""

    scale: float = 1.0
    offset: float = 0.0
    divisor: float = 1.0
    sentinel2: bool = False
    """Taken from Sentinel-2 tags: the values are reflectances."""

    @property
    def identity(self) -> bool:
        """Stored numbers are the physical values."""
        return self.scale == self.divisor == 1 and self.offset == 0

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Physical values of stored numbers, in float64."""
        numbers = stored.astype(np.float64)
        return numbers if self.identity else (numbers * self.scale + self.offset) / self.divisor

    def encode(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Stored numbers of physical values, in float64, not yet rounded."""
        numbers = values.astype(np.float64)
        return numbers if self.identity else (numbers * self.divisor - self.offset) / self.scale


def radiometry_tag(key: str) -> bool:
    """Return whether a tag says how stored numbers become physical values.

    Parameters
    ----------
    key
        Name of a tag.
    """
    return key.upper().startswith(OFFSET_TAGS) or key.upper() in DIVISOR_TAGS


def band_radiometry(
    scale: float,
    offset: float,
    *,
    name: str,
    dtype: str,
    band_tags: Mapping[str, str],
    dataset_tags: Mapping[str, str],
) -> Radiometry:
    """Return how stored numbers of a band become physical values.

    Parameters
    ----------
    scale, offset
        As GDAL reports them: 1 and 0 where the file has none.
    name
        Band name: a tag of the dataset may hold for one band, as in BOA_ADD_OFFSET_B02.
    dtype
        Type of the stored numbers.
    band_tags, dataset_tags
        Tags of the default namespace.
    """
    tagged = None
    if np.dtype(dtype).kind in "iu":
        tagged = _sentinel2(name, {**dataset_tags, **band_tags})
    if scale == 0 or not math.isfinite(scale) or not math.isfinite(offset):
        warnings.warn(f"band {name}: scale {scale} and offset {offset} cannot be applied, ignored", stacklevel=2)
    elif (scale, offset) != (1, 0):
        if tagged is not None and tagged.offset and not offset:
            message = f"band {name}: BOA_ADD_OFFSET {tagged.offset:g} is not applied, for the file has scale {scale}"
            warnings.warn(message, stacklevel=2)
        return Radiometry(scale, offset)
    return tagged or Radiometry()


def value_dtype(dtype: str, radiometries: Sequence[Radiometry]) -> np.dtype[np.floating]:
    """Return float32 where every stored number comes back from it, else float64.

    Integers up to 16 bit are tried one by one, with no theory that could be wrong.

    Parameters
    ----------
    dtype
        Type of the stored numbers.
    radiometries
        One a band.

    Raises
    ------
    InputError
        Not even float64 brings the stored numbers back: scale and offset are many magnitudes apart.
    """
    stored = np.dtype(dtype)
    if stored.kind == "f":
        narrow = stored.itemsize <= 4 and all(item.identity for item in radiometries)
        return np.dtype(np.float32 if narrow else np.float64)
    if all(item.identity for item in radiometries):
        return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)
    limits = np.iinfo(stored)
    step = 1 if stored.itemsize <= 2 else (int(limits.max) - int(limits.min)) // 65536
    samples = np.arange(limits.min, limits.max, step, dtype=stored)
    samples = np.append(samples, stored.type(limits.max))
    for candidate in (np.float32, np.float64) if stored.itemsize <= 2 else (np.float64,):
        if all(_returns(samples, item, candidate) for item in set(radiometries)):
            return np.dtype(candidate)
    if stored.itemsize == 8:
        return np.dtype(np.float64)
    pairs = ", ".join(f"{item.scale:g} and {item.offset:g}" for item in radiometries)
    raise InputError(f"scale and offset {pairs} lose the {dtype} pixels even in float64: correct the tags of the file")


def decode(
    stored: NDArray[Any],
    valid: NDArray[np.bool_],
    *,
    radiometries: Sequence[Radiometry],
    dtype: np.dtype[np.floating],
) -> NDArray[np.floating]:
    """Return physical values, NaN where invalid.

    Parameters
    ----------
    stored, valid
        (c, h, w).
    radiometries
        One a band.
    dtype
        Of the values; see `value_dtype`.

    Raises
    ------
    InputError
        Valid 64-bit integers beyond 2^53, which no float holds.
    """
    if stored.dtype.kind in "iu" and stored.dtype.itemsize == 8:
        beyond = valid & ((stored > EXACT_IN_FLOAT64) | ((stored < 0) & (stored < -EXACT_IN_FLOAT64)))
        if beyond.any():
            raise InputError(f"{stored.dtype} pixels beyond 2^53 cannot be held exactly: {stored[beyond][0]}")
    values = np.empty(stored.shape, dtype)
    for band, numbers, item in zip(values, stored, radiometries, strict=True):
        band[...] = numbers if item.identity else item.decode(numbers)
    values[~valid] = np.nan
    return values


def encode(
    values: NDArray[np.floating],
    valid: NDArray[np.bool_],
    *,
    radiometry: Radiometry,
    dtype: str,
    nodata: float | None,
) -> tuple[NDArray[Any], int]:
    """Return the stored numbers of one band, and how many valid pixels were clipped to the range of the type.

    Integers are rounded to nearest and clipped, never wrapped. A valid pixel whose number is that of nodata takes the
    neighbouring number on its own side, so that it stays valid. Invalid pixels get nodata, else NaN in floats and 0
    in integers.

    Parameters
    ----------
    values, valid
        (h, w); finite where valid.
    radiometry
        Of the band.
    dtype
        Of the stored numbers.
    nodata
        Of the stored numbers; None or not representable: none.
    """
    kind = np.dtype(dtype).type
    empty = nodata if nodata is not None and holds(dtype, nodata) else None
    if np.dtype(dtype).kind == "f":
        stored, clipped = _encode_float(values, valid, radiometry, kind)
    else:
        stored, clipped = _encode_integer(values, valid, radiometry, kind)
    if empty is not None and not math.isnan(empty):
        _dodge(stored, valid, kind(empty), lambda: radiometry.encode(values))
    if not valid.all():
        stored[~valid] = kind(empty) if empty is not None else kind(np.nan if np.dtype(dtype).kind == "f" else 0)
    return stored, clipped


def holds(dtype: str, number: float) -> bool:
    """Return whether a type holds a number: 255 fits uint8, -9999, 0.5 and NaN do not.

    Parameters
    ----------
    dtype
        Name of a NumPy type.
    number
        For example a nodata value.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return not math.isfinite(number) or abs(number) <= float(np.finfo(kind).max)
    limits = np.iinfo(kind)
    return math.isfinite(number) and int(number) == number and limits.min <= number <= limits.max


def _encode_float(
    values: NDArray[np.floating], valid: NDArray[np.bool_], radiometry: Radiometry, kind: type[np.generic]
) -> tuple[NDArray[Any], int]:
    numbers = _known(values if radiometry.identity else radiometry.encode(values), valid)
    limits = np.finfo(np.dtype(kind))
    if limits.bits >= np.finfo(numbers.dtype).bits:
        return numbers.astype(kind), 0
    beyond = int(np.count_nonzero((numbers > limits.max) | (numbers < limits.min)))
    return (numbers if not beyond else numbers.clip(limits.min, limits.max)).astype(kind), beyond


def _encode_integer(
    values: NDArray[np.floating], valid: NDArray[np.bool_], radiometry: Radiometry, kind: type[np.generic]
) -> tuple[NDArray[Any], int]:
    limits = np.iinfo(np.dtype(kind))
    low, high = float(limits.min), float(limits.max)
    if int(high) > limits.max:  # 64 bit: the nearest float lies above the largest integer
        high = math.nextafter(high, 0)
    plain = radiometry.identity and limits.bits <= 16 and values.dtype.itemsize >= 4  # rounds alike, holds the limits
    rounded = np.rint(_known(values if plain else radiometry.encode(values), valid))
    if not rounded.size or (rounded.min() >= low and rounded.max() <= high):
        return rounded.astype(kind), 0
    beyond = int(np.count_nonzero((rounded < low) | (rounded > high)))
    return rounded.clip(low, high).astype(kind), beyond


def _known(numbers: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Numbers, 0 where they are not valid."""
    return numbers if valid.all() else np.where(valid, numbers, numbers.dtype.type(0))


def _dodge(
    stored: NDArray[Any], valid: NDArray[np.bool_], empty: np.generic, exact: Callable[[], NDArray[np.float64]]
) -> None:
    """Move valid numbers off nodata, to the neighbour on the side of the exact value."""
    met = (stored == empty) & valid
    if not met.any():
        return
    if stored.dtype.kind == "f":
        stored[met] = np.nextafter(empty, stored.dtype.type(0 if empty else 1))
        return
    limits, number = np.iinfo(stored.dtype), int(empty)
    above = number + 1 if number < limits.max else number - 1
    below = number - 1 if number > limits.min else number + 1
    stored[met] = np.where(exact()[met] >= number, above, below).astype(stored.dtype)


def _returns(samples: NDArray[Any], item: Radiometry, kind: type[np.floating]) -> bool:
    with np.errstate(all="ignore"):
        back = np.rint(item.encode(item.decode(samples).astype(kind)))
    return bool(np.array_equal(back, samples.astype(np.float64)))


def _sentinel2(name: str, tags: Mapping[str, str]) -> Radiometry | None:
    upper = {key.upper(): text for key, text in tags.items()}
    short, padded = re.sub(r"^B0+", "B", name), re.sub(r"^B(\d)(?!\d)", r"B0\1", name)
    spellings = (f"_{name}", f"_{short}", f"_{padded}", "")
    offset = _number(upper, [tag + spelling.upper() for tag in OFFSET_TAGS for spelling in spellings])
    divisor = _number(upper, DIVISOR_TAGS)
    if divisor is not None and divisor <= 0:
        raise InputError(f"band {name}: a quantification value of {divisor:g} cannot be used; correct the tags")
    if offset is None and divisor is None:
        return None
    return Radiometry(1.0, offset or 0.0, divisor or SENTINEL2_QUANTIFICATION, sentinel2=True)


def _number(tags: Mapping[str, str], keys: Sequence[str]) -> float | None:
    text = next((tags[key] for key in keys if key in tags), None)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"the tag {keys[-1]} is {text!r}, not a number; correct the tags of the file")
    return number
