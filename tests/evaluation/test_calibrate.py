"""Calibration of a model: closed forms where the error is known, held-out scenes, what every kind of scene needs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import stats
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import calibrate
from sciddiff.inference.key import model_hash
from sciddiff.model import Model, build
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import Condition, Instrument, Observation
from sciddiff.tasks.denoise import MAPS, Denoise
from tests.laws.stacks import RECIPE as OF_STACKS
from tests.laws.stacks import stack_file

NETWORK = "network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}"
DENOISE = f"""
version: 1
name: known
task: {{kind: denoise}}
bands: [intensity]
{NETWORK}
"""
FINER = f"""
version: 1
name: finer
task: {{kind: super_resolution, ratio: 2, pixel_size: [9, 11]}}
bands: [red]
{NETWORK}
"""
CLEAR = f"""
version: 1
name: clear
task: {{kind: remove_clouds, dates: 1, detector: null}}
bands: [red, nir]
{NETWORK}
training: {{patch: 16}}
"""
SPREAD, ERROR = 2.0, 3.0
SIDE = 96


class Known(Denoise):
    """What was measured is the estimate; a fresh network, whose velocity is zero, adds N(0, SPREAD) to it."""

    radius = 0

    def survey(
        self, image: xr.DataArray, others: object = None, told: Instrument | None = None
    ) -> dict[str, Sequence[float]]:
        return {"gain": (1.0,), "variance": (1.0,)}

    def base(self, obs: Observation) -> Tensor:
        return obs.inputs["image"]

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        return Condition(torch.full_like(base, SPREAD), torch.zeros(len(base), MAPS, *base.shape[2:]))


@pytest.fixture
def known() -> Model:
    model = build(parse_recipe(DENOISE))
    settings: Any = model.recipe.task
    return replace(model, task=Known(settings, model.recipe.bands))


def saved(path: Path, values: np.ndarray, *bands: str, pixel: float = 10) -> str:
    path.parent.mkdir(exist_ok=True)
    grid = GeoBox(values.shape[1:], Affine(pixel, 0, 5e5, 0, -pixel, 5e6), "EPSG:32631")
    io.save(io.from_array(values.astype(np.float32), grid=grid, bands=list(bands)), path)
    return str(path)


def ramp() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return 100 + 2.0 * x + y


def pair(folder: Path, seed: int, *, error: float = ERROR, side: int = SIDE) -> str:
    """A scene, and the same with an error of a known spread; the truth in a unit of its own."""
    truth = ramp()[:side, :side]
    saved(folder / "target.tif", 0.5 * truth[None] + 7, "intensity")
    noise = np.random.default_rng(seed).normal(0, error, truth.shape)
    saved(folder / "image.tif", (truth + noise)[None], "intensity")
    return str(folder)


def texture(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values: np.ndarray = 0.2 + 0.01 * rng.normal(size=shape).cumsum(-1).cumsum(-2) / 10
    return values


# ---- closed forms ----


@pytest.mark.parametrize(("samples", "level"), [(4, 0.9), (16, 0.9), (8, 0.683)])
def test_the_scale_is_that_of_students_law(known: Model, tmp_path: Path, samples: int, level: float) -> None:
    """Error over the spread of K samples of known mean: t of K - 1 degrees of freedom times the ratio of the two."""
    found = calibrate(known, [pair(tmp_path / "a", 1)], samples=samples, level=level)
    upper = (1 + level) / 2
    expected = ERROR / SPREAD * stats.t.ppf(upper, samples - 1) / stats.norm.ppf(upper)
    assert found.record["calibration"] == pytest.approx(expected, rel=0.04)
    told = found.record["provenance"]["calibrated"]
    before = 2 * stats.t.cdf(stats.norm.ppf(upper) * SPREAD / ERROR, samples - 1) - 1
    assert told["coverage"]["before"] == pytest.approx(before, abs=0.02)
    assert told["coverage"]["after"] == pytest.approx(level, abs=1e-3)
    assert told["coverage"]["left_out"] is None
    assert told["error_over_spread"]["before"] == pytest.approx(ERROR / SPREAD, rel=0.03)
    assert told["error_over_spread"]["after"] * expected == pytest.approx(ERROR / SPREAD, rel=0.05)
    assert (told["level"], told["samples"], told["steps"], told["seed"]) == (level, samples, 3, 0)


def test_what_predict_states_then_holds_on_a_scene_that_was_not_seen(known: Model, tmp_path: Path) -> None:
    found = calibrate(known, [pair(tmp_path / "a", 1), pair(tmp_path / "b", 2)])
    truth, image = ramp(), io.open(str(Path(pair(tmp_path / "c", 3)) / "image.tif"))
    for model, expected in ((known, 0.706), (found, 0.9)):
        result = model.predict(image, steps=3, samples=16, seed=5)
        inside = (result["lower"].values[0] <= truth) & (truth <= result["upper"].values[0])
        assert inside.mean() == pytest.approx(expected, abs=0.02)
    assert found.record["provenance"]["calibrated"]["coverage"]["left_out"] == pytest.approx([0.9, 0.9], abs=0.02)


def test_calibrated_again_nothing_changes_but_what_had_to(known: Model, tmp_path: Path) -> None:
    scenes = [pair(tmp_path / "a", 1)]
    once = calibrate(replace(known, record={"calibration": 0.2, "halo": {"16": 0.0}}), scenes, samples=4)
    again = calibrate(once, scenes, samples=4)
    assert again.record["calibration"] == pytest.approx(once.record["calibration"], rel=1e-3)
    assert once.record["halo"] == {"16": 0.0}
    assert once.network is known.network
    assert model_hash(once) != model_hash(known)  # no run is continued with another scale


def test_scenes_count_alike_and_each_is_judged_by_the_others(known: Model, tmp_path: Path) -> None:
    scenes = [pair(tmp_path / "a", 1, error=1.0), pair(tmp_path / "b", 2, error=4.0, side=48)]
    told = calibrate(known, [*scenes, scenes[0]], samples=16).record["provenance"]["calibrated"]
    assert [each["name"] for each in told["on"]] == ["a", "b"]  # a scene that is named twice counts once
    assert len({each["sha256"] for each in told["on"]}) == 2
    assert told["coverage"]["after"] == pytest.approx(0.9, abs=2e-3)
    easy, hard = told["coverage"]["left_out"]
    assert easy > 0.99
    assert hard < 0.45
    assert told["error_over_spread"]["before"] == pytest.approx(np.sqrt(1.0 * 4.0) / SPREAD, rel=0.05)


# ---- kinds of scenes ----


def test_clean_scenes_are_degraded_whatever_their_pixels(tmp_path: Path) -> None:
    """A model for coarse pixels of 10 m learns its scale of a scene of 1 m."""
    scenes = [saved(tmp_path / f"{at}.tif", texture(at, (1, 64, 64)), "red", pixel=1) for at in range(2)]
    found = calibrate(build(parse_recipe(FINER)), scenes, samples=4)
    assert found.record["provenance"]["calibrated"]["coverage"]["after"] == pytest.approx(0.9, abs=0.005)
    assert found.recipe.task.pixel_size == (9, 11)


def test_pixels_that_were_measured_are_no_witnesses(tmp_path: Path) -> None:
    """Most of a cloudy scene is clear: its error and its spread are zero, and would cover all."""
    scene = saved(tmp_path / "clear.tif", texture(3, (2, 64, 64)), "red", "nir")
    told = calibrate(build(parse_recipe(CLEAR)), [scene], samples=4).record["provenance"]["calibrated"]
    assert told["coverage"]["after"] == pytest.approx(0.9, abs=0.005)
    assert told["coverage"]["before"] != pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("kind", ["super_resolution", "isotropic"])
@pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")
def test_stacks(tmp_path: Path, kind: str) -> None:
    path = stack_file(tmp_path / "stack.ome.tif", (1, 2, 4, 24, 32))
    told = calibrate(build(parse_recipe(OF_STACKS % (kind, 2, ""))), [str(path)], samples=4)
    assert told.record["provenance"]["calibrated"]["coverage"]["after"] == pytest.approx(0.9, abs=0.005)


# ---- what will not do ----


def test_models_without_a_doubt_to_scale(tmp_path: Path) -> None:
    refused = {
        "task: {kind: synthesis, labels: instances, reach: 4}\nbands: [light]": "no truth",
        "task: {kind: cloud_mask, sensor: sentinel2}\nbands: [B02, B03, B04, B08]": "probabilities",
        "task: {kind: denoise}\nbands: [a]\ndata: {train: [{path: a.tif, noisy_only: true}]}": "no samples",
    }
    for text, words in refused.items():
        with pytest.raises(OptionError, match=words):
            calibrate(build(parse_recipe(f"version: 1\nname: other\n{text}\n{NETWORK}")), ["a.tif"])


def test_scenes_that_will_not_do(known: Model, tmp_path: Path) -> None:
    (tmp_path / "lone").mkdir()
    saved(tmp_path / "lone" / "target.tif", ramp()[None], "intensity")
    with pytest.raises(InputError, match=r"lone: holds a target and no image"):
        calibrate(known, [str(tmp_path / "lone")])
    saved(tmp_path / "lone" / "image.tif", np.random.default_rng(0).normal(size=(1, SIDE, SIDE)), "intensity")
    with pytest.raises(InputError, match="nothing in common"):
        calibrate(known, [str(tmp_path / "lone")])
    with pytest.raises(InputError, match=r"missing\.tif"):
        calibrate(known, [str(tmp_path / "missing.tif")])
    finer = build(parse_recipe(FINER))
    low = saved(tmp_path / "apart" / "image.tif", texture(0, (1, 32, 32)), "red")
    saved(Path(low).parent / "target.tif", texture(0, (1, 32, 32)), "red")
    with pytest.raises(InputError, match=r"apart: the result is \(1, 64, 64\), the truth \(1, 32, 32\)"):
        calibrate(finer, [str(Path(low).parent)])
    with pytest.raises(InputError, match="uncertain of nothing"):
        calibrate(replace(finer, record={"calibration": 0.0}), [low], samples=2)


def test_a_scene_that_was_trained_on_is_warned_of(known: Model, tmp_path: Path) -> None:
    trained = replace(known, record={"provenance": {"trained_on": ["target.tif"], "steps": 3}})
    with pytest.warns(UserWarning, match="was trained on it"):
        found = calibrate(trained, [pair(tmp_path / "a", 1)], samples=2)
    assert found.record["provenance"]["steps"] == 3
