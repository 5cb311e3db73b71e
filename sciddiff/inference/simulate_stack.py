"""What a microscope would have measured of a clean stack."""

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io.image import assemble
from sciddiff.io.stack_profile import StackProfile
from sciddiff.model.fit import Fitted, is_stack
from sciddiff.tasks import Task


def simulate_stack(task: Task, fitted: Fitted, *, generator: Generator | None) -> dict[str, xr.DataArray]:
    """Degrade a clean stack, in memory.

    Parameters
    ----------
    task
        Whose forward model is taken.
    fitted
        The clean stack, or an image of a microscope.
    generator
        Of the instrument, one for all planes and channels; None: the nominal one.

    Returns
    -------
    dict
        `target` and `image`.

    Raises
    ------
    InputError
        The stack is smaller than a measured pixel, or has pixels without a value.
    """
    ratio, deep = task.inputs[0].ratio, task.depth_ratio or 1
    clean = _whole(fitted.image, ratio=ratio, deep=deep)
    values = torch.from_numpy(np.asarray(clean.values, np.float32))
    values = values if is_stack(clean) else values[:, None, None]
    channels = [values[[at]] for at in range(len(values))] if task.channelwise else [values[list(fitted.positions)]]
    pairs = [_measured(task, channel, generator) for channel in channels]
    truth, image = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
    profile: StackProfile = clean.encoding["stack"].with_dtype("float32")
    return {
        name: _image(array if is_stack(clean) else array[:, 0, 0], clean, profile, *shrink)
        for name, array, shrink in (("target", truth, (1, 1)), ("image", image, (ratio, deep)))
    }


def _whole(image: xr.DataArray, *, ratio: int, deep: int) -> xr.DataArray:
    """The stack cut to whole measured pixels and planes."""
    if deep > 1 and not is_stack(image):
        raise InputError("the image has one plane; the task needs a stack with planes in depth")
    kept = {axis: image.sizes[axis] // each * each for axis, each in (("y", ratio), ("x", ratio))}
    kept |= {"z": image.sizes["z"] // deep * deep} if is_stack(image) else {}
    if not all(kept.values()):
        sizes = ", ".join(f"{axis}={size}" for axis, size in image.sizes.items())
        raise InputError(f"the stack ({sizes}) is smaller than one measured pixel of {ratio} x {ratio} x {deep}")
    cut = image.isel({axis: slice(0, size) for axis, size in kept.items()})
    if not bool(cut.coords["valid"].all()):
        raise InputError("the stack has pixels without a value; crop or fill it first")
    return cut


def _measured(task: Task, clean: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """What is sought of (c, t, z, y, x), and what was measured of it."""
    c, t, z, y, x = clean.shape
    if task.depth_ratio is None:
        scenes = clean.permute(1, 2, 0, 3, 4).reshape(t * z, c, y, x)
    else:
        scenes = clean.permute(1, 3, 0, 2, 4).reshape(t * y, c, z, x)
    obs = task.simulate(scenes, generator)
    results = []
    for found in (task.truth(scenes, obs), obs.inputs[task.inputs[0].name]):
        if task.depth_ratio is None:
            results.append(found.reshape(t, z, *found.shape[1:]).permute(2, 0, 1, 3, 4))
        else:
            results.append(found.reshape(t, y, *found.shape[1:]).permute(2, 0, 3, 1, 4))
    return results[0], results[1]


def _image(
    values: NDArray[np.floating], clean: xr.DataArray, profile: StackProfile, ratio: int, deep: int
) -> xr.DataArray:
    grid = io.grid_of(clean)
    bands = [str(name) for name in clean.band.values]
    grid = grid.zoom_out(ratio) if ratio > 1 else grid
    values = np.ascontiguousarray(values)
    dims = [str(dim) for dim in clean.dims]
    image = assemble(values, np.isfinite(values), grid=grid, bands=bands, dims=dims)
    image.encoding["stack"] = profile.rescaled(1 / ratio, 1 / deep)
    return image
