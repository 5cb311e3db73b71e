"""Scores of one channel of a microscopy stack against its reference, plane by plane."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError
from sciddiff.evaluation import fourier, metrics
from sciddiff.evaluation.micro import Moments, fit_micro, micro_ms3im, micro_ssim
from sciddiff.evaluation.morphology import compare_objects
from sciddiff.evaluation.pairs import Array, Pairs, middle, pixel_size, plane_distance

CROP = 256
"""Side of the middle of a stack whose correlation along z is taken."""
LEAST_PLANES = 8
"""Of a stack for a correlation along z."""
SIMILAR = ("micro_ssim", "micro_ms3im", "spectral_bias", "spectral_distance")
Row = dict[str, float]


class ChannelScores(NamedTuple):
    """What `score_channel` finds: figures of all planes, a curve over frequency, figures of each plane."""

    scores: Row
    curve: NDArray[np.float64]
    planes: list[Row]


def score_channel(pairs: Pairs, band: int) -> ChannelScores | None:
    """Score a channel; None where nothing is valid or the reference is flat.

    Parameters
    ----------
    pairs
        Image and reference; their planes are read twice, for MicroSSIM is fitted on all of them first.
    band
        Of the reference.

    Returns
    -------
    scores
        `psnr` is range-invariant over all planes together; `micro_ssim`, `micro_ms3im` and `spectral_*` are means
        over planes. `resolution` and `true_up_to` (its frequency) come from the mean correlation of all planes, in the
        reference's unit of length; `resolution_z` from the middle of a stack. Objects are those of the plane
        of most contrast.
    curve
        Frequency and correlation, (n, 2); empty where pixels are missing.
    planes
        Of each with contrast its place, such as t and z, its `psnr` (in its own range), `micro_ssim`, `micro_ms3im` and
        `spectral_*`.
    """
    moments, contrast, richest = Moments(), -1.0, None
    planes: list[Row] = []
    for place in pairs.places:
        image, truth = pairs.plane(band, place)
        own = Moments.of(image, truth)
        moments += own
        planes.append({**place, "psnr": own.psnr})
        if own.count and own.yy / own.count > contrast:
            contrast, richest = own.yy / own.count, place
    if richest is None or not moments.high > moments.low:
        return None
    length, _ = pixel_size(pairs.reference)
    curve = _mean_curve(pairs, band, length)
    similar = _similarity(pairs, band)
    planes = [
        _known(plane | more) for plane, more in zip(planes, similar, strict=True) if not math.isnan(plane["psnr"])
    ]
    scores = {"psnr": moments.psnr, **_means(similar), **_resolution(curve)}
    if curve is not None:
        scores["resolution_z"] = _along_z(pairs, band, richest, length)
    scores |= compare_objects(*(middle(part) for part in pairs.plane(band, richest)))
    drawn = np.empty((0, 2)) if curve is None else np.stack([curve.frequency, curve.correlation], 1)
    return ChannelScores(_known(scores), drawn, planes)


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if not math.isnan(value)}


def _similarity(pairs: Pairs, band: int) -> list[Row]:
    """Of each plane; empty where there is nothing to compare."""
    try:
        fit = fit_micro(pairs.planes(band))
    except InputError:  # no plane holds one window
        return [{} for _ in pairs.places]
    rows: list[Row] = []
    for image, truth in pairs.planes(band):
        parts = fit.scale * middle(image), middle(truth)
        if not np.isfinite(parts[1]).any():
            rows.append({})
            continue
        spectral = metrics.spectral_distance(parts[0][None], parts[1][None])
        similar = micro_ssim(image, truth, fit=fit), micro_ms3im(image, truth, fit=fit)
        rows.append(dict(zip(SIMILAR, (*similar, *spectral), strict=True)))
    return rows


def _means(rows: list[Row]) -> Row:
    figures = np.array([list(row.values()) for row in rows if row]).reshape(-1, len(SIMILAR))
    means = np.ma.masked_invalid(figures).mean(0).filled(np.nan)
    return dict(zip(SIMILAR, means.tolist(), strict=True))


def _whole(pairs: Pairs, band: int) -> Iterator[tuple[Array, Array]]:
    """Middles of the planes that have no missing pixel, and are not flat."""
    for image, truth in pairs.planes(band):
        parts = middle(image), middle(truth)
        if min(parts[0].shape) >= 8 and np.isfinite(parts).all() and np.ptp(parts[1]) > 0:
            yield parts


def _mean_curve(pairs: Pairs, band: int, length: float) -> fourier.Curve | None:
    curves = [fourier.frc(*parts, spacing=length) for parts in _whole(pairs, band)]
    if not curves:
        return None
    first = curves[0]
    correlation = np.mean([curve.correlation for curve in curves], 0)
    return fourier.Curve(first.frequency, correlation, first.count, first.highest)


def _resolution(curve: fourier.Curve | None) -> dict[str, float]:
    if curve is None:
        return {}
    found = fourier.resolution(curve, threshold=fourier.TRUTH)
    return {"resolution": found.length, "true_up_to": found.frequency, "limited_by_pixels": float(found.limited)}


def _along_z(pairs: Pairs, band: int, place: Mapping[str, int], length: float) -> float:
    """Resolution along z of the middle of the stack that holds a plane; NaN where there are too few planes."""
    distance = plane_distance(pairs.reference)
    planes = pairs.reference.sizes.get("z", 1)
    if distance is None or planes < LEAST_PLANES:
        return math.nan
    stack = [[middle(part, CROP) for part in pairs.plane(band, {**place, "z": number})] for number in range(planes)]
    image, truth = (np.stack(parts) for parts in zip(*stack))
    if not (np.isfinite(image).all() and np.isfinite(truth).all()):
        return math.nan
    along_z = fourier.axis_frc(image, truth, spacing=(distance, length, length))[0]
    return fourier.resolution(along_z, threshold=fourier.TRUTH).length
