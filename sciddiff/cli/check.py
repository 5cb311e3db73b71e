"""`sciddiff check`: whether files can be used."""

from pathlib import Path
from typing import Any

import click

from sciddiff.cli.options import axes_option, json_option
from sciddiff.cli.output import show


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--deep", is_flag=True, help="Decode every pixel, load every weight, compare every checksum.")
@axes_option
@json_option
@click.pass_context
def check(ctx: click.Context, paths: tuple[str, ...], deep: bool, axes: str | None, as_json: bool) -> None:
    """Tell whether rasters, stacks, models and runs can be used.

    A run is the folder OUTPUT.run of a `predict` that has not ended. Exit code 0: all can be used; 3: none; 4: some.
    """
    results = [_checked(path, deep=deep, axes=axes) for path in paths]
    show({"checked": results} if as_json else _told(results), as_json=as_json)
    bad = sum(bool(result["problems"]) for result in results)
    ctx.exit(0 if not bad else 3 if bad == len(results) else 4)


def _checked(path: str, *, deep: bool, axes: str | None) -> dict[str, Any]:
    from sciddiff.io.check import check_raster, check_stack
    from sciddiff.io.raster import is_stack
    from sciddiff.recipe import find_model, shipped_models

    if Path(path, "plan.json").exists() or path.rstrip("/").endswith(".run"):
        from sciddiff.errors import SciddiffError
        from sciddiff.inference import check_run

        try:
            return check_run(Path(path), deep=deep)
        except SciddiffError as error:
            return {"kind": "run", "path": path, "problems": [str(error)], "notes": []}
    if path.endswith(".safetensors") or (not Path(path).exists() and path in shipped_models()):
        from sciddiff.model.check import check_model

        return check_model(find_model(path), deep=deep)
    if axes is not None or is_stack(path):
        return check_stack(path, deep=deep, axes=axes)
    return check_raster(path, deep=deep)


def _told(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One line for each path, then what is to be said of it."""
    told: dict[str, Any] = {}
    for result in results:
        facts = {name: value for name, value in result.items() if name not in {"path", "problems", "notes"}}
        lines = {f"problem {at}": text for at, text in enumerate(result["problems"], 1)}
        lines |= {f"note {at}": text for at, text in enumerate(result.get("notes", []), 1)}
        told[result["path"]] = {"usable": "no" if result["problems"] else "yes", **facts, **lines}
    return told
