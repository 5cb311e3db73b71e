"""`sciddiff benchmark`, and `synthesize --real`: what they say, write and refuse."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.io.profile import plain_profile
from sciddiff.model import build, write
from sciddiff.recipe import parse_recipe
from tests.evaluation.labelled import discs

RECIPE = """
version: 1
name: discs
task: {kind: synthesis, labels: instances, reach: 4, image_classes: [a, b]}
bands: [light]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
sampler: {steps: 2}
training: {patch: 32}
"""


def saved(values: np.ndarray, path: Path, dtype: str) -> Path:
    grid = GeoBox(values.shape[1:], Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32631")
    names = [f"B{number}" for number in range(1, len(values) + 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    io.save(
        io.from_array(values.astype(np.float32), grid=grid, bands=names, profile=plain_profile(names, dtype=dtype)),
        path,
    )
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write(build(parse_recipe(RECIPE)), path)
    return path


def folder_of(path: Path, *seeds: int) -> Path:
    for seed in seeds:
        image, labels = discs(seed, side=128)
        saved(image, path / "images" / f"disc{seed}.tif", "uint16")
        saved(labels[None], path / "labels" / f"disc{seed}.tif", "uint16")
    return path


def test_an_augmentation_benchmark_says_what_synthetic_images_add(call, model: Path, tmp_path: Path):
    train, test = folder_of(tmp_path / "train", 0, 1), folder_of(tmp_path / "test", 2)
    options = (
        "--augmentation",
        "--test",
        test,
        "--shares",
        "50",
        "--seeds",
        "2",
        "--training-steps",
        "2",
        "--images",
        "1",
    )
    page = tmp_path / "page.html"
    result = call("benchmark", model, train, *options, "-o", page, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert {row["arm"] for row in found["table"]} == {
        "real",
        "real + usual",
        "real + synthetic",
        "real + usual + synthetic",
    }
    assert found["score"] == "object_iou"
    assert "<svg" in page.read_text()
    assert len(Path(found["record"]).read_text().splitlines()) == 8
    again = call("benchmark", model, train, *options, "-o", page)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--augmentation",), 2, "--test DIR"),
        (("--augmentation", "--test", "EMPTY"), 3, "no labelled images"),
        (("--augmentation", "--test", "EMPTY", "--shares", "0,5"), 2, "percentages"),
        (("--augmentation", "--test", "EMPTY", "--instrument", "mtf=0.3"), 2, "--instrument tells"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, model: Path, tmp_path: Path, arguments, code, words):
    train = folder_of(tmp_path / "train", 0)
    (tmp_path / "empty").mkdir()
    given = [str(tmp_path / "empty") if each == "EMPTY" else each for each in arguments]
    result = call("benchmark", model, train, *given)
    assert result.exit_code == code
    assert words in result.stderr


def test_images_without_labels_of_their_name_are_refused(call, model: Path, tmp_path: Path):
    train = folder_of(tmp_path / "train", 0)
    (train / "labels" / "disc0.tif").rename(train / "labels" / "other.tif")
    result = call("benchmark", model, train, "--augmentation", "--test", train)
    assert result.exit_code == 3
    assert "has no labels" in result.stderr


def test_a_model_of_restoration_is_compared_over_scenes(call, tmp_path: Path):
    text = """
