"""Holes filled from what surrounds them: nearest, membrane, thin plate, Telea's fast marching, GDAL's search.

Every filler takes an image (c, h, w) of floats and a mask (h, w), true where missing, and gives a new image of the
same type: known pixels bit for bit as they were, whatever stood under the mask without any part in the result.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import linalg

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]
Mask = NDArray[np.bool_]
Taps = Sequence[tuple[int, int, float]]

MEMBRANE: tuple[Taps, ...] = (((0, 0, -1.0), (0, 1, 1.0)), ((0, 0, -1.0), (1, 0, 1.0)))
"""First differences along x and y, as (row, column, weight)."""
PLATE: tuple[Taps, ...] = (
    ((0, 0, 1.0), (0, 1, -2.0), (0, 2, 1.0)),
    ((0, 0, 1.0), (1, 0, -2.0), (2, 0, 1.0)),
    tuple((y, x, math.sqrt(2) * (-1.0) ** (y + x)) for y in (0, 1) for x in (0, 1)),
)
"""Second differences along x, y and, twice, both: their squares have the 13-point biharmonic stencil as gradient."""

TOLERANCE = 1e-9
"""Residual of the membrane, relative to its right-hand side."""
RIDGE = 1e-9
"""Added to the diagonal of the coarsest grid's matrix, relative to its largest."""
COARSEST = 500
"""Unknowns that are solved directly."""


def _checked(image: Array, missing: Mask) -> None:
    if image.ndim != 3 or missing.shape != image.shape[1:] or missing.dtype != np.bool_:
        raise InputError(
            f"image {image.shape} and mask {missing.shape} of {missing.dtype}; "
            "expected (bands, h, w) and a boolean (h, w)"
        )
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"image of {image.dtype}; expected floating point numbers")
    if missing.all():
        raise InputError("every pixel is missing: nothing to fill from")
    if not np.isfinite(image[:, ~missing]).all():
        raise InputError("a pixel that the mask calls known is not finite; add it to the mask")


def _merged(image: Array, missing: Mask, filled: Array) -> Array:
    """The image with its missing pixels from `filled`, held within the range of the known ones of its band."""
    known = image[:, ~missing]
    within = np.clip(filled, known.min(1)[:, None, None], known.max(1)[:, None, None])
    return np.where(missing, within.astype(image.dtype), image)


def nearest(image: Array, missing: Mask) -> Array:
    """Fill with the nearest known pixel.

    Parameters
    ----------
    image
        (c, h, w), any unit.
    missing
        (h, w), true where a value is to be found.

    Returns
    -------
    ndarray
        (c, h, w), of the image's type.

    Raises
    ------
    InputError
        Shapes or types that do not fit, no known pixel, or a known one that is not finite.
    """
    _checked(image, missing)
    if not missing.any():
        return image.copy()
    rows, columns = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return image[:, rows, columns]


def fill_nodata(image: Array, missing: Mask, *, distance: float = 100, smoothing: int = 0) -> Array:
    """Fill by inverse distance from the nearest known pixel in each of four quadrants (GDALFillNodata).

    Parameters
    ----------
    image, missing
        See `nearest`.
    distance
        Pixels searched; what is farther from all known pixels gets the nearest.
    smoothing
        Runs of a 3 x 3 mean over the filled pixels.

    Returns
    -------
    ndarray
        (c, h, w); computed in single precision.
    """
    from rasterio.fill import fillnodata

    start = nearest(image, missing)
    known = (~missing).astype(np.uint8)
    bands = [
        fillnodata(band.astype(np.float32), mask=known, max_search_distance=distance, smoothing_iterations=smoothing)
        for band in start
    ]
    return _merged(image, missing, np.stack(bands).astype(np.float64))


def _differences(missing: Mask, stencils: Sequence[Taps]) -> Any:
    """Sparse (rows, h w): the stencils wherever they lie inside the image and touch a missing pixel."""
    index = np.arange(missing.size).reshape(missing.shape)
    blocks = []
    for taps in stencils:
        high, wide = (side - max(tap[axis] for tap in taps) for axis, side in enumerate(missing.shape))
        if high <= 0 or wide <= 0:
            continue
        columns = np.stack([index[y : y + high, x : x + wide].ravel() for y, x, _ in taps], 1)
        columns = columns[missing.ravel()[columns].any(1)]
        weights = np.tile([weight for _, _, weight in taps], len(columns))
        start = np.arange(len(columns) + 1) * len(taps)
        blocks.append(sparse.csr_matrix((weights, columns.ravel(), start), shape=(len(columns), missing.size)))
    return sparse.vstack(blocks, format="csr")


