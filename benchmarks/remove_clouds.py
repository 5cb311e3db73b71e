"""Cloud removal on a real series that no model was trained on: simulated clouds with the truth beside, then real ones.

    python benchmarks/remove_clouds.py [MODEL] [--json PATH]

Needs the series `rs/s2_timeseries_rufiji_t37mem` of Sentinel-2 at 20 m under $SCIDDIFF_REALDATA. Simulated: each clear
date under clouds and shadows of 10 to 60 % cover, alone and with the two clear dates that are nearest in time; PSNR on
cloudy and shadowed pixels (peak 1). Real: each cloudy date with the two clear dates nearest in time. The seam index of
a real scene is not 1 along the edges of one mask: rivers and fields lie across them. So the truth's own goes beside:
that of the four clear dates at the same edges.
"""

import argparse
import json
import os
import re
from collections.abc import Sequence
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
from sciddiff.evaluation.masked import clear_identity, seam_index
from sciddiff.evaluation.metrics import psnr, sam
from sciddiff.model import Model, load
from sciddiff.model.fit import fit_all
from sciddiff.model.reading import observe_whole
from sciddiff.physics.cloud import CLEAR, draw_clouds

BANDS = ("B2", "B3", "B4", "B8", "B11", "B12")
NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
SCALE = 0.001
GSD = 20.0
COVERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
CLEAR_DATES = ("20160710", "20190610", "20190615", "20190620")
CLOUDY = (0.3, 0.97)
"""Share of valid pixels of the dates that count as cloudy."""


CLOSE = 0.02
"""Distance from 1 within which a seam counts as not to be seen."""


class Result(NamedTuple):
    """Figures of one method on one image."""

    psnr: float
    sam: float
    seam: float
    change: float


def open_series() -> dict[str, xr.DataArray]:
    """Dates by day, in reflectance."""
    folder = os.environ.get("SCIDDIFF_REALDATA")
    files = sorted(Path(folder or "").glob("rs/s2_timeseries_rufiji_t37mem/*.tif")) if folder else []
    if not files:
        raise SystemExit("no rs/s2_timeseries_rufiji_t37mem/*.tif under $SCIDDIFF_REALDATA")
    series = {}
    for path in files:
        image = io.open(path, bands=list(BANDS))
        valid = np.broadcast_to(image.valid.values.all(0), image.shape)
        values = np.where(valid, SCALE * image.values, np.nan).astype(np.float32)
        day = re.findall(r"\d{8}", path.name)[0]
        series[day] = io.from_array(values, grid=io.grid_of(image), bands=list(NAMES), valid=valid)
    return series


def nearest(day: str, days: Sequence[str], count: int) -> list[str]:
    """The days nearest in time, the nearest first."""
    others = [other for other in days if other != day]
    return sorted(others, key=lambda other: abs(_ordinal(other) - _ordinal(day)))[:count]


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()


def restore(
    model: Model, image: xr.DataArray, mask: NDArray[np.bool_], dates: list[xr.DataArray]
) -> dict[str, xr.DataArray]:
    """The model's result, and those of every baseline that can do without more dates than there are."""
    clouds = io.from_array(mask[None].astype(np.float32), grid=io.grid_of(image), bands=["mask"])
    given = {"mask": [clouds]} | ({"date": dates} if dates else {})
    results = {"model": model.predict(image, inputs=given)["mean"]}
    obs = observe_whole(model, fit_all(model.recipe, model.task, image, given))
    for name, method in model.task.baselines().items():
        if dates or name in ("telea", "biharmonic", "linear"):
            values = method(obs)[0].numpy()
            results[name] = results["model"].copy(data=values)
    return results


