"""Pan-sharpening of places that no model is trained or selected on, beside the classical fusions.

    python benchmarks/pansharpen.py [MODEL] [--mtf G] [--noise SHARE] [--json PATH]

Reduced resolution (Wald's protocol): the bands are the truth; they and the guide are degraded by the ratio, by the
nominal instrument or by one that no method is told (--mtf, --noise). Full resolution: no truth, but quality without a
reference and agreement with what was measured. The places are Momotombo (Landsat 8) and clear dates of the Rufiji river
(Sentinel-2, whose bands of 20 m have no guide of 10 m there), looked for in $SCIDDIFF_REALDATA. Without MODEL: all
shipped models of the task.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rich.console import Console
from rich.table import Table

from sciddiff import io
from sciddiff.evaluation import fusion_metrics, metrics
from sciddiff.io.align import aligned, offset_of
from sciddiff.model import Model, load
from sciddiff.model.fit import fit_all
from sciddiff.model.reading import observe_whole
from sciddiff.tasks import LINEAR, Observation
from sciddiff.tasks.pansharpen import Pansharpen

SHIPPED = ("pansharpen-landsat8", "sharpen-sentinel2-20m")
RUFIJI = ("20160710", "20190610", "20190615", "20190620")
BORDER = 21
"""Pixels left out along the edges, as the toolbox of published scores does."""
OWN = ("model", "base")

Array = NDArray[np.float64]
Scores = dict[str, dict[str, float]]
Results = dict[str, Array]


def scenes(folder: Path, model: Model) -> Iterator[tuple[str, xr.DataArray, xr.DataArray]]:
    """Name, image and guide of each place, on their own grids."""
    if "pan" in pansharpening(model).guide:
        stem = str(folder / "l8_l1tp_momotombo_20151205_")
        yield "Momotombo", io.open(f"{stem}ms6_30m.tif"), io.open(f"{stem}pan_15m.tif")
        return
    for date in RUFIJI:
        path = str(folder / "s2_timeseries_rufiji_t37mem" / f"s2_{date}_10band_20m.tif")
        yield (
            f"Rufiji {date}",
            io.open(path, bands=["B5", "B6", "B7", "B8A", "B11", "B12"]),
            io.open(path, bands=["B2", "B3", "B4", "B8"]),
        )


@dataclass(frozen=True)
class Truth:
    """Of the instrument, beyond what the methods are told: gain of all bands, noise as a share of their spread."""

    mtf: float | None = None
    noise: float = 0.0


def observed(
    task: Pansharpen, scene: Array, guide: Array, *, offset: tuple[float, float], instrument: Truth
) -> Observation:
    """What is measured of a scene (c, h, w), its grid beginning `offset` before the guide's."""
    clean = torch.from_numpy(scene)[None]
    low = clean.new_zeros(1, len(scene), scene.shape[1] // task.ratio, scene.shape[2] // task.ratio)
    inputs = {"image": low, "pan": torch.from_numpy(guide)[None]}
    own = {} if instrument.mtf is None else {"mtf": (instrument.mtf,)}
    low = task.degrade(clean, task.observe(inputs, {"offset": offset, **own}))
    white = torch.randn(low.shape, generator=torch.Generator().manual_seed(0), dtype=low.dtype)
    low = low + instrument.noise * low.std((2, 3), keepdim=True) * white
    return task.observe({**inputs, "image": low}, {"offset": offset})


def reduced(model: Model, image: xr.DataArray, guide: xr.DataArray, instrument: Truth) -> tuple[Array, Results]:
    """Truth and every method's result; the grids lie to each other as the real ones do."""
    task = pansharpening(model)
    r = task.ratio
    begins = offset_of(image, io.grid_of(guide)) or (0.0, 0.0)
    offset = (0.0, 0.0) if begins == (0.0, 0.0) else tuple(r * b for b in begins)
    height, width = (side // r * r for side in image.shape[1:])
    scene, _ = io.read_window(image, slice(0, height), slice(0, width))
    fine = aligned(guide, io.grid_of(image), resampling="average")
    sharp, _ = io.read_window(fine, slice(0, height), slice(0, width))
    truth, pan = scene.astype(np.float64), sharp.astype(np.float64)
    obs = observed(task, truth, pan, offset=(offset[0], offset[1]), instrument=instrument)
    grid = io.grid_of(image)[:height, :width]
    across = grid.affine * Affine.translation(-offset[1], -offset[0]) * Affine.scale(r)
    low = obs.inputs["image"][0].numpy().astype(np.float32)
    coarse = io.from_array(low, grid=GeoBox(low.shape[1:], across, grid.crs), bands=list(model.recipe.bands))
    guiding = io.from_array(pan.astype(np.float32), grid=grid, bands=list(task.guide))
    own = model.predict(coarse, inputs={"pan": guiding})["mean"].values.astype(np.float64)
    return truth, {"model": own, **baselines(model, obs)}


def pansharpening(model: Model) -> Pansharpen:
    """The model's task."""
    if not isinstance(model.task, Pansharpen):
        raise SystemExit(f"{model.recipe.name} is no model of pan-sharpening")
    return model.task


def baselines(model: Model, obs: Observation) -> Results:
    """Results of the task's base and of the classical fusions."""
    found = {name: method(obs)[0].double().numpy() for name, method in model.task.baselines().items()}
    return {"base" if name == LINEAR else name: result for name, result in found.items()}


def reduced_scores(truth: Array, results: Results, ratio: int) -> Scores:
    """By method, the border left out."""
    inner = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    scores = {}
    for name, result in results.items():
        x, a = result[inner], truth[inner]
        scores[name] = {
            "ERGAS": metrics.ergas(x, a, ratio=ratio),
            "SAM": metrics.sam(x, a),
            "Q2n": fusion_metrics.q2n(x, a),
            "SCC": fusion_metrics.scc(x, a),
        }
    return scores


def full(model: Model, image: xr.DataArray, guide: xr.DataArray) -> tuple[Observation, Results]:
    """What was measured, and every method's result at the pixels of the guide."""
    own = model.predict(image, inputs={"pan": guide})["mean"].values.astype(np.float64)
    obs = observe_whole(model, fit_all(model.recipe, model.task, image, {"pan": [guide]}))
    obs = replace(obs, inputs={name: values.double() for name, values in obs.inputs.items()})
    return obs, {"model": own, **baselines(model, obs)}


def full_scores(task: Pansharpen, obs: Observation, results: Results) -> Scores:
    """By method; images are mirrored where the published geometry has low pixels at the other of two high ones."""
    ms, pan = (obs.inputs[name][0].double().numpy() for name in ("image", "pan"))
    r, offset = task.ratio, obs.instrument["offset"][0].tolist()
    rows, cols = (min(m, p // r) for m, p in zip(ms.shape[1:], pan.shape[1:], strict=True))
    axes = tuple(axis - 2 for axis, o in enumerate(offset) if o > 0)

    def turned(values: Array, factor: int) -> Array:
        return np.flip(values[..., : rows * factor, : cols * factor], axes).astype(np.float64)

    gains = task.nominal.tolist()
    scores = {}
    for name, result in results.items():
        # what lies beyond the image's last pixel has no value; it does not enter any score but by the border
        whole = np.where(np.isnan(result), results["base"], result)
        found = fusion_metrics.hqnr(turned(whole, r), turned(ms, 1), turned(pan[0], r), ratio=r, gains=gains)
        side = [slice(BORDER // r, n - BORDER // r) for n in (rows, cols)]
        padded = np.pad(whole, [(0, 0), *((0, r * m - n) for m, n in zip(ms.shape[1:], pan.shape[1:]))], mode="edge")
        again = task.degrade(torch.from_numpy(padded)[None], obs)[0].numpy()
        scores[name] = {
            "D_lambda": found.d_lambda,
            "D_s": found.d_s,
            "HQNR": found.hqnr,
            "re-projection ERGAS": metrics.ergas(again[:, *side], ms[:, *side], ratio=r),
        }
    return scores


def show(console: Console, title: str, scores: Scores) -> None:
    """One row a method."""
    table = Table(title=title, box=None, title_justify="left")
    table.add_column("method")
    for name in next(iter(scores.values())):
        table.add_column(name, justify="right")
    for method, values in scores.items():
        table.add_row(method, *(f"{value:.4f}" for value in values.values()))
    console.print(table)


def verdict(scores: Scores, bars: Sequence[tuple[str, int]]) -> str:
    """The model against the best classical method in each score; +1 where more is better, -1 where less is."""
    told = []
    for score, sign in bars:
        best = max((name for name in scores if name not in OWN), key=lambda name: sign * scores[name][score])
        own, other = scores["model"][score], scores[best][score]
        told.append(f"{score} {own:.4f}, best classical {other:.4f} ({best}): {100 * (own / other - 1):+.1f} %")
    return "\n".join(told)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--mtf", type=float, help="true gain at Nyquist of every band; default: the nominal one")
    parser.add_argument("--noise", type=float, default=0.0, help="of the image, as a share of each band's spread")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    console = Console(width=140, highlight=False)
    folder = Path(os.environ["SCIDDIFF_REALDATA"]) / "rs"
    figures: dict[str, Scores] = {}
    for model in map(load, [given.model] if given.model else SHIPPED):
        task = pansharpening(model)
        for place, image, guide in scenes(folder, model):
            title = f"{model.recipe.name}, {place}"
            truth, results = reduced(model, image, guide, Truth(given.mtf, given.noise))
            scores = figures[f"{title}, reduced resolution"] = reduced_scores(truth, results, task.ratio)
            show(console, f"{title}: reduced resolution", scores)
            console.print(verdict(scores, [("ERGAS", -1), ("SAM", -1)]), "\n")
            if io.grid_of(image).resolution != io.grid_of(guide).resolution:
                scores = figures[f"{title}, full resolution"] = full_scores(task, *full(model, image, guide))
                show(console, f"{title}: full resolution", scores)
                console.print(verdict(scores, [("HQNR", 1), ("re-projection ERGAS", -1)]), "\n")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
