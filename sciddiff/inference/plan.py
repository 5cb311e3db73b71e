"""The plan: pure and deterministic; what will be computed, how it is cut, what it needs."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, OutputError, about
from sciddiff.inference.key import Inputs, absolute, asked, full_key, provenance
from sciddiff.inference.outputs import outputs_of, refuse_outputs
from sciddiff.io.metadata import file_bands
from sciddiff.io.profile import RasterProfile, class_profile, plain_profile
from sciddiff.io.stack import warn_saturated
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.target import fitting
from sciddiff.model import Model
from sciddiff.model.fit import Fitted, fit_all
from sciddiff.model.layout import TOLERANCE, Layout, lay_out
from sciddiff.model.request import Request, surveyed
from sciddiff.model.result import Stored, result_profile
from sciddiff.model.sections import AT_ONCE
from sciddiff.tasks import Task
from sciddiff.tasks.base import planes_beside

MAX_PIXELS = 10**11
"""Of an output, unless asked for more: a small sparse file can declare terabytes."""
FLOAT_BYTES = 4 * 1.6
"""Of a number in a feature map, allocator's overhead included."""
LIBRARIES = 400e6
"""Bytes that the libraries take before the first pixel."""
OVERVIEWS = 4 / 3
"""Pixels of an output with its overviews, over its own."""


@dataclass(frozen=True)
class Product:
    """One output: which results become its bands, and how its file says them."""

    name: str
    path: Path
    results: tuple[str, ...]
    profile: RasterProfile | StackProfile

    @property
    def is_stack(self) -> bool:
        """Whether it has times and planes, were it only one of each, and the metadata of microscopy."""
        return isinstance(self.profile, StackProfile)

    @property
    def channels(self) -> int:
        """Bands of its file, alpha included."""
        profile = self.profile
        return len(profile.channels) if isinstance(profile, StackProfile) else len(file_bands(profile))

    @property
    def kind(self) -> str:
        """`ome.tif`, `tif`, `ome.zarr` or `zarr`."""
        return io.kind_of(self.path)

    @property
    def variable(self) -> str:
        """Name of its array."""
        return self.results[0] if len(self.results) == 1 else self.name


@dataclass(frozen=True)
class Plan:
    """All that decides the pixels of a prediction, and what it will take.

    Attributes
    ----------
    source
        The main image.
    inputs
        The others by name.
    key
        What decides the pixels, field by field: a run continues only under an equal one.
    layout
        How the target grid is cut.
    request
        Steps, samples, seed, sampler.
    grid
        The target grid.
    products
        What is written.
    creation_options
        Of the output's driver.
    provenance
        What the outputs say of their origin.
    needs
        Bytes: `ram`, `vram`, `scratch`, `output`.
    left_over
        See `Task.left_over`.
    """

    source: str
    inputs: Mapping[str, tuple[str, ...]]
    key: Mapping[str, Any]
    layout: Layout
    request: Request
    grid: GeoBox
    products: tuple[Product, ...]
    creation_options: Mapping[str, str]
    provenance: Mapping[str, str]
    needs: Mapping[str, int]
    left_over: str

    @property
    def files(self) -> tuple[str, ...]:
        """All inputs, the main image first."""
        return self.source, *(path for paths in self.inputs.values() for path in paths)

    @property
    def folder(self) -> Path:
        """Where the run lives until its outputs are whole."""
        return run_folder(self.products[0].path)

    def summary(self) -> dict[str, Any]:
        """For people and for JSON."""
        layout, first = self.layout, self.products[0]
        return {
            "input": self.source,
            **{f"input_{name}": list(paths) for name, paths in self.inputs.items()},
            "output": str(first.path),
            "output_shape": [len(first.profile.names), *(layout.frames or ()), *layout.shape],
            "bands": list(first.profile.names),
            "dtype": first.profile.dtype,
            "nodata": None if isinstance(first.profile, StackProfile) else first.profile.nodata,
            "crs": None if (crs := self.grid.crs) is None else f"EPSG:{crs.epsg}" if crs.epsg else crs.to_wkt(),
            "transform": list(self.grid.affine)[:6],
            **{f"request_{name}": value for name, value in asdict(self.request).items()},
            "product": self.request.product,
            "tile": layout.tile,
            "halo": layout.halo,
            "halo_from": layout.halo_from,
            "windows": layout.count,
            "fill": {name: list(means) for name, means in layout.fallback.items()},
            "peak_ram_mb": round(self.needs["ram"] / 1e6),
            "peak_vram_mb": round(self.needs["vram"] / 1e6),
            "scratch_mb_at_most": round(self.needs["scratch"] / 1e6, 1),
            "output_mb_at_most": round(self.needs["output"] / 1e6, 1),
            "free_mb": round(shutil.disk_usage(first.path.absolute().parent).free / 1e6, 1),
        }


def run_folder(output: Path) -> Path:
    """Where the run of an output lives."""
    return output.absolute().with_name(f"{output.name}.run")


