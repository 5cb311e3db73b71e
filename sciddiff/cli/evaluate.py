"""`sciddiff evaluate`: how close an image is to a reference."""

import math
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciddiff.cli.options import json_option, overwrite_option, verbosity_options
from sciddiff.cli.output import Progress, show

if TYPE_CHECKING:
    from sciddiff.evaluation.evaluate import Evaluation
    from sciddiff.evaluation.fused import FusedScores

OCTAVES = 2
"""Of detail in the table, the finest; the report and the JSON have all."""


@click.command()
@click.argument("prediction")
@click.argument("reference")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=PATH",
    help="A further image to score beside, such as input=noisy.tif; its pixels may be larger. May be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="HTML",
    help="Write a page with pictures.",
)
@click.option(
    "--kind",
    type=click.Choice(["raster", "micro", "fusion"]),
    help="Which metrics.  [default: raster where there is a CRS, else micro]",
)
@click.option(
    "--peak", type=click.FloatRange(min=0, min_open=True), metavar="X", help="Of the PSNR of rasters, in their unit."
)
@click.option(
    "--sensor",
    metavar="NAME",
    help="Of fusion: whose MTF the bands have, such as sentinel2 or worldview3.  [default: generic]",
)
@overwrite_option
@json_option
@verbosity_options
@click.pass_context
def evaluate(
    ctx: click.Context,
    prediction: str,
    reference: str,
    inputs: tuple[str, ...],
    output: Path | None,
    kind: str | None,
    peak: float | None,
    sensor: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Score PREDICTION against REFERENCE, band by band.

    Both are rasters or stacks of one grid. Rasters: PSNR, RMSE, SSIM, power by octave of detail in dB above the
    reference's, SAM, ERGAS. Microscopy: range-invariant PSNR, MicroSSIM, resolution by Fourier ring correlation with
    the reference, fine detail in dB, objects and how many of them are those of the reference.

    With --kind fusion -i pan=PAN, PREDICTION is a pan-sharpened raster and REFERENCE the bands that it was made of,
    with larger pixels: no truth is needed. D_lambda, D_s and HQNR as published tables have them (toolbox; of digital
    numbers alone) and at the exact place of the pixels in any unit (physical); ERGAS, SAM and Q2n of the result
    degraded to the bands.
    """
    others = _named(inputs)
    if kind == "fusion":
        _refuse_of_fusion(others, output=output, peak=peak, overwrite=overwrite)
        _fusion(prediction, reference, others["pan"], sensor=sensor or "generic", as_json=as_json)
        return
    if sensor is not None:
        from sciddiff.errors import OptionError

        raise OptionError("--sensor has an effect with --kind fusion alone")
    _refuse(output, overwrite)

    from sciddiff import io
    from sciddiff.evaluation.evaluate import PREDICTION, evaluate

    paths = {PREDICTION: prediction, "reference": reference, **others}
    images = {name: io.open(path) for name, path in paths.items()}
    beside = {name: images[name] for name in others}
    with Progress(ctx, "scoring") as progress:
        found = evaluate(
            images[PREDICTION],
            images["reference"],
            others=beside,
            names=paths,
            kind=kind,  # type: ignore[arg-type]
            peak=peak,
            progress=progress,
        )
    if output is not None:
        from sciddiff.evaluation.scores_report import write_evaluation

        title = f"{Path(prediction).name} against {Path(reference).name}"
        write_evaluation(
            found,
            output,
            prediction=images[PREDICTION],
            reference=images["reference"],
            others=beside,
            title=title,
        )
    if as_json:
        told = {**found.to_dict(), **paths, **({} if output is None else {"report": str(output)})}
        show(told, as_json=True)
        return
    _print(found)
    if output is not None:
        click.echo(f"\n{output}")


def _named(inputs: tuple[str, ...]) -> dict[str, str]:
    from sciddiff.errors import OptionError

    named: dict[str, str] = {}
    for text in inputs:
        name, equals, path = text.partition("=")
        if not name or not equals or not path:
            raise OptionError(f"-i {text}: expected NAME=PATH such as input=noisy.tif")
        if name in named or name in ("prediction", "reference"):
            raise OptionError(f"-i {text}: the name {name} is taken; choose another")
        named[name] = path
    return named


def _refuse_of_fusion(others: dict[str, str], *, output: Path | None, peak: float | None, overwrite: bool) -> None:
    from sciddiff.errors import OptionError

    if "pan" not in others:
        raise OptionError("--kind fusion needs the sharp band: -i pan=PATH")
    if len(others) > 1:
        further = ", ".join(f"-i {name}" for name in others if name != "pan")
        raise OptionError(f"{further}: --kind fusion takes pan alone")
    for option, given in (("-o", output is not None), ("--peak", peak is not None), ("--overwrite", overwrite)):
        if given:
            raise OptionError(f"{option} has no effect with --kind fusion: it writes no page and has no PSNR")


def _fusion(fused: str, ms: str, pan: str, *, sensor: str, as_json: bool) -> None:
    from sciddiff import io
    from sciddiff.evaluation.fused import evaluate_fused

    images = [io.open(path) for path in (fused, ms, pan)]
    found = evaluate_fused(*images, sensor=sensor, names=(fused, ms, pan))
    if as_json:
        show({**found.to_dict(), "prediction": fused, "reference": ms, "pan": pan, "sensor": sensor}, as_json=True)
        return
    _print_fusion(found)


def _print_fusion(found: "FusedScores") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("mode", box=None, pad_edge=False)
    for title in ("D_lambda", "D_s", "HQNR"):
        table.add_column(title, justify="right")
    for mode, scores in (("toolbox", found.toolbox), ("physical", found.physical)):
        table.add_row(mode, *("-" if scores is None else f"{score:.4f}" for score in scores or (None,) * 3))
    Console(highlight=False).print(table)
    again = found.reprojection
    click.echo(f"\nRe-projection: ERGAS {again.ergas:.4f}, SAM {again.sam:.4f} deg, Q2n {again.q2n:.4f}.")
    if found.left_out:
        click.echo(f"No toolbox: {found.left_out}.")
    row, col, height, width = found.window
    mtf = ", ".join(f"{band} {gain:g}" for band, gain in zip(found.bands, found.gains))
    click.echo(
        f"Of {height} x {width} pixels from row {row}, column {col}, where all is valid, in whole blocks. MTF: {mtf}."
    )


def _refuse(output: Path | None, overwrite: bool) -> None:
    from sciddiff.errors import OutputError, OutputExistsError

    if output is None:
        return
    if not output.parent.is_dir():
        raise OutputError(f"the folder {output.parent} does not exist: make it, or choose another place with -o")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists already; pass --overwrite to replace it")


def _print(found: "Evaluation") -> None:
    """One table a method: of rasters a row a band and the finest octaves, of microscopy a row a metric."""
    from rich.console import Console
    from rich.table import Table

    from sciddiff.evaluation.score_text import cell, columns, title_of

    console = Console(highlight=False)
    for method, rows in found.scores.items():
        names = columns(rows)
        if found.kind == "raster":
            coarse = [name for name in names if name.startswith("power_")][OCTAVES:]
            names = [name for name in names if name not in coarse]
        titles = [title_of(name, found.unit) for name in names]
        body = [[band, *(cell(name, row.get(name, math.nan)) for name in names)] for band, row in rows.items()]
        lines = [[method, *titles], *body]
        head, *lines = lines if found.kind == "raster" else [list(column) for column in zip(*lines)]
        table = Table(box=None, pad_edge=False)
        for at, title in enumerate(head):
            table.add_column(title, justify="right" if at else "left")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        console.print()
    _notes(found)


def _notes(found: "Evaluation") -> None:
    planes = "" if found.planes == 1 else f" Figures are of {found.planes} planes a band; --json has those of each."
    for method in found.scores:
        if (worst := found.worst(method)) is not None:
            band, row = worst
            place = ", ".join(f"{name}={row[name]}" for name in takewhile(lambda name: name != "psnr", row))
            click.echo(f"{method}: lowest PSNR of a plane {row['psnr']:.2f} dB, {band} at {place}.")
    if found.kind == "raster":
        click.echo(f"PSNR with a peak of {found.peak:g}. dB by size of detail: power above the reference's.{planes}")
        return
    click.echo(
        "PSNR is range-invariant. Resolution: where the correlation with the reference falls below 0.5; a noisy "
        f"reference makes it worse than it is.{planes}"
    )
