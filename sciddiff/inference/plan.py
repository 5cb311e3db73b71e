"""The plan: pure and deterministic; what will be computed, how it is cut, what it needs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io import RasterProfile
from sciddiff.model import Model
from sciddiff.model.fit import Fitted, fit
from sciddiff.model.tiles import TOLERANCE, Layout, Request, lay_out

BYTES_PER_PIXEL = 4 * 1.6
"""Of a feature map, allocator's overhead included."""
LIBRARIES = 400e6
"""Bytes that the libraries take before the first pixel."""


@dataclass(frozen=True)
class Plan:
    """All that decides the pixels of a prediction, and what it will take.

    Attributes
    ----------
    source
        Path of the main image.
    fitted
        The main image reduced to the model's bands.
    layout
        How the target grid is cut.
    request
        Steps, samples, seed, sampler.
    profile
        Data type, nodata, tags and all else that the output keeps, on the target grid.
    """

    source: str
    fitted: Fitted
    layout: Layout
    request: Request
    profile: RasterProfile
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For people and for JSON."""
        image, layout = self.fitted.image, self.layout
        item = np.dtype(self.profile.dtype).itemsize
        return {
            "input": self.source,
            "input_shape": list(image.shape),
            "bands": [str(name) for name in image.band.values],
            "output_shape": [image.shape[0], *layout.shape],
            "dtype": str(self.profile.dtype),
            "nodata": self.profile.nodata,
            **{f"request_{name}": value for name, value in asdict(self.request).items()},
            "product": self.request.product,
            "tile": layout.tile,
            "halo": layout.halo,
            "halo_from": layout.halo_from,
            "windows": len(layout.windows),
            "fill": list(layout.fallback),
            "peak_memory_mb": round(self.peak_bytes / 1e6),
            "disk_mb": round(2.4 * item * image.shape[0] * layout.shape[0] * layout.shape[1] / 1e6, 1),
        }


def plan_image(
    model: Model, source: str, *, request: Request, tile: int | None, batch: int, tolerance: float | None = TOLERANCE
) -> Plan:
    """Open a raster and decide everything, without computing a pixel.

    Raises
    ------
    InputError
        Where the raster does not fit the model or has no valid pixel.
    """
    image = io.open(source)
    try:
        fitted = fit(model.recipe, image, categorical=model.task.categorical)
        layout = lay_out(model, fitted, tile=tile, tolerance=tolerance)
    except InputError as error:
        raise error if source in str(error) else InputError(f"{source}: {error}") from error
    bands = [str(name) for name in fitted.image.band.values]
    profile = fitted.image.encoding["raster"].select(bands).rescaled(layout.ratio)
    return Plan(source, fitted, layout, request, profile, _peak(model, layout, batch))


def _peak(model: Model, layout: Layout, batch: int) -> int:
    pixels = batch * (layout.tile + 2 * layout.halo) ** 2
    widths = model.recipe.network.widths
    finest = 6 * max(width / (model.recipe.network.stem * 2**level) ** 2 for level, width in enumerate(widths))
    maps = 10 * len(model.task.bands)
    return int(LIBRARIES + pixels * BYTES_PER_PIXEL * (maps + finest))
