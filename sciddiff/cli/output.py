"""How a command speaks: results on stdout, progress on stderr."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from sciddiff.cli.options import is_quiet

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 5.0


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """
    Print a result on stdout, as JSON or as one `name: value` a line.

    Parameters
    ----------
    result : mapping
        Plain values, lists and mappings; paths become text.
    as_json : bool
        Whether a program reads it.
    """
    if as_json:
        click.echo(json.dumps(_finite(result), indent=2, default=str, ensure_ascii=False))
        return
    for line in _lines(result, indent=""):
        click.echo(line)


class Progress(AbstractContextManager["Progress"]):
    """
    Progress on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing when quiet.

    Parameters
    ----------
    ctx : click.Context
        Knows whether `-q` was given.
    label : str
        What is being done.
    """

    def __init__(self, ctx: click.Context, label: str) -> None:
        self.label = label
        self.quiet = is_quiet(ctx)
        self._bar: RichProgress | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self._bar = _rich_bar(self.label)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, values: Mapping[str, float] | None = None) -> None:
        """
        Report how far it is.

        Parameters
        ----------
        done, total : int
            Steps or tiles.
        values : mapping of str to float, optional
            Numbers to show beside, such as a loss.
        """
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in (values or {}).items())
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, numbers=numbers)
        elif not self.quiet and (done >= total or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES):
            self._last_line = time.monotonic()
            click.echo(f"{self.label}: {done} of {total}  {numbers}".rstrip(), err=True)


def _rich_bar(label: str) -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    numbers = TextColumn("{task.fields[numbers]}")
    bar = RichProgress(*columns, TimeRemainingColumn(), numbers, console=Console(stderr=True))
    bar.add_task(label, total=None, numbers="")
    return bar


def _lines(result: Mapping[str, Any], *, indent: str) -> list[str]:
    lines = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *_lines(value, indent=indent + "  ")]
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            lines.append(f"{indent}{name}:")
            for item in value:
                lines.append(f"{indent}  {'  '.join(f'{key}={_text(part)}' for key, part in item.items())}")
        else:
            lines.append(f"{indent}{name}: {_text(value)}")
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON has no word for, by null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def show_files(folder: Path, files: Mapping[str, str], *, first: str = "report.html") -> None:
    """
    Print the files that a demo wrote, what each is, and which to open.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are.
    files : mapping of str to str
        What each is, by its name.
    first : str
        Name of the one to open.
    """
    width = max(len(str(folder / name)) for name in files)
    for name, text in files.items():
        click.echo(f"{folder / name!s:{width}}  {text}")
    click.echo(f"\nOpen {(folder / first).resolve()}{' in a browser' if first.endswith('.html') else ''}.")
