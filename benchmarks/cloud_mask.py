"""Clouds and shadows found on places that no model was trained or selected on, beside tests of single pixels.

    python benchmarks/cloud_mask.py [MODEL] [--pictures FOLDER] [--json PATH]

Simulated: clear dates of the Rufiji river (Sentinel-2) and Momotombo (Landsat 8, at the surface and at the top of the
atmosphere, TOA) under clouds and shadows of 10, 30 and 60 % cover, six bands and four; and as they are, where every
find is a false one (Momotombo holds real clouds and haze, which count as false too). Real: the quality band of a
Landsat 8 scene with altocumulus and haze, rows 244 to 488. Files are looked for in $SCIDDIFF_REALDATA. Nothing is
widened here: probabilities against thresholds.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from sciddiff import io
from sciddiff.baselines.cloud_tests import haze_optimised
from sciddiff.model import Model, load
from sciddiff.model.fit import fit_all
from sciddiff.model.reading import observe_whole
from sciddiff.physics.cloud import CLEAR, SHADOW, draw_clouds
from sciddiff.physics.haze import wavelengths
from sciddiff.tasks.cloud_mask import CLOUD as CLOUD_CLASS
from sciddiff.tasks.cloud_mask import SHADOW as SHADOW_CLASS

NAMES = ("blue", "green", "red", "nir", "swir1", "swir2")
WAVELENGTHS = wavelengths("sentinel2", NAMES)
SENTINEL2 = ("B2", "B3", "B4", "B8", "B11", "B12")
RUFIJI = ("20160710", "20190610", "20190615", "20190620")
COVERS = (0.1, 0.3, 0.6)
SEEDS = 3
BLUE_FROM, HOT_FROM, TESTS_FROM = 0.12, 0.07, (0.2, 0.2)
"""Thresholds of the baselines, those with the best IoU on the validation window of the recipe."""
REAL_ROWS = slice(244, 488)
Masks = dict[str, NDArray[np.bool_]]


class Counts(NamedTuple):
    """Pixels found rightly, found in all, and there."""

    right: int = 0
    found: int = 0
    there: int = 0

    def plus(self, found: NDArray[np.bool_], truth: NDArray[np.bool_], valid: NDArray[np.bool_]) -> "Counts":
        """With the pixels of one more image."""
        numbers = ((found & truth & valid).sum(), (found & valid).sum(), (truth & valid).sum())
        return Counts(*(int(old + new) for old, new in zip(self, numbers, strict=True)))

    @property
    def scores(self) -> dict[str, float]:
        """IoU, precision and recall; NaN where nothing is there or found."""
        right, found, there = (float(each) for each in self)
        pairs = {"iou": found + there - right, "precision": found, "recall": there}
        return {name: right / of if of else float("nan") for name, of in pairs.items()}


def folder() -> Path:
    """Where the images are."""
    root = os.environ.get("SCIDDIFF_REALDATA")
    if not root:
        raise SystemExit("set SCIDDIFF_REALDATA to the folder that holds rs/")
    return Path(root) / "rs"


def opened(name: str, bands: Sequence[int | str], *, scale: float, offset: float = 0.0) -> xr.DataArray:
    """Reflectance under common names."""
    image = io.open(str(folder() / name), bands=list(bands))
    values, valid = io.read_window(image, slice(None), slice(None))
    valid &= valid.all(0)
    values = np.where(valid, scale * values + offset, np.nan).astype(np.float32)
    return io.from_array(values, grid=io.grid_of(image), bands=list(NAMES), valid=valid)


def places() -> Iterator[tuple[str, float, xr.DataArray]]:
    """Clear scenes: place, pixel size, image."""
    for day in RUFIJI:
        yield "Rufiji", 20.0, opened(f"s2_timeseries_rufiji_t37mem/s2_{day}_10band_20m.tif", SENTINEL2, scale=1e-3)
    path = "l8_l2sp_momotombo_20151205_sr6_30m.tif"
    yield "Momotombo", 30.0, opened(path, range(1, 7), scale=2.75e-5, offset=-0.2)
    path = "l8_l1tp_momotombo_20151205_ms6_30m.tif"
    yield "Momotombo TOA", 30.0, opened(path, range(1, 7), scale=2e-5, offset=-0.1)


def found_in(model: Model, image: xr.DataArray) -> dict[str, Masks]:
    """Clouds and shadows by every method."""
    settings = model.recipe.task
    names = [str(name) for name in image.band.values]
    probabilities = model.predict(image)["mean"].values
    guess = model.task.baselines()["cloud_tests"](observe_whole(model, fit_all(model.recipe, model.task, image)))
    blue, red = (torch.from_numpy(image.values[names.index(name)]) for name in ("blue", "red"))
    return {
        "model": {
            "cloud": probabilities[0] > settings.cloud_from,  # type: ignore[union-attr]
            "shadow": probabilities[1] > settings.shadow_from,  # type: ignore[union-attr]
        },
        "tests": {name: guess[0, at].numpy() > TESTS_FROM[at] for at, name in enumerate(("cloud", "shadow"))},
        "blue": {"cloud": (blue > BLUE_FROM).numpy()},
        "HOT": {"cloud": (haze_optimised(blue, red) > HOT_FROM).numpy()},
    }


def simulated(model: Model, bands: int) -> dict[str, dict[str, dict[str, Counts]]]:
    """Counts by place and cover, method and class."""
    table: dict[str, dict[str, dict[str, Counts]]] = {}
    for number, (place, gsd, scene) in enumerate(places()):
        image, valid = scene[:bands], scene.valid.values.all(0)
        clean = torch.from_numpy(np.nan_to_num(image.values))[None]
        for cover in (0.0, *COVERS):
            for seed in range(SEEDS if cover else 1):
                source = torch.Generator().manual_seed(1000 * number + 10 * seed)
                drawn = draw_clouds(clean, WAVELENGTHS[:bands], generator=source, cover=(cover, cover), gsd=gsd)
                classes = drawn.classes[0].numpy() if cover else np.full(valid.shape, CLEAR)
                cloudy = image.copy(data=np.where(valid, drawn.cloudy[0].numpy(), np.nan)) if cover else image
                truth = {"cloud": (classes != CLEAR) & (classes != SHADOW), "shadow": classes == SHADOW}
                add(table.setdefault(f"{place} {cover:.0%}", {}), found_in(model, cloudy), truth, valid)
    return table


def add(row: dict[str, dict[str, Counts]], found: dict[str, Masks], truth: Masks, valid: NDArray[np.bool_]) -> None:
    """Count one image more, in place."""
    for method, masks in found.items():
        counts = row.setdefault(method, {})
        for name, mask in masks.items():
            counts[name] = counts.get(name, Counts()).plus(mask, truth[name], valid)


def real(model: Model) -> dict[str, dict[str, dict[str, Counts]]]:
    """Counts on a scene whose quality band says where clouds are, surely or likely, and cirrus; it knows no shadows."""
    image = opened("l8_l1tp_p020r039_20150804_ms8_30m.tif", range(2, 8), scale=2e-5, offset=-0.1).isel(y=REAL_ROWS)
    quality = io.open(str(folder() / "l8_l1tp_p020r039_20150804_bqa_30m.tif")).isel(y=REAL_ROWS)
    flags = quality.values[0].astype(int)
    cloud, cirrus = (flags >> 14) & 3, (flags >> 12) & 3  # two bits each of the quality band before Collection 1
    valid = image.valid.values.all(0)
    found = {name: {"cloud": masks["cloud"]} for name, masks in found_in(model, image).items()}
    table: dict[str, dict[str, dict[str, Counts]]] = {}
    for title, truth in {
        "sure": cloud == 3,
        "sure or likely": cloud >= 2,
        "or cirrus": (cloud >= 2) | (cirrus == 3),
    }.items():
        add(table.setdefault(f"Landsat 8, {title}", {}), found, {"cloud": truth}, valid)
    return table


def show(console: Console, title: str, table: dict[str, dict[str, dict[str, Counts]]]) -> None:
    """IoU, precision and recall by row and method."""
    for name in ("cloud", "shadow"):
        methods = [method for method, counts in next(iter(table.values())).items() if name in counts]
        if not methods:
            continue
        page = Table(title=f"{title}: {name}, IoU (precision, recall)", box=None, title_justify="left")
        page.add_column("scene")
        for method in methods:
            page.add_column(method, justify="right")
        for row, found in table.items():
            page.add_row(row, *(cell(found[method][name]) for method in methods))
        console.print(page)
    console.print()


def cell(counts: Counts) -> str:
    """Scores in one cell; where nothing is there, how many pixels are found."""
    if not counts.there:
        return f"{counts.found} px false"
    scores = counts.scores
    return f"{scores['iou']:.3f} ({scores['precision']:.2f}, {scores['recall']:.2f})"


def pictures(model: Model, where: Path) -> None:
    """Every date of Rufiji and Momotombo: true colour, false colour, probabilities, mask."""
    where.mkdir(parents=True, exist_ok=True)
    files = sorted((folder() / "s2_timeseries_rufiji_t37mem").glob("*.tif"))
    images = {path.stem: opened(f"{path.parent.name}/{path.name}", SENTINEL2, scale=1e-3) for path in files}
    images["momotombo"] = opened("l8_l2sp_momotombo_20151205_sr6_30m.tif", range(1, 7), scale=2.75e-5, offset=-0.2)
    for name, image in images.items():
        result = model.predict(image)
        found = np.nan_to_num(result["mean"].values)
        values = np.nan_to_num(image.values)
        classes = result["mask"].values
        panels = [
            values[[2, 1, 0]] / 0.3,
            values[[4, 3, 2]] / 0.4,
            np.concatenate([found, 0 * found[:1]]),
            np.concatenate([classes == CLOUD_CLASS, classes == SHADOW_CLASS, 0 * classes]),
        ]
        page = np.concatenate([np.clip(panel, 0, 1).transpose(1, 2, 0) for panel in panels], 1)
        Image.fromarray((255 * page).astype(np.uint8)).save(where / f"{name}.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, detect, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", default="cloud-mask")
    parser.add_argument("--pictures", type=Path, help="write a picture of every date here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(arguments)
    console, model = Console(width=150, highlight=False), load(given.model)
    tables = {"six bands": simulated(model, 6), "four bands": simulated(model, 4), "quality band": real(model)}
    for title, table in tables.items():
        show(console, title, table)
    if given.pictures is not None:
        pictures(model, given.pictures)
    if given.json is not None:
        figures = {
            title: {
                row: {method: {name: each.scores for name, each in kinds.items()} for method, kinds in found.items()}
                for row, found in table.items()
            }
            for title, table in tables.items()
        }
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
