"""From values to the numbers that stand in a stack: rounded, clipped, never wrapped; invalid pixels are NaN or 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sciddiff.io.radiometry import Radiometry, encode
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.stored import Stored


@dataclass(frozen=True)
class StackEncoder:
    """Makes stored windows of a stack; see `stored.Encoder` for those of a raster."""

    profile: StackProfile

    @property
    def masked(self) -> bool:
        """Never: microscopy formats have no masks."""
        return False

    def encode(self, values: NDArray[np.floating], valid: NDArray[np.bool_], *, row: int, col: int) -> Stored:
        """Return a window as it stands in the file.

        Parameters
        ----------
        values
            (c, [d,] h, w), physical.
        valid
            Broadcast against `values`; what is not finite is invalid whatever it says.
        row, col
            Of the window's first pixel in the file.
        """
        known = np.isfinite(values) & valid
        dtype = self.profile.dtype
        stored, clipped = encode(values, known, radiometry=Radiometry(), dtype=dtype, nodata=None)
        return Stored(stored, None, clipped, False)
