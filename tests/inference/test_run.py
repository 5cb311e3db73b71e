"""A run: the same bytes by every launcher and in any order, resumed, refused, repaired."""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from sciddiff import inference, io
from sciddiff.errors import InputError, InterruptedRun, OptionError, OutputError, OutputExistsError
from sciddiff.inference import assemble_file, check_run, parse_shard, predict_file, slurm_shard
from sciddiff.inference import compute as computing
from sciddiff.inference.runs import locked
from sciddiff.inference.shards import cores_of
from sciddiff.model import Model, tiles
from tests.inference.conftest import decoded, small_model, write_scene

ASKED: dict[str, Any] = {"steps": 3, "samples": 2, "seed": 5, "tile": 32}


@pytest.fixture(scope="module")
def reference(model: Model, scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("reference")
    predict_file(model, str(scene), folder / "out.tif", uncertainty=folder / "std.tif", **ASKED)
    assert sorted(path.name for path in folder.iterdir()) == ["out.tif", "out.tif.json", "std.tif", "std.tif.json"]
    return {name: decoded(folder / name) for name in ("out.tif", "std.tif")}


def check(folder: Path, reference: dict[str, bytes]) -> None:
    for name, pixels in reference.items():
        assert decoded(folder / name) == pixels
    assert not list(folder.glob("*.run*"))
    assert not list(folder.glob(".*"))


def test_workers_give_the_same_bytes(model: Model, scene: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    seen: list[tuple[int, int]] = []
    predict_file(
        model,
        str(scene),
        tmp_path / "out.tif",
        uncertainty=tmp_path / "std.tif",
        workers=4,
        batch=2,
        progress=lambda done, total: seen.append((done, total)),
        **ASKED,
    )
    check(tmp_path, reference)
    assert seen[-1] == (30, 30)


def test_shards_in_any_order_give_the_same_bytes(
    model: Model, scene: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    for number in (2, 0):
        told = predict_file(
            model, str(scene), tmp_path / "out.tif", uncertainty=tmp_path / "std.tif", shard=(number, 3), **ASKED
        )
        assert told["next"] == f"sciddiff assemble {tmp_path / 'out.tif'}"
    with pytest.raises(OutputError, match="10 of 30 cores are missing"):
        assemble_file(tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()
    predict_file(model, str(scene), tmp_path / "out.tif", uncertainty=tmp_path / "std.tif", shard=(1, 3), **ASKED)
    assemble_file(tmp_path / "out.tif")
    check(tmp_path, reference)


@pytest.mark.filterwarnings("ignore")
def test_dask_gives_the_same_bytes(model: Model, scene: Path, tmp_path: Path, reference: dict[str, bytes]) -> None:
    pytest.importorskip("distributed")
    predict_file(
        model,
        str(scene),
        tmp_path / "out.tif",
        uncertainty=tmp_path / "std.tif",
        dask="local",
        workers=2,
        **ASKED,
    )
    check(tmp_path, reference)


def test_random_order_and_batches_give_the_same_bytes(
    model: Model, scene: Path, tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = computing.compute_cores

    def shuffled(model: Model, fitted: Any, store: Any, numbers: list[int], **given: Any) -> None:
        compute(model, fitted, store, random.Random(3).sample(numbers, len(numbers)), **given)

    monkeypatch.setattr(inference.files, "compute_cores", shuffled)
    predict_file(model, str(scene), tmp_path / "out.tif", uncertainty=tmp_path / "std.tif", batch=7, **ASKED)
    check(tmp_path, reference)


def test_a_stopped_run_continues_where_it_was(
    model: Model, scene: Path, tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = tiles._compute

    def counted(*given: Any, **named: Any) -> Any:
        computed.append(len(named["windows"]))
        if len(computed) == 11:
            raise InterruptedRun("stopped by a test")
        return compute(*given, **named)

    monkeypatch.setattr(tiles, "_compute", counted)
    files = {"output": tmp_path / "out.tif", "uncertainty": tmp_path / "std.tif"}
    with pytest.raises(InterruptedRun):
        predict_file(model, str(scene), **files, **ASKED)
    assert 0 < check_run(tmp_path / "out.tif.run", deep=True)["done"] < 30
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif.run"]
    predict_file(model, str(scene), **files, **ASKED)
    check(tmp_path, reference)
    assert sum(computed) <= 30 + 1


def test_windows_without_a_valid_pixel_are_not_computed(
    model: Model, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Any] = []
    compute = tiles._compute

    def counted(*given: Any, **named: Any) -> Any:
        computed.extend(named["windows"])
        return compute(*given, **named)

    monkeypatch.setattr(tiles, "_compute", counted)
    predict_file(model, str(scene), tmp_path / "out.tif", tile=16)
    with rasterio.open(scene) as file:
        valid = (file.read() > 0).any(0).repeat(2, 0).repeat(2, 1)
    cores = [(row, col) for row in range(0, 140, 16) for col in range(0, 180, 16)]
    expected = [(row, col) for row, col in cores if valid[row : row + 16, col : col + 16].any()]
    assert sorted((window.row, window.col) for window in computed) == expected
    assert len(expected) < len(cores)


def test_another_request_is_refused_by_the_field_that_differs(model: Model, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    predict_file(model, str(scene), out, shard=(0, 2), **ASKED)
    with pytest.raises(OptionError, match=r"unfinished run whose seed is 5; this command has 6"):
        predict_file(model, str(scene), out, shard=(1, 2), **{**ASKED, "seed": 6})
    with pytest.raises(OptionError, match=r"unfinished run whose steps is 3; this command has 1"):
        predict_file(model, str(scene), out, shard=(1, 2), **{**ASKED, "steps": 1, "samples": 1})
    predict_file(model, str(scene), out, shard=(1, 2), overwrite=True, **{**ASKED, "seed": 6})
    assert check_run(out)["done"] == 15


def test_a_changed_input_is_refused(model: Model, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    predict_file(model, str(scene), tmp_path / "out.tif", shard=(0, 2), **ASKED)
    write_scene(scene, height=72)
    with pytest.raises(OptionError, match=r"unfinished run whose input is other than \S+scene.tif as of now"):
        predict_file(model, str(scene), tmp_path / "out.tif", shard=(1, 2), **ASKED)


def test_a_damaged_shard_is_found_and_computed_again(
    model: Model, scene: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out.tif"
    files = {"output": out, "uncertainty": tmp_path / "std.tif"}
    for number in range(2):
        predict_file(model, str(scene), **files, shard=(number, 2), **ASKED)
    chunk = next(path for path in sorted((tmp_path / "out.tif.run" / "output.zarr").rglob("c/0/1/1")))
    content = bytearray(chunk.read_bytes())
    content[len(content) // 3] ^= 255
    chunk.write_bytes(content)
    assert len(check_run(out, deep=True)["problems"]) == 1
    with pytest.raises(OutputError, match="damaged on disk"):
        assemble_file(out)
    assert not out.exists()
    predict_file(model, str(scene), **files, **ASKED)
    check(tmp_path, reference)


def test_a_run_that_another_process_holds_is_left_alone(model: Model, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    predict_file(model, str(scene), out, shard=(0, 2), **ASKED)
    with locked(tmp_path / "out.tif.run", alone=True):
        for call in (
            lambda: predict_file(model, str(scene), out, **ASKED),
            lambda: predict_file(model, str(scene), out, shard=(1, 2), **ASKED),
            lambda: assemble_file(out),
        ):
            with pytest.raises(OutputError, match=r"in use by process \d+ on"):
                call()
    with locked(tmp_path / "out.tif.run", alone=False):
        predict_file(model, str(scene), out, shard=(1, 2), **ASKED)
    assemble_file(out)


def test_nothing_is_overwritten_unasked(model: Model, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_text("mine")
    with pytest.raises(OutputExistsError):
        predict_file(model, str(scene), out, **ASKED)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif"]
    assert out.read_text() == "mine"
    predict_file(model, str(scene), out, overwrite=True, **ASKED)
    assert decoded(out)


def test_memory_that_runs_out_halves_the_batch(
    model: Model,
    scene: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    compute = tiles._compute

    def small(model: Model, observed: Any, *given: Any, **named: Any) -> Any:
        sizes.append(len(observed["image"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("a test")
        return compute(model, observed, *given, **named)

    monkeypatch.setattr(tiles, "at_once", lambda model, batch: batch)  # as on a GPU
    monkeypatch.setattr(tiles, "_compute", small)
    predict_file(model, str(scene), tmp_path / "out.tif", uncertainty=tmp_path / "std.tif", batch=8, **ASKED)
    assert decoded(tmp_path / "std.tif")
    assert sizes[:3] == [8, 4, 2]
    assert max(sizes[3:]) <= 4  # what was read ahead comes in parts

    def never(*given: Any, **named: Any) -> Any:
        raise torch.OutOfMemoryError("a test")

    monkeypatch.setattr(tiles, "_compute", never)
    with pytest.raises(OptionError, match="pass a --tile smaller than 32"):
        predict_file(model, str(scene), tmp_path / "no.tif", batch=8, **ASKED)
    assert not list(tmp_path.glob("no.tif*"))


def test_too_many_pixels_and_too_small_a_disk_are_refused(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a few kilobytes can declare terabytes."""
    huge = tmp_path / "huge.tif"
    options = {
        "tiled": True,
        "blockxsize": 4096,
        "blockysize": 4096,
        "sparse_ok": True,
        "bigtiff": "yes",
        "crs": "EPSG:3857",
        "transform": from_origin(0, 0, 10, 10),
    }
    with rasterio.open(
        huge, "w", driver="GTiff", width=800_000, height=800_000, count=2, dtype="uint8", **options
    ) as file:
        file.descriptions = ("red", "nir")
    with pytest.raises(InputError, match=r"more than --max-pixels 1e\+11"):
        predict_file(model, str(huge), tmp_path / "out.tif")
    with pytest.raises(OutputError, match="choose another disk"):
        predict_file(model, str(huge), tmp_path / "out.tif", max_pixels=10**13)
    assert [path.name for path in tmp_path.iterdir()] == ["huge.tif"]


def test_a_disk_that_fills_leaves_a_run_that_can_continue(
    scene: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """The limit on a file's size stands for a full disk: writing fails in the middle."""
    code = f"""
import resource, signal, sys
from pathlib import Path
from sciddiff.errors import SciddiffError
from sciddiff.inference import predict_file
from rasterio.transform import from_origin
from tests.inference.conftest import small_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
folder = Path({str(tmp_path)!r})
try:
    predict_file(small_model(), {str(scene)!r}, folder / "out.tif", uncertainty=folder / "std.tif", **{ASKED!r})
except SciddiffError as error:
    print(type(error).__name__, error)
    sys.exit(error.exit_code)
"""
    for limit in (9000, 30000):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(limit)], capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert "OutputError" in done.stdout
        assert not list(tmp_path.glob("*.tif"))
    predict_file(small_model(), str(scene), tmp_path / "out.tif", uncertainty=tmp_path / "std.tif", **ASKED)
    check(tmp_path, reference)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] < 0


def test_a_folder_that_cannot_be_written_is_named(model: Model, scene: Path) -> None:
    with pytest.raises(OutputError, match=r"/proc/out\.tif"):
        predict_file(model, str(scene), Path("/proc/out.tif"), **ASKED)


def test_provenance_stands_in_the_file_and_beside_it(model: Model, scene: Path, tmp_path: Path) -> None:
    predict_file(model, str(scene), tmp_path / "out.tif", command="sciddiff predict ...", **ASKED)
    with rasterio.open(tmp_path / "out.tif") as file:
        tags = file.tags(ns="SCIDDIFF")
    beside = json.loads((tmp_path / "out.tif.json").read_text())
    assert beside == {name.lower(): text for name, text in tags.items()}
    assert {"version", "command", "model_sha256", "recipe_sha256", "seed", "input", "device", "time"} <= set(beside)


def test_tile_sizes_agree_within_a_count(model: Model, scene: Path, tmp_path: Path) -> None:
    for tile in (32, 64, 500):
        predict_file(model, str(scene), tmp_path / f"{tile}.tif", tile=tile, steps=3)
    whole = rasterio.open(tmp_path / "500.tif").read().astype(int)
    for tile in (32, 64):
        assert np.abs(rasterio.open(tmp_path / f"{tile}.tif").read().astype(int) - whole).max() <= 1


@pytest.mark.parametrize(("text", "shard"), [("0/3", (0, 3)), ("2/3", (2, 3)), ("3/3", (0, 3)), (" 1/1", (0, 1))])
def test_shards_count_from_zero_or_one(text: str, shard: tuple[int, int]) -> None:
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "1", "4/3", "-1/3", "1/0", "a/b", "1/2/3"])
def test_odd_shards_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="expected i/n"):
        parse_shard(text)


def test_slurm_tasks_are_numbered_from_zero_without_gaps() -> None:
    array = [
        {"SLURM_ARRAY_TASK_ID": str(3 + 2 * k), "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_STEP": "2"}
        | {"SLURM_ARRAY_TASK_COUNT": "4"}
        for k in range(4)
    ]
    assert [slurm_shard(one) for one in array] == [(k, 4) for k in range(4)]
    both = [{**one, "SLURM_PROCID": str(p), "SLURM_STEP_NUM_TASKS": "2"} for one in array for p in range(2)]
    assert [slurm_shard(one) for one in both] == [(k, 8) for k in range(8)]
    assert slurm_shard({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert slurm_shard({}) is None


def test_a_batch_script_of_several_tasks_took_the_first_of_their_shards() -> None:
    assert slurm_shard({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None


@pytest.mark.parametrize("last", [{"SLURM_ARRAY_TASK_MAX": "7"}, {}])
def test_an_array_with_gaps_got_shards_that_do_not_exist(last: dict[str, str]) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "2", **last}
    with pytest.raises(OptionError, match="pass --shard i/n"):
        slurm_shard(array)


def test_shards_cover_every_core_once() -> None:
    for count in (1, 7, 30):
        for shards in (1, 2, 3, 40):
            parts = [number for shard in range(shards) for number in cores_of((shard, shards), count)]
            assert parts == list(range(count))


def test_the_plan_is_the_same_each_time(model: Model, scene: Path, tmp_path: Path) -> None:
    plans = [inference.plan_file(model, str(scene), tmp_path / "out.tif", tile=32).summary() for _ in range(2)]
    for plan in plans:
        del plan["free_mb"]  # of the disk, which others use
    assert json.dumps(plans[0]) == json.dumps(plans[1])
    assert plans[0]["windows"] == 30
    assert not list(tmp_path.iterdir())
    assert io.kind_of(tmp_path / "out.tif") == "tif"
