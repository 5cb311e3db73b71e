"""Scores of images against a reference, plane by plane: rasters by band, microscopy by channel."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import metrics
from sciddiff.evaluation.pairs import Array, Pairs, middle, pair, pixel_size
from sciddiff.evaluation.scores_micro import Row, score_channel
from sciddiff.evaluation.ssim import RADIUS, local_statistics, similarity

Kind = Literal["raster", "micro"]
Planes = dict[str, list[Row]]
Tell = Callable[[int, int], None]

PREDICTION = "prediction"
OVERALL = "overall"
STRIP = 512
"""Rows read at a time where all bands are needed together."""
AVERAGED = (
    "psnr", "micro_ssim", "micro_ms3im", "spectral_bias", "spectral_distance", "resolution", "true_up_to", "ap50"
)  # fmt: skip
"""Of the scores of channels, those whose mean says something."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes
    ----------
    kind
        "raster" or "micro".
    bands
        Of the reference.
    planes
        Of each band.
    pixel, unit
        Length of a pixel of the reference.
    peak
        Of the PSNR of rasters, in the unit of the image; NaN for microscopy.
    scores
        By method ("prediction" and the other images by name), then by band or "overall", then by metric.
    curves
        By method: what was drawn over frequency, (n, 2): correlation with the reference of microscopy. Empty for
        rasters, whose octaves are among the scores.
    by_plane
        By method, then by band: figures of each plane of a stack, after its place, such as t and z, counted from 0. The
        PSNR of microscopy is that in the plane's own range.
    """

    kind: Kind
    bands: tuple[str, ...]
    planes: int
    pixel: float
    unit: str
    peak: float
    scores: Mapping[str, Mapping[str, Row]]
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    by_plane: Mapping[str, Planes] = field(default_factory=dict)

    def worst(self, method: str) -> tuple[str, Row] | None:
        """Band and figures of the plane of a stack with the lowest PSNR; None where there is one plane."""
        planes = [(band, row) for band, rows in self.by_plane.get(method, {}).items() for row in rows]
        return min(planes, key=lambda each: each[1]["psnr"], default=None) if self.planes > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, for JSON."""
        return {
            "kind": self.kind,
            "bands": list(self.bands),
            "planes": self.planes,
            "pixel": self.pixel,
            "unit": self.unit,
            "peak": None if math.isnan(self.peak) else self.peak,
            "scores": {method: {band: dict(row) for band, row in rows.items()} for method, rows in self.scores.items()},
            **({"by_plane": {name: dict(found) for name, found in self.by_plane.items()}} if self.planes > 1 else {}),
        }


def evaluate(
    prediction: xr.DataArray,
    reference: xr.DataArray,
    *,
    others: Mapping[str, xr.DataArray] | None = None,
    names: Mapping[str, str] | None = None,
    kind: Kind | None = None,
    peak: float | None = None,
    progress: Tell | None = None,
) -> Evaluation:
    """Score an image, and others beside it, against a reference on the same grid.

    Parameters
    ----------
    prediction, reference
        As `sciddiff.open` gives them: (band, y, x), and further dimensions such as t and z. One plane of each is held
        at a time.
    others
        Further images by name, such as the input of the restoration; they may have pixels larger by a whole number
        and are then enlarged bilinearly.
    names
        Of "prediction", "reference" and the others in messages, such as their files.
    kind
        Which metrics; "raster" where the reference has a CRS, else "micro".
    peak
        Of the PSNR of rasters; found by `compare.peak_of` where not given.
    progress
        Called with planes done and planes in all.

    Returns
    -------
    Evaluation
        Scores by method and band.

    Raises
    ------
    InputError
        Grids, planes or bands that do not match, or nothing valid in both.
    OptionError
        A peak for microscopy, whose metrics have none.
    """
    told = {PREDICTION: PREDICTION, "reference": "reference", **(names or {})}
    images = {PREDICTION: prediction, **(others or {})}
    pairs = {
        name: pair(image, reference, name=told.get(name, name), reference_name=told["reference"], coarser=at > 0)
        for at, (name, image) in enumerate(images.items())
    }
    bands = tuple(str(name) for name in reference.band.values) if "band" in reference.coords else ()
    bands = bands or tuple(f"band_{at + 1}" for at in range(reference.sizes["band"]))
    chosen: Kind = kind or ("micro" if io.grid_of(reference).crs is None else "raster")
    if chosen == "micro" and peak is not None:
        raise OptionError("a peak has no meaning for microscopy: its metrics take the range of the reference")
    count = _Count(progress, len(pairs) * len(bands))
    scores: dict[str, dict[str, Row]] = {}
    curves: dict[str, NDArray[np.float64]] = {}
    by_plane: dict[str, Planes] = {}
    height = math.nan if chosen == "micro" else peak if peak is not None else _peak(reference, pairs[PREDICTION])
    for name, images_pair in pairs.items():
        if chosen == "raster":
            scores[name], by_plane[name] = _score_raster(
                images_pair, bands, peak=height, ratio=_ergas_ratio(pairs), step=count.step
            )
        else:
            scores[name], curves[name], by_plane[name] = _score_micro(images_pair, bands, step=count.step)
    length, unit = pixel_size(reference)
    return Evaluation(chosen, bands, len(pairs[PREDICTION].places), length, unit, height, scores, curves, by_plane)


