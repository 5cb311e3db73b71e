"""What a package of the BioImage Model Zoo says of a model: its description, format 0.5, and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sciddiff import __version__
from sciddiff.model.core import Model
from sciddiff.model.graph import input_unit
from sciddiff.model.layout import TOLERANCE, choose_halo
from sciddiff.model.windows import round_up

FORMAT = "0.5.4"
"""Of the description; readers of 0.5.12 and 0.5.14 take it as their own."""
AGREEMENT = 1e-3
"""Relative tolerance of the test tensors, over devices and versions of torch."""
TAGS: Mapping[str, Sequence[str]] = {
    "super_resolution": ("super-resolution", "image-restoration"),
    "denoise": ("denoising", "image-restoration"),
    "cloud_mask": ("semantic-segmentation",),
}
"""Tags of the zoo by task; the others are image restoration."""
CITATION = {
    "text": "Karras et al. 2022, Elucidating the design space of diffusion-based generative models",
    "doi": "10.48550/arXiv.2206.00364",
}


WEIGHTS = "weights.pt"
LIMITS = """Detail that the measurement does not tell is that of the scenes of training, on average: where it is unsure,
the result is smooth. It is no new measurement. Samples and uncertainty need sciddiff itself."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of windows: of the image that goes in, in its pixels, and the margin to be cut off what comes out.

    Attributes
    ----------
    step
        Sides may grow by this.
    least
        Smallest side from which something is left when the halo is cut off.
    example
        Side of the test image.
    ratio
        Pixels of the result along one of the image.
    halo
        In pixels of the result.
    """

    step: int
    least: int
    example: int
    ratio: int
    halo: int


def sizes(model: Model) -> Sizes:
    """The sizes that `predict` would use: the halo measured where there is one, else the full radius."""
    ratio, step = model.task.inputs[0].ratio, input_unit(model)
    halo = round_up(choose_halo(model, TOLERANCE)[0], step * ratio)
    least = 2 * halo // ratio + step
    return Sizes(step=step, least=least, example=round_up(least + 128 // ratio, step), ratio=ratio, halo=halo)


def describe(
    model: Model, *, authors: Sequence[str], sums: Mapping[str, str], torch_version: str, tolerance: float
) -> dict[str, Any]:
    """The description of a package, as `rdf.yaml` holds it.

    Parameters
    ----------
    model
        What is packed.
    authors
        Names.
    sums
        SHA-256 of each file of the package by its name.
    torch_version
        That traced the weights.
    tolerance
        Absolute one of the test output.
    """
    recipe = model.recipe

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": sums[name]}

    return {
        "format_version": FORMAT,
        "type": "model",
        "name": f"{recipe.name} (posterior mean)",
        "description": recipe.description or f"{_task(model)} of {', '.join(recipe.bands)}",
        "authors": [{"name": name} for name in authors],
        "license": "Apache-2.0",
        "cite": [CITATION],
        "tags": ["2d", "pytorch", "unet", *TAGS.get(recipe.task.kind, ("image-restoration",)), *_sensor(model)],
        "documentation": "README.md",
        "covers": ["cover.png"],
        "attachments": [file("recipe.yaml")],
        "inputs": [{**_input(model), "test_tensor": file("test_input.npy"), "sample_tensor": file("sample_input.tif")}],
        "outputs": [
            {**_output(model), "test_tensor": file("test_output.npy"), "sample_tensor": file("sample_output.tif")}
        ],
        "weights": {"torchscript": {**file(WEIGHTS), "pytorch_version": torch_version}},
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": [{"relative_tolerance": AGREEMENT, "absolute_tolerance": tolerance}],
                "model_parameter_count": sum(each.numel() for each in model.network.parameters()),
                "task": _task(model),
            },
            "sciddiff": {"version": __version__, "radius": model.radius, **_plain(model.record)},
        },
    }


def _input(model: Model) -> dict[str, Any]:
    """The image: finite, mirrored at its edges where a window reaches beyond them."""
    size = sizes(model)
    axes = [{"type": "space", "id": name, "scale": float(size.ratio), "concatenable": True} for name in "yx"]
    grown = {"min": size.least, "step": size.step}
    return {
        "id": "image",
        "axes": [{"type": "batch"}, _channels(model.task.inputs[0].bands), *({**axis, "size": grown} for axis in axes)],
        "data": {"type": "float32"},
        "pad": {"mode": "symmetric"},
    }


def _output(model: Model) -> dict[str, Any]:
    size = sizes(model)
    axes = [
        {"type": "space", "id": name, "scale": 1.0, "size": {"tensor_id": "image", "axis_id": name}, "halo": size.halo}
        for name in "yx"
    ]
    return {
        "id": "restored",
        "axes": [{"type": "batch"}, _channels(model.task.bands), *axes],
        "data": {"type": "float32"},
    }


def _channels(bands: Sequence[str]) -> dict[str, Any]:
    return {"type": "channel", "channel_names": list(bands)}


def _task(model: Model) -> str:
    return model.recipe.task.kind.replace("_", " ")


def _sensor(model: Model) -> list[str]:
    sensor = model.recipe.task.sensor
    return [] if sensor in (None, "generic") else [sensor]


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a model's record others can use."""
    return {name: record[name] for name in ("halo", "metrics", "provenance") if name in record}


