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
    results = [_judged(path, deep=deep, axes=axes) for path in paths]
    show({"checked": results} if as_json else _told(results), as_json=as_json)
    bad = sum(bool(result["problems"]) for result in results)
    ctx.exit(0 if not bad else 3 if bad == len(results) else 4)


def _judged(path: str, *, deep: bool, axes: str | None) -> dict[str, Any]:
    """What is said of a path; one that is not there or cannot be opened ends nothing for the others."""
    from sciddiff.errors import SciddiffError

    kind = "stack" if axes is not None else _kind(path)
    try:
        return _checked(path, kind, deep=deep, axes=axes)
    except (SciddiffError, OSError) as error:
        return {"kind": kind, "path": path, "problems": [str(error)], "notes": []}


def _kind(path: str) -> str:
    """What a path is, as far as its name and a look at it tell."""
    from sciddiff.io.raster import is_stack
    from sciddiff.recipe import shipped_models

    if Path(path, "plan.json").exists() or path.rstrip("/").endswith(".run"):
        return "run"
    if path.endswith(".safetensors") or (not Path(path).exists() and path in shipped_models()):
        return "model"
    return "stack" if is_stack(path) else "raster"


def _checked(path: str, kind: str, *, deep: bool, axes: str | None) -> dict[str, Any]:
    if kind == "run":
        from sciddiff.inference import check_run

        return check_run(Path(path), deep=deep)
    if kind == "model":
        from sciddiff.model.check import check_model
        from sciddiff.recipe import find_model

        return check_model(find_model(path), deep=deep)
    from sciddiff.io.check import check_raster, check_stack

    return check_stack(path, deep=deep, axes=axes) if kind == "stack" else check_raster(path, deep=deep)


def _told(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One line for each path, then what is to be said of it."""
    told: dict[str, Any] = {}
    for result in results:
        facts = {name: value for name, value in result.items() if name not in {"path", "problems", "notes"}}
        lines = {f"problem {at}": text for at, text in enumerate(result["problems"], 1)}
        lines |= {f"note {at}": text for at, text in enumerate(result.get("notes", []), 1)}
        told[result["path"]] = {"usable": "no" if result["problems"] else "yes", **facts, **lines}
    return told
