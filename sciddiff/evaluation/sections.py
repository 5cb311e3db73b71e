"""Classical answers and pictures of stacks, plane by plane or by sections in depth."""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from sciddiff.io.image import assemble
from sciddiff.model import Model
from sciddiff.model.fit import fit_all, is_stack
from sciddiff.model.request import surveyed

SIDE, CAPTION = 320, 16
"""Of a picture and its caption in a panel, in pixels."""


def classical(model: Model, image: xr.DataArray) -> dict[str, xr.DataArray]:
    """What the baselines of a model's task make of a stack of one-channel images, whole and in memory.

    Parameters
    ----------
    model
        Whose task takes each channel for itself.
    image
        What was measured, ([band,] t, z, y, x) or (band, y, x).
    """
    task = model.task
    fitted = fit_all(model.recipe, task, image)
    told = surveyed(model, fitted, model.request()).instrument
    values = torch.from_numpy(np.asarray(image.values, np.float32))
    values = values if is_stack(image) else values[:, None, None]
    grid, results = fitted.grid, {}
    for name, method in task.baselines().items():
        made = []
        for at, channel in enumerate(values):
            own = {key: (each[at] if len(each) == len(values) else each[0],) for key, each in told.items()}
            planes = _planes(channel, in_depth=task.depth_ratio is not None)
            obs = task.observe({task.inputs[0].name: planes}, own)
            made.append(_stack(method(obs), like=channel, in_depth=task.depth_ratio is not None))
        array = torch.stack(made).numpy()
        array = array if is_stack(image) else array[:, 0, 0]
        bands = [str(band) for band in image.band.values]
        dims = [str(dim) for dim in image.dims]
        results[name] = assemble(array, np.isfinite(array), grid=grid, bands=bands, dims=dims)
    return results


def _planes(channel: Tensor, *, in_depth: bool) -> Tensor:
    """(t, z, y, x) as (n, 1, rows, columns)."""
    order = channel.permute(0, 2, 1, 3) if in_depth else channel
    return order.reshape(-1, 1, *order.shape[-2:])


def _stack(planes: Tensor, *, like: Tensor, in_depth: bool) -> Tensor:
    t, z, y, _ = like.shape
    if in_depth:
        return planes.reshape(t, y, *planes.shape[-2:]).permute(0, 2, 1, 3)
    return planes.reshape(t, z, *planes.shape[-2:])


def panel(measured: xr.DataArray, shown: Mapping[str, xr.DataArray], *, in_depth: bool) -> Image.Image:
    """The middle plane, or the middle section in depth, of images of one field: a row for each channel.

    Parameters
    ----------
    measured
        The input, drawn first and enlarged.
    shown
        The others by their captions, the last of which sets the contrast.
    in_depth
        Whether to show depth over x instead of y over x.
    """
    columns = {"measured": measured, **shown}
    *_, last = shown.values()
    channels = last.sizes["band"]
    height = round(SIDE * (last.sizes["z"] / last.sizes["x"] if in_depth else last.sizes["y"] / last.sizes["x"]))
    sheet = Image.new("L", (SIDE * len(columns), (height + CAPTION) * channels), 255)
    draw = ImageDraw.Draw(sheet)
    for row in range(channels):
        truth = _middle(last, row, in_depth=in_depth)
        low, high = np.quantile(truth, (0.01, 0.998))
        for column, (name, image) in enumerate(columns.items()):
            part = _middle(image, row, in_depth=in_depth)
            levels = np.clip((part - low) / max(high - low, 1e-9), 0, 1) ** 0.7
            picture = Image.fromarray((levels * 255).astype(np.uint8)).resize(
                (SIDE - 2, height), Image.Resampling.NEAREST
            )
            top = row * (height + CAPTION)
            sheet.paste(picture, (column * SIDE, top + CAPTION))
            draw.text((column * SIDE + 2, top + 2), f"{name}, {last.band.values[row]}", fill=0)
    return sheet


def _middle(image: xr.DataArray, channel: int, *, in_depth: bool) -> NDArray[np.floating]:
    part = image.isel(band=channel)
    if is_stack(image):
        part = part.isel(t=0)
        part = part.isel(y=image.sizes["y"] // 2) if in_depth else part.isel(z=image.sizes["z"] // 2)
    values: NDArray[np.floating] = np.asarray(part.values, np.float64)
    return values
