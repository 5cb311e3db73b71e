"""Files to images and back, with nothing lost: georeference, validity, radiometry, names, tags and provenance.

Each name is imported at its first use, so that `import sciddiff.io` loads neither rasterio nor xarray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciddiff.io.bands import band_names, describe_bands, match_bands
    from sciddiff.io.image import completed, from_array, grid_of, read_window
    from sciddiff.io.profile import BandProfile, RasterProfile, RasterWarning, plain_profile, rescale_profile
    from sciddiff.io.raster import open  # noqa: A004 - the name is part of the interface
    from sciddiff.io.restated import stated, with_axes
    from sciddiff.io.stack import saturated_share
    from sciddiff.io.stack_files import read_stack_window
    from sciddiff.io.stack_profile import StackProfile
    from sciddiff.io.target import kind_of
    from sciddiff.io.write import save
    from sciddiff.io.writer import RasterWriter

_HOMES = {
    "BandProfile": "profile",
    "RasterProfile": "profile",
    "RasterWarning": "profile",
    "RasterWriter": "writer",
    "band_names": "bands",
    "describe_bands": "bands",
    "StackProfile": "stack_profile",
    "completed": "image",
    "from_array": "image",
    "grid_of": "image",
    "kind_of": "target",
    "match_bands": "bands",
    "open": "raster",
    "plain_profile": "profile",
    "read_stack_window": "stack_files",
    "read_window": "image",
    "rescale_profile": "profile",
    "saturated_share": "stack",
    "save": "write",
    "stated": "restated",
    "with_axes": "restated",
}
__all__ = [
    "BandProfile",
    "RasterProfile",
    "RasterWarning",
    "RasterWriter",
    "StackProfile",
    "band_names",
    "completed",
    "describe_bands",
    "from_array",
    "grid_of",
    "kind_of",
    "match_bands",
    "open",
    "plain_profile",
    "read_stack_window",
    "read_window",
    "rescale_profile",
    "saturated_share",
    "save",
    "stated",
    "with_axes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sciddiff.io' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"sciddiff.io.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
