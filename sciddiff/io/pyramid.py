"""Coarser levels of a stored raster: the average of the valid pixels among each 2 x 2, in bounded memory."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from sciddiff.io.masks import validity
from sciddiff.io.profile import RasterProfile

SMALLEST = 512
"""The coarsest level has fewer pixels than this along its shorter side."""
BLOCK = 1024
"""Side of the chunks of a level, and of what is made of it at once."""


def levels_of(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shapes of the coarser levels.

    Parameters
    ----------
    shape
        Height and width of the finest.
    """
    shapes = []
    while min(shape) >= SMALLEST:
        shape = (math.ceil(shape[0] / 2), math.ceil(shape[1] / 2))
        shapes.append(shape)
    return shapes


def add_levels(
    group: Any,
    pixels: Any,
    mask: Any | None,
    *,
    profile: RasterProfile,
    name: Callable[[int], str],
    axes: tuple[str, ...],
    check: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Write the coarser levels of an array into a Zarr group; those that are there are made anew.

    Parameters
    ----------
    group
        Open for writing.
    pixels
        (bands, h, w), alpha among the bands, or (t, c, z, h, w), whose planes are taken one by one.
    mask
        (h, w), 0 where invalid.
    profile
        Says nodata and alpha, of one band for a stack; classes take the first of the four.
    name
        Of the array of a level, 1 is the first coarser one.
    axes
        Names of the dimensions.
    check
        Called before each block; may raise.

    Returns
    -------
    list
        Arrays, finest first.
    """
    made, masks = [], []
    for level, shape in enumerate(levels_of(pixels.shape[-2:]), 1):
        leading, side = pixels.shape[:-2], min(BLOCK, max(shape))
        chunks = (*(1 for _ in leading), side, side)
        coarse = _array(group, name(level), (*leading, *shape), chunks, pixels.dtype, axes)
        coarse_mask = None
        if mask is not None:
            coarse_mask = _array(group, f"mask-{level}", shape, (side, side), np.dtype("uint8"), axes[1:])
            masks.append(f"mask-{level}")
        for planes, (row, col) in product(_planes(leading), np.ndindex(-(-shape[0] // side), -(-shape[1] // side))):
            check()
            fine = slice(2 * side * row, 2 * side * (row + 1)), slice(2 * side * col, 2 * side * (col + 1))
            there = tuple(slice(at * side, min((at + 1) * side, size)) for at, size in zip((row, col), shape))
            part, opaque = _halved(pixels[(*planes, *fine)], None if mask is None else mask[fine], profile)
            coarse[(*planes, *there)] = part
            if coarse_mask is not None:
                coarse_mask[there] = opaque
        made.append(coarse)
        pixels, mask = coarse, coarse_mask
    for scratch in masks:
        del group[scratch]
    return made


def _planes(leading: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """What is halved at once: all bands of a raster, a single plane of a stack."""
    if len(leading) == 1:
        yield (slice(0, leading[0]),)
        return
    for at in np.ndindex(leading):
        yield (*at[:-1], slice(at[-1], at[-1] + 1))


def _array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any], axes: tuple[str, ...]
) -> Any:
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, fill_value=0, overwrite=True, **coding(group, axes)
    )


def coding(group: Any, axes: tuple[str, ...]) -> dict[str, Any]:
    """Return how arrays of a group are compressed and named, as its version of Zarr and NGFF have it.

    Parameters
    ----------
    group
        Of Zarr.
    axes
        Names of the dimensions.
    """
    if group.metadata.zarr_format == 2:
        import numcodecs  # type: ignore[import-untyped]

        packed = numcodecs.Blosc(cname="zstd", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
        return {"compressors": packed, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    packed = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
    return {"compressors": packed, "dimension_names": axes}


def _halved(
    stored: NDArray[Any], mask: NDArray[Any] | None, profile: RasterProfile
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    height, width = stored.shape[1:]
    pads = ((0, 0), (0, height % 2), (0, width % 2))
    stored = np.pad(stored, pads, mode="edge")
    known = np.ones(stored.shape[1:], bool) if mask is None else np.pad(mask, pads[1:], mode="edge") > 0
    data = [band for band in range(len(stored)) if profile.alpha is None or band != profile.alpha_at]
    if profile.alpha is not None:
        known &= stored[profile.alpha_at] > 0
    nodata = [band.nodata for band in profile.bands]
    valid = np.ones(stored.shape, bool)
    valid[data] = validity(stored[data], nodata=nodata, opaque=known)
    result = np.empty((len(stored), stored.shape[1] // 2, stored.shape[2] // 2), stored.dtype)
    classes = any(band.colormap for band in profile.bands)
    for band, (numbers, good) in enumerate(zip(stored, valid, strict=True)):
        quads, weights = _quads(numbers), _quads(good)
        if band not in data:
            result[band] = quads.max(0)
        elif classes:
            result[band] = quads[0]
        else:
            result[band] = _mean(quads, weights)
    return result, np.where(_quads(known).any(0), 255, 0).astype(np.uint8)


def _quads(image: NDArray[Any]) -> NDArray[Any]:
    return np.stack([image[top::2, left::2] for top in (0, 1) for left in (0, 1)])


def _mean(quads: NDArray[Any], weights: NDArray[np.bool_]) -> NDArray[Any]:
    """Mean of the valid of four; the first of them where none is valid."""
    count = weights.sum(0)
    wide = np.where(weights, quads, 0).astype(np.longdouble if quads.dtype.itemsize > 4 else np.float64)
    mean = wide.sum(0) / np.maximum(count, 1)
    rounded = np.rint(mean) if quads.dtype.kind in "iu" else mean
    chosen: NDArray[Any] = np.where(count > 0, rounded.astype(quads.dtype), quads[0])
    return chosen
