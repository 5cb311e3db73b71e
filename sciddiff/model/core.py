"""The model: a task, a network and what was measured of them."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.model.detect import with_masks
from sciddiff.model.fit import fit_all, is_stack
from sciddiff.model.layout import TOLERANCE, lay_out
from sciddiff.model.lazy import as_dataset, predict_lazily
from sciddiff.model.lazy_stack import predict_stack_lazily
from sciddiff.model.request import Guidance, Request, names, surveyed
from sciddiff.model.tiles import predict_tiles
from sciddiff.networks.unet import UNet
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Instrument, Task, build_task


@dataclass(frozen=True)
class Model:
    """A task and the network that was trained for it.

    Attributes
    ----------
    recipe
        What was asked for.
    task
        Forward model, base, condition, projection.
    network
        The velocity F; see `networks.unet`.
    residual_root
        Symmetric square root of the covariance of (x - base) / s over the bands, (c, c): the engine's residual is
        white, and noise becomes detail that the bands share as they do in the training scenes.
    record
        What was measured: `halo` (pixels -> error in spreads), `calibration` (by how much a sample's departure from
        the mean is scaled, so that the spread equals the error on held-out places, or the interval holds the truth as
        often as it says, see `evaluation.calibrate`), `metrics`, `provenance`.
    """

    recipe: Recipe
    task: Task
    network: UNet
    residual_root: Tensor
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.residual_root.device

    @property
    def radius(self) -> int:
        """Halo in target pixels beyond which nothing can change a pixel."""
        return self.task.radius + self.network.radius

    def to(self, device: str | torch.device) -> "Model":
        """The model on a device; itself where it is there already."""
        if self.device == torch.device(device):
            return self
        network = prepared(copy.deepcopy(self.network).to(device))
        return replace(self, network=network, residual_root=self.residual_root.to(device))

    def request(
        self,
        *,
        steps: int | None = None,
        samples: int = 1,
        seed: int = 0,
        instrument: Instrument | None = None,
        guidance: Guidance | None = None,
        strength: float = 1.0,
    ) -> Request:
        """What is asked of the engine, the recipe's sampler where nothing is said; see `predict`."""
        sampler, guidance = self.recipe.sampler, guidance or Guidance()
        return Request(steps or sampler.steps, samples, seed, sampler.method, instrument or {}, guidance, strength)

    def predict(
        self,
        image: xr.DataArray | NDArray[np.floating] | Tensor,
        *,
        inputs: Mapping[str, xr.DataArray | Sequence[xr.DataArray]] | None = None,
        steps: int | None = None,
        samples: int = 1,
        seed: int = 0,
        tile: int | None = None,
        batch: int = 1,
        instrument: Instrument | None = None,
        guidance: Guidance | None = None,
        strength: float = 1.0,
        tolerance: float | None = TOLERANCE,
    ) -> xr.Dataset:
        """Restore an image: at once, or lazily and of any size where it is chunked (`image.chunk(...)`).

        Parameters
        ----------
        image
            As `sciddiff.open` gives it, or any DataArray with dims y and x and of band, t and z those that it needs,
            its finite pixels valid; or an array or tensor (bands, h, w) in the model's order of bands.
        inputs
            The task's other inputs by name, such as {"pan": sciddiff.open("pan.tif")}; several of one name as a list.
            Where the task names a detector and no `mask` is given, the detector looks for clouds and shadows first.
        steps
            1: the posterior mean. 2 or more: posterior samples too. The recipe's where not given.
        samples
            How many samples; 2 or more give a spread.
        seed
            Of the samples.
        tile, batch
            Side of the cores in target pixels, and windows at once: memory and speed, never the result.
        instrument
            Measured numbers of the instrument by name, such as {"mtf": (0.22,)}; the nominal ones where not given. Of a
            synthesis: what is asked of the image beside its mask.
        guidance, strength
            Of a synthesis: how it is led, and how far the input `image` may change; see `request.Request`.
        tolerance
            Halo error allowed, in spreads of the residual; None takes the full radius.

        Returns
        -------
        xarray.Dataset
            On the target grid: `mean`; with samples `sample`; with several `std` and the 90 % interval `lower`,
            `upper`; and the task's further maps.
            Invalid pixels are NaN. Of a chunked image: Dask arrays, a chunk for each core (of a stack: for each
            plane), equal to what the image in memory gives, whatever its chunks.

        Raises
        ------
        InputError
            Where the image does not fit the model.
        """
        image = self._as_image(image)
        others = {
            name: [io.completed(each) for each in ([given] if isinstance(given, xr.DataArray) else given)]
            for name, given in (inputs or {}).items()
        }
        others = with_masks(self.recipe, self.task, image, others, on=self.device)
        fitted = fit_all(self.recipe, self.task, image, others)
        request = self.request(
            steps=steps, samples=samples, seed=seed, instrument=instrument, guidance=guidance, strength=strength
        )
        request = surveyed(self, fitted, request)
        if image.chunks is not None:
            lazily = predict_stack_lazily if is_stack(fitted.image) else predict_lazily
            return lazily(self, fitted, request, tile=tile, tolerance=tolerance)
        layout = lay_out(self, fitted, tile=tile, tolerance=tolerance)
        count, dtype = len(fitted.results), fitted.dtype
        sizes = dict.fromkeys(names(request), count) | {name: len(bands) for name, bands in self.task.extras.items()}
        shape = *(layout.frames or ()), *layout.shape
        results = {name: np.full((size, *shape), np.nan, dtype) for name, size in sizes.items()}
        valid = np.zeros((count, *shape), bool)
        for part in predict_tiles(self, fitted, layout, request, windows=layout.windows, batch=batch):
            place = layout.place(part.window)
            for name, value in part.results.items():
                results[name][:, *place] = value
            valid[:, *place] = part.valid
        return as_dataset(self, results, valid, fitted)

    def _as_image(self, image: xr.DataArray | NDArray[np.floating] | Tensor) -> xr.DataArray:
        if isinstance(image, xr.DataArray):
            return io.completed(image)
        values = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
        bands = self.task.inputs[0].bands
        if self.task.inputs[0].is_labels and values.ndim == 2:
            values = values[None]
        if values.ndim != 3 or len(values) != len(bands):
            expected = f"({len(bands)}, height, width): {', '.join(bands)}"
            raise InputError(f"got an array of shape {values.shape}, expected {expected}")
        grid = GeoBox(values.shape[1:], Affine.identity(), None)
        return io.from_array(values, grid=grid, bands=list(bands))


def build_network(recipe: Recipe, task: Task) -> UNet:
    """The recipe's network with random weights."""
    size = recipe.network
    return UNet(
        len(task.bands),
        task.maps,
        task.numbers,
        widths=size.widths,
        encoder_blocks=size.encoder_blocks,
        denoiser_blocks=size.denoiser_blocks,
        stem=size.stem,
        embedding=size.embedding,
        reach=task.neighbours[1] if size.dims == 3 and task.neighbours else 0,
    )


def prepared(network: UNet) -> UNet:
    """The network for inference, its weights laid out with channels last: a third faster on CPUs."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


def build(recipe: Recipe, *, device: str | torch.device = "cpu") -> Model:
    """A model with random weights, the same for the same seed."""
    task = build_task(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = build_network(recipe, task)
    network = prepared(network.to(device))
    return Model(recipe, task, network, torch.eye(len(task.bands), device=device))