class _Count:
    """Bands done so far."""

    def __init__(self, progress: Tell | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _ergas_ratio(pairs: Mapping[str, Pairs]) -> int:
    """How many times finer the reference is than the coarsest image beside it; 1 without one."""
    return max(images.ratio for images in pairs.values())


def _peak(reference: xr.DataArray, pairs: Pairs) -> float:
    """As `peak_of`, of a thinned reading."""
    from sciddiff.evaluation.compare import peak_of

    step = max(1, *(side // 1024 for side in (reference.sizes["y"], reference.sizes["x"])))
    place = pairs.places[len(pairs.places) // 2]
    thin = reference.isel({**place, "y": slice(None, None, step), "x": slice(None, None, step)})
    values, valid = io.read_window(thin, slice(None), slice(None))
    if not valid.any():
        raise InputError("the reference has no valid pixel: nothing to compare")
    return peak_of(reference, values[valid])


def _score_raster(
    pairs: Pairs, bands: Sequence[str], *, peak: float, ratio: int, step: Callable[[], None]
) -> tuple[dict[str, Row], Planes]:
    rows: dict[str, Row] = {}
    planes: Planes = {}
    pooled: list[tuple[float, int]] = []
    relative: list[float] = []
    for number, band in enumerate(bands):
        square, count, total = 0.0, 0, 0.0
        similar: list[float] = []
        octaves: list[Row] = []
        own: list[Row] = []
        for place, (image, truth) in zip(pairs.places, pairs.planes(number)):
            known = np.isfinite(truth)
            if not known.any():
                continue
            squares = float(((image[known].astype(np.float64) - truth[known]) ** 2).sum())
            pixels = int(known.sum())
            square, count = square + squares, count + pixels
            total += float(truth[known].sum(dtype=np.float64))
            similar.append(_ssim(image, truth, peak))
            error = squares / pixels
            own.append({**place, "psnr": metrics.decibels(error, peak), "rmse": math.sqrt(error), "ssim": similar[-1]})
            octaves.append(_octaves(image, truth))
        step()
        if not count:
            continue
        planes[band] = own
        error = square / count
        pooled.append((square, count))
        if total:
            relative.append(error / (total / count) ** 2)
        rows[band] = {
            "psnr": metrics.decibels(error, peak),
            "rmse": math.sqrt(error),
            "ssim": _mean(similar),
            **_mean_rows(octaves),
        }
    if not rows:
        raise InputError("no pixel is valid in both images: nothing to compare")
    error = sum(square for square, _ in pooled) / sum(count for _, count in pooled)
    rows[OVERALL] = {
        "psnr": metrics.decibels(error, peak),
        "rmse": math.sqrt(error),
        "ssim": _mean([row["ssim"] for row in rows.values()]),
        **_mean_rows([{name: row[name] for name in row if name.startswith("power")} for row in rows.values()]),
        "sam": _sam(pairs) if len(rows) > 1 else math.nan,
        "ergas": 100 / ratio * math.sqrt(_mean(relative)) if relative else math.nan,
    }
    return rows, planes


def _ssim(image: Array, truth: Array, peak: float) -> float:
    """`ssim.ssim` of a plane in strips of rows, which gives the same positions."""
    total, count = 0.0, 0
    for start in range(0, max(1, len(truth) - 2 * RADIUS), STRIP):
        rows = slice(start, start + STRIP + 2 * RADIUS)
        parts = similarity(local_statistics(image[rows], truth[rows]), data_range=peak)
        total += float((parts.luminance * parts.structure).sum())
        count += parts.luminance.size
    return total / count if count else math.nan


def _octaves(image: Array, truth: Array) -> Row:
    image, truth = (middle(plane)[None] for plane in (image, truth))
    bounds = metrics.octaves(truth.shape)
    if not bounds or not np.isfinite(truth).any():
        return {}
    power = metrics.octave_difference(image, truth)[0]
    return {f"power_{1 / high:.0f}-{1 / low:.0f}_px": float(value) for (low, high), value in zip(bounds, power)}


def _sam(pairs: Pairs) -> float:
    total, count = 0.0, 0
    for place in pairs.places:
        for image, truth in pairs.strips(place, STRIP):
            if (np.isfinite(image) & np.isfinite(truth)).any():
                angles = metrics.spectral_angles(image, truth)
                total, count = total + float(angles.sum()), count + angles.size
    return total / count if count else math.nan


def _score_micro(
    pairs: Pairs, bands: Sequence[str], *, step: Callable[[], None]
) -> tuple[dict[str, Row], NDArray[np.float64], Planes]:
    rows: dict[str, Row] = {}
    planes: Planes = {}
    curves = []
    for number, band in enumerate(bands):
        if pairs.bands[number] is not None:
            found = score_channel(pairs, number)
            if found is not None:
                rows[band], planes[band] = found.scores, found.planes
                curves += [found.curve] if found.curve.size else []
        step()
    if not rows:
        raise InputError("no pixel is valid in both images, or the reference is flat: nothing to compare")
    means = _mean_rows(rows.values())
    rows[OVERALL] = {name: means[name] for name in AVERAGED if name in means}
    return rows, np.mean(curves, 0) if curves else np.empty((0, 2)), planes


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _mean_rows(rows: Iterable[Row]) -> Row:
    """Mean of each metric over the rows that have it."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _mean([row[name] for row in rows if name in row]) for name in names}
