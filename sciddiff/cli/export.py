"""`sciddiff export`: a model as a package that other programs run."""

from pathlib import Path

import click

from sciddiff.cli.options import instrument_option, json_option, overwrite_option, verbosity_options
from sciddiff.cli.output import show


@click.command()
@click.argument("model")
@click.option(
    "--format",
    "_format",
    type=click.Choice(["bioimageio"]),
    default="bioimageio",
    show_default=True,
    help="bioimageio: a package of the BioImage Model Zoo, format 0.5.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A folder to make, or a file that ends in .zip.",
)
@click.option("--author", "authors", multiple=True, metavar="NAME", help="Who made the model; may be repeated.")
@instrument_option
@overwrite_option
@json_option
@verbosity_options
def export(
    model: str,
    _format: str,
    output: Path,
    authors: tuple[str, ...],
    instrument: dict[str, tuple[float, ...]],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a model for other programs: its posterior mean as one graph, raw image in, restored image out.

    MODEL is a file or a shipped name, of a task that takes a single image.
    """
    from sciddiff.model import load
    from sciddiff.model.package import export_bioimageio

    written = export_bioimageio(load(model), output, authors=authors, instrument=instrument, overwrite=overwrite)
    show(written, as_json=as_json)
