"""Kills at random moments: the same command continues, and the final path never holds less than the whole."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sciddiff.errors import OutputError
from sciddiff.inference import predict_file, runs
from tests.inference.conftest import decoded, small_model, write_scene

STORM = """
import os, random, signal, sys, time, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from sciddiff.inference import predict_file
from tests.inference.conftest import decoded, small_model

folder, kills, suffix = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
model, out, whole = small_model(), folder / f"out{suffix}", folder / "whole.tif"

def attempt():
    child = os.fork()
    if child == 0:
        code = 1
        try:
            predict_file(model, str(folder / "scene.tif"), out, tile=16, steps=3)
            code = 0
        finally:
            os._exit(code)
    return child

def ended(child, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None

def same():
    from sciddiff import io
    import numpy as np
    return np.array_equal(io.open(out).values, io.open(whole).values, equal_nan=True)

begun = time.monotonic()
assert ended(attempt(), 300) == 0
length = time.monotonic() - begun
assert same()
rng, done, rounds = random.Random(7), 0, 0
while True:
    if out.exists() and not Path(f"{out}.run").exists():
        assert same()
        (__import__("shutil").rmtree if out.is_dir() else os.unlink)(out)
        rounds += 1
        if done >= kills:
            break
    code = ended(attempt(), rng.uniform(0, length) if done < kills else 300)
    assert code in (0, None), code
    done += code is None
    if out.exists():
        assert same()
print(done, rounds)
"""


def storm(tmp_path: Path, *, kills: int, suffix: str) -> None:
    write_scene(tmp_path / "scene.tif", height=40, width=44)
    predict_file(small_model(), str(tmp_path / "scene.tif"), tmp_path / "whole.tif", tile=16, steps=3)
    command = [sys.executable, "-c", STORM, str(tmp_path), str(kills), suffix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    killed, rounds = map(int, done.stdout.split())
    assert killed == kills
    assert rounds >= 1
    assert decoded(tmp_path / "whole.tif")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"scene.tif", "whole.tif", "whole.tif.json", f"out{suffix}.json"}


RACE = """
import os, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from sciddiff.errors import OutputError, OutputExistsError
from sciddiff.inference import predict_file
from tests.inference.conftest import small_model

folder, runners = Path(sys.argv[1]), int(sys.argv[2])
model, ready = small_model(), os.pipe()
children = []
for _ in range(runners):
    child = os.fork()
    if child == 0:
        os.close(ready[1])
        os.read(ready[0], 1)  # all begin when the parent closes its end
        try:
            predict_file(model, str(folder / "scene.tif"), folder / "out.tif", tile=16)
        except OutputExistsError:
            os._exit(3)
        except OutputError as error:
            os._exit(2 if "in use by process" in str(error) or "just finished this run" in str(error) else 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    children.append(child)
os.close(ready[1])
print(*sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_of_runs_that_race_for_one_output_one_writes_it_and_the_others_say_why(tmp_path: Path) -> None:
    write_scene(tmp_path / "scene.tif", height=40, width=44)
    predict_file(small_model(), str(tmp_path / "scene.tif"), tmp_path / "whole.tif", tile=16)
    for _ in range(3):
        command = [sys.executable, "-c", RACE, str(tmp_path), "4"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        first, *others = map(int, done.stdout.split())
        assert first == 0, done.stderr
        assert set(others) <= {2, 3}, done.stderr
        assert decoded(tmp_path / "out.tif") == decoded(tmp_path / "whole.tif")
        assert {path.name for path in tmp_path.iterdir()} == {
            "scene.tif",
            *("whole.tif", "whole.tif.json"),
            *("out.tif", "out.tif.json"),
        }
        (tmp_path / "out.tif").unlink()


def test_a_run_that_ends_while_its_plan_is_looked_for_is_said_to_have_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scene(tmp_path / "scene.tif", height=40, width=44)
    read = runs.read_plan

    def too_late(folder: Path) -> dict[str, Any]:
        (folder / runs.PLAN).unlink()
        return read(folder)

    monkeypatch.setattr(runs, "read_plan", too_late)
    with pytest.raises(OutputError, match="another process has just finished this run"):
        predict_file(small_model(), str(tmp_path / "scene.tif"), tmp_path / "out.tif", tile=16)


def test_thirty_kills_of_a_geotiff(tmp_path: Path) -> None:
    storm(tmp_path, kills=30, suffix=".tif")


def test_kills_of_an_ome_zarr(tmp_path: Path) -> None:
    storm(tmp_path, kills=6, suffix=".ome.zarr")


def test_kills_of_an_ome_tiff(tmp_path: Path) -> None:
    storm(tmp_path, kills=6, suffix=".ome.tif")
