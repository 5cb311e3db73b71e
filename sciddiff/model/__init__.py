"""The model: one file, the engine on windows, and prediction of arrays."""

from sciddiff.model.core import Model, build
from sciddiff.model.engine import mix_bands, restore
from sciddiff.model.file import load, read_header, write

__all__ = ["Model", "build", "load", "mix_bands", "read_header", "restore", "write"]
