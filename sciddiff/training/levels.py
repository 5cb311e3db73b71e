"""Scenes of tasks that learn from what was really measured: levels, pairs of little and much light, noise alone.

All is affine, band by band: a line is (slope, level), and an image becomes slope image + level; that of a pair of
little and much light changes slowly over the picture.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff import io
from sciddiff.physics.noise_estimation import noise_law
from sciddiff.tasks.look import BRIGHT, DARK, levels_of

Lines = Sequence[tuple[float, float]]
"""Slope and level of each band."""
Pair = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]
"""A band of a reference, the same of what was measured, and where both are valid."""

DETAIL = (3, 17)
"""Sides in pixels of the means between which detail lies."""
SIDE = 129
"""Side in pixels of the windows in which much light is brought to the unit of little: lamps drift, dyes bleach."""
FLAT = 0.02
"""Share of the picture's variance that counts for the common slope in each window, so that it decides in flat ones."""
LEAST_SHARED = 0.2
"""Correlation below which a reference and what was measured show nothing in common to learn from."""


def clean_lines(image: xr.DataArray) -> Lines:
    """The lines that make each band of an image without noise, (band, y, x), zero in the dark and one where bright."""
    values, valid = io.read_window(image, slice(None), slice(None))
    quantiles = np.array([np.quantile(band[known], (DARK, BRIGHT)) for band, known in zip(values, valid)])
    return _to_levels(quantiles[:, 0].tolist(), quantiles[:, 1].tolist())


def file_lines(image: xr.DataArray) -> Lines:
    """The same of a whole file, (band, [t, z,] y, x), as `tasks.look.levels_of` measures it."""
    return _to_levels(*levels_of(image))


def _to_levels(darks: Sequence[float], brights: Sequence[float]) -> Lines:
    spreads = [bright - dark if bright > dark else 1.0 for dark, bright in zip(darks, brights, strict=True)]
    return [(1 / spread, -dark / spread) for dark, spread in zip(darks, spreads, strict=True)]


def electron_lines(noisy: xr.DataArray) -> Lines:
    """The lines to units in which the noise of an image (band, y, x) has the variance of the mean.

    With Var[y] = a E[y] + b, y / a + b / a^2 is such a unit: that of electrons, read noise added to the background.
    """
    values, valid = io.read_window(noisy, slice(None), slice(None))
    laws = [_counting(np.where(known, band, np.nan)) for band, known in zip(values, valid)]
    return [(1 / a, b / a**2) for a, b in laws]


def lines_onto(clean: xr.DataArray, measured: xr.DataArray) -> Lines | None:
    """The lines that bring a reference, (band, y, x), to the unit of what was measured of the same pixels.

    The slope is that of the detail, between 3 and 17 pixels: what was measured holds other light, too, which is smooth
    and strongest where the reference is bright. None where the two have nothing in common.
    """
    lines = []
    for band in _together(clean, measured):
        if (line := _line_onto(*band, detail=True)) is None:
            return None
        lines.append(line)
    return lines


def brought_onto(clean: xr.DataArray, measured: xr.DataArray) -> xr.DataArray | None:
    """A reference, (band, [t, z,] y, x), in the unit of what was measured of the same pixels, in memory.

    Along the line of the 129 x 129 pixels around each: the pictures of a pair are taken one after the other, under
    lamps that drift, of dyes that bleach. Finer differences stay. None where the two have nothing in common.
    """
    bands = []
    for band in _together(clean, measured):
        if (line := _line_onto(*band, detail=False)) is None:
            return None
        bands.append(_locally(*band, common=line[0]))
    return clean.copy(data=np.stack(bands))


def _together(clean: xr.DataArray, measured: xr.DataArray) -> Iterator[Pair]:
    """Both images band by band, and where both are valid."""
    (high, known), (low, seen) = (io.read_window(each, slice(None), slice(None)) for each in (clean, measured))
    return zip(high, low, known & seen, strict=True)


def _line_onto(
    reference: NDArray[np.floating], other: NDArray[np.floating], both: NDArray[np.bool_], *, detail: bool
) -> tuple[float, float] | None:
    """Slope and level of other ~ slope reference + level: in this direction because the reference has the less noise.

    The slope is that of the detail alone, or of all pixels. None where the two have nothing in common.
    """
    x, y = (np.where(both, each, each[both].mean()).astype(np.float64) for each in (reference, other))
    if not (x.std() > 0 and y.std() > 0 and np.corrcoef(x[both], y[both])[0, 1] > LEAST_SHARED):
        return None
    fine_x, fine_y = (_detail(each)[both] if detail else each[both] for each in (x, y))
    slope = float(np.polyfit(fine_x, fine_y, 1)[0])
    return (slope, float(y[both].mean() - slope * x[both].mean())) if slope > 0 else None


def _locally(
    reference: NDArray[np.floating], other: NDArray[np.floating], both: NDArray[np.bool_], *, common: float
) -> NDArray[np.float32]:
    """Along the lines from one plane, or several, to the other, of windows where both are valid.

    Where a window has no such pixel, along the line of the whole.
    """
    pair = [plane.astype(np.float64) for plane in (reference, other)]
    first, last = (float(plane[both].mean()) for plane in pair)
    high, low = pair[0] - first, pair[1] - last  # squares of high offsets would drown what the pictures show
    sides = (*[1] * (high.ndim - 2), SIDE, SIDE)

    def mean(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.uniform_filter(np.where(both, plane, 0), sides))

    share = np.maximum(mean(np.ones_like(high)), 1 / SIDE**2)
    x, y = mean(high) / share, mean(low) / share
    spread, shared = mean(high**2) / share - x**2, mean(high * low) / share - x * y
    prior = FLAT * high[both].var()
    slope = np.maximum((shared + prior * common) / (spread + prior), 0)
    return (last + y + slope * (high - x)).astype(np.float32)


def _detail(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    fine, wide = (ndimage.uniform_filter(plane, side, mode="nearest") for side in DETAIL)
    return np.asarray(fine - wide)


def inverse(lines: Lines) -> Lines:
    """The lines that lead back."""
    return [(1 / slope, -level / slope) for slope, level in lines]


def mapped(image: xr.DataArray, lines: Lines) -> xr.DataArray:
    """An image (band, y, x) by its lines, in memory; without any as it is."""
    if not lines:
        return image
    bands = [str(name) for name in image.band.values]
    values, valid = io.read_window(image, slice(None), slice(None))
    return io.from_array(along(values, lines), grid=io.grid_of(image), bands=bands, valid=valid)


def along(values: NDArray[np.floating], lines: Lines) -> NDArray[np.float32]:
    """Values (band, h, w) by their lines."""
    slopes, starts = np.array(lines).T[..., None, None]
    return (slopes * values + starts).astype(np.float32)


def _counting(band: NDArray[np.floating]) -> tuple[float, float]:
    """Noise law whose slope is not zero: Gaussian noise is that of very many electrons."""
    a, b = noise_law(band)
    return max(a, 1e-3 * float(np.sqrt(max(b, 0)))), b
