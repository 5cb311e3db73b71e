"""Every method on clean scenes degraded by the model's own instrument: PSNR, gains, spectra, consistency.

    python benchmarks/quality.py [MODEL [SCENE...]] [--regressor MODEL2] [--steps 3] [--json PATH] [--record MODEL3]
        [--instrument target_mtf=0.5,0.5,0.5,0.7]

A scene is PATH, or PATH@1,2,3,4 to name which bands, in the order of the model's, stand for them; PATH#ROW,COL,H,W
takes a window. Without arguments: the shipped models on the sample.
"""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from sciddiff import io
from sciddiff.evaluation import Comparison, compare
from sciddiff.evaluation.tables import headers, method_name, octave_name, rows
from sciddiff.model import Model, load, write
from sciddiff.recipe import sample_path, shipped_models


def open_scene(text: str, model: Model) -> xr.DataArray:
    """The scene that an argument means."""
    found = re.fullmatch(r"(.+?)(?:@([^@#]+))?(?:#(\d+),(\d+),(\d+),(\d+))?", text)
    if found is None:
        raise SystemExit(f"{text}: expected PATH, PATH@BANDS or PATH#ROW,COL,HEIGHT,WIDTH")
    path, bands, *window = found.groups()
    chosen = None if bands is None else [int(band) if band.isdigit() else band for band in bands.split(",")]
    image = io.open(path, bands=chosen)
    if chosen is not None:
        image = image.assign_coords(band=np.array(model.recipe.bands[: len(chosen)]))
    if window[0] is not None:
        row, col, height, width = map(int, window)
        image = image.isel(y=slice(row, row + height), x=slice(col, col + width))
    return image


def told(text: str) -> tuple[str, tuple[float, ...]]:
    """A name and its numbers, of NAME=X[,X...]."""
    name, _, numbers = text.partition("=")
    return name, tuple(float(number) for number in numbers.split(","))


def show(console: Console, title: str, comparison: Comparison) -> None:
    """Figures of one scene, and power by octave."""
    size = " x ".join(map(str, comparison.truth.shape))
    table = Table(title=f"{title}: {size}, peak {comparison.peak:g}", box=None, title_justify="left")
    for name in headers(comparison):
        table.add_column(name.replace("over ", "over\n"), justify="left" if name == "method" else "right")
    for row in rows(comparison):
        table.add_row(*row)
    console.print(table)
    power = Table(title="power above the truth in dB: mean over bands (worst band)", box=None, title_justify="left")
    power.add_column("method")
    for bounds in comparison.octaves:
        power.add_column(octave_name(bounds), justify="right")
    for name, scores in comparison.scores.items():
        cells = [f"{mean:+.1f} ({worst:+.1f})" for mean, worst in zip(scores.octaves, scores.octaves_worst)]
        power.add_row(method_name(name), *cells)
    console.print(power)
    console.print()


def markdown(comparisons: dict[str, Comparison]) -> str:
    """One row a scene, for the README."""
    methods = list(next(iter(comparisons.values())).scores)
    names = [method_name(name) for name in methods]
    lines = [f"| scene | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for title, comparison in comparisons.items():
        cells = " | ".join(f"{comparison.scores[name].psnr:.2f}" for name in methods)
        lines.append(f"| {title} | {cells} |")
    return "\n".join(lines)


def record(model: Model, comparisons: dict[str, Comparison], path: Path) -> None:
    """Write the model with its PSNR on these scenes among its metrics."""
    test = {
        title: {name: round(scores.psnr, 2) for name, scores in comparison.scores.items()}
        for title, comparison in comparisons.items()
    }
    metrics = {**model.record.get("metrics", {}), "test": test}
    write(replace(model, record={**model.record, "metrics": metrics}), path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("scenes", nargs="*")
    parser.add_argument("--regressor", help="a model whose posterior mean is scored too")
    parser.add_argument("--steps", type=int, default=3, help="of the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--border", type=int, default=0, help="target pixels left out along the edges")
    parser.add_argument("--instrument", type=told, action="append", help="NAME=X[,X...] that the model is told")
    parser.add_argument("--peak", type=float, help="of the PSNR; default: 1 for reflectance, 255 for bytes, the range")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--record", type=Path, help="write the model here, with its PSNR on these scenes")
    given = parser.parse_args(arguments)
    console = Console(width=160, highlight=False)
    models = [given.model] if given.model else list(shipped_models())
    results = {}
    for name in models:
        model = load(name)
        regressor = None if given.regressor is None else load(given.regressor)
        comparisons = {}
        for scene in given.scenes or [str(sample_path())]:
            title = scene.rpartition("/")[2]
            comparisons[title] = compare(
                model,
                open_scene(scene, model),
                steps=given.steps,
                seed=given.seed,
                border=given.border,
                peak=given.peak,
                regressor=regressor,
                instrument=dict(given.instrument or []),
            )
            show(console, f"{model.recipe.name} on {title}", comparisons[title])
        print(markdown(comparisons), end="\n\n")
        if given.record is not None:
            record(model, comparisons, given.record)
        results[model.recipe.name] = {title: found.to_dict() for title, found in comparisons.items()}
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
