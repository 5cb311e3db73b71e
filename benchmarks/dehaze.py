"""Dehazing of clear scenes under simulated haze, of clear scenes as they are, and of a real pair, beside the baselines.

    python benchmarks/dehaze.py [MODEL] [--fields 3] [--json PATH]

The places are those that no model is trained or selected on: clear dates of the Rufiji river (Sentinel-2) and Momotombo
(Landsat 8 surface reflectance; its top-of-atmosphere partner is the real pair). They are looked for in
$SCIDDIFF_REALDATA. Bare, bright ground, of which no clear scene is at hand, is made in code.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
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
from sciddiff.evaluation import metrics
from sciddiff.model import Model, load
from sciddiff.model.fit import fit
from sciddiff.model.windows import fill_invalid
from sciddiff.physics import haze
from sciddiff.physics.fractal import fractal_noise

STRENGTHS = {"thin": 0.15, "moderate": 0.5, "thick": 0.8}
RUFIJI = ("20160710", "20190610", "20190615", "20190620")
BANDS: dict[str, list[str | int]] = {
    "Sentinel-2": ["B2", "B3", "B4", "B8", "B11", "B12"],
    "Landsat 8": [1, 2, 3, 4, 5, 6],
}
SINE_OF_SUN = 0.735
"""Sine of the sun's height over Momotombo (12.4 N) on 5 December at 15:56 UTC."""

MADE = {
    "desert": ((0.20, 0.28, 0.36, 0.42, 0.50, 0.44), 0.08),
    "dry steppe": ((0.07, 0.10, 0.14, 0.22, 0.30, 0.24), 0.08),
    "salt": ((0.55, 0.57, 0.58, 0.58, 0.40, 0.25), 0.08),
    "snow": ((0.90, 0.90, 0.88, 0.80, 0.10, 0.06), 0.03),
}
"""Ground without anything dark near, made in code: reflectance of the six bands, and the spread of its texture."""
SIDE = 256

Scores = dict[str, dict[str, float]]


def opened(path: Path, sensor: str, model: Model, *, scale: float, offset: float) -> xr.DataArray:
    """Reflectance in the model's bands."""
    image = io.open(str(path), bands=BANDS[sensor])
    values, valid = io.read_window(image, slice(None), slice(None))
    valid &= valid.all(0)
    values = (scale * values + offset).astype(np.float32)
    return io.from_array(values, grid=io.grid_of(image), bands=list(model.recipe.bands), valid=valid)


def places(folder: Path, model: Model) -> Iterator[tuple[str, xr.DataArray]]:
    """Clear scenes by name."""
    for date in RUFIJI:
        (path,) = sorted((folder / "s2_timeseries_rufiji_t37mem").glob(f"*{date}*.tif"))
        yield f"Rufiji {date}", opened(path, "Sentinel-2", model, scale=1e-3, offset=0.0)
    path = folder / "l8_l2sp_momotombo_20151205_sr6_30m.tif"
    momotombo = opened(path, "Landsat 8", model, scale=2.75e-5, offset=-0.2)
    yield "Momotombo", momotombo
    yield "Momotombo in range", in_range(momotombo)


def in_range(image: xr.DataArray) -> xr.DataArray:
    """Without pixels whose reflectance is below 0 or above 1 in some band.

    The valid range of Landsat's surface reflectance (7273 to 43636; USGS, Landsat 8-9 Collection 2 Level 2 Science
    Product Guide). Beside clouds the atmospheric correction goes far below it: to -0.2 in the blue of Momotombo.
    """
    values, valid = io.read_window(image, slice(None), slice(None))
    valid = valid & ((values >= 0) & (values <= 1)).all(0)
    return like(image, values.astype(np.float32), valid)


def bare(model: Model) -> Iterator[tuple[str, xr.DataArray]]:
    """Clear scenes of one bright ground each, by name."""
    relief = fractal_noise((1, SIDE, SIDE), generator=torch.Generator().manual_seed(0), beta=2.6)[0].numpy()
    grid = GeoBox((SIDE, SIDE), Affine.scale(30, -30), "EPSG:32633")
    for name, (spectrum, texture) in MADE.items():
        values = (np.array(spectrum)[:, None, None] * (1 + texture * relief)).astype(np.float32)
        yield name, io.from_array(values, grid=grid, bands=list(model.recipe.bands), valid=np.isfinite(values))


