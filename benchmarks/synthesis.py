"""Whether synthetic images are what was asked for: labels, classes, looks, copies; nothing here was trained on.

    python benchmarks/synthesis.py [nuclei] [landscape] [--images 6] [--steps N] [--guidance W] [--json PATH]
        [--nuclei MODEL] [--landscape MODEL] [--pairs DIR]

Nuclei: the parts of the pictures in $SCIDDIFF_REALDATA that the recipe `augment_nuclei` leaves out; one has labels that
somebody drew, the others' are made by the recipe's rule. Masks are rearranged from them. "labels hold" compares what
Otsu finds on the smoothed image with the mask. Landscape: the strip of Aberystwyth that `augment_landcover` leaves
out, and a scene of Texas that it never saw; the rule that labelled the training scenes labels the synthetic ones, too.
Classes are told apart by what lies in an image as well as by its look: beside images of rearranged masks stand those of
the masks as they are, and the real windows of the same masks.

With --pairs the labelled pictures are written as folders for `sciddiff benchmark --augmentation`:

    python benchmarks/synthesis.py --pairs DIR
    sciddiff benchmark nuclei-from-mask DIR/train --test DIR/test --augmentation -o augmentation.html
"""

import argparse
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from skimage.filters import threshold_otsu

from sciddiff import io, labels
from sciddiff.evaluation.copies import copies
from sciddiff.evaluation.feature_distance import compare_classes
from sciddiff.evaluation.image_classifier import agreement, train_classifier
from sciddiff.evaluation.label_scores import class_scores, mean_scores, object_scores
from sciddiff.evaluation.segmenter import segment, train_segmenter
from sciddiff.evaluation.synthetic import Made
from sciddiff.evaluation.windows import Image, Pair
from sciddiff.inference import Wish
from sciddiff.labels.rules import by_rule
from sciddiff.model import Model, load
from sciddiff.model.request import Guidance

SIDE = 192
SPLITS = {
    "dsb2018": ("dsb2018_nuclei_image.tif", 320),
    "dapi": ("dapi_tubulin_8bit.ome.tif", 680),
    "u2os": ("bbbc022_u2os_3ch_16bit.ome.tif", 460),
    "ht29": ("ht29_human_3ch_8bit.ome.tif", 360),
    "kc167": ("fly_kc167_3ch_8bit.ome.tif", 720),
}
"""The picture of each class, and the column from which on nothing was trained on."""
NUMBERS = {"gsd": 10.0, "month": 5.0, "latitude": 52.4}


def plane(path: Path, band: int = 0) -> np.ndarray:
    """One channel of a picture, (1, h, w)."""
    image = io.open(str(path))
    image = image.isel(t=0, z=0) if "z" in image.dims else image
    return io.read_window(image.isel(band=[band]), slice(None), slice(None))[0].astype(np.float32)


def nuclei_pairs(data: Path) -> dict[str, tuple[Pair, Pair]]:
    """Of each class what was trained on, and what was not."""
    pairs = {}
    for name, (file, column) in SPLITS.items():
        image = plane(data / file)
        drawn = data / file.replace("image", "labels")
        mask = plane(drawn)[0].astype(int) if name == "dsb2018" else labels.segmented_nuclei(image[0]).astype(int)
        pairs[name] = (
            (image[..., :column], mask[:, :column]),
            (np.ascontiguousarray(image[..., column:]), np.ascontiguousarray(mask[:, column:])),
        )
    return pairs


def in_levels(image: Image) -> Image:
    """Zero in the dark and one in bright structures, as the models of synthesis give it."""
    low, high = np.quantile(image, (0.01, 0.995))
    return np.asarray((image - low) / (high - low), np.float32)


def held_labels(image: Image, mask: np.ndarray) -> float:
    """Intersection over union of the mask's foreground and what Otsu finds on the smoothed image."""
    smooth = ndimage.gaussian_filter(image[0].astype(np.float64), 1.5)
    found, wanted = smooth > threshold_otsu(smooth), mask > 0
    return float((found & wanted).sum() / max((found | wanted).sum(), 1))


