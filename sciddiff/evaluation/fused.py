"""Scores of a pan-sharpened image at full resolution, where no truth exists: files to figures of `fusion_metrics`."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.fusion_metrics import BLOCK, NoReference, Reprojection, hqnr, reprojection
from sciddiff.evaluation.pairs import describe_grid, match_bands
from sciddiff.io.align import offset_of, refuse_apart
from sciddiff.physics import sensor as sensors

Array = NDArray[np.float64]
Names = tuple[str, str, str]

NAMES: Names = ("the fused image", "the bands", "the pan")
MOST_DRIFT = 0.1
"""Fused pixels by which two grids may come apart from one end of the image to the other."""
ROUNDING = 6
"""Digits of a fused pixel to which the places of grids are known."""
LARGEST_NUMBER = 2**16 - 1
"""Of the digital numbers that published scores are rounded to."""


@dataclass(frozen=True)
class FusedScores:
    """What `evaluate_fused` found.

    Attributes
    ----------
    bands
        Of the fused image.
    ratio
        Fused pixels along one of the bands.
    offset
        Rows and columns by which the scored part of the fused image begins after that of the bands, in fused pixels.
    window
        First row, first column, height and width of what was scored, in fused pixels.
    gains
        Of the bands' MTF at their own Nyquist frequency.
    physical
        In the mode of this name.
    reprojection
        In the same mode.
    toolbox
        In the mode of this name; None where it has no meaning.
    left_out
        Why the toolbox's mode is left out; empty where it is not.
    """

    bands: tuple[str, ...]
    ratio: int
    offset: tuple[float, float]
    window: tuple[int, int, int, int]
    gains: tuple[float, ...]
    physical: NoReference
    reprojection: Reprojection
    toolbox: NoReference | None
    left_out: str

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        toolbox = {"left_out": self.left_out} if self.toolbox is None else self.toolbox._asdict()
        return {
            "kind": "fusion",
            "bands": list(self.bands),
            "ratio": self.ratio,
            "offset": list(self.offset),
            "window": list(self.window),
            "mtf": dict(zip(self.bands, self.gains, strict=True)),
            "scores": {
                "toolbox": toolbox,
                "physical": self.physical._asdict(),
                "reprojection": self.reprojection._asdict(),
            },
        }


@dataclass(frozen=True)
class Laid:
    """Images of one ground, free of NaN: `fused` (c, ratio h, ratio w), `ms` (c, h, w), `pan` (ratio h, ratio w)."""

    fused: Array
    ms: Array
    pan: Array
    ratio: int
    offset: tuple[float, float]
    window: tuple[int, int, int, int]


def evaluate_fused(
    fused: xr.DataArray, ms: xr.DataArray, pan: xr.DataArray, *, sensor: str = "generic", names: Names = NAMES
) -> FusedScores:
    """Score a pan-sharpened image by what it was made of.

    Parameters
    ----------
    fused
        (band, y, x), as `sciddiff.open` gives it.
    ms
        The measured bands, whose pixels are larger by a whole number and lie anywhere.
    pan
        One band on pixels of the fused image, of any extent.
    sensor
        Whose MTF the bands have, see `sciddiff.physics.sensor.MTF`.
    names
        Of the three in messages, such as their files.

    Raises
    ------
    InputError
        Grids or bands that do not match, or less than a block that is valid in all.
    OptionError
        An unknown sensor, or one that has none of the bands.

    Notes
    -----
    All is held in memory. Scored is the largest rectangle of whole blocks of `BLOCK` fused pixels, also whole pixels
    of the bands, in which everything is valid.
    """
    for image, name in zip((fused, ms, pan), names, strict=True):
        if set(image.dims) != {"band", "y", "x"}:
            raise InputError(
                f"{name} has planes along {', '.join(map(str, image.dims))}; fusion is scored of one plane"
            )
    if pan.sizes["band"] != 1:
        raise InputError(f"{names[2]} has {pan.sizes['band']} bands; expected one, the sharp band")
    places = _places(fused, ms, names)
    bands = tuple(str(name) for name in fused.band.values)
    gains = _gains(sensor, bands)
    laid = lay(fused, ms.isel(band=places), pan, names=names)
    r = laid.ratio
    border = max(-(-sensors.blur_radius(gain, r) // r) for gain in gains) + 1
    if min(laid.ms.shape[1:]) <= 2 * border:
        raise InputError(f"only {laid.ms.shape[1]} x {laid.ms.shape[2]} pixels of {names[1]} are valid in one piece")
    physical = hqnr(laid.fused, laid.ms, laid.pan, ratio=r, gains=gains, mode="physical", offset=laid.offset)
    again = reprojection(laid.fused, laid.ms, ratio=r, gains=gains, offset=laid.offset, border=border)
    reason = _no_toolbox(laid, names)
    toolbox = None if reason else hqnr(*turned(laid), ratio=r, gains=gains)
    return FusedScores(bands, r, laid.offset, laid.window, tuple(gains), physical, again, toolbox, reason)


def turned(laid: Laid) -> tuple[Array, Array, Array]:
    """Fused image, bands and pan, mirrored where low pixels lie nearer to the other of the two high ones of a pair.

    Published scores read low pixels at the high ones [ratio / 2 :: ratio].

    Parameters
    ----------
    laid
        As `lay` gives it.
    """
    axes = tuple(axis - 2 for axis, begins in enumerate(laid.offset) if begins > 0)
    fused, ms, pan = (np.ascontiguousarray(np.flip(image, axes)) for image in (laid.fused, laid.ms, laid.pan))
    return fused, ms, pan


def lay(fused: xr.DataArray, ms: xr.DataArray, pan: xr.DataArray, *, names: Names = NAMES) -> Laid:
    """Cut the images to one ground on which all are valid.

    Parameters
    ----------
    fused, ms, pan, names
        See `evaluate_fused`; fused and ms have the same bands.
    """
    ratio, begins = _ratio(fused, ms, names)
    sharp = _whole_offset(fused, pan, names)
    # low pixel i is taken for the high ones from starts + ratio i on, at most half of one off its place
    starts = [round(begin) for begin in begins]
    offset = (starts[0] - begins[0], starts[1] - begins[1])
    corner, count = _common(fused, ms, pan, ratio=ratio, starts=starts, sharp=sharp)
    if min(count) < 1:
        raise InputError(f"no ground is common to {', '.join(names)}: nothing to score")
    high, bands, guide = (
        io.read_window(image, *(slice(c, c + factor * n) for c, n in zip(place, count, strict=True)))[0]
        for image, place, factor in (
            (fused, [s + ratio * c for s, c in zip(starts, corner, strict=True)], ratio),
            (ms, corner, 1),
            (pan, [s - p + ratio * c for s, p, c in zip(starts, sharp, corner, strict=True)], ratio),
        )
    )
    known = np.isfinite(high).all(0) & np.isfinite(guide[0])
    valid = known.reshape(count[0], ratio, count[1], ratio).all((1, 3)) & np.isfinite(bands).all(0)
    side = math.lcm(BLOCK, ratio) // ratio
    row, col, height, width = largest(valid, side)
    if not height:
        raise InputError(f"no block of {side * ratio} x {side * ratio} pixels is valid in all of {', '.join(names)}")

    def cut(image: NDArray[np.floating], factor: int) -> Array:
        rows, cols = (slice(factor * at, factor * (at + n)) for at, n in ((row, height), (col, width)))
        return image[:, rows, cols].astype(np.float64)

    window = (
        starts[0] + ratio * (corner[0] + row),
        starts[1] + ratio * (corner[1] + col),
        ratio * height,
        ratio * width,
    )
    return Laid(cut(high, ratio), cut(bands, 1), cut(guide, ratio)[0], ratio, offset, window)


def _common(
    fused: xr.DataArray, ms: xr.DataArray, pan: xr.DataArray, *, ratio: int, starts: Sequence[int], sharp: Sequence[int]
) -> tuple[list[int], list[int]]:
    """First row and column, and rows and columns, of the low pixels that fused image and pan cover whole."""
    corner, count = [], []
    for dim, start, begin in zip("yx", starts, sharp, strict=True):
        low, high = max(0, begin), min(fused.sizes[dim], begin + pan.sizes[dim])
        corner.append(max(0, -((start - low) // ratio)))
        count.append(min(ms.sizes[dim], (high - start) // ratio) - corner[-1])
    return corner, count


def largest(valid: NDArray[np.bool_], side: int) -> tuple[int, int, int, int]:
    """Largest rectangle of whole blocks of valid pixels: first row, first column, height, width; zeros for none.

    Parameters
    ----------
    valid
        (h, w).
    side
        Of the blocks, which begin at the first valid row and column.
    """
    if not valid.any():
        return 0, 0, 0, 0
    row, col = int(valid.any(1).argmax()), int(valid.any(0).argmax())
    valid = valid[row:, col:]
    h, w = valid.shape[0] // side, valid.shape[1] // side
    blocks = np.asarray(valid[: h * side, : w * side].reshape(h, side, w, side).all((1, 3)))
    best = [0, 0, 0, 0]
    for top in range(h):
        whole = np.ones(w, bool)
        for bottom in range(top, h):
            whole &= blocks[bottom]
            edges = np.flatnonzero(np.diff(whole, prepend=False, append=False))
            for left, right in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                if (bottom + 1 - top) * (right - left) > best[2] * best[3]:
                    best = [top, left, bottom + 1 - top, right - left]
    top, left, height, width = (side * number for number in best)
    return row + top, col + left, height, width


def _places(fused: xr.DataArray, ms: xr.DataArray, names: Names) -> list[int]:
    """Where the bands of the fused image stand among those measured."""
    found = match_bands(ms, fused, names[1], names[0])
    places = [place for place in found if place is not None]
    if len(places) < len(found):
        lacking = [str(name) for name, place in zip(fused.band.values, found, strict=True) if place is None]
        raise InputError(f"{names[1]} lacks {', '.join(lacking)} of {names[0]}: it is not what that was made of")
    unused = [str(name) for at, name in enumerate(ms.band.values) if at not in places]
    if unused:
        told = f"{names[0]} lacks {', '.join(unused)} of {names[1]}: nothing is said of them"
        warnings.warn(told, io.RasterWarning, stacklevel=3)
    return places


def _gains(sensor: str, bands: Sequence[str]) -> list[float]:
    """Nominal gains of bands by any of their names."""
    table: Mapping[str, float] = sensors.MTF.get(sensor, {})
    spelled = list(bands)
    for own in table:
        try:
            spelled[io.match_bands([own], bands, sensor=sensor)[0]] = own
        except InputError:
            continue
    if table and not set(spelled) & set(table):
        raise OptionError(f"the sensor {sensor} has {', '.join(table)}; none of {', '.join(bands)} is one of these")
    return sensors.nominal_mtf(sensor, spelled)


def _ratio(fused: xr.DataArray, ms: xr.DataArray, names: Names) -> tuple[int, tuple[float, float]]:
    """Fused pixels along one of the bands, and where these begin, in fused pixels."""
    told = f"{names[0]} is {describe_grid(fused)}; {names[1]} is {describe_grid(ms)}"
    high, low = io.grid_of(fused), io.grid_of(ms)
    _refuse_apart(fused, ms, told)
    begins = offset_of(fused, low)
    across = ~high.affine * low.affine
    if begins is None or min(across.a, across.e) <= 0:
        raise InputError(f"one grid is turned, or in another coordinate reference system: {told}")
    if min(across.a, across.e) <= 1 + 1e-6:
        raise InputError(f"the pixels of {names[1]} are not larger than those of {names[0]}: {told}")
    ratio = round(across.a)
    if ratio < 2 or max(abs(across.a - ratio), abs(across.e - ratio)) * max(low.shape) > MOST_DRIFT:
        raise InputError(f"the ratio of the pixels, {across.e:g} x {across.a:g}, is no whole number: {told}")
    return ratio, (round(begins[0], ROUNDING), round(begins[1], ROUNDING))


def _whole_offset(fused: xr.DataArray, pan: xr.DataArray, names: Names) -> tuple[int, int]:
    """Where the pan begins, in fused pixels."""
    told = f"{names[0]} is {describe_grid(fused)}; {names[2]} is {describe_grid(pan)}"
    _refuse_apart(fused, pan, told)
    begins = offset_of(fused, io.grid_of(pan))
    across = ~io.grid_of(fused).affine * io.grid_of(pan).affine
    drift = max(abs(across.a - 1), abs(across.e - 1)) * max(pan.sizes["y"], pan.sizes["x"])
    if begins is None or max(drift, *(abs(begin - round(begin)) for begin in begins)) > MOST_DRIFT:
        raise InputError(f"the pan has not the pixels of the fused image: {told}")
    return round(begins[0]), round(begins[1])


def _refuse_apart(one: xr.DataArray, other: xr.DataArray, told: str) -> None:
    try:
        refuse_apart(io.grid_of(one), io.grid_of(other))
    except InputError as error:
        raise InputError(f"{error}: {told}") from error


def _no_toolbox(laid: Laid, names: Names) -> str:
    """Why published scores have no meaning; empty where they have."""
    if laid.ratio & (laid.ratio - 1):
        return f"its interpolator needs a ratio that is a power of two, not {laid.ratio}"
    for image, name in zip((laid.ms, laid.pan), names[1:], strict=True):
        if not np.array_equal(image, np.rint(image)) or image.min() < 0 or image.max() > LARGEST_NUMBER:
            return f"it rounds to digital numbers, and {name} holds others than whole ones from 0 to {LARGEST_NUMBER}"
    return ""
