"""`sciddiff assemble`: what shards computed becomes a file."""

from pathlib import Path

import click

from sciddiff.cli.options import json_option, overwrite_option, verbosity_options
from sciddiff.cli.output import show


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@overwrite_option
@json_option
@verbosity_options
def assemble(output: Path, overwrite: bool, as_json: bool) -> None:
    """Join what the shards of a run wrote.

    OUTPUT is the name that `sciddiff predict --shard` was given; the run lives in OUTPUT.run until this is done.
    """
    from sciddiff import inference

    show(inference.assemble_file(output, overwrite=overwrite), as_json=as_json)
