"""`sciddiff calibrate`: a model whose stated uncertainty is that of scenes with a known truth."""

from pathlib import Path

import click

from sciddiff.cli.options import (
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
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="MODEL2",
    help="The model to write (.safetensors).",
)
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    metavar="P",
    help="How often the interval of this level is to hold the truth.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    default=16,
    show_default=True,
    metavar="K",
    help="Samples behind the uncertainty.",
)
@click.option("--steps", type=click.IntRange(min=2), default=3, show_default=True, metavar="N", help="Of a sample.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the samples.")
@instrument_option
@device_option
@overwrite_option
@json_option
@verbosity_options
@click.pass_context
def calibrate(
    ctx: click.Context,
    model: str,
    data: tuple[str, ...],
    output: Path,
    level: float,
    samples: int,
    steps: int,
    seed: int,
    instrument: dict[str, tuple[float, ...]],
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Scale a model's uncertainty by scenes of yours whose truth is known.

    DATA are clean scenes, each degraded by the model's own instrument; or folders with `target` and the task's inputs
    by name (image.tif, pan.tif, date_1.tif, ...), as `sciddiff simulate` writes them, or of real pairs. The spread of
    samples is multiplied by what makes its 90 % interval hold the truth in 90 % of the pixels, each scene counted
    alike; MODEL2 is MODEL with that scale. With several scenes each is also judged by the scale of the others.
    """
    from sciddiff.errors import OptionError, OutputError, OutputExistsError

    if output.suffix != ".safetensors":
        raise OptionError(f"-o {output}: a model file ends in .safetensors")
    if not output.parent.is_dir():
        raise OutputError(f"{output}: the folder {output.parent} does not exist")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists; pass --overwrite to replace it")

    from sciddiff.evaluation import calibrate as run
    from sciddiff.model import load, write

    loaded = load(model, device=pick_device(device))
    with Progress(ctx, "calibrate") as progress:
        scaled = run(
            loaded,
            data,
            level=level,
            samples=samples,
            steps=steps,
            seed=seed,
            instrument=instrument,
            progress=progress,
        )
    write(scaled, output)
    show({"model": output, **scaled.record["provenance"]["calibrated"]}, as_json=as_json)
