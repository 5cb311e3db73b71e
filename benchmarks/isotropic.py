"""Axial restoration of real stacks that no model is trained on, beside interpolation between planes.

    python benchmarks/isotropic.py [MODEL] [--psf GAIN]... [--noise SHARE]...

A confocal stack with planes as close as pixels is thinned by the model's ratio after a blur along depth; the stack
itself is the truth. Reported: to which period along depth, and across it, the result is true (Fourier correlation with
the truth at 0.5, in the cone about each axis), and range-invariant PSNR. Planes that lie on measured ones are compared
with those apart, for across them nothing may get worse. The stack is looked for in $SCIDDIFF_REALDATA.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import sciddiff
from sciddiff.evaluation.fourier import TRUTH, axis_frc, resolution
from sciddiff.evaluation.micro import range_invariant_psnr
from sciddiff.evaluation.sections import classical
from sciddiff.io.image import assemble
from sciddiff.model import Model

STACK, CHANNEL = "micro/dna_confocal_widefield_pair_3d.ome.tif", 0


def thinned(model: Model, stack: xr.DataArray, *, gain: float, noise: float) -> xr.DataArray:
    """What a microscope with widely spaced planes measures of a stack (1, 1, z, y, x)."""
    task = model.task
    ratio = int(task.depth_ratio or 1)
    kept = stack.isel(z=slice(0, stack.sizes["z"] // ratio * ratio))
    sections = torch.from_numpy(kept.values[0, 0].astype(np.float32)).permute(1, 0, 2)[:, None]  # y 1 z x
    told = task.observe({"image": sections[:, :, :1]}, {"mtf": (gain,)})
    low = task.degrade(sections, told)
    if low is None:
        raise ValueError("the task has no forward model")
    rng = np.random.default_rng(0)
    planes = low[:, 0].permute(1, 0, 2).numpy()
    planes = planes + noise * planes.std() * rng.standard_normal(planes.shape)
    values = planes[None, None].astype(np.float32)
    grid = sciddiff.io.grid_of(stack)
    return assemble(values, np.isfinite(values), grid=grid, bands=["dna"], dims=stack.dims)


def judged(result: xr.DataArray, truth: xr.DataArray) -> tuple[float, float, float]:
    """Period along depth and across it up to which a result is true, in voxels, and PSNR."""
    image, clean = (each.values[0, 0].astype(np.float64) for each in (result, truth))
    deep, rows, cols = (resolution(curve, threshold=TRUTH).length for curve in axis_frc(image, clean))
    return deep, (rows + cols) / 2, range_invariant_psnr(image, clean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="isotropic")
    parser.add_argument("--gain", type=float, action="append", help="MTF of the blur at Nyquist of the planes")
    parser.add_argument("--noise", type=float, action="append", help="as a share of the spread")
    asked = parser.parse_args()
    folder = Path(os.environ.get("SCIDDIFF_REALDATA", ""))
    if not (folder / STACK).exists():
        print(f"{STACK} is not there: set SCIDDIFF_REALDATA")
        return
    model = sciddiff.load(asked.model)
    stack = sciddiff.open(folder / STACK).isel(band=[CHANNEL])
    ratio = int(model.task.depth_ratio or 1)
    truth = stack.isel(z=slice(0, stack.sizes["z"] // ratio * ratio))
    print(
        f"{'blur':>5} {'noise':>6}  {'method':<14} {'along depth':>12} {'across':>8} {'PSNR':>7}   (periods in voxels)"
    )
    for gain in asked.gain or [0.3, 0.1]:
        for noise in asked.noise or [0.0, 0.05]:
            low = thinned(model, stack, gain=gain, noise=noise)
            found = {"posterior mean": model.predict(low)["mean"]}
            found |= {"told the blur": model.predict(low, instrument={"mtf": (gain,)})["mean"]}
            found |= classical(model, low)
            for name, result in found.items():
                deep, across, psnr = judged(result, truth)
                print(f"{gain:5.2f} {noise:6.2f}  {name:<14} {deep:12.2f} {across:8.2f} {psnr:7.2f}")


if __name__ == "__main__":
    main()
