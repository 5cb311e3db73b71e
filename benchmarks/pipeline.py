"""Throughput of `sciddiff predict` against the bare engine and the bare network on the same windows, in one run.

    python benchmarks/pipeline.py [SIDE] [--model MODEL] [--rounds N] [--threads N]

The input has SIDE x SIDE pixels and all bands of the model. "network" is the encoder and the denoiser on tensors that
are ready; "engine" adds base, condition and projection; "cores" is the pipeline: reading, engine, encoding, store and
ledger; "run" adds planning, joining to a cloud-optimised GeoTIFF and reading it back. On a machine that others use
too, wall time says little: compare the processor time that each stage takes in all its threads, with --threads 1, for
threads of the network that wait for each other count as busy. The bar is 0.9 of the network for "cores".
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from sciddiff import load
from sciddiff.inference.compute import compute_cores
from sciddiff.inference.files import predict_file
from sciddiff.inference.plan import Plan, make_plan
from sciddiff.inference.runs import prepare, remove
from sciddiff.model import Model, restore
from sciddiff.model.fit import Fitted
from sciddiff.model.reading import Group, read_group


def write_raster(path: Path, side: int, bands: tuple[str, ...]) -> None:
    """Texture without a hole."""
    values = 2000 + 30 * np.random.default_rng(0).standard_normal((len(bands), side, side)).cumsum(1)
    shape = {"driver": "GTiff", "dtype": "uint16", "count": len(bands), "height": side, "width": side}
    with rasterio.open(path, "w", **shape, crs="EPSG:32631", transform=from_origin(5e5, 5e6, 10, 10)) as file:
        file.write(values.clip(1, 9999).astype("uint16"))
        file.descriptions = bands


def run_network(model: Model, group: Group, count: int) -> None:
    """Encoder and denoiser on every window."""
    task, main = model.task, model.task.inputs[0]
    side = group.observed[main.name].shape[-1] * main.ratio
    maps = torch.zeros(1, task.maps, side, side).contiguous(memory_format=torch.channels_last)
    state, angle = torch.zeros(1, len(task.bands), side, side), torch.full((1,), torch.pi / 2)
    with torch.inference_mode():
        for _ in range(count):
            model.network(state, angle, model.network.encode(maps, torch.zeros(1, task.numbers)))


def run_engine(model: Model, groups: list[Group]) -> None:
    """Base, condition, network and projection on every window."""
    for group in groups:
        obs = model.task.observe({name: torch.from_numpy(part) for name, part in group.observed.items()})
        next(restore(model, obs, origins=[(0, 0)]))


def run_cores(model: Model, fitted: Fitted, plan: Plan) -> None:
    """Reading, engine, encoding, store and ledger; the run is removed."""
    store = prepare(plan, overwrite=False)
    compute_cores(model, fitted, store, range(plan.layout.count), batch=1)
    store.close()
    remove(store.folder)


def seconds(stage: Callable[[], object]) -> tuple[float, float]:
    """Wall time of a stage, and processor time of all its threads."""
    begun = time.perf_counter(), time.process_time()
    stage()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("side", nargs="?", type=int, default=512)
    parser.add_argument("--model", default="sr-sentinel2-x4")
    parser.add_argument("--rounds", type=int, default=3, help="the best of them counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    model = load(given.model)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.tif"), Path(folder, "out.tif")
        write_raster(source, given.side, model.task.bands)
        plan, fitted = make_plan(model, str(source), output, request=model.request())
        groups = [read_group(model, fitted, plan.layout, [window]) for window in plan.layout.windows]
        count = len(groups)
        stages = {
            "network": lambda: run_network(model, groups[0], count),
            "engine": lambda: run_engine(model, groups),
            "cores": lambda: run_cores(model, fitted, plan),
            "run": lambda: predict_file(model, str(source), output, overwrite=True),
        }
        run_network(model, groups[0], 1)
        rounds = [{name: seconds(stage) for name, stage in stages.items()} for _ in range(given.rounds)]
        best = {name: [min(each[name][clock] for each in rounds) for clock in (0, 1)] for name in stages}
    print(
        f"{model.recipe.name}, {count} windows of {plan.layout.tile} + 2 x {plan.layout.halo}, {given.threads} threads"
    )
    columns = ("wall s", "windows/s", "of network", "of engine", "CPU s", "of network", "of engine")
    print(f"{'':>8}" + "".join(f"{column:>11}" for column in columns))
    for name, (wall, busy) in best.items():
        shares = [[best[other][clock] / best[name][clock] for other in ("network", "engine")] for clock in (0, 1)]
        numbers = (wall, count / wall, *shares[0], busy, *shares[1])
        print(f"{name:>8}" + "".join(f"{number:11.2f}" for number in numbers))


if __name__ == "__main__":
    main()
