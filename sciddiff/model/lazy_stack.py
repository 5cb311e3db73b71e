"""Prediction of a chunked stack: a Dask task for each plane of the result, equal to what is computed at once."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout, global_mean, lay_out, looked_at, mean_of
from sciddiff.model.lazy import as_dataset
from sciddiff.model.request import Request, names
from sciddiff.model.tiles import predict_tiles
from sciddiff.model.windows import span


def predict_stack_lazily(
    model: Restorer, fitted: Fitted, request: Request, *, tile: int | None, tolerance: float | None
) -> xr.Dataset:
    """Plan the prediction of a stack as Dask arrays.

    Parameters
    ----------
    model
        Stands in the graph once.
    fitted
        Its image, (band, t, z, y, x), holds Dask arrays, of any chunks.
    request
        What is asked of the engine.
    tile, tolerance
        See `layout.lay_out`.

    Returns
    -------
    xarray.Dataset
        As `Model.predict` gives, a chunk for each plane. Where all pixels are invalid, so is the result.

    Raises
    ------
    InputError
        The model makes planes between those that were measured: each of them needs many.
    """
    from dask.delayed import delayed

    if model.task.depth_ratio is not None:
        raise InputError(
            "the stack is chunked, and the model sees it in sections through all planes: load it (image.load()), or "
            "predict its file, of any size"
        )
    means = {
        name: global_mean(next(each.image for each in given if each is not None))
        for name, given in fitted.others.items()
    }
    layout = lay_out(model, fitted, tile=tile, tolerance=tolerance, fallback=means)
    token = uuid.uuid4().hex
    shared = delayed(model, name=f"sciddiff-model-{token}", traverse=False)
    mean = delayed(_mean, pure=False)(list(looked_at(fitted.image)))
    times, planes = layout.frames or (1, 1)
    parts = [
        delayed(_plane, pure=False)(shared, fitted.frame(number), layout, request, mean, number)
        for number in range(times * planes)
    ]
    extras = {name: len(bands) for name, bands in model.task.extras.items()}
    sizes = {name: len(fitted.results) for name in names(request)} | extras
    results = {name: _stacked(parts, name, size, layout, fitted.dtype) for name, size in sizes.items()}
    return as_dataset(model, results, _stacked(parts, "valid", len(fitted.results), layout, np.dtype(bool)), fitted)


def _mean(parts: Sequence[xr.DataArray]) -> tuple[float, ...] | None:
    return mean_of(io.read_window(part, slice(None), slice(None)) for part in parts)


def _plane(
    model: Restorer, fitted: Fitted, layout: Layout, request: Request, mean: tuple[float, ...] | None, number: int
) -> dict[str, NDArray[Any]]:
    """All results of one plane, and `valid`; `fitted` is what `Fitted.frame` gives of it, in memory."""
    main = {model.task.inputs[0].name: mean or (0.0,) * len(fitted.image)}
    layout = replace(layout, fallback={**main, **layout.fallback})
    each = math.prod(layout.across)
    windows = [layout.window(at) for at in range(number * each, (number + 1) * each)]
    found: dict[str, NDArray[Any]] = {}
    for part in predict_tiles(model, fitted, layout, request, windows=windows):
        for name, value in {**part.results, "valid": part.valid}.items():
            whole = found.setdefault(name, np.empty((len(value), *layout.shape), value.dtype))
            whole[:, *span(part.window)] = value
    return found


def _take(results: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    return results[name]


def _stacked(parts: Sequence[Any], name: str, size: int, layout: Layout, dtype: np.dtype[Any]) -> Any:
    """A result of all planes, (c, t, z, h, w)."""
    import dask.array as da
    from dask.delayed import delayed

    take = delayed(_take, pure=False)
    arrays = [da.from_delayed(take(part, name), (size, *layout.shape), dtype=dtype) for part in parts]
    planes = (layout.frames or (1, 1))[1]
    frames = [da.stack(arrays[first : first + planes], axis=1) for first in range(0, len(arrays), planes)]
    return da.stack(frames, axis=1)
