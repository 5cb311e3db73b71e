"""Calling commands as a user does, with stand-ins for the work behind them."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sciddiff
from sciddiff.cli import cli


@pytest.fixture
def call() -> Callable[..., Result]:
    """Run `sciddiff ARGUMENTS...`; the result has exit_code, stdout and stderr apart."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="sciddiff")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace a module of sciddiff by one that has just the functions given."""

    def replace(name: str, **functions: Any) -> None:
        module = ModuleType(f"sciddiff.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, f"sciddiff.{name}", module)
        monkeypatch.setattr(sciddiff, name, module, raising=False)

    return replace
