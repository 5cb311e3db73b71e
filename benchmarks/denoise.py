"""Denoising of real pictures taken with little light, against the same fields taken with much, beside the baselines.

    python benchmarks/denoise.py [MODEL] [--regressor MODEL2] [--samples 16] [--json PATH]

The test fields, mitochondria and nuclei, are ones that no model is trained or selected on; the strength of every
baseline, and whether it works on the stabilised image, is what is best on the training field (actin). All are looked
for in $SCIDDIFF_REALDATA. The references have another gain and offset, from which range-invariant PSNR and MicroSSIM
are free, and noise of their own, which bounds all scores; surveyed, it is taken off the squared errors in some figures.
Then exposures simulated of the references; error against the spread of samples; pictures that hardly have noise.
"""

import argparse
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sciddiff import io
from sciddiff.baselines import denoising
from sciddiff.evaluation import calibration, micro
from sciddiff.evaluation.metrics import psnr
from sciddiff.model import Model, load
from sciddiff.tasks import Instrument

TRAINING, TEST = "actin20x", ("mito60x", "nucleus")
SIDE = 512
"""Of the part of a field in which baselines are tuned, cameras simulated, samples drawn; real ones are scored whole."""
DOSES = (10, 30, 100)
"""Electrons of bright structures above the background in the simulated exposures."""
BACKGROUND, READ = 2.0, 1.0
CLEAN_DOSES, COARSEN = (2000, 10000), 4
"""Of pictures with hardly any noise: references averaged over blocks, so that their own noise is small too."""
BINS = 10

Image = NDArray[np.floating]


class Field(NamedTuple):
    """What was measured (1, y, x), its noise law, the reference (y, x), and the noise that this has of its own.

    `own` is the variance of that noise. Where the image is an exposure of the reference itself it has this noise, too:
    `shared` is the ratio of its variance to that of the exposure; zero where both are measured.
    """

    image: xr.DataArray
    law: Instrument
    truth: Image
    own: Image
    shared: Image


def folder() -> Path:
    """Of the pictures."""
    if "SCIDDIFF_REALDATA" not in os.environ:
        raise SystemExit("set SCIDDIFF_REALDATA to the folder of the real pictures")
    return Path(os.environ["SCIDDIFF_REALDATA"]) / "micro"


def opened(path: Path) -> xr.DataArray:
    """A picture of one channel."""
    image = io.open(str(path), bands=[1])
    return io.from_array(image.values, grid=io.grid_of(image), bands=["intensity"], valid=image.valid.values)


def measured(model: Model, name: str) -> Field:
    """A field with little light and its reference."""
    low, high = (opened(folder() / f"hagen_{name}_{light}snr.tif") for light in ("low", "high"))
    truth = high.values[0].astype(np.float64)
    a, b = (model.task.survey(high)[key][0] for key in ("gain", "variance"))
    own = np.where(truth < truth.max(), np.maximum(a * truth + b, 0), 0)  # clipped pixels have none
    return Field(low, model.task.survey(low), truth, own, np.zeros_like(truth))


