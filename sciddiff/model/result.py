"""How the file of a result says what the main image's file says: on another grid, or of another quantity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sciddiff import io
from sciddiff.io.profile import plain_profile
from sciddiff.io.stack_profile import StackProfile
from sciddiff.model.fit import Fitted
from sciddiff.tasks import Task


@dataclass(frozen=True)
class Stored:
    """How the pixels of a new quantity are stored: a stored number n means scale n + offset.

    Zero is nodata where that has a scale; plain numbers of a camera have none.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0

    def profile(self, bands: Sequence[str]) -> io.RasterProfile:
        """Of a raster with these bands, lying nowhere."""
        plain = plain_profile(bands, dtype=self.dtype)
        if self.scale == 1:
            return plain
        named = [replace(band, scale=self.scale, offset=self.offset, nodata=0) for band in plain.bands]
        return replace(plain, bands=tuple(named))


def result_profile(fitted: Fitted, task: Task, stored: Stored | None = None) -> io.RasterProfile | StackProfile | None:
    """How a file on the target grid says what the main image's file says; None for an image that came from no file.

    Parameters
    ----------
    fitted, task
        Of the model.
    stored
        How a result that is another quantity is stored; float32 where not given.
    """
    if fitted.changed is not None:  # it is said as it was
        return result_profile(fitted.changed, task)
    ratio = task.inputs[0].ratio
    stack: StackProfile | None = fitted.image.encoding.get("stack")
    if stack is None:
        return target_profile(fitted, ratio, stored)
    if fitted.own_bands:  # another quantity, which the type of the image's pixels need not hold
        stack = stack.with_dtype("float32" if stored is None else stored.dtype)
    elif stack.dtype == "bool":  # what is restored lies between true and false
        stack = stack.with_dtype("float32")
    return stack.select(fitted.result_bands).rescaled(ratio, task.depth_ratio or 1)


def target_profile(fitted: Fitted, ratio: int, stored: Stored | None = None) -> io.RasterProfile | None:
    """How a file on the target grid says what the main image's file says; None for an image that came from no file.

    Of a result that is another quantity nothing is kept but where it lies: neither scale nor unit, colour or tags.
    """
    known = fitted.image.encoding.get("raster")
    if known is None:
        return None
    if fitted.own_bands:
        where = {name: getattr(known, name) for name in ("transform", "crs_wkt", "gcps", "gcp_crs_wkt", "rpcs")}
        known = replace((stored or Stored("float32")).profile(fitted.own_bands), **where)
    profile = known.select(fitted.result_bands).without_statistics()
    at_corner = fitted.offset == (0.0, 0.0) and fitted.grid.shape == tuple(
        fitted.image.sizes[axis] * ratio for axis in "yx"
    )
    return profile.rescaled(ratio) if at_corner else profile.on_grid(fitted.grid.affine)
