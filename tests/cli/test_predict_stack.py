"""`sciddiff predict` on microscopy stacks that will not do, and on those that need a word from the user."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import Result

from sciddiff import io
from sciddiff.io.stack_profile import UNKNOWN
from sciddiff.io.stack_write import write_stack_ome_tiff
from sciddiff.model import build, write
from sciddiff.recipe import parse_recipe
from tests.io.stacks import plain_tiff
from tests.laws.stacks import RECIPE, profile, stack_file, values

Call = Callable[..., Result]
SHAPE = (1, 1, 2, 20, 28)
pytestmark = pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of random weights: `finer`, `limited` to pixels of 0.2 to 0.3 micrometres, `isotropic`."""
    folder = tmp_path_factory.mktemp("models")
    told = {
        "finer": ("super_resolution", ""),
        "limited": ("super_resolution", ", pixel_size: [2.0e-7, 3.0e-7]"),
        "isotropic": ("isotropic", ""),
    }
    for name, (kind, limits) in told.items():
        write(build(parse_recipe(RECIPE % (kind, 2, limits))), folder / f"{name}.safetensors")
    return folder


def refused(result: Result, *words: object, code: int = 3) -> None:
    assert result.exit_code == code, result.output
    for word in words:
        assert str(word) in result.stderr
    assert "Traceback" not in result.stderr


def test_axes_that_a_file_does_not_say_are_asked_for(call: Call, models: Path, tmp_path: Path) -> None:
    path, output = plain_tiff(tmp_path / "pages.tif", values((2, 20, 28))), tmp_path / "out.tif"
    asked = ("predict", models / "finer.safetensors", path, "-o", output)
    refused(call(*asked), path, "--axes ZYX")
    refused(call(*asked, "--axes", "ZQX"), path, "Q")
    assert list(tmp_path.iterdir()) == [path]
    result = call(*asked, "--axes", "ZYX")
    assert result.exit_code == 0, result.output
    with tifffile.TiffFile(output) as tiff:  # of a stack .tif is an OME-TIFF
        assert tiff.is_ome
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("ZYX", (2, 40, 56))


