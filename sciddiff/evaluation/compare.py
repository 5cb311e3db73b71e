"""A model against the classical answers, on a clean scene degraded by the model's own nominal instrument."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import metrics
from sciddiff.evaluation.known import Known, known_image
from sciddiff.model import Model
from sciddiff.model.fit import Fitted, fit_all, is_stack, of_any_size
from sciddiff.model.reading import observe_whole
from sciddiff.model.request import Request, of_noise_alone, surveyed
from sciddiff.model.windows import fill_invalid
from sciddiff.tasks import Instrument, Observation

MEAN, SAMPLE, REGRESSOR = "posterior mean", "sample", "regressor"


@dataclass(frozen=True)
class Scores:
    """One method on one scene, on its valid pixels.

    Attributes
    ----------
    psnr
        dB, the error pooled over all bands.
    psnr_bands
        dB, band by band.
    rmse
        In the unit of the image.
    sam
        Degrees.
    ergas
        See `metrics.ergas`.
    consistency
        RMSE of the degraded result against what was measured, in the unit of the image; NaN where not defined.
    octaves
        Power above the truth's in dB, averaged over bands that are not flat, the finest octave first.
    octaves_worst
        The same for the band that is furthest off.
    """

    psnr: float
    psnr_bands: tuple[float, ...]
    rmse: float
    sam: float
    ergas: float
    consistency: float
    octaves: tuple[float, ...]
    octaves_worst: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """All methods on one scene.

    Attributes
    ----------
    bands
        In the file's order.
    ratio
        High-resolution pixels along a low one.
    peak
        That of the PSNR, in the unit of the image.
    octaves
        Bounds in cycles a pixel, the finest first.
    truth, valid
        The clean scene and its mask, (c, h, w).
    scored
        The pixels whose errors count, (c, h, w).
    low, low_valid
        The main image as measured and its mask, on its own grid.
    estimates
        Results by method, (c, h, w).
    scores
        By method.
    """

    bands: tuple[str, ...]
    ratio: int
    peak: float
    octaves: tuple[tuple[float, float], ...]
    truth: NDArray[np.floating]
    valid: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    low: NDArray[np.floating]
    low_valid: NDArray[np.bool_]
    estimates: Mapping[str, NDArray[np.floating]]
    scores: Mapping[str, Scores]

    def gain(self, method: str, over: str) -> float:
        """How many dB of PSNR a method is above another."""
        return self.scores[method].psnr - self.scores[over].psnr

    def to_dict(self) -> dict[str, Any]:
        """The numbers without the pixels, for JSON."""
        return {
            "bands": list(self.bands),
            "shape": list(self.truth.shape),
            "valid": float(self.valid.mean()),
            "ratio": self.ratio,
            "peak": self.peak,
            "octaves": [list(bounds) for bounds in self.octaves],
            "scores": {name: asdict(scores) for name, scores in self.scores.items()},
        }


def compare(
    model: Model,
    clean: xr.DataArray,
    *,
    steps: int = 3,
    seed: int = 0,
    border: int = 0,
    peak: float | None = None,
    regressor: Model | None = None,
    instrument: Instrument | None = None,
) -> Comparison:
    """Degrade a clean image by the nominal instrument and restore it by every method.

    Parameters
    ----------
    model
        The model.
    clean
        (band, y, x), as `io.open` gives it.
    steps
        Of the sample.
    seed
        Of the sample.
    border
        Pixels of the target grid left out along the edges; 0 scores the whole scene.
    peak
        Of the PSNR, in the unit of the image; see `peak_of`.
    regressor
        A model of the same task, whose posterior mean is scored beside the others.
    instrument
        What models and baselines are told beside the nominal instrument, such as how sharp the clean image is:
        {"target_mtf": (0.3,)}.

    Returns
    -------
    Comparison
        Of the task's baselines, the posterior mean, one sample and the regressor.

    Raises
    ------
    InputError
        Where the image does not fit the model.
    """
    return compare_known(
        model,
        known_image(model, clean),
        steps=steps,
        seed=seed,
        border=border,
        peak=peak,
        regressor=regressor,
        instrument=instrument,
    )


def compare_known(
    model: Model,
    known: Known,
    *,
    steps: int = 3,
    seed: int = 0,
    border: int = 0,
    peak: float | None = None,
    regressor: Model | None = None,
    instrument: Instrument | None = None,
) -> Comparison:
    """Restore what was measured of a scene by every method; where the image hides pixels, only their errors count.

    Parameters
    ----------
    model
        Of a task that restores.
    known
        The scene.
    steps, seed, border, peak, regressor, instrument
        See `compare`.

    Raises
    ------
    OptionError
        The task is to make new images, or tells classes.
    InputError
        The scene does not fit the model, or has several planes, or several channels where each is restored for itself.
    """
    name = model.recipe.name
    if model.task.generative:
        raise OptionError(f"{name} makes new images, of which there is no truth; see --augmentation")
    if model.task.bands != model.task.inputs[0].bands:
        raise OptionError(f"{name} tells another quantity than its input holds, which no classical method answers")
    if is_stack(known.truth):
        raise InputError("has several planes; score it with `sciddiff simulate`, `predict` and `evaluate`")
    if model.task.channelwise and known.image.sizes["band"] > 1:
        raise InputError("has several channels, each of which is restored for itself; score a file of one")
    asked: dict[str, Any] = {"inputs": known.others, "instrument": instrument}
    steps = 1 if of_noise_alone(model.recipe) else steps
    result = known.model(model).predict(known.image, steps=steps, seed=seed, **asked)
    estimates = {title: result[name] for title, name in ((MEAN, "mean"), (SAMPLE, "sample")) if name in result}
    if regressor is not None:
        estimates[REGRESSOR] = known.model(regressor).predict(known.image, steps=1, **asked)["mean"]
    return judge(
        model,
        known.truth,
        low=known.image,
        others=known.others,
        estimates=estimates,
        where=known.hidden(),
        border=border,
        peak=peak,
        instrument=instrument,
    )


@torch.inference_mode()
def judge(
    model: Model,
    truth: xr.DataArray,
    *,
    low: xr.DataArray,
    estimates: Mapping[str, xr.DataArray],
    others: Mapping[str, Sequence[xr.DataArray]] | None = None,
    where: NDArray[np.bool_] | None = None,
    border: int = 0,
    peak: float | None = None,
    instrument: Instrument | None = None,
) -> Comparison:
    """Score results, and the task's baselines beside them, against the truth.

    Parameters
    ----------
    model
        Whose task gives the baselines and the forward model.
    truth
        The clean image, (band, y, x).
    low
        What was measured of it: the task's main image.
    estimates
        Results by name, on the grid and in the bands of `truth`.
    others
        The task's other inputs by name.
    where
        (h, w): the pixels whose errors count, such as those under clouds; all where not given.
    border, peak, instrument
        See `compare`.
    """
    fitted = fit_all(of_any_size(model.recipe), model.task, low, others)
    clean, valid = io.read_window(truth, slice(None), slice(None))
    low_values, low_valid = io.read_window(fitted.image, slice(None), slice(None))
    obs = observe_whole(model, fitted, surveyed(model, fitted, Request(instrument=instrument or {})))
    results = {name: _of_file(fitted, method(obs)) for name, method in model.task.baselines().items()}
    for name, image in estimates.items():
        values, known = io.read_window(image, slice(None), slice(None))
        if values.shape != clean.shape:
            raise InputError(f"{name} is {values.shape} (bands, h, w); the truth is {clean.shape}")
        results[name] = values
        valid &= known
    scored = _within(valid, border) & (True if where is None else where)
    if not scored.any():
        raise InputError("no valid pixel is left to score")
    height = peak if peak is not None else peak_of(truth, clean[valid])
    measured = low_valid if where is None or where.shape != low_valid.shape[1:] else low_valid & ~where
    scores = {
        name: _scores(
            values,
            clean,
            valid=_within(valid, border),
            scored=scored,
            peak=height,
            ratio=model.task.inputs[0].ratio,
            consistency=_misfit(model, fitted, values, obs=obs, valid=valid, measured=measured),
        )
        for name, values in results.items()
    }
    return Comparison(
        bands=tuple(str(name) for name in truth.band.values),
        ratio=model.task.inputs[0].ratio,
        peak=height,
        octaves=tuple(metrics.octaves(clean.shape)),
        truth=clean,
        valid=valid,
        scored=scored,
        low=np.where(low_valid, low_values, 0),
        low_valid=low_valid,
        estimates=results,
        scores=scores,
    )


def peak_of(image: xr.DataArray, values: NDArray[np.floating]) -> float:
    """Peak of the PSNR: 1 for reflectance, 255 for plain bytes, else the range of the middle 99.8 % of the values.

    Parameters
    ----------
    image
        Whose unit and storage decide; reflectance is what is dimensionless, or scaled from integers to below 2.
    values
        Its valid values.
    """
    profile = image.encoding.get("raster")
    low, high = np.quantile(values, [0.001, 0.999])
    scaled = profile is not None and any(scale != 1 for scale in profile.scales)
    if high <= 2 and (scaled or image.attrs.get("units") == "1"):
        return 1.0
    if profile is not None and profile.dtype == "uint8" and not scaled:
        return 255.0
    return float(high - low) or 1.0


def _scores(
    values: NDArray[np.floating],
    truth: NDArray[np.floating],
    *,
    valid: NDArray[np.bool_],
    scored: NDArray[np.bool_],
    peak: float,
    ratio: int,
    consistency: float,
) -> Scores:
    above = metrics.octave_difference(values, truth, valid=valid)
    above = above[np.isfinite(above).all(1)]
    if not len(above):
        above = np.full((1, len(metrics.octaves(truth.shape))), np.nan)
    worst = above[np.nan_to_num(np.abs(above)).argmax(0), np.arange(above.shape[1])]
    return Scores(
        psnr=metrics.psnr(values, truth, data_range=peak, valid=scored),
        psnr_bands=tuple(metrics.psnr_bands(values, truth, data_range=peak, valid=scored)),
        rmse=metrics.rmse(values, truth, valid=scored),
        sam=metrics.sam(values, truth, valid=scored),
        ergas=metrics.ergas(values, truth, ratio=ratio, valid=scored),
        consistency=consistency,
        octaves=tuple(above.mean(0).tolist()),
        octaves_worst=tuple(worst.tolist()),
    )


def _misfit(
    model: Model,
    fitted: Fitted,
    result: NDArray[np.floating],
    *,
    obs: Observation,
    valid: NDArray[np.bool_],
    measured: NDArray[np.bool_],
) -> float:
    """RMSE of the degraded result against the main image, where no invalid pixel takes part; NaN if not defined."""
    filled = np.where(valid, result, np.nan).astype(np.float64)
    fill_invalid(
        filled,
        valid,
        fallback=[float(band[known].mean()) if known.any() else 0.0 for band, known in zip(result, valid)],
    )
    image = obs.inputs[model.task.inputs[0].name]
    again, holes = (
        model.task.degrade(_in_model(model, fitted, part).to(image.dtype), obs)
        for part in (filled, (~valid).astype(np.float64))
    )
    if again is None or holes is None:
        return math.nan
    clear = measured & (_of_file(fitted, holes).astype(np.float64) < 1e-6)
    return metrics.rmse(_of_file(fitted, again), _of_file(fitted, image), valid=clear) if clear.any() else math.nan


def _within(valid: NDArray[np.bool_], border: int) -> NDArray[np.bool_]:
    if 2 * border >= min(valid.shape[1:]):
        raise InputError(f"a border of {border} pixels leaves nothing of {valid.shape[1:]}")
    inner = np.zeros(valid.shape, bool)
    rows, cols = (slice(border, side - border) for side in valid.shape[1:])
    inner[:, rows, cols] = valid[:, rows, cols]
    return inner


def _in_model(model: Model, fitted: Fitted, values: NDArray[np.floating]) -> Tensor:
    """(1, c, h, w) in the model's bands; those that the file lacks are zero."""
    full = np.zeros((1, len(model.task.bands), *values.shape[1:]), values.dtype)
    full[0, list(fitted.positions)] = values
    return torch.from_numpy(full).to(model.device)


def _of_file(fitted: Fitted, values: Tensor) -> NDArray[np.floating]:
    """(c, h, w) in the file's bands."""
    array: NDArray[np.floating] = values[0].cpu().numpy()[list(fitted.positions)]
    return array
