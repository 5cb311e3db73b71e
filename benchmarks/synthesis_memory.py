"""Peak memory of `sciddiff synthesize` on one large mask of instances, and whether two tile sizes agree.

    python benchmarks/synthesis_memory.py [SIDE] [--steps 2] [--model nuclei-from-mask]

The mask of SIDE x SIDE pixels (10 000 unless given) holds procedural nuclei, each with an id of its own. Steps change
the time, not the memory. The agreement is measured on a part of 1024 pixels, in spreads of the image.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from sciddiff import labels
from sciddiff.model import load

BLOCK = 1000


def write_mask(path: Path, side: int) -> int:
    """Blocks of procedural nuclei; returns the number of objects."""
    block = labels.nuclei((BLOCK, BLOCK), np.random.default_rng(0), diameter=26).astype(np.uint32)
    count, objects = 0, int(block.max())
    shape = {"driver": "GTiff", "dtype": "uint32", "count": 1, "height": side, "width": side, "compress": "deflate"}
    with rasterio.open(path, "w", **shape, tiled=True, blockxsize=512, blockysize=512, BIGTIFF="IF_SAFER") as file:
        for row in range(0, side, BLOCK):
            for col in range(0, side, BLOCK):
                part = np.where(block > 0, block + count, 0)[: side - row, : side - col].astype(np.uint32)
                file.write(part[None], window=Window(col, row, part.shape[1], part.shape[0]))
                count += objects
    return count


def peak_of(process: subprocess.Popen[bytes]) -> float:
    """Largest resident memory in GB, its own and that of its children not counted together."""
    peak = 0
    while process.poll() is None:
        try:
            text = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]))
        except (OSError, StopIteration):
            pass
        time.sleep(0.5)
    return peak / 1e6


def agreement(model: str) -> float:
    """Largest difference between tiles of 256 and 1024, in spreads of the image."""
    loaded = load(model)
    mask = labels.nuclei((1024, 1024), np.random.default_rng(1), diameter=26).astype(np.float64)
    one, other = (loaded.predict(mask, seed=1, tile=tile)["sample"].values for tile in (256, 1024))
    return float(np.abs(one - other).max() / other.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("side", nargs="?", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--model", default="nuclei-from-mask")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.tif"
        count = write_mask(mask, asked.side)
        command = [sys.executable, "-m", "sciddiff", "synthesize", asked.model, "--masks", str(mask)]
        command += ["-o", str(Path(folder) / "out"), "--steps", str(asked.steps), "-q"]
        begun = time.monotonic()
        process = subprocess.Popen(command, env=dict(os.environ))
        peak = peak_of(process)
        print(f"{asked.side} x {asked.side}, {count} objects, {asked.steps} steps: exit {process.returncode}, ", end="")
        print(f"peak {peak:.2f} GB, {(time.monotonic() - begun) / 60:.1f} min")
    print(f"tiles of 256 and 1024 differ by {agreement(asked.model):.2g} spreads at most")


if __name__ == "__main__":
    main()
