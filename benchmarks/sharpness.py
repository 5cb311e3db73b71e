"""How sharp a target is cannot be seen in its input: one scene as sensors of several MTFs would see it, restored.

    python benchmarks/sharpness.py MODEL SCENE... [--mtf 0.26] [--gains 0.7 0.5 0.3] [--json PATH]
    python benchmarks/sharpness.py MODEL SCENE... --find

SCENE as in `quality.py`; every second pixel of it, after a blur, is the image of a sensor of that gain at the Nyquist
frequency of the coarser grid. Untold, the power of a sample's last octave is off by what the targets differ; told, not.
With `--find`: the `target_mtf` of each band with which samples are as sharp as the scene, to be told of others like it.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import scipy.fft
import torch
import xarray as xr
from quality import open_scene
from rich.console import Console
from rich.table import Table

from sciddiff import io
from sciddiff.evaluation import compare
from sciddiff.evaluation.compare import SAMPLE
from sciddiff.evaluation.metrics import octave_difference
from sciddiff.model import Model, load
from sciddiff.physics import sensor

FACTOR = 2
GAINS = np.linspace(0.1, 0.95, 18)


def seen_by(image: xr.DataArray, *, own: float, gain: float) -> xr.DataArray:
    """Every second pixel of an image of gain `own`, blurred to have `gain` at the new Nyquist frequency."""
    height, width = (side // (8 * FACTOR) * 8 * FACTOR for side in image.shape[1:])
    values, valid = io.read_window(image, slice(0, height), slice(0, width))
    if not valid.all():
        raise SystemExit("the scene has invalid pixels; name a window without: PATH#ROW,COL,HEIGHT,WIDTH")
    waves = scipy.fft.dctn(values.astype(np.float64), axes=(1, 2))
    rows, cols = (np.arange(side) / side * FACTOR for side in (height, width))  # in Nyquist frequencies of the result
    blur = gain / sensor.coarser_gain(own, FACTOR)
    if blur > 1:
        raise SystemExit(f"{gain:g} is sharper than the scene allows: {sensor.coarser_gain(own, FACTOR):.3g}")
    waves *= np.exp(math.log(blur) * (rows[:, None] ** 2 + cols[None] ** 2))
    coarse = scipy.fft.idctn(waves, axes=(1, 2))[:, ::FACTOR, ::FACTOR].astype(np.float32)
    return io.from_array(
        coarse, grid=io.grid_of(image)[:height, :width].zoom_out(FACTOR), bands=list(image.band.values)
    )


def found_gains(model: Model, clean: xr.DataArray) -> dict[str, float]:
    """The `target_mtf` of each band with which a sample's last octave gets nearest to the scene's power."""
    own = getattr(model.recipe.task, "target_mtf", None)
    if own is None:
        raise SystemExit(f"{model.recipe.name} does not know its own target_mtf")
    untold = compare(model, clean, steps=3)
    sample = torch.from_numpy(np.where(untold.valid, untold.estimates[SAMPLE], 0))[None]
    misses = [
        octave_difference(
            sensor.with_gain(sample, torch.full((1, len(untold.bands)), gain / own))[0].numpy(),
            untold.truth,
            valid=untold.valid,
        )[:, 0]
        for gain in GAINS
    ]
    return dict(zip(untold.bands, GAINS[np.abs(misses).argmin(0)].round(2).tolist(), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("scenes", nargs="+")
    parser.add_argument("--mtf", type=float, default=0.26, help="of the scene's sensor at its own Nyquist frequency")
    parser.add_argument("--gains", type=float, nargs="+", default=[0.7, 0.5, 0.3], help="of the targets")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--find", action="store_true", help="print the target_mtf that fits each scene")
    given = parser.parse_args(arguments)
    model, results = load(given.model), []
    if given.find:
        for scene in given.scenes:
            print(scene.rpartition("/")[2], found_gains(model, open_scene(scene, model)))
        return
    for scene in given.scenes:
        table = Table(title=scene.rpartition("/")[2], box=None, title_justify="left")
        for name in ("target's MTF", "input differs", "told", "mean over back-projection", "2-4 px", "4-8 px"):
            table.add_column(name, justify="right")
        sharpest = None
        for gain in given.gains:
            target = seen_by(open_scene(scene, model), own=given.mtf, gain=gain)
            for told in ({}, {"target_mtf": (gain,)}):
                found = compare(model, target, steps=3, instrument=told)
                sharpest = found.low if sharpest is None else sharpest
                apart = np.sqrt(((found.low - sharpest) ** 2).mean((1, 2))) / sharpest.std((1, 2))
                over = found.gain("posterior mean", "back_projection")
                fine, coarse = found.scores[SAMPLE].octaves[:2]
                cells = (f"{gain:g}", f"{apart.mean():.1%}", "yes" if told else "no", f"{over:+.2f} dB")
                table.add_row(*cells, f"{fine:+.1f} dB", f"{coarse:+.1f} dB")
                figures = {name: asdict(scores) for name, scores in found.scores.items()}
                results.append({"scene": scene, "gain": gain, "told": bool(told), "scores": figures})
        Console(width=160, highlight=False).print(table)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
