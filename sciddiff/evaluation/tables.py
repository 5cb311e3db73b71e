"""The figures of a comparison as rows of text, one a method."""

import math

from sciddiff.evaluation.compare import MEAN, REGRESSOR, SAMPLE, Comparison
from sciddiff.tasks import LINEAR

OPPONENTS = ("bicubic", "back_projection")
NAMES = {
    "lanczos": "Lanczos",
    "back_projection": "back-projection",
    LINEAR: "linear base",
    "exp": "EXP",
    "brovey": "Brovey",
    "bt_h": "BT-H",
    "gsa": "GSA",
    "mtf_glp_fs": "MTF-GLP-FS",
    "mtf_glp_hpm": "MTF-GLP-HPM",
    "bdsd_pc": "BDSD-PC",
    "dark_object_subtraction": "dark-object subtraction",
    "haze_optimised_transform": "haze-optimised transform",
    "fill_nodata": "GDAL FillNodata",
    "telea": "Telea",
}


def method_name(method: str) -> str:
    """A method as people call it."""
    return NAMES.get(method, method.replace("_", " "))


def opponents(comparison: Comparison) -> list[str]:
    """The plainest and the strongest usual baseline of super-resolution; of another task, the one that scores best."""
    usual = [name for name in OPPONENTS if name in comparison.scores]
    classical = [name for name in comparison.scores if name not in (MEAN, SAMPLE, REGRESSOR, LINEAR)]
    return usual or sorted(classical, key=lambda name: -comparison.scores[name].psnr)[:1]


def octave_name(bounds: tuple[float, float]) -> str:
    """Wavelengths of an octave.

    >>> octave_name((0.25, 0.5))
    '2-4 px'
    """
    return f"{1 / bounds[1]:.0f}-{1 / bounds[0]:.0f} px"


def headers(comparison: Comparison) -> list[str]:
    """Names of the columns of `rows`."""
    over = [f"over {method_name(name)}" for name in opponents(comparison)]
    finest = f"detail {octave_name(comparison.octaves[0])}"
    return ["method", "PSNR dB", *over, "RMSE", "SAM deg", "ERGAS", finest, "consistency"]


def rows(comparison: Comparison) -> list[list[str]]:
    """One row a method: PSNR and its gains, errors, power in the finest octave, misfit with what was measured."""
    return [
        [
            method_name(name),
            f"{scores.psnr:.2f}",
            *(gain(comparison, name, other) for other in opponents(comparison)),
            f"{scores.rmse:.3g}",
            "-" if math.isnan(scores.sam) else f"{scores.sam:.2f}",
            f"{scores.ergas:.2f}",
            f"{scores.octaves[0]:+.1f} dB",
            "-" if math.isnan(scores.consistency) else f"{scores.consistency:.2g}",
        ]
        for name, scores in comparison.scores.items()
    ]


def gain(comparison: Comparison, method: str, over: str) -> str:
    """PSNR of a method above another, in dB with its sign."""
    return "" if method == over else f"{comparison.gain(method, over):+.2f}"
