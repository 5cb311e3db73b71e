"""Denoising of real pictures taken with little light, against the same fields taken with much, beside the baselines.

    python benchmarks/denoise.py [MODEL] [--regressor MODEL2] [--samples 16] [--json PATH]

The test fields, mitochondria and nuclei, are ones that no model is trained or selected on; the strength of every
baseline, and whether it works on the stabilised image, is what is best on the training field (actin). All are looked
for in $SCIDDIFF_REALDATA. The references have another gain and offset, from which range-invariant PSNR and MicroSSIM
are free, and noise of their own, which bounds all scores; surveyed, it is taken off the squared errors in some figures.
Their publisher stretched both pictures of a field, so that a curve, no line, leads from the intensities of one to those
of the other: means over blocks of pixels show it, and some figures allow each method the curve that suits it best.
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
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from sciddiff import io
from sciddiff.baselines import denoising
from sciddiff.evaluation import calibration, micro
from sciddiff.evaluation.metrics import psnr
from sciddiff.model import Model, load
from sciddiff.tasks import Instrument
from sciddiff.training.levels import brought_onto

TRAINING, TEST = "actin20x", ("mito60x", "nucleus")
SIDE = 512
"""Of the part of a field in which baselines are tuned, cameras simulated, samples drawn; real ones are scored whole."""
DOSES = (10, 30, 100)
"""Electrons of bright structures above the background in the simulated exposures."""
BACKGROUND, READ = 2.0, 1.0
CLEAN_DOSES, COARSEN = (2000, 10000), 4
"""Of pictures with hardly any noise: references averaged over blocks, so that their own noise is small too."""
BINS = 10
BLOCK = 16
"""Side in pixels of the blocks whose means show how the intensities of a field's two pictures go together."""
SHARES = (*np.linspace(0, 0.95, 39), *(1 - 0.05 * np.geomspace(1, 1e-3, 16)[1:]), 1.0)
"""Quantiles of a result between which its curve has one knot: many in the bright tail, few pixels each."""

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
    """Each baseline as it is best on the training field, whose lamp drifted between the pictures."""
    field = measured(model, TRAINING)
    truth = brought_onto(field.image.copy(data=field.truth[None]), field.image)
    if truth is None:
        raise SystemExit(f"the pictures of {TRAINING} show nothing in common")
    field = part(field._replace(truth=truth.values[0].astype(np.float64)))
    pair = field.image.values[0], field.truth
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
    return psnr_of((error**2 - own_error(error, field)).mean(), field)


def psnr_of(squared: float, field: Field) -> float:
    """PSNR in dB of a mean squared error."""
    return float(10 * np.log10(np.ptp(field.truth) ** 2 / squared)) if squared > 0 else float("inf")


def intensities(field: Field) -> dict[str, float]:
    """Mean squared difference of the block means of both pictures: along a line, along a curve, and by noise alone.

    All in the unit of the reference, as a share of its variance between blocks.
    """
    low, high = (averaged(each, BLOCK) for each in (field.image.values[0].astype(np.float64), field.truth))
    line = np.polyfit(low.ravel(), high.ravel(), 1)
    a, b = law_of(field)
    noise = line[0] ** 2 * (a * low + b).mean() + field.own.mean()
    found = {"line": ((np.polyval(line, low) - high) ** 2).mean(), "curve": ((bent(low, high) - high) ** 2).mean()}
    return {name: float(value / high.var()) for name, value in (found | {"noise": noise / BLOCK**2}).items()}


