"""Prediction of a chunked image: a Dask graph with one task a core, equal to what is computed at once."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.io.image import assemble
from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted
from sciddiff.model.tiles import (
    Group,
    Layout,
    Request,
    below,
    compute_group,
    core_validity,
    lay_out,
    looks,
    mean_of,
    names,
)
from sciddiff.model.windows import Reach, Window, fill_and_pad, reach, span

if TYPE_CHECKING:
    from dask.array import Array


@dataclass(frozen=True)
class _Core:
    """What a task is told of its core, beside the blocks of the image under it."""

    window: Window
    reached: Reach
    corner: tuple[int, int]
    layout: Layout
    request: Request
    positions: tuple[int, ...]


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
        See `tiles.lay_out`.

    Returns
    -------
    xarray.Dataset
        As `Model.predict` gives, a chunk for each core. Where all pixels are invalid, so is the result.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    values, valid = _sources(fitted.image)
    layout = lay_out(model, fitted, tile=tile, tolerance=tolerance, fallback=(0.0,) * len(fitted.image))
    mean = _global_mean(values, valid)
    token = uuid.uuid4().hex
    shared, cores = f"sciddiff-model-{token}", f"sciddiff-cores-{token}"
    across = -(-layout.shape[1] // layout.tile)
    places = [divmod(number, across) for number in range(layout.count)]
    layer: dict[Any, Any] = {shared: model}
    for number, place in enumerate(places):
        window = layout.window(number)
        reached = _reach(layout, window)
        rows, cols = (_blocks(cuts, part) for cuts, part in zip(values.chunks[1:], (reached.rows, reached.cols)))
        told = _Core(window, reached, (rows[1], cols[1]), layout, request, fitted.positions)
        blocks = [[[(array.name, 0, i, j) for j in cols[0]] for i in rows[0]] for array in (values, valid)]
        layer[cores, *place] = (_compute, shared, mean.key, *blocks, told)
    sources: Any = [values, valid, mean]
    base = HighLevelGraph.from_collections(cores, layer, dependencies=sources)
    chunks = ((len(fitted.positions),), *(_cuts(side, layout.tile) for side in layout.shape))

    def array(name: str, dtype: Any) -> "Array":
        key = f"sciddiff-{name}-{token}"
        parts: dict[Any, Any] = {(key, 0, *place): (_take, (cores, *place), name) for place in places}
        graph = HighLevelGraph({**base.layers, key: parts}, {**base.dependencies, key: {cores}})
        return da.Array(graph, key, chunks, dtype=dtype)

    results = {name: array(name, fitted.image.dtype) for name in names(request)}
    return as_dataset(results, array("valid", bool), fitted, layout)


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


def _reach(layout: Layout, window: Window) -> Reach:
    r, side = layout.ratio, layout.tile + 2 * layout.halo
    shape = (layout.shape[0] // r, layout.shape[1] // r)
    row, col = (window.row - layout.halo) // r, (window.col - layout.halo) // r
    return reach(shape, row=row, col=col, height=side // r, width=side // r)


def _blocks(cuts: Sequence[int], part: slice) -> tuple[list[int], int]:
    """Numbers of the chunks that hold a part of an axis, and where the first of them starts."""
    ends = np.cumsum(cuts)
    first, last = (int(np.searchsorted(ends, place, side="right")) for place in (part.start, part.stop - 1))
    return list(range(first, last + 1)), int(ends[first] - cuts[first])


def _cuts(side: int, tile: int) -> tuple[int, ...]:
    return tuple(min(tile, side - start) for start in range(0, side, tile))


def _compute(
    model: Restorer,
    fallback: tuple[float, ...] | None,
    values: Sequence[Sequence[NDArray[np.floating]]],
    valid: Sequence[Sequence[NDArray[np.bool_]]],
    told: _Core,
) -> dict[str, NDArray[Any]]:
    """One core from the blocks of the image under it."""
    layout, window, reached = told.layout, told.window, told.reached
    top, left = told.corner
    rows, cols = (slice(part.start - at, part.stop - at) for part, at in ((reached.rows, top), (reached.cols, left)))
    known = np.block([list(row) for row in valid])[:, rows, cols]
    seen = np.array(np.block([list(row) for row in values])[:, rows, cols])
    seen[~known] = np.nan
    under = tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(below(layout, window), (reached.rows, reached.cols))
    )
    mask = core_validity(known[:, *under], layout, window)
    observed = np.zeros((int(mask.any()), len(model.task.bands), *_side(layout)), seen.dtype)
    if mask.any():
        far = fallback or (0.0,) * len(seen)
        observed[0, list(told.positions)] = fill_and_pad(seen, known, reached, fallback=far)
    group = Group((window,), (mask,), observed)
    (tile,) = compute_group(model, group, layout, told.request, positions=told.positions, batch=1)
    return {**tile.results, "valid": tile.valid}


def _side(layout: Layout) -> tuple[int, int]:
    side = (layout.tile + 2 * layout.halo) // layout.ratio
    return side, side


def _take(results: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return results[name]


def as_dataset(results: Mapping[str, Any], valid: Any, fitted: Fitted, layout: Layout) -> xr.Dataset:
    """Join results, (c, h, w) arrays or lazy ones, into images on the target grid."""
    grid = io.grid_of(fitted.image).zoom_to(layout.shape)
    profile = fitted.image.encoding.get("raster")
    bands = [str(name) for name in fitted.image.band.values]
    rescaled = None if profile is None else profile.select(bands).rescaled(layout.ratio)
    return xr.Dataset(
        {name: assemble(value, valid, grid=grid, bands=bands, profile=rescaled) for name, value in results.items()}
    )
