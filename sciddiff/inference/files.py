"""Predict a raster: plan, predict and assemble in one process."""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sciddiff import __version__
from sciddiff.errors import InterruptedRun, OptionError, OutputExistsError
from sciddiff.inference.assemble import UNCERTAINTY, Product, assemble
from sciddiff.inference.plan import Plan, plan_image
from sciddiff.model import Model
from sciddiff.model.tiles import Request, predict_tiles
from sciddiff.recipe import to_yaml
from sciddiff.tasks import Instrument


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 raise, so that temporary files go on the way out; only the main thread can."""
    names = (signal.SIGTERM, signal.SIGUSR1)

    def stop(number: int, _frame: object) -> None:
        raise InterruptedRun(f"stopped by {signal.Signals(number).name}; nothing was written: give the command again")

    in_main = threading.current_thread() is threading.main_thread()
    former = {name: signal.signal(name, stop) for name in names if in_main}
    try:
        yield
    finally:
        for name, handler in former.items():
            signal.signal(name, handler)


def plan_file(
    model: Model,
    source: str,
    *,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    batch: int = 1,
    instrument: Instrument | None = None,
) -> Plan:
    """What `predict_file` would do.

    Raises
    ------
    InputError
        Where the raster does not fit the model.
    OptionError
        Where the options contradict each other.
    """
    request = model.request(steps=steps, samples=samples, seed=seed, instrument=instrument)
    return plan_image(model, source, request=request, tile=tile, batch=batch)


def predict_file(
    model: Model,
    source: str,
    output: Path,
    *,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    uncertainty: Path | None = None,
    tile: int | None = None,
    batch: int = 1,
    instrument: Instrument | None = None,
    overwrite: bool = False,
    creation_options: Mapping[str, str] | None = None,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Restore a raster of any size.

    Parameters
    ----------
    model
        The model.
    source
        Anything that GDAL opens as a raster.
    output
        The product: the posterior mean, or one sample where `steps` is 2 or more and `samples` 1.
    steps, samples, seed
        See `Model.predict`.
    uncertainty
        Spread and 90 % interval of each band; needs 2 samples or more.
    tile, batch
        Side of the cores in target pixels, windows at once.
    instrument
        See `Model.predict`.
    overwrite
        Whether files that are there may be replaced.
    creation_options
        For GDAL's driver.
    command
        For the provenance.
    progress
        Called with (tiles done, tiles) after each.

    Returns
    -------
    dict
        Paths of what was written, and the plan.

    Raises
    ------
    InputError
        Where the raster does not fit the model.
    OutputExistsError
        Where an output is there and `overwrite` is not set.
    InterruptedRun
        After SIGTERM or SIGUSR1; nothing is left behind.
    """
    request = model.request(steps=steps, samples=samples, seed=seed, instrument=instrument)
    products = _products(output, uncertainty, request=request)
    for product in products:
        if product.path.exists() and not overwrite:
            raise OutputExistsError(f"{product.path} exists; pass --overwrite to replace it")
        if product.path.exists() and product.path.samefile(source):
            raise OptionError(f"{product.path} is the input itself; choose another output")
    plan = plan_image(model, source, request=request, tile=tile, batch=batch)
    tiles = predict_tiles(model, plan.fitted, plan.layout, plan.request, windows=plan.layout.windows, batch=batch)
    with leaving_nothing():
        assemble(
            plan,
            tiles,
            products,
            overwrite=overwrite,
            creation_options=creation_options or {},
            provenance=provenance(model, plan, command),
            progress=progress,
        )
    written = {"output": str(output)} | ({"uncertainty": str(uncertainty)} if uncertainty else {})
    return written | {"plan": plan.to_dict()}


def _products(output: Path, uncertainty: Path | None, *, request: Request) -> list[Product]:
    products = [Product(output, (request.product,))]
    if uncertainty is not None:
        if request.samples < 2:
            raise OptionError("--uncertainty needs the spread of samples: add --samples 8 --steps 3, say")
        if uncertainty.absolute() == output.absolute():
            raise OptionError(f"--uncertainty and --output are both {output}")
        products.append(Product(uncertainty, UNCERTAINTY))
    return products


def model_hash(model: Model) -> str:
    """SHA-256 over the recipe and the weights."""
    digest = hashlib.sha256(to_yaml(model.recipe).encode())
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def provenance(model: Model, plan: Plan, command: str) -> dict[str, str]:
    """What a result says of its origin."""
    request = plan.request
    return {
        "VERSION": __version__,
        "COMMAND": command,
        "MODEL": model.recipe.name,
        "MODEL_SHA256": model_hash(model),
        "RECIPE_SHA256": hashlib.sha256(to_yaml(model.recipe).encode()).hexdigest(),
        "INPUT": Path(plan.source).name,
        "PRODUCT": request.product,
        "STEPS": str(request.steps),
        "SAMPLES": str(request.samples),
        "SEED": str(request.seed),
        "INSTRUMENT": json.dumps({name: list(numbers) for name, numbers in request.instrument.items()}),
        "HALO": str(plan.layout.halo),
        "DEVICE": str(model.device),
        "TIME": datetime.now(UTC).isoformat(timespec="seconds"),
    }