def part(field: Field) -> Field:
    """The middle of a field, its law that of the whole."""
    top, left = ((side - min(side, SIDE)) // 2 for side in field.truth.shape)
    rows, cols = slice(top, top + SIDE), slice(left, left + SIDE)
    image = field.image.isel(y=rows, x=cols)
    return Field(image, field.law, *(plane[rows, cols] for plane in (field.truth, field.own, field.shared)))


def simulated(truth: Image, dose: float, *, own: Image, like: xr.DataArray, model: Model) -> Field:
    """A field exposed with `dose` electrons between its dark and its bright places; its law as surveyed."""
    dark, bright = np.quantile(truth, (0.01, 0.995))
    rng, unit = np.random.default_rng(0), dose / (bright - dark)
    electrons = np.maximum(unit * (truth - dark) + BACKGROUND, 0)
    counts = rng.poisson(electrons) + READ * rng.standard_normal(truth.shape)
    values = ((counts - BACKGROUND) / unit + dark).astype(np.float32)
    grid = io.grid_of(like)[: truth.shape[0], : truth.shape[1]]
    image = io.from_array(values[None], grid=grid, bands=["intensity"], valid=np.ones((1, *truth.shape), bool))
    shared = np.where(electrons > 0, own * unit**2 / (electrons + READ**2), 0)  # below zero nothing of it is exposed
    return Field(image, model.task.survey(image), truth, own, shared)


# ---- methods ----


def matched(field: Field) -> Field:
    """The field with its reference in the unit of what was measured, fitted over all pixels."""
    noisy = field.image.values.ravel().astype(np.float64)
    line = np.polyfit(field.truth.ravel(), noisy, 1)
    return field._replace(truth=np.polyval(line, field.truth), own=line[0] ** 2 * field.own)


def law_of(field: Field) -> tuple[float, float]:
    """Noise law as the baselines take it."""
    return field.law["gain"][0], field.law["variance"][0]


def tuned(model: Model) -> dict[str, denoising.Tuned]:
    """Each baseline as it is best on the training field."""
    field = part(measured(model, TRAINING))
    pair = field.image.values[0], matched(field).truth
    return {name: denoising.tuned(name, [pair], [law_of(field)]) for name in denoising.DENOISERS}


def ri_psnr(result: Image, field: Field) -> float:
    """Range-invariant PSNR in dB."""
    return micro.range_invariant_psnr(result, field.truth)


def restored(model: Model, field: Field, baselines: dict[str, denoising.Tuned]) -> dict[str, Image]:
    """Results by method."""
    noisy = field.image.values[0].astype(np.float64)
    found = {"input": noisy} | {name: method(noisy, law_of(field)) for name, method in baselines.items()}
    obs = model.task.observe({"image": torch.from_numpy(field.image.values[None].astype(np.float32))}, field.law)
    found["base"] = model.task.base(obs)[0, 0].numpy()
    return found | {"model": posterior_mean(model, field)}


def posterior_mean(model: Model, field: Field) -> Image:
    """The model's."""
    return np.asarray(model.predict(field.image, instrument=field.law)["mean"].values[0])


# ---- figures ----


def own_error(error: Image, field: Field) -> Image:
    """What the reference's own noise adds to the square of `error`, in the mean: result less reference, in its unit.

    Its variance; less, where the image has that noise, too, twice what of it is left in the result. A result keeps as
    much of it as of the noise of the exposure, which is known, so that the two covariances are as the variances.
    """
    added = field.image.values[0].astype(np.float64) - field.truth
    return field.own - 2 * field.shared * error * added


def true_psnr(error: Image, field: Field) -> float:
    """PSNR in dB without what the reference's own noise adds to the squared error."""
    rest = float((error**2 - own_error(error, field)).mean())
    return float(10 * np.log10(np.ptp(field.truth) ** 2 / rest)) if rest > 0 else float("inf")


def scores(found: dict[str, Image], field: Field) -> dict[str, dict[str, float]]:
    """Range-invariant PSNR, the same where the reference is not clipped and less its own noise, MicroSSIM; by method.

    MicroSSIM's background and scale are those of the method.
    """
    table = {}
    for name, result in found.items():
        pair = (result.astype(np.float64), field.truth)
        ssim = micro.micro_ssim(*pair, fit=micro.fit_micro([pair]))
        below = field.truth < field.truth.max()
        unclipped = micro.range_invariant_psnr(result, field.truth, valid=below)
        fitted = np.polyval(np.polyfit(pair[0].ravel(), field.truth.ravel(), 1), pair[0])
        true = true_psnr(fitted - field.truth, field)
        table[name] = {"psnr": ri_psnr(result, field), "unclipped": unclipped, "true": true, "micro_ssim": ssim}
    return table


def gain(table: dict[str, dict[str, float]], key: str) -> float:
    """Of the model over the best baseline."""
    return table["model"][key] - max(row[key] for name, row in table.items() if name in denoising.DENOISERS)


def uncertainty(model: Model, field: Field, samples: int) -> dict[str, Any]:
    """Error over spread, overall and in bins of the spread, the smallest first; less the reference's own noise, too.

    And the variance of what was taken off.
    """
    result = model.predict(field.image, instrument=field.law, steps=3, samples=samples, seed=0)
    mean, std = (result[name].values[0].astype(np.float64) for name in ("mean", "std"))
    noisy = field.image.values[0].astype(np.float64)
    like = matched(field)
    truth, own = like.truth, own_error(mean - like.truth, like)
    bins = calibration.spread_error(mean, std, truth, bins=BINS)
    true = calibration.spread_error(mean, std, truth, bins=BINS, variance=own)
    squared = (mean - truth) ** 2
    a, b = law_of(field)
    variance = a * mean + b
    return {
        "ratio": float(np.sqrt(squared.mean() / (std**2).mean())),
        "bins": [round(float(ratio), 3) for ratio in bins.ratio],
        "true_ratio": float(np.sqrt(max((squared - own).mean(), 0) / (std**2).mean())),
        "true_bins": [round(float(ratio), 3) for ratio in true.ratio],
        "spread": [float(value) for value in bins.spread],
        "error": [float(value) for value in bins.error],
        "removed": float(((noisy - mean) ** 2 / np.maximum(variance, 1e-12)).mean()),
    }


def clean_loss(model: Model, name: str, dose: float) -> dict[str, float]:
    """PSNR of a picture with hardly any noise, before and after, as it is and less the reference's own noise."""
    field = measured(model, name)
    truth, own = averaged(field.truth), averaged(field.own) / COARSEN**2
    bright = simulated(truth, dose, own=own, like=field.image, model=model)
    results = {"before": bright.image.values[0].astype(np.float64), "after": posterior_mean(model, bright)}
    peak = float(np.ptp(truth))
    found = {when: psnr(result[None], truth[None], data_range=peak) for when, result in results.items()}
    return found | {f"true_{when}": true_psnr(result - truth, bright) for when, result in results.items()}


def averaged(plane: Image) -> Image:
    """Means of blocks of COARSEN pixels a side."""
    rows, cols = (length // COARSEN for length in plane.shape)
    return plane[: rows * COARSEN, : cols * COARSEN].reshape(rows, COARSEN, cols, COARSEN).mean((1, 3))


# ---- output ----


def show_scores(console: Console, title: str, table: dict[str, dict[str, float]]) -> None:
    """One row a method, and the gain."""
    rows = Table(title=title, box=None, title_justify="left")
    for name in ("method", "range-invariant PSNR dB", "unclipped", "less the reference's noise", "MicroSSIM"):
        rows.add_column(name, justify="left" if name == "method" else "right")
    for name, row in table.items():
        figures = (f"{row[key]:.2f}" for key in ("psnr", "unclipped", "true"))
        rows.add_row(name, *figures, f"{row['micro_ssim']:.4f}")
    console.print(rows)
    console.print(f"{gain(table, 'psnr'):+.2f} dB and {gain(table, 'micro_ssim'):+.4f} over the best baseline\n")


def show_uncertainty(console: Console, title: str, found: dict[str, Any]) -> None:
    """Error over spread."""
    for told, key in ((title, ""), ("  less the reference's own noise", "true_")):
        bins = " ".join(f"{ratio:.2f}" for ratio in found[f"{key}bins"])
        console.print(f"{told}: error / spread {found[f'{key}ratio']:.2f}; by bins of spread {bins}")
    console.print(f"  what was taken off has {found['removed']:.2f} of the noise's variance")


def main(arguments: Sequence[str] | None = None) -> None:
    """Tune, restore, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="denoise-fluorescence")
    parser.add_argument("--regressor", help="a model whose posterior mean is scored too")
    parser.add_argument("--samples", type=int, default=16, help="from which the spread is told")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    console, model = Console(width=120, highlight=False), load(given.model)
    baselines = tuned(model)
    console.print(f"tuned on {TRAINING}: {', '.join(map(str, baselines.values()))}\n")
    settings = {name: asdict(found) for name, found in baselines.items()}
    figures: dict[str, Any] = {"tuned": settings, "scores": {}, "uncertainty": {}, "clean": {}}
    for name in TEST:
        field = measured(model, name)
        cases, middle = {f"{name}, real": field}, part(field)
        cases |= {
            f"{name}, {dose} electrons": simulated(middle.truth, dose, own=middle.own, like=field.image, model=model)
            for dose in DOSES
        }
        for title, case in cases.items():
            found = restored(model, case, baselines)
            if given.regressor is not None:
                found["regressor"] = posterior_mean(load(given.regressor), case)
            figures["scores"][title] = scores(found, case)
            show_scores(console, title, figures["scores"][title])
            figures["uncertainty"][title] = uncertainty(model, part(case), given.samples)
            show_uncertainty(console, title, figures["uncertainty"][title])
            console.print()
        for dose in CLEAN_DOSES:
            found = figures["clean"][f"{name}, {dose} electrons"] = clean_loss(model, name, dose)
            change, true = (found[f"{key}after"] - found[f"{key}before"] for key in ("", "true_"))
            told = f"{found['before']:.2f} dB, restored {change:+.2f} dB, less the reference's own noise {true:+.2f} dB"
            console.print(f"{name}, averaged, {dose} electrons: {told}\n")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the image does not name its bands")
        main()
