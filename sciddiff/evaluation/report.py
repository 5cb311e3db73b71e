"""A page and a panel that show a comparison; the page holds all it needs."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from sciddiff.errors import OutputError
from sciddiff.evaluation import pictures, tables
from sciddiff.evaluation.compare import MEAN, SAMPLE, Comparison

LOWEST = -40.0
"""End of the power plot's axis, in dB; lines below are cut."""
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 14, 46


def write_report(
    comparison: Comparison,
    folder: Path,
    *,
    title: str,
    summary: str = "",
    notes: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write `panel.png` and `report.html`.

    Parameters
    ----------
    comparison
        What to show.
    folder
        An existing one; files of these names are replaced.
    title, summary
        Of the page, plain text.
    notes
        Terms and what they mean, at the end of the page.

    Returns
    -------
    dict
        Paths by name: "panel", "report".

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    paths = {"panel": folder / "panel.png", "report": folder / "report.html"}
    page = html(comparison, title=title, summary=summary, notes=notes or {})
    try:
        partial = folder / "panel.part"
        pictures.panel(comparison).save(partial, "PNG", optimize=True)
        os.replace(partial, paths["panel"])
        partial = folder / "report.part"
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, paths["report"])
    except OSError as error:
        raise OutputError(f"cannot write the report to {folder}: {error.strerror}") from error
    return paths


def html(comparison: Comparison, *, title: str, summary: str = "", notes: Mapping[str, str]) -> str:
    """The page as text; see `write_report`."""
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    limit = pictures.error_limit(comparison)
    return template.substitute(
        title=escape(title),
        summary=escape(summary),
        colours=_colours(len(lines(comparison))),
        scenes=_scenes(comparison),
        details=_details(comparison),
        limit=f"{limit:.2g}",
        errors=_errors(comparison, limit),
        plot=power_plot(comparison),
        scored=f"{comparison.scored.mean():.1%}",
        kind="are valid" if (comparison.scored == comparison.valid).all() else "were to be restored",
        peak=f"{comparison.peak:g}",
        headers="".join(f'<th scope="col">{escape(name)}</th>' for name in tables.headers(comparison)),
        rows="\n".join(_row(row) for row in tables.rows(comparison)),
        notes="\n".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in notes.items()),
    )


def lines(comparison: Comparison) -> list[str]:
    """The methods whose power is drawn: the plainest, the strongest usual one, the model's."""
    wanted = [*pictures.shown(comparison)[:1], *tables.opponents(comparison), MEAN, SAMPLE]
    return [name for name in dict.fromkeys(wanted) if name in comparison.scores]


def _colours(count: int) -> str:
    return "\n".join(
        f"svg .m{n} {{ stroke: var(--m{n}); fill: none; stroke-width: 2 }}\n"
        f"svg text.t{n}, svg .d{n} {{ fill: var(--m{n}) }}"
        for n in range(count)
    )


def _figure(source: str, *, title: str, text: str, alt: str) -> str:
    return (
        f'<figure><img src="{source}" alt="{escape(alt)}">'
        f"<figcaption><b>{escape(title)}</b> {escape(text)}</figcaption></figure>"
    )


def _caption(comparison: Comparison, title: str) -> str:
    for name, scores in comparison.scores.items():
        if title == tables.method_name(name):
            return f"PSNR {scores.psnr:.2f} dB"
    return f"{comparison.ratio} times coarser" if title == "measured" else ""


def _scenes(comparison: Comparison) -> str:
    return "\n".join(
        _figure(
            pictures.data_uri(picture),
            title=title,
            text=_caption(comparison, title),
            alt=f"The whole scene, {title}, {picture.width} by {picture.height} pixels",
        )
        for title, picture in pictures.columns(comparison)
    )


def _details(comparison: Comparison) -> str:
    columns = pictures.columns(comparison)
    groups = []
    for letter, square in zip("ABCD", pictures.details(comparison)):
        row, col, side = square
        figures = [
            _figure(
                pictures.data_uri(pictures.cut(comparison, picture, square)),
                title=title,
                text=f"{letter}: {side} x {side} pixels from row {row}, column {col}",
                alt=f"Detail {letter}, {title}",
            )
            for title, picture in columns
        ]
        groups.append('<div class="pictures">\n' + "\n".join(figures) + "\n</div>")
    return "\n".join(groups) or '<p class="soft">No square of valid pixels is large enough.</p>'


def _errors(comparison: Comparison, limit: float) -> str:
    return "\n".join(
        _figure(
            pictures.data_uri(pictures.coloured(pictures.error_map(comparison, name), limit)),
            title=tables.method_name(name),
            text=f"RMSE {comparison.scores[name].rmse:.3g}",
            alt=f"Map of the error of the {tables.method_name(name)}",
        )
        for name in pictures.shown(comparison)
    )


def _row(cells: list[str]) -> str:
    first, *others = (escape(cell) for cell in cells)
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"


def power_plot(comparison: Comparison) -> str:
    """Power above the truth's by octave, coarse to fine from left to right, as an SVG."""
    methods = lines(comparison)
    values = {name: comparison.scores[name].octaves[::-1] for name in methods}
    highest = max(5.0, *(max(power) for power in values.values())) + 1
    count = len(comparison.octaves)

    def x(number: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / count

    def y(power: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (highest - max(power, LOWEST)) / (highest - LOWEST)

    parts = [_frame(comparison, highest=highest)]
    places = _spread([y(values[name][-1]) for name in methods])
    for n, name in enumerate(methods):
        points = [(x(number), y(power)) for number, power in enumerate(values[name])]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dots = "".join(f'<circle class="d{n}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points)
        label = escape(tables.method_name(name))
        text = f'<text class="t{n}" x="{WIDTH - RIGHT + 4}" y="{places[n] + 4:.1f}">{label}</text>'
        parts.append(f'<polyline class="m{n}" points="{path}"/>{dots}{text}')
    told = "; ".join(
        f"{tables.method_name(name)} {power[-1]:+.1f} dB in the finest octave" for name, power in values.items()
    )
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="plot-title plot-text">'
    names = f'<title id="plot-title">Power above the truth</title><desc id="plot-text">{escape(told)}</desc>'
    return head + names + "".join(parts) + "</svg>"


def _frame(comparison: Comparison, *, highest: float) -> str:
    scale = (HEIGHT - TOP - BOTTOM) / (highest - LOWEST)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    near = TOP + (highest - 2) * scale
    parts = [f'<rect class="near" x="{LEFT}" y="{near:.1f}" width="{right - LEFT}" height="{4 * scale:.1f}"/>']
    for power in range(int(LOWEST), int(highest) + 1, 10):
        level = TOP + (highest - power) * scale
        kind = "zero" if power == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}"/>')
        name = "truth" if power == 0 else f"{power:+d} dB"
        parts.append(f'<text class="axis" x="{LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{name}</text>')
    count = len(comparison.octaves)
    for number, bounds in enumerate(reversed(comparison.octaves)):
        place = LEFT + (right - LEFT) * (number + 0.5) / count
        name = tables.octave_name(bounds).removesuffix(" px")
        parts.append(f'<text class="axis" x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{name}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{bottom + 38}" text-anchor="middle">size of the detail, in pixels</text>'
    )
    return "".join(parts)


def _spread(places: list[float], *, least: float = 15.0) -> list[float]:
    """Move labels down where they would overlap."""
    spread = list(places)
    for before, after in zip(order := sorted(range(len(places)), key=places.__getitem__), order[1:]):
        spread[after] = max(spread[after], spread[before] + least)
    return spread