def judge(
    result: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> Result:
    """Figures on the hidden pixels, the seam, and what became of clear ones."""
    hidden = mask & seen
    return Result(
        psnr(result, truth, data_range=1.0, valid=hidden),
        sam(result, truth, valid=hidden),
        seam_index(result, mask, valid=seen),
        clear_identity(result, truth, clear=~mask & seen),
    )


def simulated(model: Model, series: dict[str, xr.DataArray], *, dates: int) -> dict[str, list[Result]]:
    """Every clear date under every cover; lists by method, in one order."""
    results: dict[str, list[Result]] = {}
    for at, day in enumerate(CLEAR_DATES):
        image = series[day]
        truth, seen = image.values, image.valid.values.all(0)
        clean = torch.from_numpy(np.nan_to_num(truth))[None]
        others = [series[other] for other in nearest(day, CLEAR_DATES, dates)]
        for number, cover in enumerate(COVERS):
            source = torch.Generator().manual_seed(100 * at + number)
            clouds = draw_clouds(clean, model.task.wavelengths, generator=source, cover=(cover, cover), gsd=GSD)  # type: ignore[attr-defined]
            mask = (clouds.classes[0] != CLEAR).numpy()
            cloudy = image.copy(data=np.where(mask, clouds.cloudy[0].numpy(), truth))
            for name, result in restore(model, cloudy, mask, others).items():
                results.setdefault(name, []).append(judge(result.values, truth, mask, seen))
    return results


def real(model: Model, series: dict[str, xr.DataArray]) -> dict[str, dict[str, tuple[float, float]]]:
    """Seam index and share of holes left by method, for each cloudy date and for all that is missing there."""
    table = {}
    for day, image in series.items():
        known = image.valid.values.all(0)
        if not CLOUDY[0] < known.mean() < CLOUDY[1]:
            continue
        others = [series[other] for other in nearest(day, CLEAR_DATES, 2)]
        results = restore(model, image, ~known, others)
        table[day] = {
            name: (seam_index(result.values, ~known), 1 - float(np.isfinite(result.values).all(0).mean()))
            for name, result in results.items()
        }
        for clear in CLEAR_DATES:
            truth = series[clear]
            table[day][clear] = seam_index(truth.values, ~known, valid=truth.valid.values.all(0)), 0.0
    return table


def show_simulated(console: Console, title: str, results: dict[str, list[Result]]) -> None:
    """PSNR by cover, and means of the rest."""
    table = Table(title=title, box=None, title_justify="left")
    table.add_column("method")
    for header in (*(f"{cover:.0%}" for cover in COVERS), "mean dB", "SAM", "seam", "clear change"):
        table.add_column(header, justify="right")
    for name, found in results.items():
        each = np.array(found).reshape(-1, len(COVERS), len(Result._fields))
        cells = [f"{value:.2f}" for value in each[..., 0].mean(0)]
        change = each[..., 3].max()
        means = each.reshape(-1, len(Result._fields)).mean(0)
        table.add_row(name, *cells, f"{means[0]:.2f}", f"{means[1]:.2f}", f"{means[2]:.3f}", f"{change:g}")
    console.print(table)
    scores = {name: np.array(found)[:, 0] for name, found in results.items()}
    rivals = [name for name in scores if name not in ("model", "linear")]
    best = max(rivals, key=lambda name: scores[name].mean())
    gains = scores["model"] - np.max([scores[name] for name in rivals], axis=0)
    console.print(
        f"model over {best}, the best baseline: {scores['model'].mean() - scores[best].mean():+.2f} dB; over the best "
        f"of each image: {gains.mean():+.2f} dB ({gains.min():+.2f} to {gains.max():+.2f})\n"
    )


def show_real(console: Console, table: dict[str, dict[str, tuple[float, float]]]) -> None:
    """Seam index of each date and method."""
    names = list(next(iter(table.values())))
    page = Table(
        title="real clouds: seam index (1: none shows); holes left by the model", box=None, title_justify="left"
    )
    for header in ("date", *names, "holes"):
        page.add_column(header, justify="left" if header == "date" else "right")
    for day, row in table.items():
        page.add_row(day, *(f"{row[name][0]:.3f}" for name in names), f"{row['model'][1]:.0%}")
    means = {name: np.mean([row[name][0] for row in table.values()]) for name in names}
    page.add_row("mean", *(f"{means[name]:.3f}" for name in names), "")
    console.print(page)
    own = np.array([[row[clear][0] for clear in CLEAR_DATES] for row in table.values()])
    console.print(
        f"the clear dates themselves at these edges: {own.mean():.3f} ({own.min():.3f} to {own.max():.3f}); "
        f"{(np.abs(own - 1) <= CLOSE).mean():.0%} within {CLOSE:.0%} of 1"
    )
    for name in ("model", "linear"):
        found = np.array([row[name][0] for row in table.values()])
        over = found / own.mean(1)
        least, most = own.min(1), own.max(1)
        console.print(
            f"{name} over them: {over.mean():.3f} ({over.min():.3f} to {over.max():.3f}); dates within {CLOSE:.0%}: "
            f"{(np.abs(over - 1) <= CLOSE).sum()} of {len(over)}, of 1 itself: {(np.abs(found - 1) <= CLOSE).sum()}; "
            f"within the range of the clear dates: {((found >= least) & (found <= most)).sum()}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, restore, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="remove-clouds")
    parser.add_argument("--real", action="store_true", help="real clouds only")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    console, model, series = Console(width=150, highlight=False), load(given.model), open_series()
    figures: dict[str, object] = {}
    for dates in () if given.real else (2, 0):
        found = simulated(model, series, dates=dates)
        show_simulated(console, f"simulated clouds, T = {dates + 1}: PSNR in dB on hidden pixels by cover", found)
        figures[f"simulated_{dates + 1}"] = {name: [each._asdict() for each in rows] for name, rows in found.items()}
    table = real(model, series)
    show_real(console, table)
    figures["real"] = table
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
