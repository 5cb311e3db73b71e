"""The group: help, errors, exit codes, warnings, verbosity."""

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from sciddiff import __version__, errors

Call = Callable[..., Result]


def test_the_help_names_every_command_in_order_and_the_exit_codes(call: Call):
    result = call("--help")
    assert result.exit_code == 0
    places = [result.stdout.index(f"\n  {name}") for name in ("demo", "predict", "train", "simulate", "info", "recipe")]
    assert places == sorted(places)
    assert "75 stopped" in " ".join(result.stdout.split())


def test_the_version_is_that_of_the_package(call: Call):
    assert call("--version").stdout == f"sciddiff, version {__version__}\n"


def test_python_m_runs_the_same_command_line():
    done = subprocess.run([sys.executable, "-m", "sciddiff", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sciddiff, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error(call: Call):
    result = call("predikt")
    assert result.exit_code == 2
    assert "No such command 'predikt'" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SciddiffError, 1),
        (errors.OutputError, 1),
        (errors.RecipeError, 2),
        (errors.OutputExistsError, 2),
        (errors.OptionError, 2),
        (errors.InputError, 3),
        (errors.ModelFileError, 3),
        (errors.InterruptedRun, 75),
    ],
)
def test_each_error_has_its_exit_code_and_only_its_message_on_stderr(
    call: Call, stand_in: Callable[..., None], error: type[errors.SciddiffError], code: int
):
    def simulate_file(*_: Any, **__: Any) -> None:
        raise error("what happened; what to do")

    stand_in("inference", simulate_file=simulate_file)
    result = call("simulate", "sr_aerial_x4", "a.tif", "-o", "out")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "Error: what happened; what to do\n")


def test_verbose_shows_where_an_error_came_from(call: Call, stand_in: Callable[..., None]):
    def simulate_file(*_: Any, **__: Any) -> None:
        raise errors.InputError("broken")

    stand_in("inference", simulate_file=simulate_file)
    with pytest.raises(errors.InputError):
        call("simulate", "-v", "sr_aerial_x4", "a.tif", "-o", "out")


def test_an_interruption_exits_with_130(call: Call, stand_in: Callable[..., None]):
    def simulate_file(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    stand_in("inference", simulate_file=simulate_file)
    result = call("simulate", "sr_aerial_x4", "a.tif", "-o", "out")
    assert (result.exit_code, result.stderr) == (130, "Interrupted\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["Warning: tag X was dropped", "reading", "WARNING: odd"]),
        (("-q",), ["Warning: tag X was dropped", "WARNING: odd"]),
        (("-v",), ["Warning: tag X was dropped", "details", "reading", "WARNING: odd"]),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_warnings_and_logs_are_lines_on_stderr(
    call: Call, stand_in: Callable[..., None], options: tuple[str, ...], expected: list[str], before: bool
):
    def simulate_file(*_: Any, **__: Any) -> dict[str, str]:
        warnings.warn("tag X was dropped", UserWarning, stacklevel=2)
        log = logging.getLogger("sciddiff.io")
        log.debug("details")
        log.info("reading")
        log.warning("odd")
        return {"target": "t.tif"}

    stand_in("inference", simulate_file=simulate_file)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        front, behind = (options, ()) if before else ((), options)
        result = call(*front, "simulate", *behind, "sr_aerial_x4", "a.tif", "-o", "out")
    assert result.stdout == "target: t.tif\n"
    assert [line.replace("Warning: odd", "WARNING: odd") for line in result.stderr.splitlines()] == expected
