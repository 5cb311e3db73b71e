"""`sciddiff demo`: the whole path on the sample and a model that come with the package."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciddiff.cli.options import device_option, is_quiet, overwrite_option, pick_device, verbosity_options
from sciddiff.cli.output import Progress, show_files

if TYPE_CHECKING:
    from sciddiff.evaluation import Comparison
    from sciddiff.model import Model


@dataclass(frozen=True)
class Demo:
    """What a task's demo shows: a shipped model, what it does, and what is done to the sample for it."""

    model: str
    title: str
    done: str


DEMOS = {
    "super_resolution": Demo("sr-sentinel2-x4", "4 times finer", "was degraded 4 times by the model's own instrument"),
    "pansharpen": Demo(
        "sharpen-sentinel2-20m",
        "20 m bands as fine as the 10 m bands",
        "kept its four fine bands, and its other bands were degraded 2 times by the model's own instrument",
    ),
    "remove_clouds": Demo(
        "remove-clouds", "what lies under clouds", "was covered by simulated clouds and shadows, on several dates"
    ),
    "dehaze": Demo("dehaze", "the surface under haze", "was veiled by simulated haze"),
    "fill_gaps": Demo(
        "fill-gaps", "gaps between scans filled", "lost what Landsat 7 misses without its scan line corrector"
    ),
}
CELLS = {
    "denoise": Demo("denoise-fluorescence", "noise taken off a stack", ""),
    "sr_fluorescence": Demo("sr-fluorescence-x2", "channels 2 times finer", ""),
    "isotropic": Demo("isotropic", "four planes for each of a stack", ""),
}
"""Demos on the shipped stack of cells."""
AUGMENT = "augment"
"""The demo that makes images rather than restores them."""
STEPS = 3
"""Of the sample."""
FILES = {
    "target.tif": "the sample itself, which the demo degrades and tries to get back",
    "image.tif": "what was measured of it: the input",
    "mean.tif": "the posterior mean: the least error, no invented detail",
    "sample.tif": "one posterior sample: as much detail as the truth, part of it invented",
    "panel.png": "all of them side by side",
    "report.html": "pictures, errors, spectra and figures on one page",
}
INPUTS = {
    "pan": "the fine bands: the second input",
    "date": "another date of the same place",
    "mask": "where clouds and shadows are",
}
EXTRAS = {
    "flag": "of each pixel: 0 observed, 1 taken from another date, 2 made up",
    "transmission": "share of the light that passes the haze",
}


@click.command()
@click.argument("task", type=click.Choice([*DEMOS, *CELLS, AUGMENT]), default="super_resolution")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("sciddiff-demo"), show_default=True, metavar="DIR"
)
@click.option("--model", metavar="MODEL", help="A file or a shipped name.  [default: that of the task]")
@device_option
@overwrite_option
@verbosity_options
@click.pass_context
def demo(ctx: click.Context, task: str, output: Path, model: str | None, device: str, overwrite: bool) -> None:
    """Run the whole path on the shipped sample: degrade it, restore it, compare, show.

    Writes GeoTIFFs, or the OME-TIFFs of a microscope, a picture and a page to DIR. Takes about a minute without a GPU.
    """
    from sciddiff.cli import demo_augment, demo_cells

    files_of = {AUGMENT: demo_augment.FILES, **dict.fromkeys(CELLS, demo_cells.FILES)}
    _refuse(output, overwrite, files=files_of.get(task, FILES))
    if task == AUGMENT:
        if model is not None:
            raise click.UsageError("the demo augment takes both shipped models of synthesis; leave --model out")
        demo_augment.run(ctx, output, device=pick_device(device), overwrite=overwrite)
        return

    from sciddiff.evaluation import write_report
    from sciddiff.model import load

    if task in CELLS:
        cells = load(model or CELLS[task].model, device=pick_device(device))
        title = f"{cells.recipe.name}: {CELLS[task].title}"
        say(ctx, f"simulating what {cells.recipe.name} is for on the sample of cells")
        demo_cells.run(ctx, cells, output, title=title, overwrite=overwrite)
        return
    loaded = load(model or DEMOS[task].model, device=pick_device(device))
    comparison, written = _restore(ctx, loaded, output, overwrite=overwrite)
    say(ctx, "writing the report")
    write_report(
        comparison,
        output,
        title=f"{loaded.recipe.name}: {DEMOS[task].title}",
        summary=_summary(comparison, DEMOS[task].done),
        notes={**written, "model": loaded.recipe.name, "command": f"sciddiff demo {task}"},
    )
    _print(comparison, output, written)