def nuclei(model: Model, data: Path, *, images: int, wish: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of nuclei."""
    pairs = nuclei_pairs(data)
    made: dict[str, list[Pair]] = {}
    for name, (_, (_, mask)) in pairs.items():
        generate = Made(model, Wish(image_class=name, **wish))
        rng = np.random.default_rng(7)
        masks = [labels.rearranged([mask], rng, shape=(SIDE, SIDE)).mask.astype(int) for _ in range(images)]
        made[name] = [(generate(each, number), each) for number, each in enumerate(masks)]
    result: dict[str, Any] = {"labels": {}, "copies": {}}
    for name, each in made.items():
        found = [held_labels(*pair) for pair in each]
        real = held_labels(*pairs[name][1])
        result["labels"][name] = {"mean": float(np.mean(found)), "least": min(found), "real": real}
    result["segmenter"] = _judged(pairs, made)
    real_train = {name: [in_levels(train[0])] for name, (train, _) in pairs.items()}
    real_test = {name: [in_levels(test[0])] for name, (_, test) in pairs.items()}
    classifier = train_classifier(real_train)
    places = {name: _windows(mask, images) for name, (_, (_, mask)) in pairs.items()}
    kept = {name: [real_test[name][0][:, rows, cols] for rows, cols in places[name]] for name in pairs}
    same = {}
    for name, (_, (_, mask)) in pairs.items():
        generate = Made(model, Wish(image_class=name, **wish))
        same[name] = [generate(mask[rows, cols].astype(int), seed) for seed, (rows, cols) in enumerate(places[name])]
    for title, sets in (
        ("class agreement, real windows", kept),
        ("class agreement, of the same masks", same),
        ("class agreement, rearranged", _images(made)),
    ):
        flat = [(image, name) for name, group in sets.items() for image in group]
        result[title] = agreement(classifier, [image for image, _ in flat], [name for _, name in flat]).to_dict()
    for name in pairs:
        found = copies(_images(made)[name], real_train[name], real_test[name], size=64)
        result["copies"][name] = found.to_dict()
    cut = {name: _cut(group[0]) + _cut(real_train[name][0]) for name, group in real_test.items()}
    segmenter = train_segmenter([pairs[name][0] for name in pairs], kind="instances")
    parts = {name: [part for image in group for part in _cut(image)] for name, group in same.items()}
    result["distances"] = {name: each.to_dict() for name, each in compare_classes(segmenter, cut, parts).items()}
    return result


def _images(made: Mapping[str, list[Pair]]) -> dict[str, list[Image]]:
    return {name: [image for image, _ in each] for name, each in made.items()}


def _windows(mask: np.ndarray, count: int) -> list[tuple[slice, slice]]:
    """Evenly spread along the longer side of what was not trained on, as wide as it is there."""
    height, width = (min(SIDE, size) // 16 * 16 for size in mask.shape)
    rows, cols = (np.linspace(0, size - side, count).astype(int) for size, side in zip(mask.shape, (height, width)))
    return [(slice(row, row + height), slice(col, col + width)) for row, col in zip(rows, cols)]


def _cut(image: Image, side: int = 96) -> list[Image]:
    rows, cols = (range(0, size - side + 1, side) for size in image.shape[1:])
    return [image[:, row : row + side, col : col + side] for row in rows for col in cols]


def _judged(pairs: Mapping[str, tuple[Pair, Pair]], made: Mapping[str, list[Pair]]) -> dict[str, dict[str, float]]:
    """Scores of a segmenter trained on real images only: on real ones, and on synthetic ones of the same class."""
    found = {}
    for name, (train, test) in pairs.items():
        segmenter = train_segmenter([train], kind="instances", steps=350)
        real = object_scores(segment(segmenter, test[0]), test[1])
        synthetic = mean_scores([object_scores(segment(segmenter, image), mask) for image, mask in made[name]])
        found[name] = {
            f"{score}, {title}": values[score]
            for score in ("object_iou", "f1", "foreground_iou")
            for title, values in (("real", real), ("synthetic", synthetic))
        }
    return found


def landscape(model: Model, data: Path, *, images: int, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Whether synthetic reflectance has the classes asked for, and bands that go together as in real scenes."""
    bands = list(model.task.bands)
    scene = io.open(str(data / "s2_l2_aberystwyth_20210527_10band_10m.tif"))
    scene = scene.isel(band=io.match_bands(bands, [str(name) for name in scene.band.values]))
    values, valid = io.read_window(scene, slice(728, 947), slice(0, 930))
    strip = np.where(valid, values / 1000, np.nan)
    chip = io.read_window(
        io.open(str(data / "hls_l30_t14_10band_30m.tif"), bands=[2, 3, 4, 5, 6, 7]), slice(None), slice(None)
    )[0]
    chip = chip / 10000 if np.nanmedian(chip) > 1 else chip
    result = {}
    for name, real, numbers in (
        ("Aberystwyth", strip, NUMBERS),
        ("Texas", chip, {**NUMBERS, "gsd": 30.0, "latitude": 27.0}),
    ):
        mask = by_rule("landcover", real, bands)
        generate = Made(model, Wish(numbers=numbers, **wish))
        made = [generate(mask.astype(int), seed) for seed in range(images)]
        found = [by_rule("landcover", image, bands).astype(int) for image in made]
        classes = tuple(sorted(set(np.unique(mask).tolist()) - {0}))
        agree = [float((each == mask)[mask > 0].mean()) for each in found]
        scores = class_scores(found, [mask.astype(int)] * images, classes=classes, unlabelled=0)
        seen = np.isfinite(real).all(0)
        apart = np.abs(np.corrcoef(real[:, seen]) - np.mean([np.corrcoef(image[:, seen]) for image in made], 0))
        result[name] = {
            "agreement": float(np.mean(agree)),
            "mean class IoU": scores["mean_iou"],
            "classes": {key: scores[key] for key in scores if key.startswith("iou")},
            "largest difference of band correlations": float(apart.max()),
            "mean reflectance, real": np.nanmean(real[:, seen], 1).round(4).tolist(),
            "mean reflectance, made": np.mean([image[:, seen].mean(1) for image in made], 0).round(4).tolist(),
        }
    return result


def write_pairs(folder: Path, data: Path) -> None:
    """The picture with labels drawn by hand as two folders: what may be trained on, and what is tested on."""
    train, test = nuclei_pairs(data)["dsb2018"]
    for name, (image, mask) in (("train", train), ("test", test)):
        for kind, values in (("images", image), ("labels", mask[None])):
            path = folder / name / kind / "dsb2018.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(values, path)


def _save(values: np.ndarray, path: Path) -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from sciddiff.io.profile import plain_profile

    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    profile = plain_profile(["band"], dtype="uint16")
    io.save(io.from_array(values.astype(np.float32), grid=grid, bands=["band"], profile=profile), path, overwrite=True)


def show(console: Console, title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A table, one row an item; numbers only."""
    table = Table(title=title, box=None, title_justify="left")
    names = [name for name, value in next(iter(rows.values())).items() if isinstance(value, (int, float))]
    for name in ("", *names):
        table.add_column(name, justify="right" if name else "left")
    for item, row in rows.items():
        table.add_row(item, *(f"{row[name]:.3f}" for name in names))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", default=["nuclei", "landscape"])
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--nuclei", default="nuclei-from-mask")
    parser.add_argument("--landscape", default="landscape-from-classes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pairs", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    data = Path(os.environ["SCIDDIFF_REALDATA"])
    if asked.pairs is not None:
        write_pairs(asked.pairs, data / "micro")
        return
    wish = {"steps": asked.steps, "guidance": Guidance(asked.guidance)}
    found: dict[str, Any] = {}
    console = Console(highlight=False, width=180)
    if "nuclei" in asked.what:
        found["nuclei"] = nuclei(load(asked.nuclei), data / "micro", images=asked.images, wish=wish)
        show(console, "labels hold: IoU of Otsu's foreground with the mask", found["nuclei"]["labels"])
        show(console, "a segmenter trained on real images only", found["nuclei"]["segmenter"])
        console.print({key: value for key, value in found["nuclei"].items() if key.startswith("class")})
        show(console, "nearest training patch, generated against real", found["nuclei"]["copies"])
        console.print(found["nuclei"]["distances"])
    if "landscape" in asked.what:
        found["landscape"] = landscape(load(asked.landscape), data / "rs", images=asked.images, wish=wish)
        show(console, "land cover: the rule's labels of synthetic scenes against the mask", found["landscape"])
        console.print(found["landscape"])
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
