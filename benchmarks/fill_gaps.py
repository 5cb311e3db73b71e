"""Gaps cut into places that no model was trained on, filled by the model and by every baseline: PSNR on gap pixels.

    python benchmarks/fill_gaps.py [MODEL] [--json PATH]

Needs `rs/l8_l1tp_momotombo_20151205_ms6_30m.tif` (Landsat 8, 30 m) and the series `rs/s2_timeseries_rufiji_t37mem`
(Sentinel-2, 20 m, its four clear dates) under $SCIDDIFF_REALDATA. Kinds of gaps: Landsat 7's of 22 % of the pixels,
dropped lines, dead columns, blobs; at Rufiji also with the clear date that is nearest in time, itself with gaps of
Landsat 7 elsewhere. The peak of the PSNR is a reflectance of 1; gap pixels without a value in the model's result are
left out for all methods and counted. Beside them, without a date, a linear oracle: kriging that is told the truth's
own covariances, to see what a better linear base could gain.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sciddiff import io
from sciddiff.baselines import compositing, inpainting
from sciddiff.evaluation.masked import clear_identity
from sciddiff.evaluation.metrics import psnr
from sciddiff.model import Model, load
from sciddiff.model.fit import fit_all
from sciddiff.model.reading import observe_whole
from sciddiff.physics import gaps

NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
LANDSAT = "l8_l1tp_momotombo_20151205_ms6_30m.tif"
SENTINEL = ("B2", "B3", "B4", "B8", "B11", "B12")
CLEAR_DATES = ("20160710", "20190610", "20190615", "20190620")
NOMINAL = "22 % SLC-off"

NEIGHBOURS, REACH = 48, 16
"""Known pixels from which the linear oracle predicts one in a gap, and how far they are looked for."""
NUGGET = 1e-2
"""Share of a band's variance that the oracle takes as noise: without any its equations are singular."""

Mask = NDArray[np.bool_]
Array = NDArray[np.floating]


class Result(NamedTuple):
    """Figures of one method on one image: dB on gap pixels, share of them left, largest change of a known pixel."""

    psnr: float
    left: float
    change: float


def kinds(shape: tuple[int, int], seed: int) -> dict[str, Mask]:
    """Where pixels are missing, by the kind of gaps."""
    draw = {
        NOMINAL: lambda _: gaps.slc_off(shape, phase=seed * 9.0, edge_gap=14.5),
        "dropped lines": lambda source: gaps.dropped_lines(shape, generator=source),
        "dead columns": lambda source: gaps.dead_columns(shape, generator=source),
        "blobs": lambda source: gaps.blobs(shape, generator=source, share=0.1),
    }
    return {name: make(torch.Generator().manual_seed(seed)).numpy() for name, make in draw.items()}


def opened(path: Path, bands: Sequence[str | int], *, scale: float, offset: float) -> xr.DataArray:
    """A scene in reflectance."""
    image = io.open(str(path), bands=list(bands))
    valid = np.broadcast_to(image.valid.values.all(0), image.shape)
    values = np.where(valid, scale * image.values + offset, np.nan).astype(np.float32)
    return io.from_array(values, grid=io.grid_of(image), bands=list(NAMES), valid=valid)


def places(folder: Path) -> dict[str, tuple[xr.DataArray, xr.DataArray | None]]:
    """Scenes by name, each with another clear date where there is one."""
    scenes: dict[str, tuple[xr.DataArray, xr.DataArray | None]] = {}
    scenes["Momotombo"] = (opened(folder / LANDSAT, range(1, 7), scale=2e-5, offset=-0.1), None)
    series = folder / "s2_timeseries_rufiji_t37mem"
    files = {day: next(series.glob(f"*{day}*.tif")) for day in CLEAR_DATES}
    dates = {day: opened(path, SENTINEL, scale=0.001, offset=0) for day, path in files.items()}
    for day, image in dates.items():
        near = min((other for other in dates if other != day), key=lambda other: abs(_days(day) - _days(other)))
        scenes[f"Rufiji {day}"] = (image, dates[near])
    return scenes


def _days(day: str) -> int:
    return date.fromisoformat(day).toordinal()


def holed(image: xr.DataArray, missing: Mask) -> xr.DataArray:
    """The scene with gaps."""
    valid = image.valid.values & ~missing
    bands = [str(name) for name in image.band.values]
    return io.from_array(np.where(valid, image.values, np.nan), grid=io.grid_of(image), bands=bands, valid=valid)


def fill(model: Model, image: xr.DataArray, other: xr.DataArray | None) -> dict[str, Array]:
    """The model's result, its base's, and that of every baseline."""
    given = {} if other is None else {"date": [other]}
    results = {"model": model.predict(image, inputs=given)["mean"].values}
    obs = observe_whole(model, fit_all(model.recipe, model.task, image, given))
    results["base"] = model.task.base(obs)[0].numpy()
    known = image.valid.values.all(0)
    values = np.nan_to_num(image.values)
    methods: dict[str, Callable[..., Array]] = {
        "FillNodata": inpainting.fill_nodata,
        "membrane": inpainting.smooth_fill,
        "biharmonic": inpainting.biharmonic,
    }
    results |= {name: method(values, ~known) for name, method in methods.items()}
    if other is not None:
        both = np.stack([values, np.nan_to_num(other.values)])
        results["date, regressed"] = compositing.best_of_dates(both, np.stack([known, other.valid.values.all(0)]))
    return results


