"""`sciddiff predict`: a raster of any size through a model."""

import os
from pathlib import Path
from typing import Any

import click

from sciddiff.cli.options import (
    axes_option,
    creation_options,
    device_option,
    instrument_option,
    json_option,
    overwrite_option,
    pick_device,
    verbosity_options,
)
from sciddiff.cli.output import Progress, show


def _paths(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    parsed: dict[str, list[str]] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not name or not equals or not path:
            raise click.BadParameter(f"got {value!r}, expected NAME=PATH such as pan=pan.tif", ctx, param)
        parsed.setdefault(name, []).append(path)
    return parsed


@click.command()
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="What to write: .tif, .ome.tif, .zarr or .ome.zarr.",
)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=PATH",
    callback=_paths,
    help="Another input of the task, such as pan=pan.tif; a name may repeat.",
)
@click.option(
    "--also",
    "extras",
    multiple=True,
    metavar="NAME=PATH",
    callback=_paths,
    help="Write a further map of the task, such as flags=flags.tif.",
)
@axes_option
@click.option("--scale", type=float, metavar="X", help="Physical value of a stored step, instead of what files say.")
@click.option("--offset", type=float, metavar="X", help="Physical value of a stored zero, instead of what files say.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="1: the posterior mean (best PSNR). 2 or more: a posterior sample. Default: the model's.",
)
@click.option("--samples", type=click.IntRange(min=1), default=1, metavar="K", help="Samples behind the uncertainty.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the samples.")
@click.option("--uncertainty", type=click.Path(path_type=Path), metavar="PATH", help="Write the samples' spread here.")
@click.option("--tile", type=click.IntRange(min=1), metavar="N", help="Side of a tile; changes memory, not the result.")
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Tiles at once on a GPU."
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes on this machine.")
@click.option("--shard", metavar="I/N", help="Compute one of N parts, then `assemble`. In Slurm: by task number.")
@click.option("--dask", metavar="ADDRESS", help="A Dask scheduler, `local` or `slurm`.")
@click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    metavar="N",
    help="Refuse to make more pixels than this. Default: 100 billion.",
)
@instrument_option
@device_option
@creation_options
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@json_option
@verbosity_options
@click.pass_context
def predict(
    ctx: click.Context,
    model: str,
    source: str,
    output: Path,
    inputs: dict[str, list[str]],
    extras: dict[str, list[str]],
    axes: str | None,
    scale: float | None,
    offset: float | None,
    steps: int | None,
    samples: int,
    seed: int,
    uncertainty: Path | None,
    tile: int | None,
    batch: int,
    workers: int | None,
    shard: str | None,
    dask: str | None,
    max_pixels: int | None,
    instrument: dict[str, tuple[float, ...]],
    device: str,
    creation_options: dict[str, str],
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Restore a raster or a stack of any size.

    MODEL is a file or a shipped name (see `sciddiff models list`), INPUT the task's main image: a raster, a folder or
    pattern of single-band files, a NetCDF or a Zarr, a microscopy stack (TIFF, OME-TIFF, OME-Zarr). Tiles, batches,
    processes and machines change speed and memory, never the result. What a kill or a signal interrupts, the same
    command continues.
    """
    from sciddiff import inference, io
    from sciddiff.cli import command_line
    from sciddiff.model import load

    loaded = load(model, device=pick_device(device))
    if axes is not None and (scale is not None or offset is not None):
        raise click.UsageError("--axes is for stacks, whose numbers have neither --scale nor --offset")
    source = io.stated(io.with_axes(source, axes), scale=scale, offset=offset)
    masks = {spec.name for spec in loaded.task.inputs if spec.is_mask}
    inputs = {
        name: paths if name in masks else [io.stated(path, scale=scale, offset=offset) for path in paths]
        for name, paths in inputs.items()
    }
    asked: dict[str, Any] = {
        "steps": steps,
        "samples": samples,
        "seed": seed,
        "inputs": inputs,
        "extras": {name: Path(paths[-1]) for name, paths in extras.items()},
        "uncertainty": uncertainty,
        "tile": tile,
        "batch": batch,
        "instrument": instrument,
        "max_pixels": max_pixels,
    }
    if dry_run:
        show(inference.plan_file(loaded, source, output, **asked).summary(), as_json=as_json)
        return
    with Progress(ctx, "predict") as progress:
        result = inference.predict_file(
            loaded,
            source,
            output,
            **asked,
            workers=workers,
            shard=_shard(shard, alone=workers is None and dask is None),
            dask=dask,
            overwrite=overwrite,
            creation_options=creation_options,
            command=command_line(ctx),
            progress=progress,
        )
    show(result, as_json=as_json)


def _shard(text: str | None, *, alone: bool) -> tuple[int, int] | None:
    if text is None and not (alone and "SLURM_JOB_ID" in os.environ):
        return None
    from sciddiff import inference

    if text is not None:
        return inference.parse_shard(text)
    shard = inference.slurm_shard(os.environ)
    if shard is not None:
        click.echo(f"this task of Slurm takes shard {shard[0]}/{shard[1]}", err=True)
    return shard
