"""Peak memory and scratch of `sciddiff predict` by the size of the raster: memory should be flat.

    python benchmarks/memory.py [SIDE...] [--full] [--model MODEL]

The input has four bands of SIDE x SIDE pixels, the model (random weights unless one is given) makes it twice finer.
Only a square of 512 x 512 pixels is valid, unless --full: the rest passes through reading and writing but not through
the network, whose memory does not know the size of the raster. "scratch / output" is the largest size of `OUTPUT.run/`
without the output itself, which is made there and then moved.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

SIDES = (2048, 8192, 20480)
VALID = 512
BLOCK = 512
BANDS = ("B2", "B3", "B4", "B5")
MAKE_MODEL = """
import sys
from pathlib import Path
from sciddiff.model import build, write
from sciddiff.recipe import Data, find_recipe, load_recipe
recipe = load_recipe(find_recipe("sr_landsat_x2"))
recipe = recipe.model_copy(update={"bands": recipe.bands[:4], "data": Data()})
write(build(recipe), Path(sys.argv[1]))
"""


def write_raster(path: Path, side: int, *, full: bool) -> None:
    """A scene of squares, block by block."""
    rng = np.random.default_rng(0)
    coarse = 2000 + 300 * rng.standard_normal((len(BANDS), BLOCK // 8, BLOCK // 8))
    texture = coarse.repeat(8, 1).repeat(8, 2).clip(1, 9999).astype("uint16")
    shape = {"driver": "GTiff", "dtype": "uint16", "count": len(BANDS), "height": side, "width": side, "nodata": 0}
    tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "BIGTIFF": "IF_SAFER"}
    with rasterio.open(path, "w", **shape, **tiles, crs="EPSG:32631", transform=from_origin(5e5, 5e6, 30, 30)) as file:
        for row in range(0, side, BLOCK):
            for col in range(0, side, BLOCK):
                valid = full or max(row, col) < VALID
                height, width = min(BLOCK, side - row), min(BLOCK, side - col)
                part = texture[:, :height, :width] * np.uint16(valid)
                file.write(part, window=Window(col, row, width, height))
        file.descriptions = BANDS


def size_of(folder: Path) -> int:
    """Bytes under a run's folder but for the output in the making; files may go while it is walked."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in set(names) - {"output.tif"}:
            with suppress(OSError):
                size += os.stat(os.path.join(path, name)).st_blocks * 512
    return size


def peak_of(command: Sequence[str], run: Path) -> tuple[float, float, int]:
    """Peak resident memory in bytes, seconds, and largest scratch of a command."""
    begin, scratch = time.perf_counter(), 0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            break
        scratch = max(scratch, size_of(run))
        time.sleep(0.5)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.perf_counter() - begin, scratch


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sides", nargs="*", type=int, default=list(SIDES))
    parser.add_argument("--full", action="store_true", help="every pixel valid: slow")
    parser.add_argument("--model", help="in place of random weights")
    given = parser.parse_args()
    print(f"{'input':>17} {'output':>19} {'peak GB':>8} {'scratch / output':>17} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or f"{folder}/model.safetensors"
        if given.model is None:
            subprocess.run([sys.executable, "-c", MAKE_MODEL, model], check=True)
        for side in given.sides:
            source, output = Path(folder, "in.tif"), Path(folder, "out.tif")
            write_raster(source, side, full=given.full)
            command = [
                sys.executable,
                "-m",
                "sciddiff",
                "predict",
                model,
                str(source),
                "-o",
                str(output),
                "--overwrite",
            ]
            peak, seconds, scratch = peak_of([*command, "-q", "--device", "cpu"], Path(f"{output}.run"))
            size, made = f"{side} x {side} x 4", f"{2 * side} x {2 * side} x 4"
            share = scratch / output.stat().st_size
            print(f"{size:>17} {made:>19} {peak / 1e9:8.2f} {share:17.2f} {seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main()