def make_plan(
    model: Model,
    source: str,
    output: Path,
    *,
    request: Request,
    inputs: Inputs | None = None,
    uncertainty: Path | None = None,
    extras: Mapping[str, Path] | None = None,
    tile: int | None = None,
    batch: int = 1,
    max_pixels: int | None = None,
    creation_options: Mapping[str, str] | None = None,
    command: str = "",
    stored: Stored | None = None,
    tolerance: float | None = TOLERANCE,
) -> tuple[Plan, Fitted]:
    """Open a raster and decide everything, without computing a pixel.

    Raises
    ------
    InputError
        Where the raster does not fit the model, has no valid pixel, or makes more than `max_pixels`.
    OutputError
        Where an output cannot be written where it is to go, or the disk has no room.
    OptionError
        Where the outputs contradict each other or the request, or a creation option is not known.
    """
    named = outputs_of(model, output, uncertainty, extras or {}, request=request)
    others = {name: tuple(absolute(path) for path in paths) for name, paths in (inputs or {}).items()}
    fitted = open_inputs(model, source, others)
    if "stack" in fitted.image.encoding:
        warn_saturated(fitted.image)
    _refuse_size(fitted, model.task, source=source, max_pixels=max_pixels or MAX_PIXELS)
    products = _products(named, fitted, model, stored)
    options = {name.upper(): str(value) for name, value in (creation_options or {}).items()}
    refuse_outputs([(item.path, item.profile) for item in products], options)
    pixels = pixels_of(fitted, model.task)
    needs = _disk(products, pixels)
    _refuse_disk(products[0].path, needs)
    with about(source):
        layout = lay_out(model, fitted, tile=tile, tolerance=tolerance)
        wanted, request = request, surveyed(model, fitted, request)
    plan = Plan(
        source=absolute(source),
        inputs=others,
        key=full_key(
            asked(model, source, others, request=wanted, outputs=named),
            request,
            layout,
            [item.profile.dtype for item in products],
        ),
        layout=layout,
        request=request,
        grid=fitted.grid,
        products=products,
        creation_options=options,
        provenance=provenance(model, source, others, layout, request, command),
        needs={**needs, **_memory(model, layout, products, batch=batch)},
        left_over=model.task.left_over,
    )
    return plan, fitted


def open_inputs(model: Model, source: str, inputs: Inputs) -> Fitted:
    """Open the main image and the others, and lay them out for a model; errors name the file.

    Raises
    ------
    InputError
        They do not fit.
    OptionError
        The model takes no such input.
    """
    image = io.open(source)
    others = {name: [io.open(path) for path in paths] for name, paths in inputs.items()}
    named = ", ".join([source, *(path for paths in inputs.values() for path in paths)])
    try:
        return fit_all(model.recipe, model.task, image, others)
    except InputError as error:
        raise error if source in str(error) else InputError(f"{named}: {error}") from error


def _products(
    named: Sequence[tuple[str, Path, tuple[str, ...]]], fitted: Fitted, model: Model, stored: Stored | None
) -> tuple[Product, ...]:
    bands = list(fitted.result_bands)
    kept = result_profile(fitted, model.task, stored)
    products = []
    for name, path, results in named:
        if len(results) > 1:
            names = [f"{band}_{result}" for result in results for band in bands]
        elif name in model.task.extras:
            names = list(model.task.extras[name])
        else:
            names = bands
        if isinstance(kept, StackProfile):
            own = name == "output"
            profile = kept if own else kept.select(names).with_dtype("float32")
            products.append(Product(name, path, results, profile))
        else:
            raster = kept if name == "output" and kept is not None else plain_profile(names)
            if name in model.task.classes:
                raster = class_profile(names, model.task.classes[name])
            products.append(Product(name, path, results, fitting(raster, fitted.grid)))
    return tuple(products)


def pixels_of(fitted: Fitted, task: Task) -> int:
    """Pixels of a band of the result, all planes and times together."""
    sizes = fitted.image.sizes
    return math.prod(fitted.grid.shape) * sizes.get("t", 1) * sizes.get("z", 1) * (task.depth_ratio or 1)


def _refuse_size(fitted: Fitted, task: Task, *, source: str, max_pixels: int) -> None:
    height, width = (fitted.image.sizes[axis] for axis in "yx")
    pixels = pixels_of(fitted, task)
    if pixels > max_pixels:
        raise InputError(
            f"{source}: {height} x {width} pixels make {pixels:.3g} pixels, more than --max-pixels {max_pixels:.3g}; "
            "raise it if the file is meant to be that large"
        )


def _disk(products: Sequence[Product], pixels: int) -> dict[str, int]:
    """Uncompressed sizes: what scratch and outputs take at most."""
    raw = sum(pixels * item.channels * np.dtype(item.profile.dtype).itemsize for item in products)
    return {"scratch": raw, "output": round(raw * OVERVIEWS)}


def _refuse_disk(output: Path, needs: Mapping[str, int]) -> None:
    free = shutil.disk_usage(output.parent).free
    if needs["output"] > free:
        raise OutputError(
            f"{output}: may need {needs['output'] / 1e9:.1f} GB; the disk has {free / 1e9:.1f} GB: "
            "choose another disk, or predict a part"
        )


def _memory(model: Model, layout: Layout, products: Sequence[Product], *, batch: int) -> dict[str, int]:
    """Peak of the engine on a batch, and of joining rows of cores; see `benchmarks/memory.py`."""
    side = layout.tile + 2 * layout.halo
    pixels = batch * side**2 if layout.deep is None else AT_ONCE * side * (layout.deep + 2 * layout.halo_deep)
    widths, stem = model.recipe.network.widths, model.recipe.network.stem
    finest = 6 * max(width / (stem * 2**level) ** 2 for level, width in enumerate(widths))
    beside = planes_beside(model.task.neighbours)
    if model.network.slab is not None:  # all planes at once
        finest = max(finest, 3 * (beside + 1) * widths[0] / stem**2)
    engine = pixels * FLOAT_BYTES * (10 * len(model.task.bands) + 9 * beside + finest)
    row = max(item.channels * np.dtype(item.profile.dtype).itemsize for item in products)
    join = layout.shape[1] * max(layout.tile, 512) * row
    on_gpu = model.device.type != "cpu"
    return {"ram": int(LIBRARIES + max(0 if on_gpu else engine, join)), "vram": int(engine) if on_gpu else 0}
