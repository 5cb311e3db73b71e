"""The scale of a model's uncertainty, measured on scenes whose truth is known and kept in the model."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import NormalDist, fmean, geometric_mean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from sciddiff import io
from sciddiff.errors import InputError, OptionError, about
from sciddiff.evaluation.calibration import Double, conformal_scores, scenes_scale
from sciddiff.evaluation.known import TRUTH, Known, files_in, known_scene
from sciddiff.io.scene import files_of
from sciddiff.model import Model
from sciddiff.model.request import refuse_noise_alone
from sciddiff.tasks import Instrument

ROUNDS, CLOSE = 3, 0.005
"""How often the scale is corrected at most, and how near to the level a coverage is near enough: once does, unless the
task's projection is not linear."""


class Ask(NamedTuple):
    """What is asked of `Model.predict`."""

    samples: int
    steps: int
    seed: int
    instrument: Instrument | None


@dataclass(frozen=True)
class Doubt:
    """How far a scene is from what was said of it, in those of its pixels of which any doubt was stated.

    Attributes
    ----------
    scores
        |truth - mean| / std, (n,).
    ratio
        Root mean square error over root mean variance.
    """

    scores: Double
    ratio: float

    def coverage(self, half: float) -> float:
        """Share of the pixels whose truth lies within mean +- half std."""
        return float((self.scores <= half).mean())


def calibrate(
    model: Model,
    scenes: Iterable[str],
    *,
    level: float = 0.9,
    samples: int = 16,
    steps: int = 3,
    seed: int = 0,
    instrument: Instrument | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Model:
    """Scale what samples add to the mean, so that the stated interval holds the truth as often as it says.

    Parameters
    ----------
    model
        Of a task that restores.
    scenes
        Paths of clean ones, of which the images of the nominal instrument are simulated; or of folders with `target`
        and the task's inputs under their names, such as `image.tif`, `pan.tif`, `date_1.tif`, as `simulate_file` writes
        them: these may be real. For denoising the gain and offset of a target to its image are fitted.
    level
        How often mean +- z std shall hold the truth, z being the Gaussian's: for 0.9 that is `lower` to `upper`.
    samples, steps, seed, instrument
        See `Model.predict`. The spread of few samples is uncertain itself, which the scale makes up for.
    progress
        Told how many predictions were made, and how many shall be.

    Returns
    -------
    Model
        With another `calibration` in its record, and in its provenance, under `calibrated`, what that came from.

    Raises
    ------
    OptionError
        The model has no samples, or there is no truth to what it makes.
    InputError
        A scene does not fit the model, or nothing in it is uncertain.
    """
    _refuse(model)
    half, result = NormalDist().inv_cdf((1 + level) / 2), model
    ask = Ask(samples, steps, seed, instrument or None)
    with TemporaryDirectory(prefix="sciddiff-") as scratch:
        pairs = {}
        for at, scene in enumerate(dict.fromkeys(scenes)):
            with about(scene):
                pairs[scene] = known_scene(model, scene, Path(scratch, str(at)))
        on = [{"name": Path(scene).name, "sha256": _digest(scene)} for scene in pairs]
        before = after = _doubts(model, pairs, ask, partial(_tell, progress, 0, len(pairs)))
        for turn in range(1, ROUNDS + 1):
            factor = scenes_scale([each.scores for each in after], level=level) / half
            result = _scaled(result, factor)
            after = _doubts(result, pairs, ask, partial(_tell, progress, turn, len(pairs)))
            if abs(_coverage(after, half) - level) <= CLOSE:
                break
    told = {
        "on": on,
        "level": level,
        **ask._asdict(),
        "scale": {"before": scale_of(model), "after": scale_of(result)},
        "coverage": {
            "before": round(_coverage(before, half), 4),
            "after": round(_coverage(after, half), 4),
            "left_out": _left_out(after, level=level),
        },
        "error_over_spread": {"before": _ratio(before), "after": _ratio(after)},
    }
    provenance = {**model.record.get("provenance", {}), "calibrated": told}
    return replace(result, record={**result.record, "provenance": provenance})


def scale_of(model: Model) -> float:
    """By how much what a model's samples add to the mean is multiplied."""
    return float(model.record.get("calibration", 1.0))


def _scaled(model: Model, factor: float) -> Model:
    return replace(model, record={**model.record, "calibration": float(f"{scale_of(model) * factor:.5g}")})


def _refuse(model: Model) -> None:
    name = model.recipe.name
    if model.task.generative:
        raise OptionError(f"{name} makes new images: there is no truth that they could miss")
    if "mask" in model.task.extras:
        raise OptionError(f"{name} tells probabilities, which have no interval")
    refuse_noise_alone(model.recipe)


def _digest(scene: str) -> str | None:
    """SHA-256 over the files behind a scene, one after the other; None of one that is not local."""
    pair = files_in(scene)
    files = [path for source in (pair.values() if TRUTH in pair else [scene]) for path in files_of(source)]
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest() if files else None


# ---- figures ----


def _doubts(model: Model, pairs: Mapping[str, Known], ask: Ask, step: Callable[[int], None]) -> list[Doubt]:
    found = []
    for scene, pair in pairs.items():
        with about(scene):
            found.append(_doubt(model, pair, ask))
        step(len(found))
    return found


def _tell(progress: Callable[[int, int], None], turn: int, count: int, done: int) -> None:
    progress(turn * count + done, max(2, turn + 1) * count)


def _doubt(model: Model, pair: Known, ask: Ask) -> Doubt:
    result = pair.model(model).predict(pair.image, inputs=pair.others, **ask._asdict())
    mean, std = (result[name].values.astype(np.float64) for name in ("mean", "std"))
    truth = io.read_window(pair.truth, slice(None), slice(None))[0].astype(np.float64)
    if mean.shape != truth.shape:
        raise InputError(f"the result is {mean.shape}, the truth {truth.shape}; expected the same pixels")
    there = np.isfinite(truth) & (std > 0)  # where nothing was hidden there is nothing to scale
    if not there.any():
        raise InputError(f"{model.recipe.name} is uncertain of nothing in it, or knows nothing of it")
    mean, std, truth = mean[there], std[there], truth[there]
    ratio = math.sqrt(np.square(truth - mean).mean() / np.square(std).mean())
    return Doubt(conformal_scores(mean, std, truth), ratio)


def _coverage(doubts: Sequence[Doubt], half: float) -> float:
    return fmean(each.coverage(half) for each in doubts)


def _ratio(doubts: Sequence[Doubt]) -> float:
    return round(geometric_mean(each.ratio for each in doubts), 4)


def _left_out(doubts: Sequence[Doubt], *, level: float) -> list[float] | None:
    """Coverage of each scene by the scale that the others give; None of a single one."""
    if len(doubts) < 2:
        return None
    found = []
    for at, each in enumerate(doubts):
        others = [*doubts[:at], *doubts[at + 1 :]]
        found.append(round(each.coverage(scenes_scale([other.scores for other in others], level=level)), 4))
    return found
