"""Law 4 end to end: where the engine has nothing to add, `predict` returns the raster bit for bit, with all it says."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.inference import predict_file
from sciddiff.model import Model, build
from sciddiff.recipe import Recipe
from sciddiff.tasks import Condition, Input, Instrument, Observation, OneImage
from tests.zoo import compare_rasters, make_zoo

NETWORK = {"widths": [8], "encoder_blocks": [0], "denoiser_blocks": [0], "stem": 2, "embedding": 4}


class Identity(OneImage):
    """A task that has nothing to restore."""

    radius = 0
    stride = 1
    categorical = True
    numbers = 1

    def __init__(self, bands: tuple[str, ...]):
        self.bands = self.scene_bands = bands
        self.inputs = (Input("image", bands, 1),)
        self.maps = len(bands)

    def observe(self, inputs: dict[str, Tensor], instrument: Instrument | None = None) -> Observation:
        return Observation(inputs, {}, torch.zeros(len(inputs["image"]), 1))

    def base(self, obs: Observation) -> Tensor:
        return obs.inputs["image"]

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        return Condition(scale=torch.ones_like(base), maps=torch.zeros_like(base))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        return x


def identity_model(path: Path) -> Model:
    bands = [str(name) for name in io.open(path).band.values]
    task = {"kind": "super_resolution", "ratio": 2}
    recipe = Recipe.model_validate({"version": 1, "name": "identity", "task": task, "bands": bands, "network": NETWORK})
    model = build(recipe)
    blank = build_blank(len(bands))
    return dataclasses.replace(model, task=Identity(tuple(bands)), network=blank, residual_root=torch.eye(len(bands)))


def build_blank(channels: int) -> torch.nn.Module:
    """A network that returns zero, as a fresh one does."""
    from sciddiff.networks.unet import UNet

    return UNet(channels, channels, 1, widths=[8], encoder_blocks=[0], denoiser_blocks=[0], stem=2, embedding=4).eval()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_zoo(tmp_path_factory.mktemp("zoo"))


def test_predict_returns_every_raster_as_it_was(zoo: dict[str, Path], tmp_path: Path) -> None:
    assert len(zoo) >= 25
    for name, path in zoo.items():
        if name == "all_invalid":
            continue
        output = tmp_path / f"{name}.tif"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predict_file(identity_model(path), str(path), output, tile=64)
        compare_rasters(path, output)


@pytest.mark.filterwarnings("ignore:the image does not name its bands")
def test_a_raster_without_a_valid_pixel_is_refused(zoo: dict[str, Path], tmp_path: Path) -> None:
    path = zoo["all_invalid"]
    with pytest.raises(InputError, match=r"all_invalid\.tif: all pixels are invalid"):
        predict_file(identity_model(path), str(path), tmp_path / "out.tif")
    assert not list(tmp_path.iterdir())


def test_arrays_come_back_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        values = rng.normal(size=(3, 21, 34)).astype(dtype)
        recipe = Recipe.model_validate(
            {
                "version": 1,
                "name": "identity",
                "task": {"kind": "super_resolution", "ratio": 2},
                "bands": ["a", "b", "c"],
                "network": NETWORK,
            }
        )
        model = dataclasses.replace(build(recipe), task=Identity(("a", "b", "c")), network=build_blank(3))
        result = model.predict(values, steps=1, tile=16)["mean"].values
        assert result.dtype == dtype
        assert np.array_equal(result, values)
