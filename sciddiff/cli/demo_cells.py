"""The demo on the shipped stack of cells: degraded, restored and compared plane by plane."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciddiff.cli.output import Progress, show_files

if TYPE_CHECKING:
    import xarray as xr

    from sciddiff.evaluation.evaluate import Evaluation
    from sciddiff.model import Model

STEPS, PART = 3, 96
FILES = {
    "target.ome.tif": "the sample itself, which the demo degrades and tries to get back",
    "image.ome.tif": "what was measured of it: the input",
    "mean.ome.tif": "the posterior mean: the least error, no invented detail",
    "sample.ome.tif": "one posterior sample, part of its detail invented",
    "panel.png": "a plane, or a section in depth, of all of them side by side",
    "report.html": "pictures, correlation over frequency, and every figure on one page",
}


def run(ctx: click.Context, model: "Model", folder: Path, *, title: str, overwrite: bool) -> None:
    """
    Degrade the sample by the model's own instrument, restore and compare it; files go to a folder.

    Parameters
    ----------
    ctx : click.Context
        Of the command.
    model : Model
        Of microscopy.
    folder : pathlib.Path
        Where to write.
    title : str
        Of the page.
    overwrite : bool
        Whether files that are there may be replaced.
    """
    from sciddiff import io
    from sciddiff.cli import command_line
    from sciddiff.evaluation.evaluate import evaluate
    from sciddiff.evaluation.scores_report import write_evaluation
    from sciddiff.evaluation.sections import classical, panel
    from sciddiff.inference import predict_file, simulate_file
    from sciddiff.recipe.catalogue import CELLS, sample_path

    sample = sample_path(CELLS)
    if model.task.depth_ratio is not None:  # as many sections as the stack has rows and columns: a part will do
        cells = io.open(sample)
        part = {axis: slice((cells.sizes[axis] - PART) // 2, (cells.sizes[axis] + PART) // 2) for axis in "yx"}
        folder.mkdir(parents=True, exist_ok=True)
        io.save(cells.isel(part), folder / "cells.ome.tif", overwrite=overwrite)
        sample = folder / "cells.ome.tif"
    paths = simulate_file(model.recipe, str(sample), folder, overwrite=overwrite)
    results: dict[str, xr.DataArray] = {}
    for name, steps in (("mean", 1), ("sample", STEPS)):
        with Progress(ctx, name) as progress:
            predict_file(
                model,
                str(paths["image"]),
                folder / f"{name}.ome.tif",
                steps=steps,
                overwrite=overwrite,
                command=command_line(ctx),
                progress=progress,
            )
        results[name] = io.open(folder / f"{name}.ome.tif")
    target, image = io.open(paths["target"]), io.open(paths["image"])
    others = {**classical(model, image), "sample": results["sample"]}
    found = evaluate(results["mean"], target, others=others, kind="micro")
    write_evaluation(
        found, folder / "report.html", prediction=results["mean"], reference=target, others=others, title=title
    )
    shown = {**others, "mean": results["mean"], "truth": target}
    panel(image, shown, in_depth=model.task.depth_ratio is not None).save(folder / "panel.png")
    _print(found, folder)


def _print(found: "Evaluation", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from sciddiff.evaluation.evaluate import OVERALL
    from sciddiff.evaluation.score_text import cell, title_of

    kept = ("psnr", "micro_ssim", "resolution", "true_up_to")
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    names = [name for name in kept if any(name in rows[OVERALL] for rows in found.scores.values())]
    for name in names:
        table.add_column(title_of(name, found.unit), justify="right")
    for method, rows in found.scores.items():
        label = "posterior mean" if method == "prediction" else method
        table.add_row(label, *(cell(name, rows[OVERALL].get(name, float("nan"))) for name in names))
    console = Console(highlight=False)
    console.print(table)
    console.print()
    show_files(folder, FILES)
