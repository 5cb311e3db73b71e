"""`sciddiff predict`: a raster of any size through a model."""

from pathlib import Path

import click

from sciddiff.cli.options import (
    creation_options,
    device_option,
    instrument_option,
    json_option,
    overwrite_option,
    pick_device,
    verbosity_options,
)
from sciddiff.cli.output import Progress, show


@click.command()
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The GeoTIFF to write.")
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
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Tiles at once.")
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
    steps: int | None,
    samples: int,
    seed: int,
    uncertainty: Path | None,
    tile: int | None,
    batch: int,
    instrument: dict[str, tuple[float, ...]],
    device: str,
    creation_options: dict[str, str],
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Restore a raster of any size.

    MODEL is a file or a shipped name (see `sciddiff models list`), INPUT a raster. Tiles, batches and devices change
    speed and memory, never the result.
    """
    from sciddiff import inference
    from sciddiff.cli import command_line
    from sciddiff.model import load

    loaded = load(model, device=pick_device(device))
    if dry_run:
        plan = inference.plan_file(
            loaded, source, steps=steps, samples=samples, seed=seed, tile=tile, batch=batch, instrument=instrument
        )
        show(plan.to_dict(), as_json=as_json)
        return
    with Progress(ctx, "predict") as progress:
        result = inference.predict_file(
            loaded,
            source,
            output,
            steps=steps,
            samples=samples,
            seed=seed,
            uncertainty=uncertainty,
            tile=tile,
            batch=batch,
            instrument=instrument,
            overwrite=overwrite,
            creation_options=creation_options,
            command=command_line(ctx),
            progress=progress,
        )
    show(result, as_json=as_json)