def say(ctx: click.Context, text: str) -> None:
    """
    Tell on stderr what comes next, unless `-q` was given.

    Parameters
    ----------
    ctx : click.Context
        Of the command.
    text : str
        One line.
    """
    if not is_quiet(ctx):
        click.echo(text, err=True)


def _refuse(folder: Path, overwrite: bool, *, files: Mapping[str, str]) -> None:
    from sciddiff.errors import OutputError, OutputExistsError

    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose a folder with -o DIR")
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise OutputExistsError(
            f"{folder} holds {', '.join(there)} already; pass --overwrite to replace them, or -o another folder"
        )


def _restore(
    ctx: click.Context, model: "Model", folder: Path, *, overwrite: bool
) -> tuple["Comparison", dict[str, str]]:
    """Degrade and restore through files, as a user would with `simulate` and `predict`; the scores, and the files."""
    from sciddiff import io
    from sciddiff.cli import command_line
    from sciddiff.evaluation import judge, known_files
    from sciddiff.evaluation.compare import MEAN, SAMPLE
    from sciddiff.inference import predict_file, simulate_file
    from sciddiff.recipe import sample_path

    source = sample_path()
    say(ctx, f"simulating what {model.recipe.name} is for on {source.name}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bands that the model does not know")  # the sample serves all models
        paths = simulate_file(model.recipe, str(source), folder, overwrite=overwrite)
    others = {
        spec.name: [str(path) for name, path in paths.items() if name.rstrip("_0123456789") == spec.name]
        for spec in model.task.inputs[1:]
    }
    extras = {name: folder / f"{name}.tif" for name in model.task.extras}
    results = {}
    for result, file, steps in ((MEAN, "mean.tif", 1), (SAMPLE, "sample.tif", STEPS)):
        with Progress(ctx, result) as progress:
            predict_file(
                model,
                str(paths["image"]),
                folder / file,
                steps=steps,
                inputs={name: given for name, given in others.items() if given},
                extras=extras if result == MEAN else None,
                overwrite=overwrite,
                command=command_line(ctx),
                progress=progress,
            )
        results[result] = io.open(folder / file)
    say(ctx, "comparing with the classical answers")
    known = known_files(model, {name: str(path) for name, path in paths.items()}, simulated=True)
    where = known.hidden()
    comparison = judge(model, known.truth, low=known.image, others=known.others, estimates=results, where=where)
    inputs = {path.name: INPUTS[name.rstrip("_0123456789")] for name, path in paths.items() if path.name not in FILES}
    return comparison, {**FILES, **inputs, **{path.name: EXTRAS[name] for name, path in extras.items()}}


def _summary(comparison: "Comparison", done: str) -> str:
    from sciddiff.evaluation.compare import MEAN
    from sciddiff.evaluation.tables import method_name, opponents

    gains = " and ".join(
        f"{comparison.gain(MEAN, other):+.2f} dB against {method_name(other)}" for other in opponents(comparison)
    )
    return (
        f"A synthetic scene {done}, and was restored. "
        f"The posterior mean scores {comparison.scores[MEAN].psnr:.2f} dB: {gains}."
    )


def _print(comparison: "Comparison", folder: Path, files: Mapping[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sciddiff.evaluation import tables

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    head, rows = tables.headers(comparison), tables.rows(comparison)
    kept = [
        at
        for at, name in enumerate(head)
        if name not in ("SAM deg", "ERGAS", "RMSE") and any(row[at] != "-" for row in rows)
    ]
    for at in kept:
        title = head[at].replace("over ", "over\n").replace("detail ", "detail\n")
        table.add_column(title, justify="left" if at == 0 else "right")
    for row in rows:
        table.add_row(*(row[at] for at in kept))
    console.print(table)
    console.print()
    show_files(folder, files)
