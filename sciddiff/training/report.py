"""The page of a run: losses by noise level, and the validation beside the classical answers."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, LABEL = 720, 300, 56, 28, 170
COLOURS = ("#4269d0", "#ff725c", "#3ca951", "#efb118", "#a463f2", "#9c6b4e", "#97bbf5")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
svg {{ width: 100%; height: auto }}
svg text {{ font: 12px system-ui, sans-serif; fill: currentColor }}
</style></head><body><h1>{title}</h1>
<p>{summary}</p>
<h2>Loss by noise level</h2>
<p>Mean squared error of the velocity, smoothed; 1 is what a network that knows nothing gets. "mean" is the plain
regressor at the end of pure noise, sigma the noise level in spreads of the residual.</p>{losses}
<h2>Validation</h2>
<p>PSNR in dB on the held-out places, the peak taken as one spread of each band.</p>{scores}
</body></html>
"""

Lines = Sequence[dict[str, float]]


def write_report(curves: Path, path: Path, *, title: str) -> None:
    """Draw the curves of a run.

    Parameters
    ----------
    curves
        `curves.jsonl` of the run.
    path
        The page to write.
    title
        Its heading.
    """
    lines = [json.loads(line) for line in curves.read_text(encoding="utf-8").splitlines()]
    last = lines[-1]
    losses = [name for name in last if name == "mean" or name.startswith("sigma")]
    scores = [name for name in last if name.startswith("valid ")]
    page = PAGE.format(
        title=html.escape(title),
        summary=f"{last['step']} steps in {last['seconds'] / 60:.0f} minutes.",
        losses=chart(lines, losses, label="loss over steps"),
        scores=chart(lines, scores, label="PSNR over steps") if scores else "<p>No held-out places were given.</p>",
    )
    path.write_text(page, encoding="utf-8")


def chart(lines: Lines, names: Sequence[str], *, label: str) -> str:
    """Draw named figures over the steps as SVG, each labelled at its end."""
    values = [line[name] for line in lines for name in names if name in line]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    last = max(line["step"] for line in lines)

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - LABEL) * step / last

    def y(value: float) -> float:
        return 10 + (HEIGHT - BOTTOM - 10) * (high - value) / (high - low)

    parts = [f'<text x="{LEFT - 8}" y="{y(v) + 4:.0f}" text-anchor="end">{v:.3g}</text>' for v in (low, high)]
    parts += [f'<text x="{x(s):.0f}" y="{HEIGHT - 8}" text-anchor="middle">{s:g}</text>' for s in (0, last)]
    order = sorted(names, key=lambda name: -next(line[name] for line in reversed(lines) if name in line))
    floor = 0.0
    for colour, name in zip(COLOURS, order, strict=False):
        points = [(x(line["step"]), y(line[name])) for line in lines if name in line]
        floor = max(points[-1][1] + 4, floor + 14)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        end = next(line[name] for line in reversed(lines) if name in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        text = html.escape(f"{name.removeprefix('valid ').replace('_', ' ')}: {end:.3g}")
        parts.append(f'<text x="{points[-1][0] + 8:.0f}" y="{floor:.0f}" style="fill: {colour}">{text}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
