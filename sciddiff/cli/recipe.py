"""`sciddiff recipe`: the shipped recipes, and checking one's own."""

import json

import click

from sciddiff.cli.options import json_option
from sciddiff.cli.output import show


@click.group()
def recipe() -> None:
    """List, show and check recipes."""


@recipe.command("list")
@json_option
def list_recipes(as_json: bool) -> None:
    """List the shipped recipes."""
    from sciddiff.recipe import load_recipe, shipped_recipes

    show({name: load_recipe(path).description for name, path in shipped_recipes().items()}, as_json=as_json)


@recipe.command("show")
@click.argument("name")
def show_recipe(name: str) -> None:
    """Print a recipe, to be saved and changed. NAME is a shipped name or a file."""
    from sciddiff.recipe import find_recipe

    click.echo(find_recipe(name).read_text(encoding="utf-8"), nl=False)


@recipe.command("validate")
@click.argument("paths", nargs=-1, required=True)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a value on top; may be repeated.")
def validate(paths: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Check recipes; every fault of each is printed with file:line:column. Data need not be there."""
    from sciddiff.errors import RecipeError
    from sciddiff.recipe import find_recipe, load_recipe

    faults = []
    for path in paths:
        try:
            load_recipe(find_recipe(path), overrides=overrides)
        except RecipeError as error:
            faults.append(str(error))
        else:
            click.echo(f"{path}: valid")
    if faults:
        raise RecipeError("\n".join(faults))


@recipe.command("schema")
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from sciddiff.recipe import recipe_schema

    click.echo(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))