def test_no_stack_is_refused(call: Call, models: Path, tmp_path: Path) -> None:
    mixed, rgb, short = (tmp_path / f"{name}.tif" for name in ("mixed", "rgb", "short"))
    with tifffile.TiffWriter(mixed) as tiff:
        for shape in ((20, 28), (20, 30)):
            tiff.write(values(shape), metadata=None, contiguous=False)
    tifffile.imwrite(rgb, values((3, 20, 28, 3), "uint8"), photometric="rgb", metadata={"axes": "ZYXS"})
    whole = stack_file(tmp_path / "whole.ome.tif", SHAPE).read_bytes()
    short.write_bytes(whole[: len(whole) // 2])
    before = set(tmp_path.iterdir())
    for path, word in ((mixed, "page 2"), (rgb, "RGB"), (short, "truncated or damaged")):
        refused(call("predict", models / "finer.safetensors", path, "-o", tmp_path / "out.ome.tif"), path, word)
    assert set(tmp_path.iterdir()) == before


def test_pixel_sizes_of_a_model_hold_for_microscopes(call: Call, models: Path, tmp_path: Path) -> None:
    paths = {}
    for name, factor in (("right", 1.0), ("coarse", 2.0), ("unknown", None)):
        told = profile(channels=1, times=1)
        size = UNKNOWN if factor is None else told.pixel_size._replace(x=0.25 * factor, y=0.25 * factor)
        paths[name] = tmp_path / f"{name}.ome.tif"
        told = replace(told, pixel_size=size, objective=None)
        write_stack_ome_tiff(values(SHAPE), paths[name], profile=told, provenance={}, options={})
    asked = ("predict", models / "limited.safetensors", "-o", tmp_path / "out.ome.tif", "--dry-run")
    assert call(*asked, paths["right"]).exit_code == 0
    refused(call(*asked, paths["coarse"]), paths["coarse"], "at 0.2 µm to 0.3 µm", "DAPI at 0.5 µm")
    refused(call(*asked, paths["unknown"]), paths["unknown"], "does not say")
    assert call("predict", models / "finer.safetensors", *asked[2:], paths["unknown"]).exit_code == 0


@pytest.mark.filterwarnings("always:.* are saturated")
def test_saturated_pixels_are_warned_of(call: Call, models: Path, tmp_path: Path) -> None:
    pixels = values((3, 20, 28), "uint8")
    pixels[:, :5] = 255
    tifffile.imwrite(tmp_path / "bright.ome.tif", pixels, metadata={"axes": "ZYX"}, photometric="minisblack")
    asked = ("predict", models / "finer.safetensors", tmp_path / "bright.ome.tif", "-o", tmp_path / "out.ome.tif")
    result = call(*asked, "--dry-run", "--json")
    assert result.exit_code == 0
    assert "25.0% of the pixels of a channel are saturated" in result.stderr
    assert json.loads(result.stdout)["output_shape"] == [1, 1, 3, 40, 56]


def test_one_plane_has_no_depth_to_restore(call: Call, models: Path, tmp_path: Path) -> None:
    for shape in ((1, 1, 1, 20, 28), (2, 1, 1, 20, 28)):
        path = stack_file(tmp_path / "plane.ome.tif", shape)
        asked = ("predict", models / "isotropic.safetensors", path, "-o", tmp_path / "out.ome.tif")
        refused(call(*asked), path, "one plane")
        path.unlink()
    assert not list(tmp_path.iterdir())


def test_planes_that_do_not_end_up_as_close_as_pixels_are_warned_of(call: Call, models: Path, tmp_path: Path) -> None:
    for name, depth, word in (("near", 0.2, "0.8 pixels"), ("right", 0.5, ""), ("unknown", None, "does not say")):
        told = profile(channels=1, times=1)
        told = replace(told, pixel_size=told.pixel_size._replace(z=depth), objective=None)
        path = tmp_path / f"{name}.ome.tif"
        write_stack_ome_tiff(values(SHAPE), path, profile=told, provenance={}, options={})
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            result = call("predict", models / "isotropic.safetensors", path, "-o", tmp_path / "o.ome.tif", "--dry-run")
        assert result.exit_code == 0
        assert word in result.stderr if word else "planes" not in result.stderr, (name, result.stderr)


def test_a_stack_of_true_and_false_is_restored_as_floats(call: Call, models: Path, tmp_path: Path) -> None:
    """OME-TIFF and the codecs have no such pixels."""
    path = tmp_path / "bits.ome.tif"
    tifffile.imwrite(path, values((2, 20, 28)) > 20000, metadata={"axes": "ZYX"}, photometric="minisblack")
    result = call("predict", models / "finer.safetensors", path, "-o", tmp_path / "out.ome.tif")
    assert result.exit_code == 0, result.output
    assert tifffile.imread(tmp_path / "out.ome.tif").dtype == np.float32
    io.save(io.open(path), tmp_path / "copy.ome.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "copy.ome.tif"), tifffile.imread(path))


def test_a_stack_of_half_floats_is_restored_as_floats(call: Call, models: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.tif"
    tifffile.imwrite(path, values((2, 20, 28)).astype(np.float16), metadata={"axes": "ZYX"}, photometric="minisblack")
    result = call("predict", models / "finer.safetensors", path, "-o", tmp_path / "out.tif")
    assert result.exit_code == 0, result.output
    assert tifffile.imread(tmp_path / "out.tif").dtype == np.float32
    io.save(io.open(path), tmp_path / "copy.ome.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "copy.ome.tif"), tifffile.imread(path))


@pytest.mark.parametrize(
    ("suffix", "option", "word"),
    [
        (".ome.tif", "COMPRESS=FAST", "FAST"),
        (".ome.tif", "NGFF=0.4", "NGFF"),
        (".ome.zarr", "NGFF=9", "0.5, 0.4"),
        (".ome.zarr", "COMPRESS=ZSTD", "COMPRESS"),
    ],
)
def test_creation_options_that_a_format_does_not_know(
    call: Call, models: Path, tmp_path: Path, suffix: str, option: str, word: str
) -> None:
    path = stack_file(tmp_path / "in.ome.tif", SHAPE)
    asked = ("predict", models / "finer.safetensors", path, "-o", tmp_path / f"out{suffix}", "--co", option)
    refused(call(*asked), word, code=2)
    assert list(tmp_path.iterdir()) == [path]


def test_plain_suffixes_hold_ome_files_of_stacks(tmp_path: Path) -> None:
    """`.zarr` holds an OME-Zarr, which opens as such."""
    from sciddiff.inference import predict_file
    from tests.laws.stacks import random_model, stored

    path, found = stack_file(tmp_path / "in.ome.tif", SHAPE), []
    for suffix in (".tif", ".zarr"):
        predict_file(random_model(), str(path), tmp_path / f"out{suffix}")
        assert io.open(tmp_path / f"out{suffix}").encoding["stack"].names == ("DAPI",)
        found.append(stored(tmp_path / f"out{suffix}"))
    assert np.array_equal(*found)


def test_a_network_of_three_dimensions_from_its_recipe_to_a_stack(call: Call, tmp_path: Path) -> None:
    path, recipe = stack_file(tmp_path / "in.ome.tif", (1, 1, 3, 40, 36)), tmp_path / "deep.yaml"
    deep = "version: 1\nname: deep\ntask: {kind: denoise, neighbours: {along: z, planes: 1}}\nbands: [intensity]\n"
    size = "{widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 8, dims: 3}"
    text = f"{deep}network: {size}\ndata: {{train: [in.ome.tif]}}\n"
    text += "training: {patch: 16, steps: 4, batch: 2, warmup: 1}\n"
    recipe.write_text(text.replace(", neighbours: {along: z, planes: 1}", ""))
    refused(call("recipe", "validate", recipe), f"{recipe}:5:96: network.dims: got 3", "task.neighbours", code=2)
    recipe.write_text(text)
    assert call("recipe", "validate", recipe).exit_code == 0
    assert call("train", recipe, "-o", tmp_path / "run").exit_code == 0
    trained = tmp_path / "run" / "model.safetensors"
    told = json.loads(call("info", trained, "--json").stdout)
    assert (told["recipe"]["network"]["dims"], set(told["halo"]) > {"16"}) == (3, True)
    for workers in (1, 2):
        asked = ("predict", trained, path, "-o", tmp_path / f"{workers}.ome.tif", "--tile", 16, "--workers", workers)
        assert call(*asked).exit_code == 0
    one, two = (tifffile.imread(tmp_path / f"{workers}.ome.tif") for workers in (1, 2))
    assert one.shape == (3, 40, 36)
    assert np.array_equal(one, two)
    refused(call("export", trained, "-o", tmp_path / "package"), "takes neighbour beside its image", code=2)


def test_planes_beside_count_in_the_memory_that_is_announced(call: Call, tmp_path: Path) -> None:
    said, path, model = [], plain_tiff(tmp_path / "pages.tif", values((2, 20, 28))), tmp_path / "model.safetensors"
    law = ("--instrument", "gain=1", "--instrument", "variance=1", "--axes", "ZYX")
    for planes in ("", ", neighbours: {along: z, planes: 4}"):
        head = f"version: 1\nname: n\nbands: [light]\ntask: {{kind: denoise{planes}}}\n"
        sizes = "network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], embedding: 8}\n"
        write(build(parse_recipe(head + sizes)), model)
        result = call("predict", model, path, "-o", tmp_path / "out.tif", *law, "--dry-run", "--json")
        said.append(json.loads(result.stdout)["peak_ram_mb"])
    assert said[1] > said[0]
