"""A plan as JSON: what shards, workers and `assemble` share."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff.errors import OptionError
from sciddiff.inference.plan import Plan, Product
from sciddiff.io.profile import RasterProfile
from sciddiff.io.profile_json import profile_from_dict, profile_to_dict
from sciddiff.io.stack_profile import StackProfile, stack_profile_from_dict, stack_profile_to_dict
from sciddiff.model.layout import Layout
from sciddiff.model.request import Guidance, Request

FORMAT = "sciddiff-run/5"


def to_dict(plan: Plan) -> dict[str, Any]:
    """Everything that a process needs beside the model."""
    return {
        "format": FORMAT,
        "source": plan.source,
        "inputs": {name: list(paths) for name, paths in plan.inputs.items()},
        "key": dict(plan.key),
        "layout": asdict(plan.layout),
        "request": asdict(plan.request),
        "grid": {
            "shape": list(plan.grid.shape),
            "affine": list(plan.grid.affine)[:6],
            "crs": None if plan.grid.crs is None else plan.grid.crs.to_wkt(),
        },
        "products": [
            {
                "name": item.name,
                "path": item.path.name if item.path.parent == plan.folder.parent else str(item.path),
                "results": list(item.results),
                **_profile_to_dict(item.profile),
            }
            for item in plan.products
        ],
        "creation_options": dict(plan.creation_options),
        "provenance": dict(plan.provenance),
        "needs": dict(plan.needs),
        "left_over": plan.left_over,
    }


def _profile_to_dict(profile: RasterProfile | StackProfile) -> dict[str, Any]:
    if isinstance(profile, StackProfile):
        return {"stack": stack_profile_to_dict(profile)}
    return {"profile": profile_to_dict(profile)}


def from_dict(data: Mapping[str, Any], folder: Path) -> Plan:
    """The plan of a run; products that lay beside the run are looked for beside where it is now.

    Raises
    ------
    OptionError
        Where the run is of another format.
    """
    if data.get("format") != FORMAT:
        raise OptionError(f"{folder}: is a run of format {data.get('format')}, expected {FORMAT}")
    layout, request, grid = data["layout"], data["request"], data["grid"]
    products = [
        Product(
            item["name"],
            folder.absolute().parent / item["path"],
            tuple(item["results"]),
            stack_profile_from_dict(item["stack"]) if "stack" in item else profile_from_dict(item["profile"]),
        )
        for item in data["products"]
    ]
    frames = layout["frames"] and tuple(layout["frames"])
    fallback = {name: tuple(means) for name, means in layout["fallback"].items()}
    guidance = {**request["guidance"], "interval": tuple(request["guidance"]["interval"])}
    guidance["negative"] = _instrument(guidance["negative"])
    request = {**request, "instrument": _instrument(request["instrument"]), "guidance": Guidance(**guidance)}
    return Plan(
        source=data["source"],
        inputs={name: tuple(paths) for name, paths in data["inputs"].items()},
        key=data["key"],
        layout=Layout(
            **{
                **layout,
                "fallback": fallback,
                "frames": frames,
                **{name: tuple(layout[name]) for name in ("shape", "offset", "ends")},
            }
        ),
        request=Request(**request),
        grid=GeoBox(tuple(grid["shape"]), Affine(*grid["affine"]), grid["crs"]),
        products=tuple(products),
        creation_options=data["creation_options"],
        provenance=data["provenance"],
        needs=data["needs"],
        left_over=data["left_over"],
    )


def _instrument(numbers: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(each) for name, each in numbers.items()}


def refuse_other(plan: Plan, found: Mapping[str, Any], folder: Path) -> None:
    """Raise if a run on disk is not that of a plan, naming the field that differs.

    Raises
    ------
    OptionError
        It is another one.
    """
    key = found.get("key", {})
    differing = [name for name in {**plan.key, **key} if plan.key.get(name) != key.get(name)]
    if differing:
        name = next((name for name in ("input", "model") if name in differing), differing[0])
        told = f"whose {name} is {key.get(name)}; this command has {plan.key.get(name)}"
        if name == "input":
            told = f"whose input is other than {', '.join(plan.files)} as of now"
        raise OptionError(
            f"{folder} holds an unfinished run {told}. "
            "Give the same command to continue it, pass --overwrite to begin anew, or choose another output"
        )
