"""Peak memory of `sciddiff predict` on a long stack, killed once and continued: it should not grow with the stack.

    python benchmarks/stack_memory.py [MEGABYTES] [--full] [--dense] [--keep FOLDER]

The stack has 512 x 512 pixels of 32 bit, 2 channels, 4 planes and as many frames as make up MEGABYTES (100; --full:
4000), and is written plane by plane. Only one frame of 16, and the last, hold numbers, unless --dense: the others pass
through reading and writing, but not through the network, whose memory does not know how many there are. A small
denoising model of random weights predicts it as a user's command does, is killed by SIGKILL when a third of its cores
are done, and is given the same command again. "peak" is the largest resident memory of either process (`getrusage`),
the libraries' 0.4 GB included; above 1.5 GB the script fails.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

SIDE, CHANNELS, PLANES = 512, 2, 4
EMPTY = 16
LIMIT = 1.5e9
DEFAULT, FULL = 100, 4000
MAKE_MODEL = """
import sys
from pathlib import Path
from sciddiff.model import build, write
from sciddiff.recipe import parse_recipe
recipe = '''
version: 1
name: denoise
task: {kind: denoise}
bands: [intensity]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8}
'''
write(build(parse_recipe(recipe)), Path(sys.argv[1]))
"""


def planes(frames: int, *, dense: bool) -> Iterator[NDArray[np.float32]]:
    """Cells of one shape under light that changes from plane to plane, with the noise of photons; NaN where empty."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices((SIDE, SIDE))
    cells = 40 + 200 * (np.sin(rows / 17) * np.sin(cols / 23)) ** 4
    noise = rng.standard_normal((SIDE, SIDE))
    for number in range(frames * PLANES * CHANNELS):
        frame = number // (PLANES * CHANNELS)
        light = cells * (1 + 0.3 * np.sin(number))
        plane = 100 + light + np.sqrt(light) * np.roll(noise, number * 7, axis=1)
        full = dense or frame % EMPTY == 0 or frame == frames - 1
        yield (plane if full else np.full_like(plane, np.nan)).astype(np.float32)


def write_stack(path: Path, frames: int, *, dense: bool) -> None:
    """An OME-TIFF, plane by plane."""
    shape = (frames, PLANES, CHANNELS, SIDE, SIDE)
    told = {"axes": "TZCYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.5}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as writer:
        writer.write(
            planes(frames, dense=dense), shape=shape, dtype=np.float32, metadata=told, photometric="minisblack"
        )


def done(run: Path) -> int:
    """Cores that the ledgers of a run name."""
    return sum(file.read_bytes().count(b"\n") for file in run.glob("ledger/*.jsonl"))


def watched(command: Sequence[str], run: Path, *, kill_at: int | None = None) -> tuple[int, float, int]:
    """Peak resident memory of a command in bytes, its seconds, and the cores done when it was killed, if it was."""
    begin, reached = time.perf_counter(), 0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            break
        if kill_at is not None and (reached := done(run)) >= kill_at:
            os.kill(child.pid, signal.SIGKILL)
            _, status, usage = os.wait4(child.pid, 0)
            break
        time.sleep(0.2)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"{' '.join(command)} ended with status {code}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.perf_counter() - begin, reached


def measure(folder: Path, megabytes: int, *, dense: bool) -> dict[str, Any]:
    """Predict a stack of that size, killed and continued."""
    frames = max(1, round(megabytes * 1e6 / (SIDE * SIDE * 4 * CHANNELS * PLANES)))
    source, output, model = folder / "in.ome.tif", folder / "out.ome.tif", folder / "model.safetensors"
    subprocess.run([sys.executable, "-c", MAKE_MODEL, str(model)], check=True)
    write_stack(source, frames, dense=dense)
    command = [sys.executable, "-m", "sciddiff", "predict", str(model), str(source), "-o", str(output), "-q"]
    cores, run = frames * PLANES, Path(f"{output}.run")
    killed = watched([*command, "--device", "cpu"], run, kill_at=cores // 3)
    continued = watched([*command, "--device", "cpu"], run)
    return {
        "frames": frames,
        "megabytes": source.stat().st_size / 1e6,
        "done": killed[2] / cores,
        "peak": max(killed[0], continued[0]),
        "seconds": killed[1] + continued[1],
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("megabytes", nargs="?", type=int, default=DEFAULT)
    parser.add_argument("--full", action="store_true", help=f"{FULL} megabytes: slow")
    parser.add_argument("--dense", action="store_true", help="numbers in every frame: slow")
    parser.add_argument("--keep", type=Path, help="work in this folder, on a disk with room, and leave the files there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.keep) as folder:
        found = measure(given.keep or Path(folder), FULL if given.full else given.megabytes, dense=given.dense)
    print(f"{'t x z x c':>14} {'stack MB':>9} {'done at kill':>13} {'peak GB':>8} {'seconds':>8}")
    shape = f"{found['frames']} x {PLANES} x {CHANNELS}"
    done_at, peak = f"{found['done']:.0%}", found["peak"] / 1e9
    print(f"{shape:>14} {found['megabytes']:9.0f} {done_at:>13} {peak:8.2f} {found['seconds']:8.0f}")
    if found["peak"] > LIMIT:
        raise SystemExit(f"peak memory is above {LIMIT / 1e9} GB")


if __name__ == "__main__":
    main()
