"""No mask is given: a detector finds it first, once, and the run is what it would be with that mask given."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

import sciddiff
from sciddiff import inference
from sciddiff.errors import InputError, InterruptedRun, OptionError
from sciddiff.inference import assemble_file, detect, plan_file, predict_file, publish
from sciddiff.inference.runs import DETECTED, PLAN
from sciddiff.model import Model, build, write
from sciddiff.physics.cloud import draw_clouds
from sciddiff.recipe import parse_recipe

BANDS = ("blue", "green", "red", "nir")
NETWORK = "network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [0], stem: 2, embedding: 4}"
MASK = f"""
version: 1
name: toy-detector
task: {{kind: cloud_mask, sensor: sentinel2, dilate: 1}}
bands: [{", ".join(BANDS)}]
{NETWORK}
training: {{patch: 16}}
"""
REMOVE = MASK.replace("toy-detector", "toy-remover").replace(
    "kind: cloud_mask, sensor: sentinel2, dilate: 1", "kind: remove_clouds, sensor: sentinel2, detector: %s, dates: 2"
)


def scene(seed: int, *, cover: float) -> np.ndarray:
    """Vegetation and clouds, (4, 32, 60)."""
    level = torch.tensor([0.03, 0.05, 0.04, 0.30])[None, :, None, None]
    source = torch.Generator().manual_seed(seed)
    clean = level * (1 + 0.1 * torch.randn(1, 1, 32, 60, generator=source))
    if cover:
        clean = draw_clouds(
            clean, [0.49, 0.56, 0.66, 0.84], generator=source, cover=(cover, cover), gsd=30.0, cirrus=0.0
        ).cloudy
    return clean[0].numpy()


def save(path: Path, values: np.ndarray, names: tuple[str, ...] = BANDS) -> str:
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "float32"}
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:32631", transform=from_origin(5e5, 4e6, 10, 10), **shape
    ) as file:
        file.write(values.astype("float32"))
        file.descriptions = names
    return str(path)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cloudy image, a cloudy date, a clear one, and a detector that is the physical tests alone."""
    folder = tmp_path_factory.mktemp("detect")
    write(build(parse_recipe(MASK)), folder / "toy-detector.safetensors")
    return {
        "detector": str(folder / "toy-detector.safetensors"),
        "image": save(folder / "image.tif", scene(1, cover=0.15)),
        "cloudy": save(folder / "cloudy.tif", scene(2, cover=0.3)),
        "clear": save(folder / "clear.tif", scene(3, cover=0.0)),
    }


@pytest.fixture(scope="module")
def model(files: dict[str, str]) -> Model:
    return build(parse_recipe(REMOVE % files["detector"]))


