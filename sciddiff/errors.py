"""Every error a user can meet. Each says what happened, with which values, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class SciddiffError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class RecipeError(SciddiffError):
    """A recipe that cannot be used: all its faults at once, each with file:line:column."""

    exit_code = 2


class OutputExistsError(SciddiffError):
    """The output is there already and `--overwrite` was not given."""

    exit_code = 2


class OptionError(SciddiffError):
    """An option or argument that contradicts another or the model."""

    exit_code = 2


class InputError(SciddiffError):
    """An input file or array that cannot be used."""

    exit_code = 3


class ModelFileError(SciddiffError):
    """A model file that is corrupt, of another version, or does not match its recipe."""

    exit_code = 3


class OutputError(SciddiffError):
    """An output that cannot be written: folder, permission, disk."""

    exit_code = 1


class OutputNameError(OutputError):
    """The name of an output says no format that there is."""

    exit_code = 2


class InterruptedRun(SciddiffError):
    """A run stopped by a signal; the same command continues it."""

    exit_code = 75


@contextmanager
def about(path: str) -> Iterator[None]:
    """Say of which file an input error is, where it does not say so itself.

    Parameters
    ----------
    path
        Of the file or folder.
    """
    try:
        yield
    except InputError as error:
        if path in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
