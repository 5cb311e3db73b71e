"""Checkpoints that are whole or absent."""

import os
from pathlib import Path
from typing import Any

import torch

from sciddiff.errors import ModelFileError


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write, flush to the disk, rename: a kill at any moment leaves the former checkpoint or this one."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state last written, in main memory, or None where there is none.

    Raises
    ------
    ModelFileError
        Where the file is not a checkpoint.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelFileError(f"{path} is not a checkpoint ({error}); delete it to start again") from error
    return state
