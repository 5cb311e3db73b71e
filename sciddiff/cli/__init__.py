"""The command line: one file a command. A command parses, calls one function, prints; heavy imports wait until then."""

import shlex
import sys
import warnings
from importlib import import_module
from typing import Any

import click

from sciddiff import __version__
from sciddiff.cli.options import configure_logging, is_verbose, verbosity_options
from sciddiff.errors import SciddiffError

COMMANDS = (
    *("demo", "predict", "assemble", "synthesize", "train", "simulate", "evaluate", "benchmark", "calibrate"),
    *("info", "check", "export", "recipe", "models", "slurm"),
)
"""In the order of the help. The command `x` is the object `x` of the module `sciddiff.cli.x`."""

ARGUMENTS = "sciddiff.arguments"


class _Failure(click.ClickException):
    """A library error on its way out: its message on stderr and its own exit code."""

    def __init__(self, error: SciddiffError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]


class _House(click.Group):
    """A group that imports a command when it is needed, and turns errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"sciddiff.cli.{cmd_name}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments as typed, for the provenance of what is written."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; warnings become one line each on stderr."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                return super().invoke(ctx)
        except SciddiffError as error:
            if is_verbose(ctx):
                raise
            raise _Failure(error) from error
        except KeyboardInterrupt:
            click.echo("Interrupted", err=True)
            ctx.exit(130)


def _show_warning(message: Warning | str, *_place: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=_House, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sciddiff")
@verbosity_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Restore and synthesise scientific images with conditional diffusion.

    Results go to stdout, logs and progress to stderr. Exit codes: 0 done, 1 failed, 2 usage or recipe, 3 input cannot
    be used, 4 some items failed, 75 stopped and can be continued by the same command.
    """
    configure_logging(ctx)


def command_line(ctx: click.Context) -> str:
    """
    Return the command as it was typed, to be kept with what it writes.

    Parameters
    ----------
    ctx : click.Context
        Any context below the group.
    """
    return shlex.join(["sciddiff", *ctx.meta.get(ARGUMENTS, [])])


def main() -> None:
    """Run the command line of this process."""
    cli(prog_name="sciddiff" if sys.argv[0].endswith("__main__.py") else None)
