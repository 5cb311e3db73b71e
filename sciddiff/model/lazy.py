"""Prediction of a chunked image: a Dask graph with one task a core, equal to what is computed at once."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff.io.image import assemble
from sciddiff.io.pixels import lazy_layers
from sciddiff.io.stack_profile import UNKNOWN, StackProfile
from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout, global_mean, lay_out, looks, mean_of
from sciddiff.model.reading import corner, read_group
from sciddiff.model.request import Request, names
from sciddiff.model.result import result_profile
from sciddiff.model.tiles import compute_group
from sciddiff.model.windows import Reach, Window, reach, span

if TYPE_CHECKING:
    from dask.array import Array


@dataclass(frozen=True)
class _Core:
    """What a task is told of its core, beside the blocks of the image under it."""

    window: Window
    corner: tuple[int, int]
    layout: Layout
    request: Request


@dataclass(frozen=True)
class _Frame:
    """A fitted image without its pixels."""

    shape: tuple[int, int, int]
    positions: tuple[int, ...]
    grid: GeoBox
    offset: tuple[float, float]
    others: Mapping[str, tuple[Fitted | None, ...]]
    own_bands: tuple[str, ...]
    own_positions: tuple[int, ...]


def predict_lazily(
    model: Restorer, fitted: Fitted, request: Request, *, tile: int | None, tolerance: float | None
) -> xr.Dataset:
    """Plan a prediction as Dask arrays; nothing of the image is read.

    Parameters
    ----------
    model
        Stands in the graph once, so that each process of a cluster gets it once.
    fitted
        Its image holds Dask arrays, of any chunks.
    request
        What is asked of the engine.
    tile, tolerance
        See `layout.lay_out`.

    Returns
    -------
    xarray.Dataset
        As `Model.predict` gives, a chunk for each core. Where all pixels are invalid, so is the result.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    values, valid = _sources(fitted.image)
    means = {
        name: global_mean(next(each.image for each in given if each is not None))
        for name, given in fitted.others.items()
    }
    layout = lay_out(model, fitted, tile=tile, tolerance=tolerance, fallback=means)
    mean = _global_mean(values, valid)
    token = uuid.uuid4().hex
    shared, told_once, cores = (f"sciddiff-{name}-{token}" for name in ("model", "frame", "cores"))
    across = -(-layout.shape[1] // layout.tile)
    places = [divmod(number, across) for number in range(layout.count)]
    bands, height, width = fitted.image.shape
    own = fitted.own_bands, fitted.own_positions
    frame = _Frame((bands, height, width), fitted.positions, fitted.grid, fitted.offset, fitted.others, *own)
    layer: dict[Any, Any] = {shared: model, told_once: frame}
    for number, place in enumerate(places):
        window = layout.window(number)
        reached = _reach(layout, window, (height, width))
        rows, cols = (_blocks(cuts, part) for cuts, part in zip(values.chunks[1:], (reached.rows, reached.cols)))
        told = _Core(window, (rows[1], cols[1]), layout, request)
        blocks = [[[(array.name, 0, i, j) for j in cols[0]] for i in rows[0]] for array in (values, valid)]
        layer[cores, *place] = (_compute, shared, told_once, mean.key, *blocks, told)
    sources: Any = [values, valid, mean]
    base = HighLevelGraph.from_collections(cores, layer, dependencies=sources)
    cuts = tuple(_cuts(side, layout.tile) for side in layout.shape)

    def array(name: str, dtype: Any, bands: int) -> "Array":
        key = f"sciddiff-{name}-{token}"
        parts: dict[Any, Any] = {(key, 0, *place): (_take, (cores, *place), name) for place in places}
        graph = HighLevelGraph({**base.layers, key: parts}, {**base.dependencies, key: {cores}})
        return da.Array(graph, key, ((bands,), *cuts), dtype=dtype)

    extras = {name: len(bands) for name, bands in model.task.extras.items()}
    sizes = {name: len(fitted.results) for name in names(request)} | extras
    results = {name: array(name, fitted.dtype, size) for name, size in sizes.items()}
    return as_dataset(model, results, array("valid", bool, len(fitted.results)), fitted)


def _sources(image: xr.DataArray) -> tuple["Array", "Array"]:
    """Values and validity with equal chunks, all bands in each."""
    import dask.array as da

    values = image.data.rechunk({0: -1})
    valid = da.isfinite(values)
    if "valid" in image.coords:
        valid &= da.asarray(image.coords["valid"].data).rechunk(values.chunks)
    return values, valid


def _global_mean(values: "Array", valid: "Array") -> Any:
    from dask.delayed import delayed

    parts = [(values[:, *span(window)], valid[:, *span(window)]) for window in looks(values.shape[1:])]
    return delayed(_mean, pure=False)(parts)


def _mean(parts: Sequence[tuple[NDArray[np.floating], NDArray[np.bool_]]]) -> tuple[float, ...] | None:
    return mean_of(parts)


def _reach(layout: Layout, window: Window, shape: tuple[int, int]) -> Reach:
    side = (layout.tile + 2 * layout.halo) // layout.ratio
    row, col = corner(layout, window, ratio=layout.ratio)
    return reach(shape, row=row, col=col, height=side, width=side)


def _blocks(cuts: Sequence[int], part: slice) -> tuple[list[int], int]:
    """Numbers of the chunks that hold a part of an axis, and where the first of them starts."""
    ends = np.cumsum(cuts)
    first, last = (int(np.searchsorted(ends, place, side="right")) for place in (part.start, part.stop - 1))
    return list(range(first, last + 1)), int(ends[first] - cuts[first])


def _cuts(side: int, tile: int) -> tuple[int, ...]:
    return tuple(min(tile, side - start) for start in range(0, side, tile))


class _Block:
    """The part of an image that a task was given, for those who read windows of the whole."""

    def __init__(
        self,
        values: NDArray[np.floating],
        valid: NDArray[np.bool_],
        corner: tuple[int, int],
        shape: tuple[int, int, int],
    ) -> None:
        self.layers, self.corner, self.shape, self.dtype = (values, valid), corner, shape, values.dtype

    def take(self, key: tuple[slice, ...], layer: int) -> NDArray[Any]:
        """Layer 0 or 1, values or validity, of a window."""
        rows, cols = (slice(part.start - at, part.stop - at) for part, at in zip(key[1:], self.corner, strict=True))
        return self.layers[layer][key[0], rows, cols]


def _compute(
    model: Restorer,
    frame: _Frame,
    fallback: tuple[float, ...] | None,
    values: Sequence[Sequence[NDArray[np.floating]]],
    valid: Sequence[Sequence[NDArray[np.bool_]]],
    told: _Core,
) -> dict[str, NDArray[Any]]:
    """One core from the blocks of the image under it."""
    known = np.block([list(row) for row in valid])
    seen = np.where(known, np.block([list(row) for row in values]), np.nan)
    block = _Block(seen, known, told.corner, frame.shape)
    grid = GeoBox(frame.shape[1:], Affine.identity(), None)
    names = [str(number) for number in range(frame.shape[0])]
    image = assemble(*lazy_layers(block, block.dtype), grid=grid, bands=names)
    own = frame.own_bands, frame.own_positions
    fitted = Fitted(image, frame.positions, frame.grid, frame.offset, frame.others, *own)
    main = {model.task.inputs[0].name: fallback or (0.0,) * frame.shape[0]}
    layout = replace(told.layout, fallback={**told.layout.fallback, **main})
    group = read_group(model, fitted, layout, [told.window])
    (tile,) = compute_group(model, group, layout, told.request, positions=fitted.results, batch=1)
    return {**tile.results, "valid": tile.valid}


def _take(results: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return results[name]


def as_dataset(model: Restorer, results: Mapping[str, Any], valid: Any, fitted: Fitted) -> xr.Dataset:
    """Join results, (c, [t, z,] h, w) arrays or lazy ones, into images on the target grid."""
    bands, dims = list(fitted.result_bands), [str(dim) for dim in fitted.image.dims]
    kept = result_profile(fitted, model.task)
    raster = None if isinstance(kept, StackProfile) else kept
    images = {}
    for name, value in results.items():
        if name in model.task.extras:
            seen = valid.any(0, keepdims=True) & np.ones((len(value), *[1] * (len(dims) - 1)), bool)
            # its validity is another than that of bands with holes of their own
            image = assemble(value, seen, grid=fitted.grid, bands=model.task.extras[name], dims=dims)
            images[name] = image.rename(band=f"band_{name}", valid=f"valid_{name}")
        else:
            images[name] = assemble(value, valid, grid=fitted.grid, bands=bands, profile=raster, dims=dims)
            if isinstance(kept, StackProfile):
                images[name].encoding["stack"] = kept
    return xr.Dataset(images, coords=_depth_and_time(fitted.image, model.task.depth_ratio or 1))


def _depth_and_time(image: xr.DataArray, ratio: int) -> dict[str, xr.Variable]:
    """Coordinates of the planes of a result, `ratio` for each measured one, and of its frames; from the first on."""
    names = [str(dim) for dim in image.dims if dim in ("t", "z") and dim in image.coords]
    known: dict[str, xr.Variable] = {name: image.coords[name].variable for name in names}
    if ratio == 1 or "z" not in known:
        return known
    levels, stack = known["z"].values, image.encoding.get("stack")
    step = levels[1] - levels[0] if len(levels) > 1 else getattr(stack, "pixel_size", UNKNOWN).z
    finer = levels[0] + np.arange(len(levels) * ratio) * (step or 1.0) / ratio
    return {**known, "z": xr.Variable("z", finer, known["z"].attrs)}