def covariance(band: Array) -> Array:
    """Covariances of a band (h, w) by lag, (2 h, 2 w), negative lags from the end; 1 at lag 0."""
    height, width = band.shape
    size = (2 * height, 2 * width)
    power = np.abs(np.fft.rfft2(band - band.mean(), size)) ** 2
    pairs = np.abs(np.fft.rfft2(np.ones_like(band), size)) ** 2
    total, count = (np.fft.irfft2(each, size) for each in (power, pairs))
    found: Array = total / np.maximum(count, 1)
    return found / found[0, 0]


def neighbours(known: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of the gap pixels, (n, 2), and the offsets of the `NEIGHBOURS` known pixels nearest to each, (n, k, 2).

    Gap pixels with fewer within `REACH` are left out.
    """
    side = np.arange(-REACH, REACH + 1)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    offsets = offsets[np.argsort((offsets**2).sum(1), kind="stable")]
    places = np.argwhere(~known)
    at = places[:, None] + offsets + REACH
    there = np.pad(known, REACH)[at[..., 0], at[..., 1]]
    enough = there.sum(1) >= NEIGHBOURS
    picks = np.argsort(~there[enough], axis=1, kind="stable")[:, :NEIGHBOURS]
    return places[enough], offsets[picks]


def linear_oracle(truth: Array, missing: Mask, start: Array) -> Array:
    """Ordinary kriging of each band from the nearest known pixels, with the covariances of the truth itself.

    Of a stationary scene no linear predictor from these pixels errs less. Bands go by themselves: where all are missing
    together and their covariances have one shape, the others' known pixels add nothing (autokrigeability).
    `start` is kept where too few pixels are near.
    """
    result = start.copy()
    places, near = neighbours(~missing)
    apart = near[:, :, None] - near[:, None]
    right_ones = np.ones((len(near), NEIGHBOURS, 1))
    for band, values in enumerate(truth):
        lagged = covariance(values)
        matrix = lagged[apart[..., 0], apart[..., 1]] + NUGGET * np.eye(NEIGHBOURS)
        right = lagged[near[..., 0], near[..., 1]][..., None]
        towards, ones = np.split(np.linalg.solve(matrix, np.concatenate([right, right_ones], 2)), 2, axis=2)
        weights = (towards + ones * (1 - towards.sum(1, keepdims=True)) / ones.sum(1, keepdims=True))[..., 0]
        at = places[:, None] + near
        result[band, places[:, 0], places[:, 1]] = (weights * values[at[..., 0], at[..., 1]]).sum(1)
    return result


def judge(results: dict[str, Array], truth: xr.DataArray, missing: Mask) -> dict[str, Result]:
    """Figures by method."""
    seen = truth.valid.values.all(0)
    filled = np.isfinite(results["model"]).all(0)
    left = float((missing & seen & ~filled).sum() / (missing & seen).sum())
    return {
        name: Result(
            psnr(result, truth.values, data_range=1.0, valid=missing & seen & filled),
            left,
            clear_identity(result, truth.values, clear=seen & ~missing),
        )
        for name, result in results.items()
    }


def run(model: Model, folder: Path, *, dates: bool) -> dict[str, dict[str, dict[str, Result]]]:
    """Figures by kind of gaps, place and method."""
    table: dict[str, dict[str, dict[str, Result]]] = {}
    for number, (place, (truth, other)) in enumerate(places(folder).items()):
        if dates and other is None:
            continue
        shape = truth.shape[1], truth.shape[2]
        own = gaps.slc_off(shape, phase=number * 9.0 + 20, heading=-8.0).numpy()
        date_given = holed(other, own) if dates and other is not None else None
        for kind, missing in kinds(shape, number).items():
            results = fill(model, holed(truth, missing), date_given)
            if not dates:
                values = np.nan_to_num(truth.values)
                results["linear oracle"] = linear_oracle(values, missing, results["membrane"])
            table.setdefault(kind, {})[place] = judge(results, truth, missing)
    return table


def show(console: Console, title: str, places: dict[str, dict[str, Result]]) -> None:
    """PSNR of each method at each place, and the gain over FillNodata."""
    methods = list(next(iter(places.values())))
    table = Table(title=title, box=None, title_justify="left")
    for header in ("place", *methods, "over FillNodata", "left", "change of known"):
        table.add_column(header, justify="left" if header == "place" else "right")
    for place, found in places.items():
        cells = [f"{found[name].psnr:.2f}" for name in methods]
        gain = found["model"].psnr - found["FillNodata"].psnr
        table.add_row(place, *cells, f"{gain:+.2f}", f"{found['model'].left:.1%}", f"{found['model'].change:g}")
    console.print(table)
    console.print()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="fill-gaps")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    folder = os.environ.get("SCIDDIFF_REALDATA")
    if folder is None or not (Path(folder) / "rs" / LANDSAT).exists():
        raise SystemExit(f"no rs/{LANDSAT} under $SCIDDIFF_REALDATA")
    model, console = load(given.model), Console(width=160, highlight=False)
    tables = {}
    for dates in (False, True):
        for kind, found in run(model, Path(folder) / "rs", dates=dates).items():
            title = f"{kind}, {'one other date' if dates else 'no other date'}: dB on gap pixels"
            show(console, title, found)
            tables[title] = {
                place: {name: each._asdict() for name, each in scores.items()} for place, scores in found.items()
            }
    if given.json is not None:
        given.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