def _equations(image: Array, missing: Mask, stencils: Sequence[Taps]) -> tuple[Any, Double, Double]:
    """Least squares of the differences: matrix (n, n), right-hand side (n, c), and the bands' levels taken off."""
    level = image[:, ~missing].mean(1, dtype=np.float64)
    known = np.where(missing, 0, image.astype(np.float64) - level[:, None, None]).reshape(len(image), -1).T
    operator = _differences(missing, stencils)
    inner = operator.tocsc()[:, np.flatnonzero(missing)]
    return (inner.T @ inner).tocsr(), -(inner.T @ (operator @ known)), level


def _placed(image: Array, missing: Mask, values: Double) -> Array:
    """The image with `values` (n, c) at its missing pixels."""
    filled = np.where(missing, 0, image).astype(np.float64)
    filled[:, missing] = values.T
    return _merged(image, missing, filled)


@dataclass(frozen=True)
class _Level:
    """One grid: matrix, damped inverse diagonal, and the way up from the next grid."""

    matrix: Any
    damping: Double
    up: Any


def _hierarchy(matrix: Any, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[list[_Level], Any]:
    """Smoothed aggregation (Vanek, Mandel, Brezina 1996) over blocks of 3 x 3 pixels, and the coarsest factors."""
    levels: list[_Level] = []
    while matrix.shape[0] > COARSEST:
        inverse = 1 / matrix.diagonal()
        radius = float((np.asarray(abs(matrix).sum(1)).ravel() * inverse).max())
        damping = 4 / 3 / radius * inverse
        place = (rows // 3) * (int(columns.max()) // 3 + 1) + columns // 3
        _, first, block = np.unique(place, return_index=True, return_inverse=True)
        if len(first) == len(rows):
            break
        gather = sparse.csr_matrix((np.ones(len(block)), (np.arange(len(block)), block)))
        up = (gather - sparse.diags(damping) @ (matrix @ gather)).tocsr()
        # of two pixels that touch by a corner the smoothing leaves exactly nothing: they go up as they are
        lost = np.asarray(abs(up).sum(0)).ravel() < 1e-6
        up = (up + gather @ sparse.diags(lost.astype(np.float64))).tocsr()
        levels.append(_Level(matrix, damping[:, None], up))
        matrix = (up.T @ matrix @ up).tocsr()
        rows, columns = rows[first] // 3, columns[first] // 3
    # blocks of few pixels can depend on each other once smoothed: where the matrix is singular nothing is asked of it
    ridge = RIDGE * float(matrix.diagonal().max())
    return levels, linalg.splu((matrix + ridge * sparse.identity(matrix.shape[0])).tocsc())


def _cycle(levels: list[_Level], coarsest: Any, residual: Double) -> Double:
    """One symmetric V-cycle from zero."""
    if not levels:
        return coarsest.solve(residual)
    level, rest = levels[0], levels[1:]
    x = level.damping * residual
    x += level.up @ _cycle(rest, coarsest, level.up.T @ (residual - level.matrix @ x))
    x += level.damping * (residual - level.matrix @ x)
    return x


def _conjugate_gradients(matrix: Any, right: Double, levels: list[_Level], coarsest: Any) -> Double:
    """All columns of `right` (n, c) at once, preconditioned by V-cycles."""
    x, residual = np.zeros_like(right), right.copy()
    goal = TOLERANCE * np.linalg.norm(right, axis=0)
    towards = np.zeros_like(right)
    former = np.ones(right.shape[1])
    for _ in range(200):
        if (np.linalg.norm(residual, axis=0) <= goal).all():
            break
        step = _cycle(levels, coarsest, residual)
        product = (step * residual).sum(0)
        towards = step + product / former * towards
        image = matrix @ towards
        curvature = (towards * image).sum(0)
        length = np.divide(product, curvature, out=np.zeros_like(product), where=curvature > 0)
        x += length * towards
        residual -= length * image
        former = np.where(product > 0, product, 1)
    return x


def smooth_fill(image: Array, missing: Mask) -> Array:
    """Fill with a membrane: Laplace's equation in the holes, no flow through the image's edges.

    Parameters
    ----------
    image, missing
        See `nearest`.

    Returns
    -------
    ndarray
        (c, h, w); never beyond the known values of its band.

    Notes
    -----
    Conjugate gradients with smoothed-aggregation multigrid as preconditioner, all bands at once: some 13 to 26
    steps whatever the holes' size and shape.
    """
    _checked(image, missing)
    if not missing.any():
        return image.copy()
    matrix, right, level = _equations(image, missing, MEMBRANE)
    levels, coarsest = _hierarchy(matrix, *np.nonzero(missing))
    return _placed(image, missing, _conjugate_gradients(matrix, right, levels, coarsest) + level)


def _regions(missing: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels (h, w) of holes that no biharmonic stencil joins, 0 for known, and the size of each label."""
    labels, count = ndimage.label(ndimage.binary_dilation(missing))
    labels = np.where(missing, labels, 0)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)


def biharmonic(image: Array, missing: Mask, *, largest: int = 30_000) -> Array:
    """Fill with a thin plate: the biharmonic equation in the holes, free at the image's edges.

    Parameters
    ----------
    image, missing
        See `nearest`.
    largest
        Pixels of a hole; a larger one gets the membrane (`smooth_fill`) instead, for there the direct solver is slow
        and the plate, which continues slopes, runs out of the range of the data.

    Returns
    -------
    ndarray
        (c, h, w), held within the known values of its band.

    References
    ----------
    Damelin, Hoang 2018. Known pixels all on one line leave the plate undetermined; the membrane is used then.
    """
    _checked(image, missing)
    place = np.argwhere(~missing)
    if np.linalg.matrix_rank(place - place.mean(0)) < 2:
        return smooth_fill(image, missing)
    labels, sizes = _regions(missing)
    big = (sizes > largest)[labels] & missing
    if big.any():
        image, missing = smooth_fill(image, missing), missing & ~big
    if not missing.any():
        return image.copy()
    matrix, right, level = _equations(image, missing, PLATE)
    factors = linalg.splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
    return _placed(image, missing, factors.solve(right) + level)


def _slopes(filled: Double, known: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp], axis: int) -> Double:
    """Differences (c, n) along an axis at padded positions: central, one-sided, or zero, as pixels are known."""
    y, x = (1, 0) if axis == 0 else (0, 1)
    after, before = (rows + y, columns + x), (rows - y, columns - x)
    here = filled[:, rows, columns]
    up = np.where(known[after], filled[:, *after] - here, 0)
    down = np.where(known[before], here - filled[:, *before], 0)
    return (up + down) / np.maximum(known[after].astype(int) + known[before], 1)


def _telea_weights(time: Double, normal: Double, p: Any, q: Any) -> Double:
    """Telea's product of direction, distance and level, (pixels, neighbours)."""
    y, x = p[0] - q[0], p[1] - q[1]
    square = (y**2 + x**2).astype(np.float64)
    along = np.abs(y * normal[0][p] + x * normal[1][p]) / np.sqrt(square)
    return np.maximum(along, 1e-6) / square / (1 + np.abs(time[p] - time[q]))


def telea(image: Array, missing: Mask, *, radius: int = 5, slope: float = 0.0) -> Array:
    """Fill from the rim inwards, each pixel by the known ones near it.

    Parameters
    ----------
    image, missing
        See `nearest`.
    radius
        Pixels around the one to be filled that are looked at.
    slope
        Share of the neighbours' slopes that is continued. 1 is Telea's formula, which runs away from the data in
        holes much wider than the texture; the common implementation (OpenCV) adds them at the order of one grey
        level only, which is 0 in physical units.

    Returns
    -------
    ndarray
        (c, h, w), held within the known values of its band.

    References
    ----------
    Telea 2004. The arrival time is the exact Euclidean distance and not a marched one; pixels of equal distance
    are filled together, so that the result has no preferred direction.
    """
    _checked(image, missing)
    margin = radius + 1
    known = np.pad(~missing, margin)
    time = np.pad(_arrival(missing), margin, mode="edge")
    slope_y, slope_x = np.gradient(time)
    normal = np.stack([slope_y, slope_x]) / np.maximum(np.hypot(slope_y, slope_x), 1e-12)
    filled = np.pad(np.where(missing, 0, image).astype(np.float64), ((0, 0), (margin, margin), (margin, margin)))
    reach = np.arange(-radius, radius + 1)
    dy, dx = (grid.ravel() for grid in np.meshgrid(reach, reach, indexing="ij"))
    disc = (dy**2 + dx**2 <= radius**2) & (dy**2 + dx**2 > 0)
    rows, columns = (axis + margin for axis in np.nonzero(missing))
    when, batch = np.unique(time[rows, columns], return_inverse=True)
    order = np.argsort(batch, kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(batch, minlength=len(when)))[:-1]) if len(order) else ():
        p = rows[members, None], columns[members, None]
        q = p[0] + dy[disc], p[1] + dx[disc]
        weights = _telea_weights(time, normal, p, q) * known[q]
        guess = filled[:, *q]
        if slope:
            for axis in (0, 1):
                guess += slope * _slopes(filled, known, *q, axis=axis) * (p[axis] - q[axis])
        filled[:, rows[members], columns[members]] = (weights * guess).sum(2) / weights.sum(1)
        known[rows[members], columns[members]] = True
    inside = slice(margin, -margin)
    return _merged(image, missing, filled[:, inside, inside])


def _arrival(missing: Mask) -> Double:
    """Signed distance (h, w) in pixels: from 1 in the holes, 0 and below outside."""
    outside = ndimage.distance_transform_edt(~missing) - 1 if missing.any() else np.zeros(missing.shape)
    return np.where(missing, ndimage.distance_transform_edt(missing), -outside)
