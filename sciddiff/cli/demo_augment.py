"""The demo of synthesis: labelled images of nuclei and of a landscape, made, changed and shown."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sciddiff.cli.output import Progress, show_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sciddiff.model import Model

NUCLEI, LANDSCAPE = "nuclei-from-mask", "landscape-from-classes"
LOOKS = ("dsb2018", "dapi", "kc167")
SIDE = 256
FILES = {
    "masks/nuclei.tif": "a mask of instances, made from nothing",
    "nuclei/": "images of nuclei that go with it, one a class, their labels, and manifest.csv",
    "landscape/mask.tif": "land cover of the sample scene, by the rule of `sciddiff.labels`",
    "landscape/made/": "reflectance that goes with it",
    "landscape/changed/": "the sample scene with a lake, all else bit for bit",
    "panel.png": "all of them side by side",
}


def run(ctx: click.Context, folder: Path, *, device: str, overwrite: bool) -> None:
    """
    Make labelled images with both shipped models; files go to a folder.

    Parameters
    ----------
    ctx : click.Context
        Of the command.
    folder : pathlib.Path
        Where to write.
    device : str
        As torch names it.
    overwrite : bool
        Whether files that are there may be replaced.
    """
    from sciddiff.model import load

    rows = _nuclei(ctx, load(NUCLEI, device=device), folder, overwrite=overwrite)
    rows += _landscape(ctx, load(LANDSCAPE, device=device), folder, overwrite=overwrite)
    _panel(rows, folder / "panel.png")
    show_files(folder, FILES, first="panel.png")


def _nuclei(
    ctx: click.Context, model: "Model", folder: Path, *, overwrite: bool
) -> list[dict[str, "NDArray[np.uint8]"]]:
    import numpy as np
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from sciddiff import io, labels
    from sciddiff.io.profile import plain_profile

    mask = labels.nuclei((SIDE, SIDE), np.random.default_rng(2), diameter=24)
    path = folder / "masks" / "nuclei.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = io.from_array(
        mask[None].astype(np.float32),
        grid=GeoBox((SIDE, SIDE), Affine.identity(), None),
        bands=["instance"],
        profile=plain_profile(["instance"], dtype="uint16"),
    )
    io.save(image, path, overwrite=overwrite)
    row = {"mask": _colours(mask)}
    for name in LOOKS:
        made = _made(ctx, model, folder / "nuclei" / name, overwrite=overwrite, masks=(str(path),), image_class=name)
        row[f"as {name}"] = _grey(made[0])
    return [row]


def _landscape(
    ctx: click.Context, model: "Model", folder: Path, *, overwrite: bool
) -> list[dict[str, "NDArray[np.uint8]"]]:
    import warnings

    import numpy as np

    from sciddiff import io, labels
    from sciddiff.inference import simulate_file
    from sciddiff.recipe import sample_path

    scene = io.open(str(sample_path())).isel(y=slice(100, 100 + SIDE), x=slice(200, 200 + SIDE))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "bands that the model does not know")  # the sample serves all models
        (folder / "landscape").mkdir(parents=True, exist_ok=True)
        io.save(scene, folder / "landscape" / "scene.tif", overwrite=overwrite)
        paths = simulate_file(
            model.recipe, str(folder / "landscape" / "scene.tif"), folder / "landscape", overwrite=overwrite
        )
    mask, _ = io.read_window(io.open(str(paths["mask"])), slice(None), slice(None))
    rows, cols = np.mgrid[:SIDE, :SIDE]
    lake = ((rows - 128) / 44) ** 2 + ((cols - 110) / 60) ** 2 < 1
    changed = np.where(lake, labels.CLASSES["water"], np.nan_to_num(mask[0]))
    new, region = folder / "landscape" / "mask_with_lake.tif", folder / "landscape" / "lake.tif"
    for path, values in ((new, changed), (region, lake.astype(float))):
        like = io.open(str(paths["mask"]))
        image = io.from_array(
            values[None].astype(np.float32), grid=io.grid_of(like), bands=["class"], profile=like.encoding["raster"]
        )
        io.save(image, path, overwrite=overwrite)
    numbers = {"gsd": 10.0, "month": 6.0}
    made = _made(
        ctx, model, folder / "landscape" / "made", overwrite=overwrite, masks=(str(paths["mask"]),), numbers=numbers
    )
    edit = _made(
        ctx,
        model,
        folder / "landscape" / "changed",
        overwrite=overwrite,
        masks=(str(new),),
        numbers=numbers,
        image=str(paths["target"]),
        region=str(region),
    )
    target, _ = io.read_window(io.open(str(paths["target"])), slice(None), slice(None))
    return [
        {
            "scene": _true_colour(target),
            "land cover": _colours(np.nan_to_num(mask[0]).astype(int)),
            "made of it": _true_colour(made),
            "scene with a lake": _true_colour(edit),
        }
    ]


def _made(
    ctx: click.Context,
    model: "Model",
    folder: Path,
    *,
    overwrite: bool,
    masks: tuple[str, ...],
    image_class: str | None = None,
    numbers: dict[str, float] | None = None,
    image: str | None = None,
    region: str | None = None,
) -> "NDArray[np.floating]":
    """One image of a mask, (bands, h, w)."""
    from sciddiff import inference, io
    from sciddiff.cli import command_line

    wish = inference.Wish(
        masks=masks, count=1, seed=1, image_class=image_class, numbers=numbers or {}, image=image, region=region
    )
    with Progress(ctx, folder.name) as progress:
        inference.synthesize(model, folder, wish, overwrite=overwrite, command=command_line(ctx), progress=progress)
    values, _ = io.read_window(io.open(str(next((folder / "images").glob("*.tif")))), slice(None), slice(None))
    return values


def _grey(band: "NDArray[np.floating]") -> "NDArray[np.uint8]":
    import numpy as np

    levels = np.clip(band / np.quantile(band, 0.997), 0, 1) ** 0.7
    return np.repeat((255 * levels).astype(np.uint8)[..., None], 3, 2)


def _true_colour(bands: "NDArray[np.floating]") -> "NDArray[np.uint8]":
    import numpy as np

    levels = np.clip(np.nan_to_num(bands[[2, 1, 0]]) / 0.2, 0, 1) ** 0.7
    return np.moveaxis((255 * levels).astype(np.uint8), 0, 2)


def _colours(labels: "NDArray[np.integer]") -> "NDArray[np.uint8]":
    """Another colour for each value, black for zero."""
    import numpy as np

    values = np.unique(labels)
    table = np.random.default_rng(4).integers(60, 256, (len(values), 3)).astype(np.uint8)
    table[values == 0] = 0
    return table[np.searchsorted(values, labels)]


def _panel(rows: list[dict[str, "NDArray[np.uint8]"]], path: Path) -> None:
    from PIL import Image, ImageDraw

    caption = 16
    width, height = max(map(len, rows)) * (SIDE + 4), len(rows) * (SIDE + caption + 4)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for at, row in enumerate(rows):
        top = at * (SIDE + caption + 4)
        for number, (title, picture) in enumerate(row.items()):
            sheet.paste(Image.fromarray(picture), (number * (SIDE + 4), top + caption))
            draw.text((number * (SIDE + 4) + 2, top + 2), title, fill="black")
    sheet.save(path)
