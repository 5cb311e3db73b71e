"""The house stands: imports run down, nothing heavy is loaded before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "xarray", "rasterio", "numpy", "pydantic", "scipy", "odc", "rich", "ruamel")


def loaded_after(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after the code."""
    report = f"{code}\nimport sys\nprint('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    mark, *loaded = done.stdout.splitlines()[-1].split()
    assert mark == "HEAVY"
    return set(loaded)


def test_imports_run_down_the_house_without_a_circle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)  # silences loggers that other tests listen to
    assert cli.lint_imports(no_cache=True) == cli.EXIT_STATUS_SUCCESS


def test_importing_sciddiff_loads_nothing_heavy():
    assert loaded_after("import sciddiff; sciddiff.__version__") == set()


def test_help_loads_nothing_heavy():
    code = "from sciddiff.cli import cli\ntry: cli(['--help'])\nexcept SystemExit: pass"
    assert loaded_after(code) == set()


@pytest.mark.parametrize(
    "command", ["demo", "predict", "train", "simulate", "calibrate", "info", "export", "recipe", "models"]
)
def test_the_help_of_a_command_loads_nothing_heavy(command: str):
    code = f"from sciddiff.cli import cli\ntry: cli(['{command}', '--help'])\nexcept SystemExit: pass"
    assert loaded_after(code) == set()


def test_the_public_names_are_there_and_others_are_not():
    import sciddiff

    assert {name: callable(getattr(sciddiff, name)) for name in ("open", "save", "load", "Model")} == {
        "open": True,
        "save": True,
        "load": True,
        "Model": True,
    }
    assert {"open", "save", "load", "Model", "__version__"} <= set(dir(sciddiff))
    with pytest.raises(AttributeError, match=r"no attribute 'lod'; it has Model, __version__, load, open, save"):
        sciddiff.lod  # noqa: B018
