"""`sciddiff benchmark`: a model against what one would do without it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from sciddiff.model import Model


def _shares(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(text) / 100 for text in value.split(","))
    except ValueError:
        raise click.BadParameter(f"got {value!r}, expected percentages such as 5,10,25", ctx, param) from None
    if not all(0 < share <= 1 for share in shares):
        raise click.BadParameter(f"got {value!r}, expected percentages above 0, and 100 at most", ctx, param)
    return shares


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="PATH", help="Write a page here (.html).")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Of a sample, or of a synthetic image.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S", help="Of the samples.")
@click.option("--augmentation", is_flag=True, help="Whether synthetic images help a small segmenter with few labels.")
@click.option("--test", metavar="DIR", help="Labelled images to test on, with --augmentation.")
@click.option(
    "--shares", default="5,10,25", show_default=True, callback=_shares, metavar="P,...", help="Percent of the labels."
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Repetitions.")
@click.option(
    "--training-steps", type=click.IntRange(min=1), default=350, show_default=True, metavar="N", help="Of a segmenter."
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Synthetic, for each share.",
)
@click.option("--class", "image_class", metavar="C", help="Of the synthetic images. Default: the style of DATA.")
@click.option("--guidance", type=click.FloatRange(0), default=1.0, show_default=True, metavar="W", help="Likewise.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Processes.")
@instrument_option
@device_option
@overwrite_option
@json_option
@verbosity_options
@click.pass_context
def benchmark(
    ctx: click.Context,
    model: str,
    data: tuple[str, ...],
    output: Path | None,
    steps: int | None,
    seed: int,
    augmentation: bool,
    test: str | None,
    shares: tuple[float, ...],
    seeds: int,
    training_steps: int,
    images: int,
    image_class: str | None,
    guidance: float,
    workers: int,
    instrument: dict[str, tuple[float, ...]],
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compare a model with what one would do without it.

    DATA are clean scenes: each is degraded by the model's own instrument, restored by the model and by the classical
    methods, and scored; intervals are over scenes. Or they are folders with `target` and the task's inputs by name
    (image.tif, pan.tif, date_1.tif, ...), as `sciddiff simulate` writes them, or of real pairs.

    With --augmentation DATA are folders of labelled images (images/, labels/): a small segmenter is trained on part of
    the labels, with and without the usual variations, with and without images that MODEL makes of new masks, and scored
    on --test. The same command continues what was stopped.
    """
    from sciddiff.errors import OutputExistsError
    from sciddiff.model import load

    if output is not None and output.exists() and not overwrite:
        raise OutputExistsError(f"{output} is there already; pass --overwrite to replace it")
    if augmentation and test is None:
        raise click.UsageError("--augmentation needs --test DIR: labelled images that are never trained on")
    if augmentation and instrument:
        raise click.UsageError("--instrument tells of what measured DATA; with --augmentation it has no meaning")
    loaded = load(model, device=pick_device(device))
    if not augmentation:
        show(_scenes(ctx, loaded, data, output, steps=steps, seed=seed, instrument=instrument), as_json=as_json)
        return

    from sciddiff.evaluation.augmentation import Design
    from sciddiff.inference import Wish
    from sciddiff.model.request import Guidance

    wish = Wish(image_class=image_class, steps=steps, guidance=Guidance(guidance))
    design = Design(shares=shares, seeds=seeds, steps=training_steps, images=images)
    found = _augmentation(ctx, loaded, data, str(test), output, wish=wish, design=design, workers=workers)
    show(found, as_json=as_json)


def _scenes(
    ctx: click.Context,
    model: "Model",
    data: tuple[str, ...],
    output: Path | None,
    *,
    steps: int | None,
    seed: int,
    instrument: dict[str, tuple[float, ...]],
) -> dict[str, Any]:
    from dataclasses import asdict
    from tempfile import TemporaryDirectory

    from sciddiff.errors import about
    from sciddiff.evaluation import compare_known, known_scene
    from sciddiff.evaluation.benchmark import best_classical, over_scenes
    from sciddiff.evaluation.benchmark_report import write_benchmark

    comparisons = {}
    with Progress(ctx, "benchmark") as progress, TemporaryDirectory(prefix="sciddiff-") as scratch:
        for done, path in enumerate(data, start=1):
            with about(path):
                known = known_scene(model, path, Path(scratch, str(done)))
                comparisons[path] = compare_known(model, known, steps=steps or 3, seed=seed, instrument=instrument)
            progress(done, len(data))
    lines = over_scenes(list(comparisons.values()))
    best = best_classical(lines)
    if output is not None:
        write_benchmark(lines, comparisons, output, title=f"{model.recipe.name} on {len(data)} scenes")
    return {
        "model": model.recipe.name,
        "scenes": len(data),
        "methods": [asdict(line) for line in lines],
        "best_classical": None if best is None else best.method,
        "gain_over_it": None if best is None else [best.gain, *best.gain_interval],
        **({} if output is None else {"report": str(output)}),
    }


def _augmentation(
    ctx: click.Context,
    model: "Model",
    data: tuple[str, ...],
    test: str,
    output: Path | None,
    *,
    wish: Any,
    design: Any,
    workers: int,
) -> dict[str, Any]:
    from dataclasses import asdict, replace

    from sciddiff.evaluation.augmentation import run, summary
    from sciddiff.evaluation.augmentation_report import told, write_augmentation
    from sciddiff.evaluation.labelled_folder import pairs_of
    from sciddiff.evaluation.synthetic import Made, new_masks
    from sciddiff.inference.wish import task_of

    kind = task_of(model).settings.labels
    design = replace(design, kind=kind)
    train = {f"{folder}/{name}": pair for folder in data for name, pair in pairs_of(Path(folder)).items()}
    held = pairs_of(Path(test))
    generate = Made(model, wish, tuple(pair[0] for pair in train.values()))
    record = None if output is None else output.with_suffix(".jsonl")
    with Progress(ctx, "benchmark") as progress:
        results = run(
            list(train.values()),
            list(held.values()),
            design,
            generate=generate,
            new_masks=new_masks(kind),
            record=record,
            workers=workers,
            progress=progress,
        )
    score = "object_iou" if kind == "instances" else "mean_iou"
    rows = summary(results, score=score)
    if output is not None:
        first = next(iter(train.values()))
        examples = [(generate(first[1], number), first[1]) for number in range(2)]
        write_augmentation(
            rows, output, title=f"What {model.recipe.name} adds", score=score, design=design, examples=examples
        )
    return {
        "model": model.recipe.name,
        "score": score,
        "verdict": told(rows, score=score),
        "table": [{**asdict(row), "pays": row.pays} for row in rows],
        **({} if output is None else {"report": str(output), "record": str(record)}),
    }
