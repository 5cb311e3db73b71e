"""`sciddiff demo`: the whole path on the sample and a model that come with the package."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciddiff.cli.options import device_option, is_quiet, overwrite_option, pick_device, verbosity_options
from sciddiff.cli.output import Progress

if TYPE_CHECKING:
    from sciddiff.evaluation import Comparison
    from sciddiff.model import Model

MODELS = {"super_resolution": "sr-sentinel2-x4"}
"""The model of each task."""
STEPS = 3
"""Of the sample."""
FILES = {
    "target.tif": "the sample itself, which the demo degrades and tries to get back",
    "image.tif": "what a coarser instrument would have measured of it: the input",
    "mean.tif": "the posterior mean: the least error, no invented detail",
    "sample.tif": "one posterior sample: as much detail as the truth, part of it invented",
    "panel.png": "all of them side by side",
    "report.html": "pictures, errors, spectra and figures on one page",
}


@click.command()
@click.argument("task", type=click.Choice(list(MODELS)), default="super_resolution")
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

    Writes GeoTIFFs, a picture and a page to DIR. Takes about a minute without a GPU.
    """
    _refuse(output, overwrite)

    from sciddiff.evaluation import write_report
    from sciddiff.model import load

    loaded = load(model or MODELS[task], device=pick_device(device))
    comparison = _restore(ctx, loaded, output, overwrite=overwrite)
    say(ctx, "writing the report")
    write_report(
        comparison,
        output,
        title=f"{loaded.recipe.name}: {comparison.ratio} times finer",
        summary=_summary(comparison),
        notes={**FILES, "model": loaded.recipe.name, "command": f"sciddiff demo {task}"},
    )
    _print(comparison, output)


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


def _refuse(folder: Path, overwrite: bool) -> None:
    from sciddiff.errors import OutputError, OutputExistsError

    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose a folder with -o DIR")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        raise OutputExistsError(
            f"{folder} holds {', '.join(there)} already; pass --overwrite to replace them, or -o another folder"
        )


def _restore(ctx: click.Context, model: "Model", folder: Path, *, overwrite: bool) -> "Comparison":
    """Degrade and restore through files, as a user would with `simulate` and `predict`, and compare."""
    from sciddiff import io
    from sciddiff.cli import command_line
    from sciddiff.evaluation import judge
    from sciddiff.evaluation.compare import MEAN, SAMPLE
    from sciddiff.inference import predict_file, simulate_file
    from sciddiff.recipe import sample_path

    source = sample_path()
    say(ctx, f"degrading {source.name} with the instrument of {model.recipe.name}")
    paths = simulate_file(model.recipe, str(source), folder, overwrite=overwrite)
    results = {}
    for result, file, steps in ((MEAN, "mean.tif", 1), (SAMPLE, "sample.tif", STEPS)):
        with Progress(ctx, result) as progress:
            predict_file(
                model,
                str(paths["image"]),
                folder / file,
                steps=steps,
                overwrite=overwrite,
                command=command_line(ctx),
                progress=progress,
            )
        results[result] = io.open(folder / file)
    say(ctx, "comparing with the classical answers")
    return judge(model, io.open(paths["target"]), low=io.open(paths["image"]), estimates=results)


def _summary(comparison: "Comparison") -> str:
    from sciddiff.evaluation.compare import MEAN
    from sciddiff.evaluation.tables import method_name, opponents

    gains = " and ".join(
        f"{comparison.gain(MEAN, other):+.2f} dB against {method_name(other)}" for other in opponents(comparison)
    )
    return (
        f"A synthetic scene was degraded {comparison.ratio} times by the model's own instrument and restored. "
        f"The posterior mean scores {comparison.scores[MEAN].psnr:.2f} dB: {gains}."
    )


def _print(comparison: "Comparison", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from sciddiff.evaluation import tables

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    head, rows = tables.headers(comparison), tables.rows(comparison)
    kept = [at for at, name in enumerate(head) if name not in ("SAM deg", "ERGAS", "RMSE")]
    for at in kept:
        title = head[at].replace("over ", "over\n").replace("detail ", "detail\n")
        table.add_column(title, justify="left" if at == 0 else "right")
    for row in rows:
        table.add_row(*(row[at] for at in kept))
    console.print(table)
    console.print()
    width = max(len(str(folder / name)) for name in FILES)
    for name, text in FILES.items():
        click.echo(f"{folder / name!s:{width}}  {text}")
    click.echo(f"\nOpen {(folder / 'report.html').resolve()} in a browser.")
