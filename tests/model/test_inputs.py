"""Tasks with several inputs: each pixel meets the right pixel of every other image, by every way to predict."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from torch import Tensor

import sciddiff
from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.inference import assemble_file, plan_file, predict_file
from sciddiff.model import Model, build, load
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import Condition, Input, Instrument, Observation, OneImage, known_name
from tests.laws.test_identity import build_blank

RECIPE = """
version: 1
name: toy
task: {kind: super_resolution, ratio: 2}
bands: [red, nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 4}
training: {patch: 16}
"""
RATIO = 2


class Overlay(OneImage):
    """red + pan where masked (elsewhere red), and pan - date: what lies at a pixel shows at once."""

    radius, stride, numbers, maps = 0, 2, 1, 2
    bands = scene_bands = ("red", "nir")
    extras: Mapping[str, tuple[str, ...]] = {"shares": ("dates", "phase_y", "phase_x")}
    inputs = (
        Input("image", bands, RATIO),
        Input("pan", ("pan",), sets_grid=True),
        Input("date", bands, most=2, required=False),
        Input("mask", ("mask",), required=False, is_mask=True),
    )

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        numbers = torch.zeros(len(inputs["image"]), 1)
        phase = torch.tensor((instrument or {}).get("offset", (0.0, 0.0)))
        return Observation(inputs, {"offset": phase}, numbers)

    def base(self, obs: Observation) -> Tensor:
        low, pan, mask = (obs.inputs[name] for name in ("image", "pan", "mask"))
        fine = torch.nn.functional.interpolate(low, scale_factor=RATIO)
        return torch.cat([fine[:, :1] + pan * mask, pan - obs.inputs["date"][:, 3:4]], 1)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        return Condition(scale=torch.ones_like(base), maps=torch.zeros_like(base))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        return x

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        return known["image"] & known["pan"]

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        dates = obs.inputs[known_name("date")][:, [0, 2]].sum(1, keepdim=True)
        phase = obs.instrument["offset"].to(x)[None, :, None, None].expand(len(x), 2, *x.shape[2:])
        return {"shares": torch.cat([dates, phase], 1)}


@pytest.fixture(scope="module")
def model() -> Model:
    model = build(parse_recipe(RECIPE))
    return dataclasses.replace(model, task=Overlay(), network=build_blank(2), residual_root=torch.eye(2))


def write(path: Path, values: np.ndarray, names: tuple[str, ...], *, size: float, left: float, top: float) -> Path:
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "float32"}
    grid = {"crs": "EPSG:32631", "transform": Affine(size, 0, left, 0, -size, top), "nodata": -1}
    with rasterio.open(path, "w", driver="GTiff", **grid, **shape) as file:
        file.write(values.astype("float32"))
        file.descriptions = names
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A 40 x 50 image of 20 m; a pan of 10 m that begins 3.5 of its pixels below and 1 before the image's corner."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("inputs")
    image = rng.integers(1, 100, (2, 40, 50))
    pan = 1000.0 * rng.integers(1, 100, (1, 70, 90))
    image[:, 10:13, 20:22] = -1
    pan[:, 50, 60] = -1
    at = {"left": 5e5 - 10, "top": 4e6 - 35}
    dates = [rng.integers(1, 100, (2, 70, 90)) for _ in range(2)]
    mask = np.zeros((1, 70, 90))
    mask[:, 8:30, 10:50] = 3
    return {
        "image": write(folder / "image.tif", image, ("red", "nir"), size=20, left=5e5, top=4e6),
        "pan": write(folder / "pan.tif", pan, ("pan",), size=10, **at),
        "date_1": write(folder / "d1.tif", dates[0], ("red", "nir"), size=10, **at),
        "date_2": write(
            folder / "d2.tif", dates[1][:, 5:], ("red", "nir"), size=10, left=at["left"], top=at["top"] - 50
        ),
        "mask": write(folder / "mask.tif", mask, ("mask",), size=10, **at),
    }


def others(files: dict[str, Path]) -> dict[str, list[str]]:
    return {
        "pan": [str(files["pan"])],
        "date": [str(files["date_1"]), str(files["date_2"])],
        "mask": [str(files["mask"])],
    }


def expected(files: dict[str, Path]) -> tuple[np.ndarray, np.ndarray]:
    """By coordinates: value and validity of the red result."""
    image, pan = (sciddiff.open(files[name]).load() for name in ("image", "pan"))
    rows = np.floor((4e6 - pan.y.values) / 20).astype(int)
    cols = np.floor((pan.x.values - 5e5) / 20).astype(int)
    inside = np.logical_and.outer((rows >= 0) & (rows < 40), (cols >= 0) & (cols < 50))
    red = image.values[0][rows.clip(0, 39)][:, cols.clip(0, 49)]
    known = image.valid.values[0][rows.clip(0, 39)][:, cols.clip(0, 49)] & inside & pan.valid.values[0]
    return red, known


def test_each_pixel_meets_its_own(model: Model, files: dict[str, Path], tmp_path: Path) -> None:
    output, shares = tmp_path / "out.tif", tmp_path / "shares.tif"
    predict_file(model, str(files["image"]), output, inputs=others(files), extras={"shares": shares}, tile=16)
    red, known = expected(files)
    with rasterio.open(output) as file, rasterio.open(files["pan"]) as pan, rasterio.open(files["mask"]) as mask:
        assert (file.transform, file.crs, file.shape) == (pan.transform, pan.crs, pan.shape)
        values, valid = file.read(), file.read_masks(1) > 0
        assert (valid == known).all()
        # the window's main pixels begin half a target pixel off the target's: what lies under is the task's to solve
        plain = known & (mask.read(1) == 0)
        near = np.abs(values[0] - red)[plain] == 0
        assert near.mean() > 0.45
        second = np.full(pan.shape, 0.0)
        with rasterio.open(files["date_2"]) as date:
            second[5:] = date.read(2)
        inner = known.copy()
        inner[:5] = False
        assert (values[1][inner] == (pan.read(1) - second)[inner]).all()
    with rasterio.open(shares) as file:
        told = file.read()
        assert file.descriptions == ("dates", "phase_y", "phase_x")
    seen = known
    assert set(np.unique(told[0][seen])) == {1.0, 2.0}
    assert (told[0][:5][seen[:5]] == 1).all()
    assert np.unique(told[1][seen]).tolist() == [-0.5]
    assert np.unique(told[2][seen]).tolist() == [-1.0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_way_gives_the_same(model: Model, files: dict[str, Path], tmp_path: Path) -> None:
    given, source = others(files), str(files["image"])
    whole, tiles, parts = (tmp_path / f"{name}.tif" for name in ("whole", "tiles", "parts"))
    predict_file(model, source, whole, inputs=given)
    predict_file(model, source, tiles, inputs=given, tile=16, extras={"shares": tmp_path / "shares.tif"})
    for number in (1, 0):
        predict_file(model, source, parts, inputs=given, tile=16, shard=(number, 2))
    assemble_file(parts)
    results = []
    for path in (whole, tiles, parts):
        with rasterio.open(path) as file:
            results.append(file.read())
    images = {name: [sciddiff.open(path) for path in paths] for name, paths in given.items()}
    image = sciddiff.open(source)
    results += [
        model.predict(each, inputs=images, tile=16)["mean"].fillna(-1).values
        for each in (image, image.chunk({"y": 7, "x": 50}))
    ]
    for other in results[1:]:
        assert (other == results[0]).all()


def test_the_plan_and_the_file_name_all_inputs(model: Model, files: dict[str, Path], tmp_path: Path) -> None:
    source, output = str(files["image"]), tmp_path / "out.tif"
    told = plan_file(model, source, output, inputs=others(files)).summary()
    assert told["input_date"] == [str(files["date_1"]), str(files["date_2"])]
    predict_file(model, source, output, inputs=others(files), shard=(0, 2), tile=16)
    with pytest.raises(OptionError, match="whose input is"):
        predict_file(model, source, output, inputs={"pan": [str(files["pan"])]}, shard=(1, 2), tile=16)
    predict_file(model, source, output, inputs=others(files), tile=16)
    with rasterio.open(output) as file:
        assert file.tags(ns="SCIDDIFF")["INPUT_DATE"] == "d1.tif, d2.tif"


def test_what_does_not_fit_is_named(model: Model, files: dict[str, Path], tmp_path: Path) -> None:
    source, output, pan = str(files["image"]), tmp_path / "out.tif", str(files["pan"])

    def refused(kind: type[Exception], match: str, **inputs: list[str]) -> None:
        with pytest.raises(kind, match=match):
            predict_file(model, source, output, inputs=inputs)
        assert not list(tmp_path.glob("out*"))

    refused(InputError, r"needs another input: -i pan=PATH \(pan\)")
    refused(OptionError, "knows no input guide; it takes pan, date, mask", pan=[pan], guide=[pan])
    refused(OptionError, "3 images are given as date; toy takes 2 at most", pan=[pan], date=[source] * 3)
    refused(InputError, "date needs red, nir; got ", pan=[pan], date=[str(bad_bands(tmp_path))])
    far = write(tmp_path / "far.tif", np.ones((1, 9, 9)), ("pan",), size=10, left=9e5, top=4e6)
    refused(InputError, r"far\.tif: the grids do not overlap", pan=[str(far)])
    odd = write(tmp_path / "odd.tif", np.ones((1, 90, 90)), ("pan",), size=9, left=5e5, top=4e6)
    refused(InputError, r"pan has pixels of 9 x -9, the image makes some of 10 x -10", pan=[str(odd)])
    with pytest.raises(OptionError, match="toy gives no haze; beside its image it gives shares"):
        predict_file(model, source, output, inputs={"pan": [pan]}, extras={"haze": tmp_path / "h.tif"})


def bad_bands(folder: Path) -> Path:
    return write(folder / "bad.tif", np.ones((2, 70, 90)), ("red", "swir1"), size=10, left=5e5 - 10, top=4e6 - 35)


def test_arrays_of_one_grid_are_laid_together(model: Model) -> None:
    rng = np.random.default_rng(1)
    low = rng.normal(size=(2, 20, 24)).astype("float32")
    image = io.from_array(low, grid=sciddiff_grid((20, 24), 20), bands=["red", "nir"])
    pan = io.from_array(rng.normal(size=(40, 48)).astype("float32"), grid=sciddiff_grid((40, 48), 10), bands=["pan"])
    mean = model.predict(image, inputs={"pan": pan})["mean"]
    assert np.array_equal(mean.values[0], low[0].repeat(2, 0).repeat(2, 1))
    assert np.array_equal(mean.values[1], pan.values[0])


def sciddiff_grid(shape: tuple[int, int], size: float) -> io.image.GeoBox:
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, Affine(size, 0, 0, 0, -size, 0), "EPSG:32631")


def test_bands_that_lack_are_named_once() -> None:
    model = load("sr-sentinel2-x4")
    grid = GeoBox((16, 16), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
    for bands, told in ((["slope", "aspect"], "got slope, aspect at 10 m"), (["B02", "B03", "B04"], "(missing: B08)")):
        image = io.from_array(np.zeros((len(bands), 16, 16), np.float32), grid=grid, bands=bands)
        with pytest.raises(InputError) as caught:
            model.predict(image)
        assert str(caught.value).count("needs") == 1
        assert str(caught.value).endswith(told)
