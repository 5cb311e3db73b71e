"""Dehazing as a user types it: hazy reflectance in, surface and transmission out; and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from rasterio.transform import from_origin

from sciddiff.cli import cli

Call = Callable[..., Result]

RECIPE = """\
version: 1
name: tiny-haze
task: {kind: dehaze}
bands: [blue, green, red, nir]
optional_bands: [nir]
data:
  train:
    - {path: clear.tif, scale: 0.001, offset: [-0.01, 0, 0, 0]}
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 4, embedding: 4}
training: {steps: 2, batch: 2, patch: 16, warmup: 0, validate_every: 2, checkpoint_every: 2}
"""
BANDS = ("blue", "green", "red", "nir")


def write(path: Path, *, bands: tuple[str, ...] = BANDS, scale: float | None = 0.001, fill: int | None = None) -> Path:
    """40 x 48 pixels of land in haze that grows from left to right, as reflectance times 1000."""
    rng = np.random.default_rng(0)
    land = np.array([60, 80, 90, 250, 300, 200])[: len(bands), None, None] * rng.uniform(0.6, 1.5, (40, 48))
    through = np.linspace(1, 0.8, 48)
    values = land * through + 500 * (1 - through) if fill is None else np.full((len(bands), 40, 48), fill)
    shape = {"count": len(bands), "height": 40, "width": 48, "dtype": "uint16", "nodata": 0}
    place = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values.astype("uint16"))
        file.descriptions = bands
        if scale is not None:
            file.scales = [scale] * len(bands)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("haze")
    write(folder / "clear.tif", scale=None)
    (folder / "tiny.yaml").write_text(RECIPE)
    arguments = ["train", str(folder / "tiny.yaml"), "-o", str(folder / "run"), "--device", "cpu", "-q"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def predict(call: Call, folder: Path, tmp_path: Path) -> Callable[..., Result]:
    def run(source: Path, *more: object) -> Result:
        model = folder / "run" / "model.safetensors"
        return call("predict", model, source, "-o", tmp_path / "out.tif", "--device", "cpu", "-q", *more)

    return run


def test_surface_and_transmission_are_written(predict: Callable[..., Result], tmp_path: Path) -> None:
    source, through = write(tmp_path / "hazy.tif"), tmp_path / "through.tif"
    result = predict(source, "--also", f"transmission={through}", "--tile", 16)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(source) as hazy, rasterio.open(tmp_path / "out.tif") as clear, rasterio.open(through) as told:
        assert (clear.descriptions, clear.dtypes, clear.scales) == (hazy.descriptions, hazy.dtypes, hazy.scales)
        assert clear.transform == told.transform == hazy.transform
        before, after, transmission = hazy.read(), clear.read(), told.read(1)
        assert told.descriptions == ("transmission",)
    assert after[0, :, 40:].mean() < before[0, :, 40:].mean()
    assert transmission[:, :8].mean() > transmission[:, 40:].mean()
    assert 0.1 <= transmission.min() <= transmission.max() <= 1


def test_visible_bands_are_enough_and_a_light_may_be_told(predict: Callable[..., Result], tmp_path: Path) -> None:
    source = write(tmp_path / "rgb.tif", bands=BANDS[:3])
    assert predict(source).exit_code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        first = file.read()
        assert file.count == 3
    assert predict(source, "--overwrite", "--instrument", "light=0.8").exit_code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.read() != first).any()
    refused = predict(source, "--overwrite", "--instrument", "light=8")
    assert refused.exit_code == 2
    assert "light is [8.0]; needs 1 or 4 reflectances" in refused.stderr


def test_a_file_that_does_not_say_its_scale_is_told_it(predict: Callable[..., Result], tmp_path: Path) -> None:
    said, told = write(tmp_path / "said.tif"), write(tmp_path / "told.tif", scale=None)
    assert predict(said).exit_code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        expected = file.read()
    result = predict(told, "--overwrite", "--scale", 0.001)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.scales, file.offsets, file.dtypes[0]) == ((0.001,) * 4, (0.0,) * 4, "uint16")
        assert file.tags(ns="SCIDDIFF")["INPUT"] == "told.tif?a_scale=0.001&a_offset=0.0"
        np.testing.assert_array_equal(file.read(), expected)
    darker = predict(told, "--overwrite", "--scale", 0.001, "--offset", -0.005)
    assert darker.exit_code == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.read() != expected).any()


def test_a_scale_that_cannot_be_used_is_refused(call: Call, folder: Path, tmp_path: Path) -> None:
    model, source = folder / "run" / "model.safetensors", write(tmp_path / "in.tif", scale=None)
    before = source.read_bytes()
    onto = ("predict", model, source, "-o", source, "--overwrite", "--device", "cpu", "-q", "--scale", 0.001)
    itself = call(*onto)
    assert (itself.exit_code, "is the input itself" in itself.stderr) == (2, True)
    assert source.read_bytes() == before
    for value, path, code in ((0, source, 2), (-1, source, 2), (0.001, tmp_path, 3), (0.001, tmp_path / "no.tif", 3)):
        refused = call("predict", model, path, "-o", tmp_path / "out.tif", "--device", "cpu", "-q", "--scale", value)
        assert refused.exit_code == code, refused.stderr
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"scale": None}, "digital numbers"),
        ({"fill": 0}, "all pixels are invalid"),
        ({"bands": ("blue", "green", "thermal")}, "needs blue, green, red"),
    ],
    ids=["digital numbers", "all invalid", "no red"],
)
def test_what_cannot_be_dehazed_exits_with_3(
    predict: Callable[..., Result], tmp_path: Path, how: dict[str, object], message: str
) -> None:
    result = predict(write(tmp_path / "in.tif", **how))  # type: ignore[arg-type]
    assert (result.exit_code, result.stdout) == (3, "")
    assert message in result.stderr
    assert "in.tif" in result.stderr
    assert not list(tmp_path.glob("out*"))


def test_bands_of_unknown_wavelength_are_named_before_training(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(RECIPE.replace("[blue, green, red, nir]", "[blue, hot, warm, nir]"))
    result = call("train", tmp_path / "odd.yaml", "-o", tmp_path / "run", "--train", folder / "clear.tif")
    assert result.exit_code == 2
    assert "no wavelength is known for hot, warm of sensor 'generic'" in result.stderr


@pytest.mark.parametrize(
    ("offset", "message"),
    [("[0, 0]", "got 2 numbers, expected one, or 4"), ("[]", "offset"), ("high", "offset")],
)
def test_offsets_that_fit_no_bands_are_refused(call: Call, tmp_path: Path, offset: str, message: str) -> None:
    (tmp_path / "odd.yaml").write_text(RECIPE.replace("[-0.01, 0, 0, 0]", offset))
    result = call("recipe", "validate", tmp_path / "odd.yaml")
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_offset_a_band_makes_reflectance_of_what_a_source_has(folder: Path) -> None:
    from sciddiff.recipe import load_recipe
    from sciddiff.tasks import build_task
    from sciddiff.training.patches import open_scenes, read_scene

    recipe = load_recipe(folder / "tiny.yaml")
    (scene,) = open_scenes(recipe, build_task(recipe), recipe.data.train)
    window, _ = read_scene(scene, slice(0, 8), slice(0, 8), bands=4, absolute=True)
    with rasterio.open(folder / "clear.tif") as file:
        stored = file.read()[:, :8, :8]
    expected = 0.001 * stored - np.array([0.01, 0, 0, 0])[:, None, None]
    np.testing.assert_allclose(window, expected, atol=1e-7)
