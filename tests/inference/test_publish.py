"""Publishing that a kill interrupts: ended by the same command, never taken for another request's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from sciddiff import io
from sciddiff.errors import OptionError, OutputExistsError
from sciddiff.inference import assemble_file, predict_file, publish
from sciddiff.model import Model
from tests.inference.conftest import decoded, small_model, write_scene
from tests.laws.stacks import random_model, stack_file

ASKED: dict[str, Any] = {"steps": 2, "samples": 2, "seed": 5, "tile": 64}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", height=40, width=44)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the next run killed at its n-th call of a function of `publish`."""

    def arrange(name: str, number: int) -> None:
        real, calls = getattr(publish, name), []

        def counted(*given: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                raise Killed
            return real(*given, **named)

        monkeypatch.setattr(publish, name, counted)

    return arrange


def begun(model: Model, scene: Path, folder: Path, **more: Any) -> dict[str, Any]:
    """A call that is killed while it publishes; what it was asked."""
    files = {"output": folder / "out.tif", "uncertainty": folder / "std.tif"}
    with pytest.raises(Killed):
        predict_file(model, str(scene), **files, **{**ASKED, **more})
    assert (folder / "out.tif.run" / "published.json").exists()
    return {**files, **ASKED, **more}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("end", ["predict", "assemble"])
def test_a_kill_between_two_outputs_made_the_same_command_refuse_the_first(
    model: Model, scene: Path, tmp_path: Path, killed_at: Any, number: int, end: str
) -> None:
    killed_at("_write_provenance", number)
    asked = begun(model, scene, tmp_path)
    assert [(tmp_path / name).exists() for name in ("out.tif", "std.tif")] == [number > 1, False]
    told = predict_file(model, str(scene), **asked) if end == "predict" else assemble_file(asked["output"])
    assert told == {"output": str(tmp_path / "out.tif"), "uncertainty": str(tmp_path / "std.tif")}
    whole = tmp_path / "whole"
    whole.mkdir()
    predict_file(model, str(scene), whole / "out.tif", uncertainty=whole / "std.tif", **ASKED)
    for name in ("out.tif", "std.tif"):
        assert decoded(tmp_path / name) == decoded(whole / name)
    names = {"out.tif", "out.tif.json", "std.tif", "std.tif.json"}
    assert {path.name for path in tmp_path.iterdir()} == names | {"whole"}


def test_an_output_that_came_meanwhile_is_not_replaced_unasked(
    model: Model, scene: Path, tmp_path: Path, killed_at: Any
) -> None:
    killed_at("_write_provenance", 2)
    asked = begun(model, scene, tmp_path)
    (tmp_path / "std.tif").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"std\.tif exists"):
        predict_file(model, str(scene), **asked)
    assert (tmp_path / "std.tif").read_text() == "mine"
    predict_file(model, str(scene), **asked, overwrite=True)
    assert rasterio.open(tmp_path / "std.tif").count == 6
    assert not (tmp_path / "out.tif.run").exists()


def test_what_was_published_before_a_kill_is_not_done_again(
    model: Model, scene: Path, tmp_path: Path, killed_at: Any
) -> None:
    killed_at("remove", 1)
    asked = begun(model, scene, tmp_path)
    before = [(tmp_path / name).stat().st_mtime_ns for name in ("out.tif", "std.tif")]
    assert predict_file(model, str(scene), **asked) == {
        "output": str(tmp_path / "out.tif"),
        "uncertainty": str(tmp_path / "std.tif"),
    }
    assert [(tmp_path / name).stat().st_mtime_ns for name in ("out.tif", "std.tif")] == before
    assert not (tmp_path / "out.tif.run").exists()


@pytest.mark.parametrize("other", [{"seed": 6}, {"steps": 3}, {"model": None}, {"uncertainty": None}])
def test_a_published_run_answered_done_to_another_request(
    model: Model, scene: Path, tmp_path: Path, killed_at: Any, other: dict[str, Any]
) -> None:
    killed_at("remove", 1)
    asked = {"model": model, "source": str(scene)} | begun(model, scene, tmp_path) | other
    if "model" in other:
        asked["model"] = small_model()
        asked["model"].residual_root.mul_(1.1)
    before = (tmp_path / "out.tif").read_bytes()
    with pytest.raises(OutputExistsError, match=r"out\.tif exists"):
        predict_file(**asked)
    assert (tmp_path / "out.tif").read_bytes() == before
    assert not (tmp_path / "out.tif.run").exists()  # what is left of a run that is done
    predict_file(**asked, overwrite=True)
    assert decoded(tmp_path / "out.tif") != before


def test_another_request_does_not_end_what_a_kill_interrupted(
    model: Model, scene: Path, tmp_path: Path, killed_at: Any
) -> None:
    killed_at("_write_provenance", 1)
    asked = begun(model, scene, tmp_path)
    with pytest.raises(OptionError, match="unfinished run whose seed is 5; this command has 6"):
        predict_file(model, str(scene), **{**asked, "seed": 6})
    predict_file(model, str(scene), **{**asked, "seed": 6}, overwrite=True)
    with rasterio.open(tmp_path / "std.tif") as file:
        assert file.tags(ns="SCIDDIFF")["SEED"] == "6"
    assert not (tmp_path / "out.tif.run").exists()


@pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics")
def test_an_instrument_that_the_image_tells_makes_no_other_request(tmp_path: Path, killed_at: Any) -> None:
    stack, model = stack_file(tmp_path / "scene.ome.tif"), random_model("super_resolution")
    asked: dict[str, Any] = {"output": tmp_path / "out.ome.tif", "tile": 16}
    killed_at("remove", 1)
    with pytest.raises(Killed):
        predict_file(model, str(stack), **asked)
    assert predict_file(model, str(stack), **asked) == {"output": str(asked["output"])}
    assert not (tmp_path / "out.ome.tif.run").exists()


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("step", ["_write_provenance", "remove"])
def test_an_output_deleted_after_a_kill_is_made_again(
    model: Model, scene: Path, tmp_path: Path, killed_at: Any, suffix: str, step: str
) -> None:
    out = tmp_path / f"out{suffix}"
    killed_at(step, 2 if step == "_write_provenance" else 1)
    with pytest.raises(Killed):
        predict_file(model, str(scene), out, uncertainty=tmp_path / "std.tif", **ASKED)
    out.rename(tmp_path / f"former{suffix}")
    (tmp_path / "std.tif").unlink(missing_ok=True)
    predict_file(model, str(scene), out, uncertainty=tmp_path / "std.tif", **ASKED)
    former = io.open(tmp_path / f"former{suffix}").values
    assert np.array_equal(io.open(out).values, former, equal_nan=True)
    assert not Path(f"{out}.run").exists()