version: 1
name: finer
task: {kind: super_resolution, ratio: 2}
bands: [B1, B2]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
training: {patch: 32}
"""
    write(build(parse_recipe(text)), tmp_path / "sr.safetensors")
    rng = np.random.default_rng(0)
    scenes = [
        saved(np.cumsum(rng.normal(size=(2, 64, 64)), 2) + 100, tmp_path / f"scene{number}.tif", "float32")
        for number in range(2)
    ]
    result = call("benchmark", tmp_path / "sr.safetensors", *scenes, "-o", tmp_path / "page.html", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["scenes"] == 2
    methods = {line["method"]: line for line in found["methods"]}
    assert {"bicubic", "posterior mean", "back_projection"} <= set(methods)
    rivals = [line["psnr"] for name, line in methods.items() if name not in ("posterior mean", "sample", "linear")]
    assert methods[found["best_classical"]]["psnr"] == max(rivals)
    low, high = methods["bicubic"]["gain_interval"]
    assert low <= methods["bicubic"]["gain"] <= high
    assert "scene1.tif" in (tmp_path / "page.html").read_text()


def test_the_noise_of_a_pair_is_measured_or_told_to_model_and_baselines(call, tmp_path: Path):
    recipe = SMALL.replace("[blue, green, red, nir]", "[light]") % "kind: denoise"
    write(build(parse_recipe(recipe)), tmp_path / "denoise.safetensors")
    pair, rng = tmp_path / "pair", np.random.default_rng(0)
    clean = 500 + 100 * np.sin(np.mgrid[:96, :96][:1] / 9)
    saved(clean, pair / "target.tif", "float32")
    saved(rng.normal(clean, 20), pair / "image.tif", "float32")
    found = {}
    for variance in None, 400, 1:
        told = () if variance is None else ("--instrument", "gain=0", "--instrument", f"variance={variance}")
        result = call("benchmark", tmp_path / "denoise.safetensors", pair, *told, "--json", "-q")
        assert result.exit_code == 0, result.stderr
        found[variance] = {line["method"]: line["psnr"] for line in json.loads(result.stdout)["methods"]}
    for method in "posterior mean", "linear":
        assert found[None][method] == pytest.approx(found[400][method], abs=1.5), "measured"
        assert found[1][method] < found[400][method] - 5, "noise taken for structure"
    unknown = call("benchmark", tmp_path / "denoise.safetensors", pair, "--instrument", "mtf=0.3")
    assert (unknown.exit_code, "knows no 'mtf'" in unknown.stderr) == (2, True), unknown.stderr
    colours = tmp_path / "colours"
    for name in "target", "image":
        saved(np.concatenate([clean, clean]), colours / f"{name}.tif", "float32")
    several = call("benchmark", tmp_path / "denoise.safetensors", colours)
    assert (several.exit_code, "colours: has several channels" in several.stderr) == (3, True), several.stderr


TASKS = {
    "fill_gaps": "kind: fill_gaps",
    "pansharpen": "kind: pansharpen, ratio: 2",
    "remove_clouds": "kind: remove_clouds, dates: 1",
    "cloud_mask": "kind: cloud_mask",
}
SMALL = """
version: 1
name: small
task: {%s}
bands: [blue, green, red, nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
"""


def small(kind: str, folder: Path) -> Path:
    write(build(parse_recipe(SMALL % TASKS[kind])), folder / "small.safetensors")
    return folder / "small.safetensors"


def land(path: Path, seed: int = 0, bands: tuple[str, ...] = ("blue", "green", "red", "nir"), side: int = 160) -> Path:
    """Reflectance of a smooth landscape."""
    steps = np.random.default_rng(seed).normal(size=(len(bands), side, side)).cumsum(1).cumsum(2)
    values = 0.1 + 0.2 * (steps - steps.min()) / np.ptp(steps)
    grid = GeoBox(values.shape[1:], Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32631")
    io.save(io.from_array(values.astype(np.float32), grid=grid, bands=list(bands), units="1"), path)
    return path


@pytest.mark.parametrize("kind", ["fill_gaps", "remove_clouds"])
def test_where_an_image_hides_pixels_only_their_errors_count(call, kind: str, tmp_path: Path):
    result = call("benchmark", small(kind, tmp_path), land(tmp_path / "land.tif"), "--json", "-q")
    assert result.exit_code == 0, result.stderr
    found = {line["method"]: line["psnr"] for line in json.loads(result.stdout)["methods"]}
    assert len(found) > 4
    assert len(set(found.values())) > 4  # unlike each other
    assert all(10 < psnr < 80 for psnr in found.values()), found


def test_a_folder_that_holds_the_truth_and_what_was_measured_is_a_scene(call, tmp_path: Path):
    model, pair = small("pansharpen", tmp_path), tmp_path / "pair"
    scene, pan = land(tmp_path / "ms.tif"), land(tmp_path / "pan.tif", bands=("pan",))
    refused = call("benchmark", model, scene)
    assert refused.exit_code == 3
    assert "needs pan" in refused.stderr
    recipe = tmp_path / "small.yaml"
    recipe.write_text(SMALL % TASKS["pansharpen"])
    assert call("simulate", recipe, scene, "--guide", pan, "-o", pair).exit_code == 0
    assert {path.name for path in pair.iterdir()} == {"image.tif", "pan.tif", "target.tif"}
    (pair / "notes.tif").write_text("no raster, and nobody's input")
    result = call("benchmark", model, pair, "--json", "-q")
    assert result.exit_code == 0, result.stderr
    found = {line["method"]: line["psnr"] for line in json.loads(result.stdout)["methods"]}
    assert {"brovey", "gsa", "posterior mean"} <= set(found)
    (pair / "image.tif").unlink()
    broken = call("benchmark", model, pair)
    assert broken.exit_code == 3
    assert "pair: holds a target and no image" in broken.stderr


def test_what_no_classical_method_answers_is_refused(call, model: Path, tmp_path: Path):
    scene = land(tmp_path / "land.tif")
    result = call("benchmark", small("cloud_mask", tmp_path), scene)
    assert result.exit_code == 2
    assert "another quantity" in result.stderr


@pytest.mark.filterwarnings("ignore:.*were clipped:sciddiff.io.profile.RasterWarning")  # weights are random
def test_synthetic_images_are_scored_by_a_segmenter_of_real_ones(call, model: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sciddiff.evaluation.curate.STEPS", 3)
    real = folder_of(tmp_path / "real", 0, 1)
    masks = folder_of(tmp_path / "given", 2) / "labels"
    arguments = ("synthesize", model, "--masks", masks, "-n", 2, "-o", tmp_path / "new", "--real", real, "--json")
    result = call(*arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["of"] == 2
    with (tmp_path / "new" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert row["kept"] == ("yes" if float(row["filter_score"]) >= found["threshold"] else "no")
        assert row["nearest_training"].split()[0] in ("disc0", "disc1")
        assert 0 < float(row["nearest_distance"]) < 1.5
    assert call(*arguments).exit_code == 0  # looked at again, nothing made anew
