"""The page of an augmentation experiment: whether synthetic images pay, a plot with intervals, the table."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from sciddiff.errors import OutputError
from sciddiff.evaluation.augmentation import ARMS, BASELINE, Design, Row
from sciddiff.evaluation.pictures import data_uri
from sciddiff.evaluation.windows import Image as Pixels
from sciddiff.evaluation.windows import Pair

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 320, 60, 40
HEAD = ("arm", "labels", "score", "95 % of seeds", f"over {BASELINE}", "95 %", "pays")


def cells(row: Row) -> list[str]:
    """A row of the table as text, in the order of `HEAD`."""
    own = row.arm == BASELINE
    verdict = {True: "yes", False: "no, it harms", None: "not for certain"}[row.pays]
    low, high = row.gain_interval
    return [
        row.arm,
        f"{100 * row.share:g} %",
        f"{row.mean:.3f}",
        f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
        "" if own else f"{row.gain:+.3f}",
        "" if own else f"{low:+.3f} to {high:+.3f}",
        "" if own else verdict,
    ]


def told(rows: Sequence[Row], *, score: str) -> str:
    """In words, where synthetic images help and where not."""
    parts = []
    for arm, (_, synthetic) in ARMS.items():
        if not synthetic:
            continue
        mine = [row for row in rows if row.arm == arm]
        for verdict, words in ((True, "is better than"), (False, "is worse than"), (None, "cannot be told from")):
            at = [f"{100 * row.share:g} %" for row in mine if row.pays is verdict]
            if at:
                parts.append(f"{arm} {words} {BASELINE} at {', '.join(at)} of the labels")
    return f"{score.replace('_', ' ')} of a small U-Net on test images: {'; '.join(parts) or 'nothing to compare'}."


def write_augmentation(
    rows: Sequence[Row], path: Path, *, title: str, score: str, design: Design, examples: Sequence[Pair] = ()
) -> None:
    """Write the page to a file, which is replaced.

    Parameters
    ----------
    rows
        As `augmentation.summary` gives them.
    path
        Of the page.
    title
        Of the page.
    score
        Name of the score.
    design
        The experiment.
    examples
        Synthetic images and their labels, to be shown.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    template = Template(Path(__file__).with_name("augmentation.html").read_text(encoding="utf-8"))
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in HEAD)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in cells(row)) + "</tr>" for row in rows)
    rule = (
        f"{design.seeds} seeds; each draws a contiguous block of the annotated training area, weights, windows "
        f"and {design.images} synthetic images of masks made of its labels. {design.steps} steps of 8 windows "
        "of 96 x 96 in every arm. Intervals are Student's over seeds, differences paired by seed. The test images were "
        "never trained on."
    )
    page = template.substitute(
        title=escape(title),
        summary=escape(told(rows, score=score)),
        plot=plot(rows),
        table=f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>",
        rule=escape(rule),
        pictures="\n".join(_figure(image, labels.astype(np.int64)) for image, labels in examples),
    )
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write the report to {path}: {error.strerror}") from error


def plot(rows: Sequence[Row]) -> str:
    """Scores of the arms over the share of labels, with their intervals, as an SVG."""
    arms = [arm for arm in ARMS if any(row.arm == arm for row in rows)]
    shares = sorted({row.share for row in rows})
    finite = [edge for row in rows for edge in (*row.interval, row.mean) if np.isfinite(edge)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = max(high - low, 1e-3)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 20) * (float(np.clip(value, low, high)) - low) / span

    parts = []
    for step in range(5):
        value = low + span * step / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="0" y="{y(value) + 4:.1f}">{value:.2f}</text>')
    slot = (WIDTH - LEFT) / len(shares)
    for at, share in enumerate(shares):
        parts.append(f'<text x="{LEFT + slot * (at + 0.4):.0f}" y="{HEIGHT - 12}">{100 * share:g} % of labels</text>')
        for number, arm in enumerate(arms):
            row = next((row for row in rows if row.arm == arm and row.share == share), None)
            if row is None:
                continue
            x = LEFT + slot * at + slot * (number + 1) / (len(arms) + 1)
            parts.append(
                f'<line class="m{number}" stroke-width="2" x1="{x:.1f}" x2="{x:.1f}" '
                f'y1="{y(row.interval[0]):.1f}" y2="{y(row.interval[1]):.1f}"/>'
                f'<circle class="m{number}" cx="{x:.1f}" cy="{y(row.mean):.1f}" r="5"/>'
            )
    for number, arm in enumerate(arms):
        parts.append(f'<text class="m{number}" x="{LEFT + 165 * number}" y="12">{escape(arm)}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Score of each arm by share of labels, '
        f'with 95 % intervals">{"".join(parts)}</svg>'
    )


def _figure(image: Pixels, labels: np.ndarray) -> str:
    band = image[0]
    low, high = np.quantile(band, (0.01, 0.997))
    levels = (255 * np.clip((band - low) / max(high - low, 1e-9), 0, 1) ** 0.7).astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    picture = np.repeat(levels[..., None], 3, 2)
    picture[edge] = (255, 96, 32)
    side_by_side = np.concatenate([np.repeat(levels[..., None], 3, 2), picture], 1)
    source = data_uri(Image.fromarray(side_by_side))
    return f'<figure><img src="{source}" alt="A synthetic image, and the outlines of its labels"></figure>'
