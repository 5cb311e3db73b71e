"""Fluorescence super-resolution on fields that no model is trained on, beside the classical answers.

    python benchmarks/fluorescence.py [MODEL] [--gain GAIN]... [--noise SHARE]...

Fields with little noise are blurred by a point spread function with that gain at Nyquist, thinned by the model's ratio,
given noise, and restored, the blur unknown and told. Reported: range-invariant PSNR, the period in fine pixels up to
which the result is true (Fourier ring correlation with the field at 0.5), and a sample's power in the last octave over
the field's. The fields are looked for in $SCIDDIFF_REALDATA; their references have a little noise of their own.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import sciddiff
from sciddiff.evaluation.fourier import true_up_to
from sciddiff.evaluation.metrics import octave_difference
from sciddiff.evaluation.micro import range_invariant_psnr
from sciddiff.evaluation.sections import classical
from sciddiff.io.image import assemble
from sciddiff.model import Model

FIELDS = (
    "micro/hagen_mito60x_highsnr.tif",
    "micro/hagen_nucleus_highsnr.tif",
    "micro/rat_hippocampal_neuron_16bit.ome.tif",
)


def measured(model: Model, field: xr.DataArray, *, gain: float, noise: float) -> xr.DataArray:
    """What a microscope with pixels coarser by the model's ratio sees of a field (1, y, x)."""
    ratio = model.task.inputs[0].ratio
    clean = torch.from_numpy(field.values.astype(np.float32))[None]
    told = model.task.observe({"image": clean[:, :, :1, :1]}, {"mtf": (gain,)})
    low = model.task.degrade(clean, told)
    if low is None:
        raise ValueError("the task has no forward model")
    values = low[0].numpy()
    rng = np.random.default_rng(0)
    values = (values + noise * values.std() * rng.standard_normal(values.shape)).astype(np.float32)
    return assemble(values, np.isfinite(values), grid=sciddiff.io.grid_of(field).zoom_out(ratio), bands=["intensity"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="sr-fluorescence-x2")
    parser.add_argument("--gain", type=float, action="append", help="MTF at Nyquist of the coarse pixels")
    parser.add_argument("--noise", type=float, action="append", help="as a share of the spread")
    asked = parser.parse_args()
    folder = Path(os.environ.get("SCIDDIFF_REALDATA", ""))
    if not all((folder / name).exists() for name in FIELDS):
        print("the fields are not there: set SCIDDIFF_REALDATA")
        return
    model = sciddiff.load(asked.model)
    ratio = model.task.inputs[0].ratio
    for name in FIELDS:
        field = sciddiff.open(folder / name)
        field = field.isel(y=slice(0, field.sizes["y"] // ratio * ratio), x=slice(0, field.sizes["x"] // ratio * ratio))
        truth = field.values[0].astype(np.float64)
        print(f"\n{Path(name).name}\n blur  noise  method            PSNR  true to  power in the last octave")
        for gain in asked.gain or [0.3, 0.15]:
            for noise in asked.noise or [0.01, 0.05]:
                low = measured(model, field, gain=gain, noise=noise)
                drawn = model.predict(low, steps=3, seed=1)
                found = {"posterior mean": drawn["mean"], "sample": drawn["sample"]}
                found |= {"told the blur": model.predict(low, instrument={"mtf": (gain,)})["mean"]}
                found |= classical(model, low)
                for method, image in found.items():
                    result = image.values[0].astype(np.float64)
                    psnr, period = range_invariant_psnr(result, truth), true_up_to(result, truth).length
                    last = float(octave_difference(result[None], truth[None])[0, 0])
                    print(f"{gain:5.2f} {noise:6.2f}  {method:<16} {psnr:6.2f} {period:8.2f}  {last:+6.1f} dB")


if __name__ == "__main__":
    main()
