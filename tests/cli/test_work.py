"""The commands that do the work: what they pass on, what they print, what they refuse."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from sciddiff.errors import InterruptedRun
from sciddiff.inference import parse_shard
from sciddiff.recipe import Recipe, Source

Call = Callable[..., Result]
StandIn = Callable[..., None]


class Calls:
    """Remembers the calls of a function and answers them."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.plan: Calls | None = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.args, self.kwargs = args, kwargs
        return self.answer


# ---- predict ----


@pytest.fixture
def predict_file(stand_in: StandIn) -> Calls:
    calls = Calls({"output": Path("out.tif"), "tiles": 4, "share": float("nan")})
    plan = Calls(SimpleNamespace(summary=lambda: {"windows": 9, "halo": 64}))
    stand_in("inference", predict_file=calls, plan_file=plan, parse_shard=parse_shard)
    calls.plan = plan
    stand_in("model", load=lambda name, *, device: Loaded(f"{name} on {device}"))
    return calls


class Loaded(str):
    """A model that is known by its name and takes no mask."""

    __slots__ = ()
    task = SimpleNamespace(inputs=())


def test_predict_passes_on_what_was_asked(call: Call, predict_file: Calls):
    command = ["predict", "m.safetensors", "a b.tif", "-o", "out.tif", "--steps", "3", "--samples", "8", "--seed", "7"]
    command += ["--uncertainty", "std.tif", "--tile", "256", "--batch", "2", "--device", "cpu", "--overwrite"]
    command += ["--co", "COMPRESS=ZSTD", "--co", "predictor=YES=no", "--instrument", "mtf=0.2,0.25"]
    command += ["--shard", "2/4", "--max-pixels", "1000", "-i", "pan=p.tif", "-i", "date=1.tif", "-i", "date=2.tif"]
    command += ["--also", "flags=f.tif"]
    result = call(*command)
    assert result.exit_code == 0, result.stderr
    assert predict_file.args == ("m.safetensors on cpu", "a b.tif", Path("out.tif"))
    progress = predict_file.kwargs.pop("progress")
    assert predict_file.kwargs == {
        "instrument": {"mtf": (0.2, 0.25)},
        "steps": 3,
        "samples": 8,
        "seed": 7,
        "inputs": {"pan": ["p.tif"], "date": ["1.tif", "2.tif"]},
        "extras": {"flags": Path("f.tif")},
        "uncertainty": Path("std.tif"),
        "tile": 256,
        "batch": 2,
        "workers": None,
        "shard": (2, 4),
        "dask": None,
        "max_pixels": 1000,
        "overwrite": True,
        "creation_options": {"COMPRESS": "ZSTD", "predictor": "YES=no"},
        "command": "sciddiff " + " ".join(command).replace("a b.tif", "'a b.tif'"),
    }
    assert callable(progress)
    assert result.stdout == "output: out.tif\ntiles: 4\nshare: nan\n"


def test_predict_leaves_to_the_model_what_was_not_asked(call: Call, predict_file: Calls):
    assert call("predict", "m", "a.tif", "-o", "out.tif").exit_code == 0
    defaults = {"steps": None, "samples": 1, "seed": 0, "uncertainty": None, "tile": None, "batch": 1}
    assert {name: predict_file.kwargs[name] for name in defaults} == defaults
    assert predict_file.kwargs["creation_options"] == {}


def test_predict_as_json_is_json_without_nan(call: Call, predict_file: Calls):
    result = call("predict", "m", "a.tif", "-o", "out.tif", "--json")
    assert json.loads(result.stdout) == {"output": "out.tif", "tiles": 4, "share": None}


