"""The plan: pure and deterministic; what will be computed, how it is cut, what it needs."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from sciddiff import __version__, io
from sciddiff.errors import InputError, OptionError, OutputError
from sciddiff.inference.outputs import refuse_outputs
from sciddiff.io.metadata import file_bands
from sciddiff.io.profile import RasterProfile, class_profile, plain_profile
from sciddiff.io.scene import files_of, rasters
from sciddiff.io.stack import warn_saturated
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.target import fitting
from sciddiff.model import Model
from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted, Stored, fit_all, result_profile
from sciddiff.model.layout import TOLERANCE, Layout, lay_out
from sciddiff.model.request import Guidance, Request, surveyed, weaker_of
from sciddiff.model.sections import AT_ONCE
from sciddiff.recipe import to_yaml
from sciddiff.tasks import Task

MAX_PIXELS = 10**11
"""Of an output, unless asked for more: a small sparse file can declare terabytes."""
FLOAT_BYTES = 4 * 1.6
"""Of a number in a feature map, allocator's overhead included."""
LIBRARIES = 400e6
"""Bytes that the libraries take before the first pixel."""
Inputs = Mapping[str, Sequence[str]]
"""Paths of the inputs beside the main one, by name."""
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
    others = {name: tuple(_absolute(path) for path in paths) for name, paths in (inputs or {}).items()}
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
    try:
        layout = lay_out(model, fitted, tile=tile, tolerance=tolerance)
        wanted, request = request, surveyed(model, fitted, request)
    except InputError as error:
        raise error if source in str(error) else InputError(f"{source}: {error}") from error
    plan = Plan(
        source=_absolute(source),
        inputs=others,
        key=_key(asked(model, source, others, request=wanted, outputs=named), request, layout, products),
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


def _absolute(source: str) -> str:
    return os.path.abspath(source) if os.path.exists(source) else source


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


def outputs_of(
    model: Model, output: Path, uncertainty: Path | None, extras: Mapping[str, Path], *, request: Request
) -> list[tuple[str, Path, tuple[str, ...]]]:
    """Name, path and results of all outputs.

    Raises
    ------
    OptionError
        They contradict each other or the request.
    """
    named = _outputs(output, uncertainty, request=request)
    return named + _extra_outputs(model, extras, taken=[output, uncertainty])


def _extra_outputs(
    model: Model, extras: Mapping[str, Path], *, taken: Sequence[Path | None]
) -> list[tuple[str, Path, tuple[str, ...]]]:
    unknown = [name for name in extras if name not in model.task.extras]
    if unknown:
        gives = ", ".join(model.task.extras) or "nothing else"
        raise OptionError(f"{model.recipe.name} gives no {', '.join(unknown)}; beside its image it gives {gives}")
    paths = [path.absolute() for path in [*taken, *extras.values()] if path is not None]
    if len(set(paths)) < len(paths):
        raise OptionError(f"two outputs have one path: {', '.join(str(path) for path in paths)}")
    return [(name, path.absolute(), (name,)) for name, path in extras.items()]


def _outputs(output: Path, uncertainty: Path | None, *, request: Request) -> list[tuple[str, Path, tuple[str, ...]]]:
    named: list[tuple[str, Path, tuple[str, ...]]] = [("output", output.absolute(), (request.product,))]
    if uncertainty is not None:
        if request.samples < 2:
            raise OptionError("--uncertainty needs the spread of samples: add --samples 8 --steps 3, say")
        if uncertainty.absolute() == output.absolute():
            raise OptionError(f"--uncertainty and --output are both {output}")
        named.append(("uncertainty", uncertainty.absolute(), ("std", "lower", "upper")))
    return named


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
    widths = model.recipe.network.widths
    finest = 6 * max(width / (model.recipe.network.stem * 2**level) ** 2 for level, width in enumerate(widths))
    engine = pixels * FLOAT_BYTES * (10 * len(model.task.bands) + finest)
    row = max(item.channels * np.dtype(item.profile.dtype).itemsize for item in products)
    join = layout.shape[1] * max(layout.tile, 512) * row
    on_gpu = model.device.type != "cpu"
    return {"ram": int(LIBRARIES + max(0 if on_gpu else engine, join)), "vram": int(engine) if on_gpu else 0}


def model_hash(model: Restorer) -> str:
    """SHA-256 over the recipe, the weights and what was measured of them that changes a pixel."""
    digest = hashlib.sha256(to_yaml(model.recipe).encode())
    digest.update(repr(model.record.get("calibration", 1.0)).encode())
    state = {**model.network.state_dict(), "residual_root": model.residual_root}
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def weaker_hash(model: Restorer, guidance: Guidance) -> dict[str, str]:
    """`weaker`: the hash of what lies at the path of the weaker model now; nothing where guidance has none."""
    path = guidance.weaker
    return {} if path is None else {"weaker": model_hash(weaker_of(model, path, anew=True))}


def fingerprint(source: str) -> list[list[Any]]:
    """Name, size and time of change of the files behind an input; before them, of what is no plain path, its address.

    `vrt://a.tif?bands=1,2`, `a.zarr#red` and `/vsizip/a.zip/one.tif` each say which pixels of their files are meant.
    """
    stats = [(path, path.stat()) for path in files_of(source)]
    plain = stats and (os.path.exists(source) or rasters(source) is not None)
    files = [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return files if plain else [[source, None, None], *files]


def asked(
    model: Model, source: str, inputs: Inputs, *, request: Request, outputs: Sequence[tuple[str, Path, tuple[str, ...]]]
) -> dict[str, Any]:
    """What of a run's key is known without opening its inputs: model, request, files by the names they go under."""
    others = {name: [_absolute(path) for path in given] for name, given in inputs.items()}
    paths = {model.task.inputs[0].name: [source], **others}
    return _plain(
        {
            "version": __version__,
            "model": model_hash(model),
            **weaker_hash(model, request.guidance),
            "input": {name: [fingerprint(path) for path in given] for name, given in paths.items()},
            **asdict(request),
            "outputs": [[name, path.name, list(results)] for name, path, results in outputs],
        }
    )


def _key(known: Mapping[str, Any], request: Request, layout: Layout, products: Sequence[Product]) -> dict[str, Any]:
    """What was asked, and what of it was found in the inputs: the latter is not known before they are opened."""
    cut = {name: value for name, value in asdict(layout).items() if name != "halo_from"}
    found = {"surveyed": request.instrument, "dtypes": [item.profile.dtype for item in products]}
    return {**known, **_plain({**cut, **found})}


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def provenance(
    model: Model, source: str, inputs: Inputs, layout: Layout, request: Request, command: str
) -> dict[str, str]:
    """What a result says of its origin."""
    return {
        "VERSION": __version__,
        **({"COMMAND": command} if command else {}),
        "MODEL": model.recipe.name,
        "MODEL_SHA256": model_hash(model),
        "RECIPE_SHA256": hashlib.sha256(to_yaml(model.recipe).encode()).hexdigest(),
        "INPUT": Path(source).name,
        **{f"INPUT_{name.upper()}": ", ".join(Path(path).name for path in paths) for name, paths in inputs.items()},
        "PRODUCT": request.product,
        "STEPS": str(request.steps),
        "SAMPLES": str(request.samples),
        "SEED": str(request.seed),
        "INSTRUMENT": json.dumps({name: list(numbers) for name, numbers in request.instrument.items()}),
        **{f"{name.upper()}_SHA256": digest for name, digest in weaker_hash(model, request.guidance).items()},
        **_led(request),
        "HALO": str(layout.halo),
        "DEVICE": str(model.device),
        "TIME": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _led(request: Request) -> dict[str, str]:
    """Guidance and strength, where they are not those of a model by itself."""
    led = {} if request.strength == 1 else {"STRENGTH": f"{request.strength:g}"}
    if request.guidance == Guidance():
        return led
    guidance = asdict(request.guidance)
    guidance["interval"] = [sigma if math.isfinite(sigma) else None for sigma in request.guidance.interval]
    return {**led, "GUIDANCE": json.dumps(guidance)}
