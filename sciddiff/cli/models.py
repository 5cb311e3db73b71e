"""`sciddiff models`: the models that come with the package."""

from typing import Any

import click

from sciddiff.cli.options import json_option
from sciddiff.cli.output import show


@click.group()
def models() -> None:
    """List the shipped models."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the shipped models with what they do and need."""
    from sciddiff.model import read_header
    from sciddiff.recipe import shipped_models

    show({name: _summary(read_header(path)) for name, path in shipped_models().items()}, as_json=as_json)


def _summary(header: dict[str, Any]) -> dict[str, Any]:
    from sciddiff.recipe import parse_recipe

    recipe = parse_recipe(header["recipe"], name=str(header["name"]))
    return {
        "description": recipe.description,
        "task": recipe.task.kind,
        "bands": recipe.bands,
        "optional_bands": recipe.optional_bands,
        "parameters": header["parameters"],
        "metrics": header["metrics"],
    }