def filled(image: xr.DataArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values without holes, and where they were measured."""
    values, valid = io.read_window(image, slice(None), slice(None))
    fill_invalid(values, valid, fallback=[float(band[known].mean()) for band, known in zip(values, valid)])
    return values.astype(np.float32), valid


def like(image: xr.DataArray, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> xr.DataArray:
    """Other values on the grid of an image."""
    return io.from_array(values, grid=io.grid_of(image), bands=[str(band) for band in image.band.values], valid=valid)


def restored(model: Model, image: xr.DataArray) -> dict[str, NDArray[np.floating]]:
    """Results of every method by name, the input among them."""
    values, _ = filled(image)
    full = np.zeros((1, len(model.task.bands), *values.shape[1:]), np.float32)
    positions = list(fit(model.recipe, image).positions)
    full[0, positions] = values
    obs = model.task.observe({"image": torch.from_numpy(full)})
    found: dict[str, NDArray[np.floating]] = {"input": values}
    for name, method in model.task.baselines().items():
        found["base" if name == "linear" else name] = method(obs)[0].numpy()[positions]
    return found | {"model": model.predict(image)["mean"].values}


def scored(found: dict[str, NDArray[np.floating]], truth: NDArray[np.floating], valid: NDArray[np.bool_]) -> Scores:
    """PSNR in dB (peak 1), spectral angle in degrees, absolute error: mean, and 99th percentile, by method."""
    scores = {}
    for name, values in found.items():
        error = np.abs(values - truth)[valid]
        scores[name] = {
            "psnr": metrics.psnr(values, truth, data_range=1.0, valid=valid) if error.any() else math.inf,
            "sam": metrics.sam(values, truth, valid=valid),
            "mae": float(error.mean()),
            "p99": float(np.percentile(error, 99)),
        }
    return scores


def under_haze(model: Model, image: xr.DataArray, strength: float, fields: int) -> Scores:
    """Scores averaged over random fields of haze of one strength."""
    truth, valid = filled(image)
    lengths = haze.wavelengths(model.recipe.task.sensor, model.recipe.bands)
    parts = []
    for seed in range(fields):
        source = torch.Generator().manual_seed(seed)
        clean = torch.from_numpy(truth)[None]
        drawn = haze.draw_haze(clean, lengths, generator=source, strength=(strength, strength))
        parts.append(scored(restored(model, like(image, drawn.hazy[0].numpy(), valid)), truth, valid))
    return {
        name: {key: float(np.mean([part[name][key] for part in parts])) for key in parts[0][name]} for name in parts[0]
    }


def real_pair(folder: Path, model: Model) -> tuple[Scores, Scores]:
    """Momotombo at the top of the atmosphere, with its haze, against its surface reflectance, and that in range."""
    whole = opened(
        folder / "l8_l1tp_momotombo_20151205_ms6_30m.tif",
        "Landsat 8",
        model,
        scale=2e-5 / SINE_OF_SUN,
        offset=-0.1 / SINE_OF_SUN,
    )
    surface = opened(folder / "l8_l2sp_momotombo_20151205_sr6_30m.tif", "Landsat 8", model, scale=2.75e-5, offset=-0.2)
    x, y = ~io.grid_of(whole).affine * (io.grid_of(surface).affine * (0, 0))
    row, col = max(round(y), 0), max(round(x), 0)
    other = max(-round(y), 0), max(-round(x), 0)
    height = min(whole.shape[1] - row, surface.shape[1] - other[0])
    width = min(whole.shape[2] - col, surface.shape[2] - other[1])
    top = whole.isel(y=slice(row, row + height), x=slice(col, col + width))
    surface = surface.isel(y=slice(other[0], other[0] + height), x=slice(other[1], other[1] + width))
    values, seen = filled(top)
    found = restored(model, like(top, values, seen))
    truth, valid = filled(surface)
    _, right = io.read_window(in_range(surface), slice(None), slice(None))
    return scored(found, truth, valid & seen), scored(found, truth, right & seen)


def table(title: str, scores: Scores) -> Table:
    """One row a method."""
    result = Table(title=title, box=None, title_justify="left")
    for name in ("method", "PSNR dB", "SAM deg", "mean |error|", "99th percentile"):
        result.add_column(name, justify="left" if name == "method" else "right")
    for name, row in scores.items():
        result.add_row(
            name.replace("_", " "), f"{row['psnr']:.2f}", f"{row['sam']:.2f}", f"{row['mae']:.4f}", f"{row['p99']:.4f}"
        )
    return result


def verdict(scores: Scores) -> str:
    """How far the model is above the best of the baselines."""
    others = [row for name, row in scores.items() if name not in ("input", "base", "model")]
    gain = scores["model"]["psnr"] - max(row["psnr"] for row in others)
    angle = scores["model"]["sam"] - min(row["sam"] for row in others)
    return f"{gain:+.2f} dB over the best baseline, spectral angle {angle:+.2f} degrees"


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, restore, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="dehaze")
    parser.add_argument("--fields", type=int, default=3, help="random fields of haze for each scene and strength")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    if "SCIDDIFF_REALDATA" not in os.environ:
        raise SystemExit("set SCIDDIFF_REALDATA to the folder of the real rasters")
    folder = Path(os.environ["SCIDDIFF_REALDATA"]) / "rs"
    console, model = Console(width=120, highlight=False), load(given.model)
    results: dict[str, Scores] = {}
    for name, image in places(folder, model):
        truth, valid = filled(image)
        results[f"{name}, clear"] = scored(restored(model, image), truth, valid)
        for label, strength in STRENGTHS.items():
            results[f"{name}, {label} ({strength})"] = under_haze(model, image, strength, given.fields)
    for name, image in bare(model):
        results[f"{name}, made in code, clear"] = scored(restored(model, image), *filled(image))
    title = "real: top of atmosphere against surface"
    results[f"Momotombo, {title}"], results[f"Momotombo in range, {title}"] = real_pair(folder, model)
    for title, scores in results.items():
        console.print(table(title, scores))
        if "clear" not in title:
            console.print(verdict(scores))
        console.print()
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
