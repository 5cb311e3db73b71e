"""`sciddiff simulate`: what the instrument would have seen of a clean image."""

from pathlib import Path

import click

from sciddiff.cli.options import json_option, overwrite_option, verbosity_options
from sciddiff.cli.output import show


@click.command()
@click.argument("recipe")
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where to write.")
@click.option(
    "--guide",
    metavar="PATH",
    help="Raster of the scene's further bands, such as the panchromatic one; else they are taken from INPUT.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of --random.")
@click.option(
    "--nominal/--random",
    default=True,
    show_default=True,
    help="The nominal instrument without noise, or one drawn as in training.",
)
@overwrite_option
@json_option
@verbosity_options
def simulate(
    recipe: str,
    source: str,
    output: Path,
    guide: str | None,
    seed: int,
    nominal: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Degrade a clean raster by a recipe's forward model.

    RECIPE is a YAML file or a shipped name, INPUT a clean raster. Writes the degraded inputs and the target to DIR.
    """
    from sciddiff.recipe import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe))

    from sciddiff.inference import simulate_file

    written = simulate_file(settings, source, output, guide=guide, seed=seed, nominal=nominal, overwrite=overwrite)
    show(written, as_json=as_json)
