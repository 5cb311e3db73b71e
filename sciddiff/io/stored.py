"""From values to the numbers that stand in a file, window by window: rounded, clipped, masked, never wrapped."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from sciddiff.io.profile import RasterProfile
from sciddiff.io.radiometry import encode
from sciddiff.io.target import fitting, opaque_number
from sciddiff.io.under import Under

OPAQUE = 255


class Stored(NamedTuple):
    """A window as it stands in a file."""

    pixels: NDArray[Any]
    """(file bands, h, w), alpha among them."""
    mask: NDArray[np.uint8] | None
    """(h, w), 255 where valid; None for a file that has no mask and needs none."""
    clipped: int
    """Values that were outside the range of the type."""
    partly: bool
    """Some pixels are invalid in only some bands, and the file can only say it of all."""


@dataclass(frozen=True)
class Encoder:
    """Makes stored windows of a raster.

    Attributes
    ----------
    profile
        As the file can say it, on its own grid; see `target.fitting`.
    under
        Where what stands under invalid pixels comes from, if anywhere.

    Notes
    -----
    Invalid pixels get nodata, else NaN; alpha and mask are 0 where all bands are invalid, or, if the file has nothing
    else to say it with, where any band is. What stands *under* invalid pixels is taken from the source of the
    profile, as long as that file is unchanged, on the same pixels, and invalid there too: so that opening and saving
    changes no bit. Elsewhere it is nodata or 0.
    """

    profile: RasterProfile
    under: Under | None

    @classmethod
    def of(cls, profile: RasterProfile, grid: GeoBox) -> "Encoder":
        """Return the encoder of a file.

        Parameters
        ----------
        profile
            Of the image that is written, on that image's grid.
        grid
            Of the file.
        """
        return cls(fitting(profile, grid), Under.of(profile, grid))

    @property
    def spoken(self) -> bool:
        """Whether the file can say of each band which pixels are invalid."""
        return self.profile.nodata is not None or np.dtype(self.profile.dtype).kind == "f"

    @property
    def masked(self) -> bool:
        """Whether windows have a mask: the file has one, or may need one."""
        return self.profile.mask or (self.profile.alpha is None and not self.spoken)

    def encode(self, values: NDArray[np.floating], valid: NDArray[np.bool_], *, row: int, col: int) -> Stored:
        """Return a window as it stands in the file.

        Parameters
        ----------
        values
            (c, h, w), physical.
        valid
            Broadcast against (c, h, w); what is not finite is invalid whatever it says.
        row, col
            Of the window's first pixel in the file.
        """
        known = np.isfinite(values) & valid
        dtype, profile = self.profile.dtype, self.profile
        pixels, clipped = np.empty(values.shape, dtype), 0
        for at, item in enumerate(profile.radiometry):
            pixels[at], lost = encode(values[at], known[at], radiometry=item, dtype=dtype, nodata=profile.nodata)
            clipped += lost
        window = Window(col, row, values.shape[2], values.shape[1])
        under = self.under.read(window, known) if self.under is not None else None
        if under is not None:
            hidden = ~known & ~under.valid
            pixels[hidden] = under.stored[hidden]
        if not self.masked and profile.alpha is None:
            return Stored(pixels, None, clipped, partly=False)
        shown = known.any(axis=0) if self.spoken else known.all(axis=0)
        partly = bool((shown != known.any(axis=0)).any())
        opaque = np.where(shown, opaque_number(dtype) if profile.alpha is not None else OPAQUE, 0)
        if under is not None and under.opaque is not None:
            opaque = np.where((known == under.valid).all(axis=0), under.opaque, opaque)
        mask = np.where(opaque > 0, OPAQUE, 0).astype(np.uint8) if self.masked else None
        if profile.alpha is not None:
            pixels = np.insert(pixels, profile.alpha_at, opaque.astype(dtype), axis=0)
        return Stored(pixels, mask, clipped, partly)