def curve(result: Image, truth: Image) -> PchipInterpolator:
    """The rising curve from the intensities of a result to those of the reference, through their means in bins."""
    edges = np.unique(np.quantile(result, SHARES))
    which = np.clip(np.searchsorted(edges, result.ravel(), side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(which, minlength=len(edges) - 1)
    x, y = (np.bincount(which, of.ravel(), len(count))[count > 0] / count[count > 0] for of in (result, truth))
    return PchipInterpolator(x, isotonic_regression(y, weights=count[count > 0]).x)


def bent(result: Image, truth: Image) -> Image:
    """A result along its curve."""
    line = curve(result, truth)
    return np.asarray(line(within(result, line)))


def within(result: Image, line: PchipInterpolator) -> Image:
    """A result, no further than the last knots of a curve."""
    return np.clip(result, line.x[0], line.x[-1])


def scores(found: dict[str, Image], field: Field) -> dict[str, dict[str, float]]:
    """Range-invariant PSNR and MicroSSIM by method; the PSNR along its own line or curve, less the reference's noise.

    MicroSSIM's background and scale are those of the method.
    """
    table = {}
    for name, result in found.items():
        pair = (result.astype(np.float64), field.truth)
        ssim = micro.micro_ssim(*pair, fit=micro.fit_micro([pair]))
        row = {"psnr": ri_psnr(result, field), "micro_ssim": ssim}
        line = np.polyval(np.polyfit(pair[0].ravel(), field.truth.ravel(), 1), pair[0])
        error = bent(*pair) - field.truth
        row |= {"true": true_psnr(line - field.truth, field), "curve": psnr_of((error**2).mean(), field)}
        table[name] = row | {"true_curve": true_psnr(error, field)}
    return table


def gain(table: dict[str, dict[str, float]], key: str) -> float:
    """Of the model over the best baseline."""
    return table["model"][key] - max(row[key] for name, row in table.items() if name in denoising.DENOISERS)


def uncertainty(model: Model, field: Field, samples: int) -> dict[str, Any]:
    """Error over spread, overall and in bins of the spread, the smallest first; with and without the reference's noise.

    Along a line, in the unit of the image, and along a curve, in that of the reference. And the variance of what was
    taken off.
    """
    result = model.predict(field.image, instrument=field.law, steps=3, samples=samples, seed=0)
    mean, std = (result[name].values[0].astype(np.float64) for name in ("mean", "std"))
    like, along = matched(field), curve(mean, field.truth)
    inside = within(mean, along)
    cases = {"": (mean, std, like.truth, own_error(mean - like.truth, like))}
    mapped = along(inside)
    own = own_error(mapped - field.truth, field)
    cases["curve_"] = mapped, std * np.maximum(along.derivative()(inside), 0), field.truth, own
    a, b = law_of(field)
    removed = (field.image.values[0].astype(np.float64) - mean) ** 2 / np.maximum(a * mean + b, 1e-12)
    found: dict[str, Any] = {"removed": float(removed.mean())}
    for case, (estimate, spread, truth, variance) in cases.items():
        for kind, known in (("", None), ("true_", variance)):
            bins = calibration.spread_error(estimate, spread, truth, bins=BINS, variance=known)
            squared = (estimate - truth) ** 2 - (0 if known is None else known)
            ratio = float(np.sqrt(max(squared.mean(), 0) / (spread**2).mean()))
            found |= {f"{case}{kind}ratio": ratio, f"{case}{kind}bins": [round(float(each), 3) for each in bins.ratio]}
    return found


def clean_loss(model: Model, name: str, dose: float) -> dict[str, float]:
    """PSNR of a picture with hardly any noise, before and after, as it is and less the reference's own noise."""
    field = measured(model, name)
    truth, own = averaged(field.truth, COARSEN), averaged(field.own, COARSEN) / COARSEN**2
    bright = simulated(truth, dose, own=own, like=field.image, model=model)
    results = {"before": bright.image.values[0].astype(np.float64), "after": posterior_mean(model, bright)}
    peak = float(np.ptp(truth))
    found = {when: psnr(result[None], truth[None], data_range=peak) for when, result in results.items()}
    return found | {f"true_{when}": true_psnr(result - truth, bright) for when, result in results.items()}


def averaged(plane: Image, side: int) -> Image:
    """Means of blocks of `side` pixels a side."""
    rows, cols = (length // side for length in plane.shape)
    return plane[: rows * side, : cols * side].reshape(rows, side, cols, side).mean((1, 3))


# ---- output ----


def show_scores(console: Console, title: str, table: dict[str, dict[str, float]]) -> None:
    """One row a method, and the gain."""
    rows = Table(title=title, box=None, title_justify="left")
    columns = {
        "psnr": "range-invariant PSNR dB",
        "true": "less the reference's noise",
        "curve": "along a curve",
        "true_curve": "along a curve, less noise",
        "micro_ssim": "MicroSSIM",
    }
    for name in ("method", *columns.values()):
        rows.add_column(name, justify="left" if name == "method" else "right")
    for name, row in table.items():
        rows.add_row(name, *(f"{row[key]:.4f}" if key == "micro_ssim" else f"{row[key]:.2f}" for key in columns))
    console.print(rows)
    gains = ", ".join(f"{gain(table, key):+.2f}" for key in list(columns)[:-1])
    console.print(f"over the best baseline: {gains} dB; {gain(table, 'micro_ssim'):+.4f}\n")


def show_uncertainty(console: Console, title: str, found: dict[str, Any]) -> None:
    """Error over spread."""
    told = {"": title, "true_": "  less the reference's own noise"}
    told |= {"curve_": "  along a curve", "curve_true_": "  along a curve, less noise"}
    for key, text in told.items():
        bins = " ".join(f"{ratio:.2f}" for ratio in found[f"{key}bins"])
        console.print(f"{text}: error / spread {found[f'{key}ratio']:.2f}; by bins of spread {bins}")
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
    figures: dict[str, Any] = {"tuned": settings, "intensities": {}, "scores": {}, "uncertainty": {}, "clean": {}}
    for name in TEST:
        field = measured(model, name)
        shares = figures["intensities"][name] = intensities(field)
        told = ", ".join(f"{what} {share:.2%}" for what, share in shares.items())
        console.print(f"{name}: variance of block means that one picture does not tell of the other: {told}\n")
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