def page(model: Model, *, instrument: Mapping[str, Sequence[float]], authors: Sequence[str]) -> str:
    """The page of a package in Markdown: what the model does, needs, was trained on and has scored.

    Parameters
    ----------
    model
        What is packed.
    instrument
        Numbers that stand in the graph beside the nominal ones.
    authors
        Names.
    """
    sections = {
        "Use": _use(model, instrument),
        "Limits": LIMITS,
        "Training": _training(model),
        "Validation": _validation(model),
        "Licence": f"Apache-2.0. Authors: {', '.join(authors)}. Exported by sciddiff {__version__}.",
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items())
    return f"# {model.recipe.name}\n\n{model.recipe.description or _task(model).capitalize()}.\n\n{text}\n"


def _use(model: Model, instrument: Mapping[str, Sequence[float]]) -> str:
    size, recipe = sizes(model), model.recipe
    missing = f"; zero where missing: {', '.join(recipe.optional_bands)}" if recipe.optional_bands else ""
    limits = recipe.task.pixel_size
    told = "; ".join(f"{name} {', '.join(f'{number:g}' for number in numbers)}" for name, numbers in instrument.items())
    lines = [
        f"One graph: the image as it was measured goes in, the restored one comes out, {_grid(size.ratio)}. It holds "
        "the linear estimate, one evaluation of the network and the projection on what was measured: the posterior "
        "mean, without chance.",
        f"- Channels in: {', '.join(model.task.inputs[0].bands)}{missing}.",
        f"- Channels out: {', '.join(model.task.bands)}.",
        f"- Values: {'reflectance, about 0 to 1' if model.task.absolute else 'any unit, gain and offset'}; finite: "
        "fill invalid pixels first.",
        f"- Sides: {size.least} pixels and more by steps of {size.step}. Of the result {size.halo} pixels a side "
        "depend on what lies beyond the window: cut them off, or mirror the image at its edges.",
        f"- Instrument: {told or 'the nominal one'}.",
    ]
    if limits is not None:
        lines.insert(3, f"- Pixel size: {limits[0]:g} to {limits[1]:g} m.")
    return "\n".join([lines[0], "", *lines[1:]])


def _grid(ratio: int) -> str:
    return "on the same grid" if ratio == 1 else f"on a grid {ratio} times finer"


def _training(model: Model) -> str:
    provenance = model.record.get("provenance", {})
    scenes = provenance.get("trained_on", [])
    told = f"{provenance['steps']} steps. " if "steps" in provenance else ""
    listed = "Scenes:\n\n" + "\n".join(f"- {scene}" for scene in scenes) if scenes else "The scenes are not recorded."
    return f"{told}The recipe is attached as recipe.yaml. {listed}"


def _validation(model: Model) -> str:
    """Scores of the record; PSNR in dB, each table with its own peak."""
    metrics = model.record.get("metrics", {})
    tables = []
    if validation := metrics.get("validation"):
        peak = "a reflectance of 1" if model.task.absolute else "one spread of a band"
        tables.append(f"PSNR in dB on held-out places, the peak {peak}; `mean` is this model:\n\n{_table(validation)}")
    for scene, row in metrics.get("test", {}).items():
        tables.append(f"PSNR in dB on {scene}, not used in training; `posterior mean` is this model:\n\n{_table(row)}")
    tables.append(
        "To validate on an image of your own, degrade a clean one by the instrument and compare what comes out with "
        "it: `sciddiff simulate` does the first."
    )
    return "\n\n".join(tables)


def _table(scores: Mapping[str, float]) -> str:
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:.2f} |" for name, value in scores.items())
    return f"| method | dB |\n| --- | --- |\n{rows}"
