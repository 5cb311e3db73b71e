"""Scores as people read them: names with units, figures with the digits that mean something."""

import math
from collections.abc import Mapping

TITLES = {
    "psnr": "PSNR dB",
    "rmse": "RMSE",
    "ssim": "SSIM",
    "sam": "SAM deg",
    "ergas": "ERGAS",
    "micro_ssim": "MicroSSIM",
    "micro_ms3im": "MicroMS3IM",
    "spectral_bias": "detail dB",
    "spectral_distance": "detail off by dB",
    "limited_by_pixels": "limited by pixels",
    "truth_objects": "true objects",
    "ap50": "AP@0.5",
    "iou": "IoU",
}


def columns(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The metrics of a method in their order, those with a figure.

    Parameters
    ----------
    rows
        By band, then metric.
    """
    names = dict.fromkeys(name for row in rows.values() for name in row)
    return [name for name in names if any(not math.isnan(row.get(name, math.nan)) for row in rows.values())]


def title_of(metric: str, unit: str) -> str:
    """A metric as people call it, with its unit.

    Parameters
    ----------
    metric
        As in the scores.
    unit
        Of a length of the reference.
    """
    if metric in ("resolution", "resolution_z"):
        return f"{metric.replace('_', ' ')} {unit}"
    if metric == "true_up_to":
        return f"true up to 1/{unit}"
    if metric.startswith("power_"):
        return f"{metric.removeprefix('power_').replace('_', ' ')} dB"
    return TITLES.get(metric, metric.replace("_", " "))


def cell(metric: str, value: float) -> str:
    """A figure as text; a dash for none.

    Parameters
    ----------
    metric
        Decides on the digits.
    value
        The figure.
    """
    if math.isnan(value):
        return "-"
    if metric.startswith("power_") or metric == "spectral_bias":
        return f"{value:+z.1f}"
    if metric in ("psnr", "sam", "ergas"):
        return f"{value:.2f}"
    if metric == "limited_by_pixels":
        return "yes" if value else "no"
    return f"{value:.4f}" if "ss" in metric or "ms3im" in metric else f"{value:.4g}"