def test_a_dry_run_prints_the_plan_and_predicts_nothing(call: Call, predict_file: Calls):
    result = call("predict", "m", "a.tif", "-o", "out.tif", "--dry-run", "--json", "--tile", "64")
    assert json.loads(result.stdout) == {"windows": 9, "halo": 64}
    assert predict_file.plan is not None
    assert predict_file.plan.kwargs == {
        "steps": None,
        "samples": 1,
        "seed": 0,
        "tile": 64,
        "batch": 1,
        "instrument": {},
        "inputs": {},
        "extras": {},
        "uncertainty": None,
        "max_pixels": None,
    }
    assert predict_file.args == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--co", "COMPRESS"), "got 'COMPRESS', expected NAME=VALUE"),
        (("--steps", "0"), "0 is not in the range x>=1"),
        (("--seed", "-1"), "-1 is not in the range x>=0"),
        (("--device", "toaster"), "--device toaster cannot be used here"),
    ],
)
def test_predict_refuses_bad_options_with_2(call: Call, predict_file: Calls, options: tuple[str, ...], message: str):
    result = call("predict", "m", "a.tif", "-o", "out.tif", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert predict_file.args == ()


def test_progress_goes_to_stderr_and_nowhere_when_quiet(call: Call, stand_in: StandIn):
    def predict_file(*_: Any, progress: Callable[[int, int], None], **__: Any) -> dict[str, str]:
        progress(1, 2)
        progress(2, 2)
        return {"output": "out.tif"}

    stand_in("inference", predict_file=predict_file)
    stand_in("model", load=lambda name, *, device: Loaded(name))
    arguments = ("predict", "m", "a.tif", "-o", "out.tif")
    assert call(*arguments).stderr == "predict: 2 of 2\n"
    assert call(*arguments, "-q").stderr == ""
    assert call("--quiet", *arguments).stderr == ""


# ---- train ----


@pytest.fixture
def train(stand_in: StandIn) -> Calls:
    calls = Calls(Path("run/model.safetensors"))
    stand_in("training", train=calls)
    return calls


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """A file that is found; training itself is a stand-in."""
    path = tmp_path / "scene.tif"
    path.touch()
    return path


def test_train_passes_on_the_recipe_with_what_was_set(call: Call, train: Calls, raster: Path):
    result = call(
        "train", "sr_landsat_x2", "-o", "run", "--train", raster, "--valid", raster.parent,
        "--set", "training.steps=700", "--set", "network.stem=1", "--max-time", "1h30m", "--device", "cpu",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, "model: run/model.safetensors\n"), result.stderr
    recipe, output = train.args
    assert isinstance(recipe, Recipe)
    assert (recipe.name, recipe.training.steps, recipe.network.stem) == ("sr-landsat-x2", 700, 1)
    assert recipe.data.train == [Source(path=str(raster))]
    assert recipe.data.valid == [Source(path=str(raster.parent))]
    assert output == Path("run")
    assert (train.kwargs["max_seconds"], train.kwargs["device"]) == (5400, "cpu")


def test_data_given_relative_is_relative_to_where_the_command_runs(
    call: Call, train: Calls, raster: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(raster.parent)
    result = call("train", "sr_landsat_x2", "-o", "run", "--train", "*.tif", "--valid", "scene.tif")
    assert result.exit_code == 0, result.stderr
    assert train.args[0].data.train[0].files() == [raster]


def test_train_says_every_missing_raster_before_it_begins(
    call: Call, train: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SCIDDIFF_REALDATA", raising=False)
    result = call("train", "sr_landsat_x2", "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.count("SCIDDIFF_REALDATA is not set in the environment") == 3
    assert "sr_landsat_x2.yaml:" in result.stderr
    assert train.args == ()


def test_train_without_data_says_how_to_give_it(call: Call, train: Calls, tmp_path: Path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("version: 1\nname: a\ntask: {kind: super_resolution, ratio: 2}\nbands: [a]\n")
    result = call("train", recipe, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "add sources there or --train P" in result.stderr


def test_a_stopped_training_exits_with_75(call: Call, stand_in: StandIn, raster: Path):
    def stopped(*_: Any, **__: Any) -> None:
        raise InterruptedRun("stopped at step 3 of 9; the same command continues")

    stand_in("training", train=stopped)
    result = call("train", "sr_landsat_x2", "-o", "run", "--train", raster, "--valid", raster)
    assert (result.exit_code, result.stderr) == (75, "Error: stopped at step 3 of 9; the same command continues\n")


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1h1m1s", 3661)])
def test_a_time_is_read_in_seconds(call: Call, train: Calls, raster: Path, text: str, seconds: float):
    call("train", "sr_landsat_x2", "-o", "run", "--train", raster, "--valid", raster, "--max-time", text)
    assert train.kwargs["max_seconds"] == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "5m2h"])
def test_what_is_no_time_is_refused(call: Call, train: Calls, raster: Path, text: str):
    result = call("train", "sr_landsat_x2", "-o", "run", "--train", raster, "--max-time", text)
    assert result.exit_code == 2
    assert train.args == ()


# ---- simulate ----


def test_simulate_passes_on_what_was_asked_and_needs_no_training_data(
    call: Call, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SCIDDIFF_REALDATA", raising=False)
    simulate_file = Calls({"image": Path("d/image.tif"), "target": Path("d/target.tif")})
    stand_in("inference", simulate_file=simulate_file)
    command = ["simulate", "sr-aerial-x4", "a.tif", "-o", "d", "--seed", "5", "--random", "--overwrite"]
    result = call(*command, "--guide", "pan.tif")
    assert result.stdout == f"image: d{os.sep}image.tif\ntarget: d{os.sep}target.tif\n"
    assert simulate_file.args[0].name == "sr-aerial-x4"
    assert simulate_file.args[1:] == ("a.tif", Path("d"))
    assert simulate_file.kwargs == {"guide": "pan.tif", "seed": 5, "nominal": False, "overwrite": True}
