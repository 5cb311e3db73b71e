"""One self-contained page of an evaluation: pictures, errors, a curve over frequency, every figure."""

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, OutputError
from sciddiff.evaluation.evaluate import OVERALL, PREDICTION, Evaluation
from sciddiff.evaluation.pictures import LARGEST, Stretch, coloured, data_uri
from sciddiff.evaluation.score_text import cell, columns, title_of

WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 120, 14, 42


def write_evaluation(
    evaluation: Evaluation,
    path: Path,
    *,
    prediction: xr.DataArray,
    reference: xr.DataArray,
    others: Mapping[str, xr.DataArray],
    title: str,
) -> None:
    """Write the page to a file, which is replaced.

    Parameters
    ----------
    evaluation
        Its figures.
    path
        Of the page.
    prediction, reference, others
        What was evaluated, for the pictures: one plane of it, the middle one, thinned.
    title
        Of the page.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    template = Template((Path(__file__).parent / "scores.html").read_text(encoding="utf-8"))
    images = {"reference": reference, PREDICTION: prediction, **others}
    page = template.substitute(
        title=escape(title),
        summary=escape(_summary(evaluation)),
        pictures=_pictures(evaluation, images),
        plot=plot(evaluation),
        plot_text=escape(_plot_text(evaluation)),
        tables="\n".join(_table(evaluation, method) for method in evaluation.scores),
    )
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write the report to {path}: {error.strerror}") from error


def _summary(evaluation: Evaluation) -> str:
    row = evaluation.scores[PREDICTION][OVERALL]
    kind = "range-invariant PSNR" if evaluation.kind == "micro" else f"PSNR with a peak of {evaluation.peak:g}"
    planes = "one plane" if evaluation.planes == 1 else f"{evaluation.planes} planes"
    text = f"{len(evaluation.bands)} bands of {planes}. The prediction scores {row['psnr']:.2f} dB ({kind})"
    others = [f"{rows[OVERALL]['psnr']:.2f} dB for {name}" for name, rows in evaluation.scores.items()]
    return text + (f", against {', '.join(others[1:])}." if others[1:] else ".")


def _table(evaluation: Evaluation, method: str) -> str:
    rows = evaluation.scores[method]
    names = columns(rows)
    head = "".join(f'<th scope="col">{escape(title_of(name, evaluation.unit))}</th>' for name in names)
    body = "\n".join(
        f'<tr><th scope="row">{escape(band)}</th>'
        + "".join(f"<td>{cell(name, row.get(name, math.nan))}</td>" for name in names)
        + "</tr>"
        for band, row in rows.items()
    )
    return (
        f'<h3>{escape(method)}</h3><div class="scroll"><table><thead><tr><th scope="col">band</th>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _pictures(evaluation: Evaluation, images: Mapping[str, xr.DataArray]) -> str:
    chosen = _shown_bands(evaluation)
    planes = {name: _thinned(image, chosen) for name, image in images.items()}
    truth = planes["reference"]
    figures = []
    for name, values in planes.items():
        paint = _stretch(values if evaluation.kind == "micro" else truth)
        picture = paint(values, np.isfinite(values))
        figures.append(_figure(data_uri(picture), name, f"{values.shape[2]} x {values.shape[1]} shown"))
        if name != "reference" and values.shape == truth.shape:
            errors = _errors(values, truth, affine=evaluation.kind == "micro")
            figures.append(_figure(data_uri(coloured(errors, 1.0)), f"error of {name}", "yellow: one spread or more"))
    return "\n".join(figures)


def _figure(source: str, title: str, text: str) -> str:
    return (
        f'<figure><img src="{source}" alt="{escape(title)}"><figcaption><b>{escape(title)}</b> {escape(text)}'
        "</figcaption></figure>"
    )


def _shown_bands(evaluation: Evaluation) -> list[int]:
    if evaluation.kind == "micro":
        return [0]
    try:
        return io.match_bands(["red", "green", "blue"], evaluation.bands)
    except InputError:
        return [0, 1, 2] if len(evaluation.bands) > 2 else [0]


def _thinned(image: xr.DataArray, bands: Sequence[int]) -> NDArray[np.floating]:
    """Every n-th pixel of the middle plane, (c, h, w)."""
    place = {str(dim): image.sizes[dim] // 2 for dim in image.dims if dim not in ("band", "y", "x")}
    step = max(1, -(-max(image.sizes["y"], image.sizes["x"]) // LARGEST))
    kept = [band if band < image.sizes["band"] else 0 for band in bands]
    thin = image.isel({"band": kept, "y": slice(None, None, step), "x": slice(None, None, step), **place})
    return io.read_window(thin, slice(None), slice(None))[0]


def _stretch(values: NDArray[np.floating]) -> Stretch:
    ranges = [
        np.quantile(known, [0.01, 0.99]) if (known := band[np.isfinite(band)]).size else np.array([0.0, 1.0])
        for band in values
    ]
    low, high = np.transpose(ranges)
    bands = tuple(range(len(values))) if len(values) == 3 else (0, 0, 0)
    places = list(bands)
    return Stretch(bands, low[places], np.where(high > low, high, low + 1)[places])


def _errors(values: NDArray[np.floating], truth: NDArray[np.floating], *, affine: bool) -> NDArray[np.floating]:
    """Root mean square over bands of the error in spreads of the reference, after the best gain and offset if asked."""
    squares = []
    for own, other in zip(values.astype(np.float64), truth.astype(np.float64)):
        known = np.isfinite(own) & np.isfinite(other)
        if not known.any():
            return np.full(truth.shape[1:], np.nan)
        if affine and np.ptp(own[known]) > 0:
            gain, offset = np.polyfit(own[known], other[known], 1)
            own = gain * own + offset
        squares.append(((own - other) / (other[known].std() or 1.0)) ** 2)
    return np.asarray(np.sqrt(np.mean(squares, 0)))


def _points(evaluation: Evaluation) -> dict[str, list[tuple[float, float]]]:
    """What is drawn, by method: octaves from coarse to fine, or correlation over frequency."""
    if evaluation.kind == "micro":
        return {name: [(float(x), float(y)) for x, y in curve] for name, curve in evaluation.curves.items()}
    drawn = {}
    for method, rows in evaluation.scores.items():
        power = [value for name, value in rows[OVERALL].items() if name.startswith("power_")][::-1]
        drawn[method] = [(float(at), value) for at, value in enumerate(power) if math.isfinite(value)]
    return drawn


def _plot_text(evaluation: Evaluation) -> str:
    if evaluation.kind == "micro":
        return (
            f"Correlation with the reference by frequency, in cycles a {evaluation.unit}. Up to where a curve falls "
            "below 0.5 (line) the detail is that of the reference; beyond, it is lost, noise or made up."
        )
    return (
        "Power above the reference's in dB by octave, coarse to fine. Below 0 detail is missing, above it is made up."
    )


def plot(evaluation: Evaluation) -> str:
    """The curves as an SVG.

    Parameters
    ----------
    evaluation
        With curves, or with octaves among its scores.
    """
    drawn = {name: points for name, points in _points(evaluation).items() if points}
    if not drawn:
        return ""
    places = [x for points in drawn.values() for x, _ in points]
    micro = evaluation.kind == "micro"
    values = [y for points in drawn.values() for _, y in points]
    low, high = (min(0.0, *values), 1.0) if micro else (max(-40.0, min(-5.0, *values)), max(5.0, *values))
    right = max(places) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / right
        return across, TOP + (HEIGHT - TOP - BOTTOM) * (high - max(y, low)) / (high - low)

    levels = (0.0, 0.5, 1.0) if micro else (low, 0.0, high)
    parts = [_level(at(0, level)[1], level) for level in levels]
    for share in (0.25, 0.5, 0.75, 1) if micro else ():
        x = at(share * right, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 18}" text-anchor="middle">{share * right:.3g}</text>')
    for number, (name, points) in enumerate(drawn.items()):
        line = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in points)
        place = f'x="{WIDTH - RIGHT + 6}" y="{TOP + 14 + 18 * number}"'
        label = f'<text class="t{number % 6}" {place}>{escape(name)}</text>'
        parts.append(f'<polyline class="m{number % 6}" points="{line}"/>{label}')
    told = escape(_plot_text(evaluation))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{"".join(parts)}</svg>'


def _level(y: float, level: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.3g}</text>'
