"""`sciddiff train`: a model from a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciddiff.cli.options import Duration, device_option, json_option, pick_device, verbosity_options
from sciddiff.cli.output import Progress, show

if TYPE_CHECKING:
    from sciddiff.recipe import Recipe


@click.command()
@click.argument("recipe")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The run.")
@click.option("--train", "train_paths", multiple=True, metavar="P", help="Learn from this, not the recipe's data.")
@click.option("--valid", "valid_paths", multiple=True, metavar="P", help="Validate on this instead.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a value of the recipe.")
@click.option("--max-time", type=Duration(), metavar="T", help="Stop after 30m, 2h, ...; the same command continues.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Processes that simulate, for training.reuse above 1; 0: the one that trains.",
)
@device_option
@json_option
@verbosity_options
@click.pass_context
def train(
    ctx: click.Context,
    recipe: str,
    output: Path,
    train_paths: tuple[str, ...],
    valid_paths: tuple[str, ...],
    overrides: tuple[str, ...],
    max_time: float | None,
    workers: int,
    device: str,
    as_json: bool,
) -> None:
    """Train a model; the same command continues a run that was stopped.

    RECIPE is a YAML file or a shipped name (see `sciddiff recipe list`). The run writes DIR/model.safetensors. Stopped
    by a signal or by --max-time it exits with 75.
    """
    from sciddiff.recipe import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe), overrides=overrides)
    settings = _with_data(settings, train_paths, valid_paths)

    from sciddiff.training import train as run

    with Progress(ctx, "train") as progress:
        model = run(
            settings,
            output,
            max_seconds=max_time,
            device=pick_device(device),
            workers=workers,
            progress=progress,
        )
    show({"model": model}, as_json=as_json)


def _with_data(recipe: "Recipe", train: tuple[str, ...], valid: tuple[str, ...]) -> "Recipe":
    """Take the data of the command line, and refuse before the long work when a raster is not there."""
    from sciddiff.errors import RecipeError
    from sciddiff.recipe import Source

    def sources(paths: tuple[str, ...]) -> list[Source]:
        return [Source(path=str(Path(path).absolute())) for path in paths]

    given = {role: sources(paths) for role, paths in (("train", train), ("valid", valid)) if paths}
    if given:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=given)})
    if not recipe.data.train:
        raise RecipeError("no data to learn from: data.train of the recipe is empty; add sources there or --train P")
    faults = []
    for source in [*recipe.data.train, *recipe.data.valid]:
        try:
            source.files()
        except RecipeError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError("\n".join(faults))
    return recipe
