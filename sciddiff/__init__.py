"""Restoration and synthesis of scientific images with conditional diffusion.

`open` reads a raster as an image, `save` writes one, `load` reads a model, and `Model` predicts. Each is imported at
its first use, so that `import sciddiff` loads neither torch nor xarray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciddiff.io import open, save
    from sciddiff.model import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load", "open", "save"]

_HOMES = {"open": "sciddiff.io", "save": "sciddiff.io", "load": "sciddiff.model", "Model": "sciddiff.model"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sciddiff' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
