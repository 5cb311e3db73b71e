"""What detectors leave out or distort: the gaps of Landsat 7, lost lines and columns, stripes.

Masks are True where a pixel is missing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics.fractal import fractal_noise, normal, uniform

SWATH = 7000
"""Pixels across a Landsat-7 scene in its own geometry, about."""


class Striped(NamedTuple):
    """A striped image (b, c, h, w) with its relative `gains` and its `offsets`, (b, c, lines)."""

    image: Tensor
    gains: Tensor
    offsets: Tensor


def slc_off(
    shape: tuple[int, int],
    *,
    period: float = 33.0,
    edge_gap: float = 14.0,
    heading: float = 8.0,
    phase: float = 0.0,
    swath: int | None = None,
    first_column: int = 0,
) -> Tensor:
    """The wedge-shaped gaps of Landsat 7 since its scan line corrector failed in 2003.

    Missing where (row + tan(heading) (col - W/2) + [right half] period/2) mod period < edge_gap |col - W/2| / (W/2): a
    parametric model, 21.2 % missing at the nominal values, none at the centre of the swath, 42 % at its edges.

    Parameters
    ----------
    shape
        (h, w) of the window.
    period
        Rows from one gap to the next.
    edge_gap
        Rows missing at the edge of the swath.
    heading
        Slope of the gaps in degrees.
    phase
        Rows by which the gaps lie further down.
    swath
        Columns W of the whole swath; the window's own width where not given.
    first_column
        The window's first column within the swath.

    Returns
    -------
    Tensor
        (h, w), bool, True where missing.
    """
    h, w = shape
    centre = (swath or w) / 2
    row = torch.arange(h, dtype=torch.float64)[:, None] - phase
    col = torch.arange(first_column, first_column + w, dtype=torch.float64)[None] - centre
    at = row + math.tan(math.radians(heading)) * col + (col >= 0) * period / 2
    return torch.remainder(at, period) < edge_gap * col.abs() / centre


def dropped_lines(
    shape: tuple[int, int], *, generator: torch.Generator | None, share: float = 0.05, thickest: int = 3
) -> Tensor:
    """Whole rows missing, in runs of 1 to `thickest`.

    Parameters
    ----------
    shape
        (h, w).
    generator
        Source of randomness; None gives the rows of seed 0.
    share
        Of the rows that are missing, at least one row and about: runs may overlap.
    thickest
        Rows of the longest run.

    Returns
    -------
    Tensor
        (h, w), bool, True where missing.
    """
    h, w = shape
    return _runs(h, generator=generator, share=share, thickest=thickest)[:, None].expand(h, w).clone()


def dead_columns(shape: tuple[int, int], *, generator: torch.Generator | None, share: float = 0.02) -> Tensor:
    """Single columns missing, as dead detectors of a push-broom sensor leave them.

    Parameters
    ----------
    shape
        (h, w).
    generator
        Source of randomness; None gives the columns of seed 0.
    share
        Of the columns that are missing, at least one.

    Returns
    -------
    Tensor
        (h, w), bool, True where missing.
    """
    h, w = shape
    return _runs(w, generator=generator, share=share, thickest=1)[None].expand(h, w).clone()


def blobs(shape: tuple[int, int], *, generator: torch.Generator | None, share: float = 0.2) -> Tensor:
    """Connected areas of irregular outline missing: where a fractal field is highest.

    Parameters
    ----------
    shape
        (h, w).
    generator
        Source of randomness; None gives the field of seed 0.
    share
        Of the pixels that are missing.

    Returns
    -------
    Tensor
        (h, w), bool, True where missing.
    """
    h, w = shape
    field = fractal_noise((1, h, w), generator=generator, beta=3.4, lowest=2.0)[0]
    count = round(share * h * w)
    missing = torch.zeros(h * w, dtype=torch.bool, device=field.device)
    missing[field.flatten().topk(count).indices] = True
    return missing.reshape(h, w)


def draw_gaps(
    shape: tuple[int, int, int], *, generator: torch.Generator | None, kinds: Sequence[str] | None = None
) -> Tensor:
    """Random gaps: for each image one kind, or two together in one image of four.

    Parameters
    ----------
    shape
        (b, h, w).
    generator
        Source of randomness; None gives the nominal gaps of the first kind.
    kinds
        Any of `KINDS`, all where not given.

    Returns
    -------
    Tensor
        (b, h, w), bool, True where missing, on the generator's device.
    """
    b, h, w = shape
    kinds = tuple(KINDS) if kinds is None else tuple(kinds)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise OptionError(f"unknown kinds of gaps {', '.join(unknown) or '(none given)'}; known are {', '.join(KINDS)}")
    masks = []
    for _ in range(b):
        if generator is None:
            masks.append(KINDS[kinds[0]]((h, w), None))
            continue
        picks = uniform(generator, (3,), low=0, high=1).tolist()
        mask = KINDS[kinds[int(picks[0] * len(kinds))]]((h, w), generator)
        if picks[1] < 0.25:
            mask = mask | KINDS[kinds[int(picks[2] * len(kinds))]]((h, w), generator)
        masks.append(mask)
    return torch.stack(masks)


def stripe(
    image: Tensor,
    generator: torch.Generator | None,
    *,
    gain_spread: float = 0.02,
    offset_spread: float = 0.01,
    drift_spread: float = 0.0,
    drift_memory: float = 0.98,
    lines: Literal["columns", "rows"] = "columns",
    block: int = 1,
    period: int | None = None,
) -> Striped:
    """Stripes from detectors that differ: I' = (1 + g) I + o, with one g and one o for each line.

    Parameters
    ----------
    image
        (b, c, h, w).
    generator
        Source of randomness; None means detectors that do not differ: no stripes.
    gain_spread
        Standard deviation of g.
    offset_spread
        Standard deviation of o, as a part of the range of each image's band.
    drift_spread
        Standard deviation of a slow drift added to o, as a part of the same range.
    drift_memory
        Correlation of the drift from one line to the next: a first-order autoregressive process.
    lines
        What belongs to one detector: columns of a push-broom sensor, rows of a whisk-broom sensor.
    block
        Neighbouring lines that share their detector.
    period
        Detectors after which the pattern repeats (16 or 32 in whisk-broom sensors); none where not given.

    Returns
    -------
    Striped
        The striped image, g and o, the latter with the drift.
    """
    b, c, h, w = image.shape
    n = w if lines == "columns" else h
    detector = torch.arange(n, device=image.device) // block
    detector = detector if period is None else detector % period
    count = (n - 1) // block + 1 if period is None else period
    gains = normal(generator, (b, c, count)).to(image)[..., detector] * gain_spread
    offsets = normal(generator, (b, c, count)).to(image)[..., detector] * offset_spread
    drift = autoregress(normal(generator, (b, c, n)).to(image), drift_memory) * drift_spread
    spread = _range(image)
    offsets = (offsets + drift) * spread
    axis = -2 if lines == "columns" else -1
    return Striped((1 + gains.unsqueeze(axis)) * image + offsets.unsqueeze(axis), gains, offsets)


def autoregress(noise: Tensor, memory: float) -> Tensor:
    """Stationary first-order autoregressive process along the last axis, with variance 1.

    x_i = memory x_(i-1) + sqrt(1 - memory^2) e_i, summed by doubling: log2(n) steps instead of n.

    Parameters
    ----------
    noise
        Standard normal e, (..., n).
    memory
        Correlation of neighbours in [0, 1).

    Returns
    -------
    Tensor
        (..., n).
    """
    value = torch.cat((noise[..., :1], noise[..., 1:] * math.sqrt(1 - memory**2)), -1)
    step = 1
    while step < value.shape[-1]:
        late = value[..., step:] + memory**step * value[..., :-step]
        value = torch.cat((value[..., :step], late), -1)
        step *= 2
    return value


def _range(image: Tensor) -> Tensor:
    """Greatest less least valid value of each band, (b, c, 1)."""
    flat = image.detach().flatten(2)
    spread = flat.nan_to_num(nan=-math.inf).amax(2) - flat.nan_to_num(nan=math.inf).amin(2)
    return torch.where(spread >= 0, spread, 0)[..., None]  # a band without valid pixels has none


def _runs(n: int, *, generator: torch.Generator | None, share: float, thickest: int) -> Tensor:
    """Runs of marked lines at random places among n, (n,) bool."""
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    count = max(1, round(2 * share * n / (1 + thickest)))
    first = torch.randperm(n, generator=generator, device=generator.device)[:count]
    size = torch.randint(1, thickest + 1, (len(first),), generator=generator, device=generator.device)
    line = torch.arange(n, device=generator.device)
    return ((line[:, None] >= first) & (line[:, None] < first + size)).any(1)


def _draw_slc_off(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """The gaps of Landsat 7 at a random place across its swath, period, width and heading varying as between scenes."""
    if generator is None:
        return slc_off(shape)
    swath = max(SWATH, shape[1])
    period, edge_gap, heading, turns, place = uniform(generator, (5,), low=0, high=1).tolist()
    period = 30 + 6 * period
    mask = slc_off(
        shape,
        period=period,
        edge_gap=10 + 6 * edge_gap,
        heading=4 + 8 * heading,
        phase=turns * period,
        swath=swath,
        first_column=int(place * (swath - shape[1] + 1)),
    )
    return mask.to(generator.device)


def _draw_lines(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    share = float(uniform(generator, (1,), low=0.01, high=0.10))
    return dropped_lines(shape, generator=generator, share=share)


def _draw_columns(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    return dead_columns(shape, generator=generator, share=float(uniform(generator, (1,), low=0.005, high=0.05)))


def _draw_blobs(shape: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    return blobs(shape, generator=generator, share=float(uniform(generator, (1,), low=0.02, high=0.40)))


KINDS: Mapping[str, Callable[[tuple[int, int], torch.Generator | None], Tensor]] = {
    "slc_off": _draw_slc_off,
    "lines": _draw_lines,
    "columns": _draw_columns,
    "blobs": _draw_blobs,
}
"""Kinds of gaps by name."""
