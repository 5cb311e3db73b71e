"""Scripts for Slurm: as printed, and run with stand-ins for Slurm's own commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from sciddiff.inference import predict_file
from sciddiff.model import load, write
from tests.inference.conftest import decoded, small_model, write_scene

Call = Callable[..., Result]
RECIPES = Path(__file__).resolve().parent.parent.parent / "recipes" / "slurm"

SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path

# A job runs at once; tasks of an array one after another, again as long as they ask to be requeued.
place = Path(os.environ["FAKE_SLURM"])
script = sys.stdin.read()
number = str(len(list(place.glob("job-*"))) + 1)
(place / f"job-{{number}}").write_text(" ".join(sys.argv[1:]) + "\\n" + script)
given = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.M))
first, last = map(int, given.get("array", "0-0").split("-"))
environment = {{**os.environ, "SLURM_JOB_ID": number, "SLURM_CPUS_PER_TASK": "1"}}
for task in range(first, last + 1):
    if "array" in given:
        environment |= {{"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}}
        environment |= {{"SLURM_ARRAY_TASK_MIN": str(first), "SLURM_ARRAY_TASK_COUNT": str(last - first + 1)}}
    for attempt in range(5):
        (place / "requeue").unlink(missing_ok=True)
        done = subprocess.run(["bash", "-c", script], env=environment, stdout=sys.stderr)
        if not (place / "requeue").exists():
            break
    with (place / "codes").open("a") as codes:
        codes.write(f"{{number}}.{{task}} {{attempt}} {{done.returncode}}\\n")
print(number)
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$FAKE_SLURM/requeued"
touch "$FAKE_SLURM/requeue"
"""
STOPPED_ONCE = """#!/bin/bash
# Stands in front of sciddiff: the first time its signal comes, it stops as sciddiff does.
echo "$@" >> "$FAKE_SLURM/calls"
if [ ! -e "$FAKE_SLURM/stopped" ]; then
  trap 'touch "$FAKE_SLURM/stopped"; exit 75' USR2
  ( sleep 0.5; kill -USR2 "$PPID" ) &
  for _ in $(seq 100); do sleep 0.1; done
  exit 1
fi
exec {sciddiff} "$@"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with fake commands, and what they note."""
    commands = tmp_path / "bin"
    commands.mkdir()
    sciddiff = Path(sys.executable).with_name("sciddiff")
    texts = {
        "sbatch": SBATCH.format(python=sys.executable),
        "scontrol": SCONTROL,
        "sciddiff": STOPPED_ONCE.format(sciddiff=sciddiff),
    }
    for name, text in texts.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    return tmp_path


def run(script: str, cluster: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{cluster / 'bin'}:{os.environ['PATH']}", "FAKE_SLURM": str(cluster)}
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, cwd=cluster)


@pytest.mark.filterwarnings("ignore")
def test_an_array_that_is_interrupted_ends_in_the_product(call: Call, cluster: Path) -> None:
    write_scene(cluster / "my scene.tif")
    write(small_model(), cluster / "model.safetensors")
    arguments = ["model.safetensors", "my scene.tif", "-o", "out.tif", "--tile", "32"]
    printed = call("slurm", "predict", *arguments, "--array", 3, "--setup", "export HERE=1", "--partition", "short")
    assert printed.exit_code == 0, printed.stderr
    assert "#SBATCH --partition=short" in printed.stdout
    done = run(printed.stdout, cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "array job 1, then 2 joins its shards\n"
    assert (cluster / "codes").read_text().split("\n") == ["1.0 1 0", "1.1 0 0", "1.2 0 0", "2.0 0 0", ""]
    assert (cluster / "requeued").read_text() == "requeue 1_0\n"
    assert "--dependency=afterok:1" in (cluster / "job-2").read_text()
    model = load(str(cluster / "model.safetensors"))
    predict_file(model, str(cluster / "my scene.tif"), cluster / "plain.tif", tile=32)
    assert decoded(cluster / "out.tif") == decoded(cluster / "plain.tif")
    assert not (cluster / "out.tif.run").exists()


def test_a_training_is_requeued_until_it_is_done(call: Call, cluster: Path) -> None:
    recipe = cluster / "tiny.yaml"
    recipe.write_text(
        "version: 1\nname: tiny\ntask: {kind: super_resolution, ratio: 2}\nbands: [red, nir]\n"
        "network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 4}\n"
        "training: {steps: 2, batch: 1, patch: 16, warmup: 0}\n"
    )
    write_scene(cluster / "scene.tif")
    printed = call("slurm", "train", "tiny.yaml", "-o", "run", "--train", "scene.tif", "--gpus", 1)
    assert "#SBATCH --gpus=1" in printed.stdout
    done = run(printed.stdout, cluster)
    assert done.returncode == 0, done.stderr
    assert (cluster / "run" / "model.safetensors").exists()
    assert (cluster / "requeued").read_text() == "requeue 1\n"


def test_every_job_asks_for_signal_requeue_and_one_log(call: Call) -> None:
    for arguments in (("predict", "m", "a.tif", "-o", "b.tif"), ("train", "r.yaml", "-o", "d")):
        script = call("slurm", *arguments).stdout
        jobs = script.count("sbatch --parsable")
        for directive in ("--requeue", "--signal=B:USR2@120", "--open-mode=append"):
            assert script.count(f"#SBATCH {directive}") == jobs
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_the_scripts_in_recipes_are_what_is_printed(call: Call) -> None:
    predicted = call("slurm", "predict", "sr-sentinel2-x4", "scene.tif", "-o", "scene_2m5.tif").stdout
    assert (RECIPES / "predict.sh").read_text() == predicted
    trained = call("slurm", "train", "sr_sentinel2_x4", "-o", "run", "--gpus", 1).stdout
    assert (RECIPES / "train.sh").read_text() == trained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "m", "a.tif", "-o", "b.tif", "--nonsense"), "No such option"),
        (("predict", "m", "a.tif"), "Missing option"),
        (("predict", "m", "a.tif", "-o", "b.tif", "--shard", "1/2"), "--shard has no place"),
        (("predict", "m", "a.tif", "-o", "b.tif", "--dask", "local"), "--dask has no place"),
        (("predict", "m", "a.tif", "-o", "b.tif", "--workers", "4"), "--workers has no place"),
        (("train", "r.yaml", "-o", "d", "--steps", "3"), "No such option"),
    ],
)
def test_options_of_no_use_are_refused(call: Call, arguments: tuple[str, ...], message: str) -> None:
    result = call("slurm", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_paths_are_quoted(call: Call) -> None:
    script = call("slurm", "predict", "m", "a $(rm -rf b).tif", "-o", "it's.tif").stdout
    assert "'a $(rm -rf b).tif'" in script
    assert "sciddiff assemble 'it'\"'\"'s.tif'" in script
