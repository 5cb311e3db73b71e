"""The page of a benchmark over scenes: the methods with intervals, and every scene."""

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from sciddiff.errors import OutputError
from sciddiff.evaluation.benchmark import Line, best_classical
from sciddiff.evaluation.compare import MEAN, Comparison
from sciddiff.evaluation.pictures import data_uri, panel
from sciddiff.evaluation.tables import headers, method_name, rows

HEAD = ("method", "PSNR dB", "95 % of scenes", "the model gains", "95 %")


def write_benchmark(lines: Sequence[Line], comparisons: Mapping[str, Comparison], path: Path, *, title: str) -> None:
    """Write the page to a file, which is replaced.

    Parameters
    ----------
    lines
        As `benchmark.over_scenes` gives them.
    comparisons
        One a scene, by its path.
    path
        Of the page.
    title
        Of the page.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    template = Template(Path(__file__).with_name("augmentation.html").read_text(encoding="utf-8"))
    best = best_classical(lines)
    summary = f"{len(comparisons)} clean scenes, degraded by the model's own instrument and restored."
    if best is not None:
        summary += (
            f" The posterior mean gains {best.gain:+.2f} dB over {method_name(best.method)}, the strongest rival."
        )
    page = template.substitute(
        title=escape(title),
        summary=escape(summary),
        plot="",
        table=_table(HEAD, [_cells(line) for line in lines]) + "".join(map(_scene, comparisons.items())),
        rule="Intervals are bootstraps over scenes, never over tiles of one.",
        pictures="".join(_figure(name, comparison) for name, comparison in comparisons.items()),
    )
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write the report to {path}: {error.strerror}") from error


def _cells(line: Line) -> list[str]:
    own = line.method == MEAN
    gain = ["", ""] if own else [f"{line.gain:+.2f}", _range(line.gain_interval)]
    return [method_name(line.method), f"{line.psnr:.2f}", _range(line.interval), *gain]


def _range(interval: tuple[float, float]) -> str:
    return "one scene" if math.isinf(interval[0]) else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    names = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"


def _scene(item: tuple[str, Comparison]) -> str:
    name, comparison = item
    return f"<h2>{escape(Path(name).name)}</h2>{_table(headers(comparison), rows(comparison))}"


def _figure(name: str, comparison: Comparison) -> str:
    source = data_uri(panel(comparison))
    return f'<figure><img src="{source}" alt="All methods on {escape(Path(name).name)}"></figure>'
