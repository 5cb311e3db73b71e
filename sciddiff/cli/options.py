"""Options that several commands share, under one name and with one meaning."""

import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from sciddiff.errors import OptionError

VERBOSITY = "sciddiff.verbosity"


def overwrite_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--overwrite`: replace outputs that exist."""
    return click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, passed as `as_json`: print the result as JSON."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def axes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--axes`: what the axes of a TIFF stack are that does not say it."""
    return click.option(
        "--axes", metavar="AXES", help="Axes of a TIFF stack that does not say them, slowest first, such as ZYX."
    )(command)


def device_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--device`: where the network runs; `auto` takes a GPU when there is one."""
    return click.option(
        "--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, cuda:1, mps."
    )(command)


def creation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--co NAME=VALUE`, passed as the mapping `creation_options`; names and values keep their case."""
    return click.option(
        "--co",
        "creation_options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_assignments,
        help="GDAL creation option of the output; may be repeated.",
    )(command)


def instrument_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--instrument NAME=NUMBER[,NUMBER...]`, passed as the mapping `instrument` of tuples of numbers."""
    return click.option(
        "--instrument",
        multiple=True,
        metavar="NAME=X[,X...]",
        callback=_numbers,
        help="Measured number of the instrument, such as mtf=0.22, or one a band; else nominal. May be repeated.",
    )(command)


def verbosity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-q/--quiet` (no progress, no logs below warnings) and `-v/--verbose` (more logs, tracebacks)."""
    quiet = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_verbosity(-1), help="No progress, warnings only."
    )
    verbose = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbosity(1), help="More logs; tracebacks."
    )
    return quiet(verbose(command))


def pick_device(name: str) -> str:
    """
    Return the device as torch names it.

    Parameters
    ----------
    name : str
        `auto`, or a name of torch.

    Raises
    ------
    OptionError
        When there is no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(f"--device {name} cannot be used here: {reason}; take cpu or auto") from error
    return name


def is_quiet(ctx: click.Context) -> bool:
    """Return whether `-q` was given, before or after the command."""
    return int(ctx.meta.get(VERBOSITY, 0)) < 0


def is_verbose(ctx: click.Context) -> bool:
    """Return whether `-v` was given, before or after the command."""
    return int(ctx.meta.get(VERBOSITY, 0)) > 0


def configure_logging(ctx: click.Context) -> None:
    """Send the library's log to stderr at the level that was asked for."""
    level = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}[ctx.meta.get(VERBOSITY, 0)]
    logger = logging.getLogger("sciddiff")
    logger.setLevel(level)
    logger.handlers[:] = [_StandardError()]
    logger.propagate = False
    files = logging.getLogger("tifffile")  # heard by `io`, which says by errors what is wrong with a file
    files.handlers[:] = [logging.NullHandler()]
    files.propagate = False


class Duration(click.ParamType[float]):
    """Seconds from `90`, `90s`, `30m`, `2h` or `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds, or fail with the forms that are understood."""
        parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", str(value).strip())
        if parts is None or not any(parts.groups()):
            self.fail(f"got {value!r}, expected a time such as 90s, 30m, 2h or 1h30m", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        total = 3600 * hours + 60 * minutes + seconds
        if total <= 0:
            self.fail(f"got {value!r}, expected more than zero", param, ctx)
        return total


class _StandardError(logging.Handler):
    """Writes a line to the stderr of the moment, which a test or a caller may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.capitalize()}: "
        print(f"{prefix}{self.format(record)}", file=sys.stderr)  # noqa: T201


def _verbosity(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[VERBOSITY] = level
            configure_logging(ctx)

    return remember


def _assignments(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"got {value!r}, expected NAME=VALUE such as COMPRESS=ZSTD", ctx, param)
        parsed[name] = text
    return parsed


def _numbers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    parsed = {}
    for value in values:
        name, _, text = value.partition("=")
        try:
            parsed[name] = tuple(float(number) for number in text.split(","))
        except ValueError:
            raise click.BadParameter(f"got {value!r}, expected NAME=NUMBER such as mtf=0.22", ctx, param) from None
    return parsed