@pytest.fixture(scope="module")
def masks(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the detector finds when it is run by hand."""
    folder, detector = tmp_path_factory.mktemp("masks"), sciddiff.load(files["detector"])
    for name in ("image", "cloudy", "clear"):
        mask = {"mask": folder / f"{name}.tif"}
        predict_file(detector, files[name], folder / f"{name}_probabilities.tif", extras=mask)
    return {name: str(folder / f"{name}.tif") for name in ("image", "cloudy", "clear")}


def test_a_run_without_a_mask_is_the_run_with_the_detected_ones(
    model: Model, files: dict[str, str], masks: dict[str, str], tmp_path: Path
) -> None:
    dates = [files["cloudy"], files["clear"]]
    found = read(Path(masks["image"]))
    assert 0.1 < (found != 0).mean() < 0.8
    given = {"date": dates, "mask": [masks["image"]], "date_mask": [masks["cloudy"], masks["clear"]]}
    by_hand, by_itself, parts = (tmp_path / f"{name}.tif" for name in ("by_hand", "by_itself", "parts"))
    predict_file(model, files["image"], by_hand, inputs=given)
    predict_file(model, files["image"], by_itself, inputs={"date": dates})
    for number in (1, 0):
        predict_file(model, files["image"], parts, inputs={"date": dates}, tile=32, shard=(number, 2))
    assemble_file(parts)
    assert sorted(path.name for path in tmp_path.glob("*.run")) == []
    expected = read(by_hand)
    clear = found[0] == 0
    assert (expected[:, clear] == read(Path(files["image"]))[:, clear]).all()
    assert (expected[:, ~clear] != read(Path(files["image"]))[:, ~clear]).any()
    for path in (by_itself, parts):
        np.testing.assert_allclose(read(path), expected, atol=1e-5)
    with rasterio.open(by_itself) as file:
        assert file.tags(ns="SCIDDIFF")["INPUT_MASK"] == "mask_0_toy-detector.tif"
    arrays = model.predict(sciddiff.open(files["image"]), inputs={"date": [sciddiff.open(path) for path in dates]})
    np.testing.assert_allclose(arrays["mean"].values, expected, atol=1e-5)


def test_a_given_mask_is_taken_as_it_is(
    model: Model, files: dict[str, str], masks: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "load", lambda *_, **__: pytest.fail("the detector was asked"))
    predict_file(model, files["image"], tmp_path / "out.tif", inputs={"mask": [masks["image"]]})


def test_masks_are_found_once(
    model: Model, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second shard, and a run that is begun anew, take what the first one found; another image is looked at again."""
    asked, find = [], inference.files._find
    monkeypatch.setattr(
        inference.files,
        "_find",
        lambda detector, image, *rest, **more: (asked.append(image), find(detector, image, *rest, **more)),
    )
    output, image = tmp_path / "out.tif", save(tmp_path / "image.tif", scene(1, cover=0.3))
    predict_file(model, image, output, tile=32, shard=(0, 2))
    folder = output.with_name("out.tif.run")
    assert json.loads((folder / PLAN).read_text())["inputs"]["mask"] == [
        str(folder / DETECTED / "mask_0_toy-detector.tif")
    ]
    predict_file(model, image, output, tile=32, shard=(1, 2))
    predict_file(model, image, output, tile=64, shard=(0, 2), overwrite=True)
    assert asked == [image]
    save(Path(image), scene(4, cover=0.3))
    with pytest.raises(OptionError, match="holds an unfinished run whose input is"):
        predict_file(model, image, output, tile=64)
    predict_file(model, image, output, tile=64, overwrite=True)
    assert len(asked) == 2
    assert output.exists()
    assert not folder.exists()


def test_an_input_under_another_name_continued_the_same_run(
    model: Model, files: dict[str, str], masks: dict[str, str], tmp_path: Path
) -> None:
    output, dates = tmp_path / "out.tif", {"date": [files["clear"]]}
    both = {"mask": [masks["image"]], **dates, "date_mask": [masks["cloudy"]]}
    predict_file(model, files["image"], output, inputs=both, tile=32, shard=(0, 2))
    swapped = {"date_mask": both["mask"], **dates, "mask": both["date_mask"]}
    with pytest.raises(OptionError, match="holds an unfinished run whose input is"):
        predict_file(model, files["image"], output, inputs=swapped, tile=32, shard=(1, 2))
    again = dict(reversed(list(both.items())))  # the order of names says nothing
    predict_file(model, files["image"], output, inputs=again, tile=32, shard=(1, 2))


def test_a_published_run_with_detected_masks_is_known_by_what_was_given(
    model: Model, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.tif"
    with monkeypatch.context() as patched:
        patched.setattr(publish, "remove", lambda folder: None)  # as if killed before it
        predict_file(model, files["image"], output)
    monkeypatch.setattr(detect, "load", lambda *_, **__: pytest.fail("the detector was asked"))
    assert predict_file(model, files["image"], output) == {"output": str(output)}
    assert not output.with_name("out.tif.run").exists()


def test_what_was_stopped_while_it_looked_continues(
    model: Model, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, dates = tmp_path / "out.tif", {"date": [files["cloudy"]]}
    find = inference.files._find

    def stopped(detector: Model, image: str, *rest: Path, **more: int) -> None:
        if image == files["cloudy"]:
            raise InterruptedRun("stopped by SIGTERM; the same command continues")
        find(detector, image, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(inference.files, "_find", stopped)
        with pytest.raises(InterruptedRun):
            predict_file(model, files["image"], output, inputs=dates)
    assert (output.with_name("out.tif.run") / DETECTED / "mask_0_toy-detector.tif").exists()
    predict_file(model, files["image"], output, inputs=dates)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "out.tif.json"]


def test_a_plan_says_what_will_be_looked_for_and_makes_nothing(
    model: Model, files: dict[str, str], tmp_path: Path
) -> None:
    told = plan_file(model, files["image"], tmp_path / "out.tif", inputs={"date": [files["cloudy"]]}).summary()
    assert told["input_mask"] == [f"found by {files['detector']} in image.tif"]
    assert told["input_date_mask"] == [f"found by {files['detector']} in cloudy.tif"]
    assert not list(tmp_path.iterdir())


# ---- bad input ----


def test_without_a_detector_a_mask_must_be_given(files: dict[str, str], tmp_path: Path) -> None:
    model = build(parse_recipe(REMOVE % "null"))
    with pytest.raises(InputError, match="give -i mask=PATH"):
        predict_file(model, files["image"], tmp_path / "out.tif")
    assert not list(tmp_path.iterdir())


def test_what_the_detector_cannot_use_is_told_with_the_reason(files: dict[str, str], tmp_path: Path) -> None:
    recipe = parse_recipe(REMOVE % files["detector"]).model_dump() | {"bands": ["green", "red", "nir"]}
    model = build(type(parse_recipe(MASK)).model_validate(recipe))
    three = save(tmp_path / "three.tif", scene(1, cover=0.3)[1:], BANDS[1:])
    with pytest.raises(InputError, match=r"no mask is given, and toy-detector cannot look for clouds: .* needs blue"):
        predict_file(model, three, tmp_path / "out.tif")
    with pytest.raises(InputError, match="no mask is given"):
        model.predict(sciddiff.open(three))
    assert [path.name for path in tmp_path.iterdir()] == ["three.tif"]


def test_a_detector_of_another_task_is_refused(model: Model, files: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "remover.safetensors"
    write(model, path)
    wrong = build(parse_recipe(REMOVE % path))
    for call in (
        lambda: predict_file(wrong, files["image"], tmp_path / "out.tif"),
        lambda: wrong.predict(sciddiff.open(files["image"])),
    ):
        with pytest.raises(OptionError, match="finds no clouds: it is of another task"):
            call()


def test_digital_numbers_are_refused_before_anything_is_looked_for(model: Model, tmp_path: Path) -> None:
    image = save(tmp_path / "numbers.tif", 10_000 * scene(1, cover=0.3))
    with pytest.raises(InputError, match="digital numbers"):
        predict_file(model, image, tmp_path / "out.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.tif"]


# ---- the other detector ----


def test_omnicloudmask_is_used_where_it_is_installed(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with the package's interface: red, green, near infrared in; 1, 2 cloud and 3 shadow out."""
    model = build(parse_recipe(REMOVE % "omnicloudmask"))
    monkeypatch.setitem(sys.modules, "omnicloudmask", None)
    with pytest.raises(OptionError, match="omnicloudmask is not installed"):
        predict_file(model, files["image"], tmp_path / "out.tif")
    assert not list(tmp_path.iterdir())

    seen = []

    def predict_from_array(array: np.ndarray) -> np.ndarray:
        seen.append(array)
        classes = np.zeros((1, *array.shape[1:]), np.uint8)
        classes[0, 20, 20], classes[0, 10, 50] = 1, 3
        return classes

    package = ModuleType("omnicloudmask")
    package.predict_from_array = predict_from_array  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "omnicloudmask", package)
    predict_file(model, files["image"], tmp_path / "out.tif", extras={"flag": tmp_path / "flag.tif"})
    assert np.array_equal(seen[0], read(Path(files["image"]))[[2, 1, 3]])
    expected = np.zeros((32, 60), bool)
    expected[18:23, 18:23] = expected[8:13, 48:53] = True
    assert np.array_equal(read(tmp_path / "flag.tif")[0] != 0, expected)
    arrays = model.predict(sciddiff.open(files["image"]))
    assert np.array_equal(arrays["flag"].values[0] != 0, expected)
