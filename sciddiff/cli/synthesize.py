"""`sciddiff synthesize`: new labelled images for training sets."""

from pathlib import Path

import click

from sciddiff.cli.options import device_option, json_option, overwrite_option, pick_device, verbosity_options
from sciddiff.cli.output import Progress, show


def _named_numbers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    parsed = {}
    for value in values:
        name, _, text = value.partition("=")
        try:
            parsed[name] = float(text)
        except ValueError:
            raise click.BadParameter(f"got {value!r}, expected NAME=NUMBER such as gsd=10", ctx, param) from None
    return parsed


@click.command()
@click.argument("model")
@click.option("--masks", metavar="PATH", help="A mask, or a folder or pattern of masks: integers, 0 the background.")
@click.option(
    "--layout",
    metavar="HOW",
    help="given (masks as they are), rearranged (new masks of their objects), procedural (of none), none (nothing is "
    "asked of where things are), or a model of label structure. Default: given where there are masks, else none.",
)
@click.option("-n", "--number", "count", type=click.IntRange(min=1), metavar="N", help="Images. Default: one a mask.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where to write.")
@click.option("--size", type=(click.IntRange(min=8), click.IntRange(min=8)), metavar="H W", help="Of made masks.")
@click.option("--class", "image_class", metavar="C", help="Class of the images, one of the model's.")
@click.option(
    "--value",
    "numbers",
    multiple=True,
    metavar="NAME=X",
    callback=_named_numbers,
    help="A number of the images that the model knows, such as gsd=10. May be repeated.",
)
@click.option("--style", metavar="PATH", help="An image whose look, levels and type of pixels are taken.")
@click.option("--image", metavar="PATH", help="An image that is to be changed, of the mask's pixels.")
@click.option("--region", metavar="PATH", help="Where it is changed (not zero); the rest stays bit for bit.")
@click.option(
    "--strength",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    metavar="S",
    help="How far it may change: little keeps its structure.",
)
@click.option(
    "--guidance",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="W",
    help="1: the model itself; more: what is asked for counts more; 0: it does not count.",
)
@click.option(
    "--guidance-interval",
    type=(float, float),
    default=(0.0, float("inf")),
    metavar="LOW HIGH",
    help="Noise levels that are guided, such as 0.2 3. Default: all.",
)
@click.option("--not-class", metavar="C", help="Guide away from this class, rather than from nothing asked for.")
@click.option("--weaker", metavar="MODEL", help="Guide away from a weaker model (autoguidance).")
@click.option("--steps", type=click.IntRange(min=2), metavar="N", help="Network evaluations of an image.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the first.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes on this machine.")
@click.option("--tile", type=click.IntRange(min=1), metavar="N", help="Side of a tile; changes memory, not the result.")
@click.option(
    "--real",
    metavar="DIR",
    help="Real labelled images (images/, labels/): a segmenter trained on them scores each image, and the nearest of "
    "their patches is found.",
)
@click.option(
    "--keep-from",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.7,
    show_default=True,
    metavar="SHARE",
    help="Of the score on real images that an image must reach to be kept, with --real.",
)
@device_option
@overwrite_option
@json_option
@verbosity_options
@click.pass_context
def synthesize(
    ctx: click.Context,
    model: str,
    masks: str | None,
    layout: str | None,
    count: int | None,
    output: Path,
    size: tuple[int, int] | None,
    image_class: str | None,
    numbers: dict[str, float],
    style: str | None,
    image: str | None,
    region: str | None,
    strength: float,
    guidance: float,
    guidance_interval: tuple[float, float],
    not_class: str | None,
    weaker: str | None,
    steps: int | None,
    seed: int,
    workers: int | None,
    tile: int | None,
    real: str | None,
    keep_from: float,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make new images whose labels are known.

    MODEL is a file or a shipped name. DIR gets images/ and labels/ with equal names, and manifest.csv: what was asked
    of each, and with --real how good it is and what it is nearest to. Grid, reference system and pixel size are those
    of the mask. What a kill or a signal interrupts, the same command continues.
    """
    from sciddiff import inference
    from sciddiff.cli import command_line
    from sciddiff.inference.wish import number_of_class
    from sciddiff.model import load
    from sciddiff.model.request import Guidance

    if region is not None and image is None:
        raise click.UsageError("--region says where an image is changed: give it with --image")
    found = () if masks is None else inference.find_masks(masks)
    layout = layout or ("given" if found else "none")
    if real is not None and layout == "none":
        raise click.UsageError("--real judges images by their labels: give --masks, or a --layout other than none")
    loaded = load(model, device=pick_device(device))
    negative = {} if not_class is None else {"image_class": (number_of_class(loaded, not_class),)}
    wish = inference.Wish(
        masks=found,
        layout=layout,
        count=count,
        size=size,
        seed=seed,
        steps=steps,
        image_class=image_class,
        numbers=numbers,
        style=style,
        guidance=Guidance(guidance, guidance_interval, negative, weaker),
        strength=strength,
        image=image,
        region=region,
    )
    if real is not None:  # what is wrong with it is said before the work
        from sciddiff.evaluation.curate import check_real, curate

        check_real(Path(real), channels=len(loaded.recipe.bands))
    with Progress(ctx, "synthesize") as progress:
        result = inference.synthesize(
            loaded,
            output,
            wish,
            workers=workers,
            tile=tile,
            overwrite=overwrite,
            command=command_line(ctx),
            progress=progress,
        )
    if real is not None:
        from sciddiff.inference.wish import task_of

        kind = task_of(loaded).settings.labels
        result |= curate(output, Path(real), kind=kind, share=keep_from)
    show(result, as_json=as_json)
