"""Where things are in new images: masks as they were given, rearranged, or made from none."""

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff import io, labels
from sciddiff.errors import InputError, OptionError
from sciddiff.inference.wish import Wish
from sciddiff.io.profile import plain_profile
from sciddiff.io.writer import RasterWriter
from sciddiff.model import Model, load
from sciddiff.model.fit import fit_all, is_stack
from sciddiff.recipe.tasks import Synthesis

STRIP = 1024
"""Rows of a made mask that are written at once."""
DIAMETER = 24.0
"""Pixels along a procedural nucleus, typical of a 20x objective."""
SHARES = {"water": 0.1, "bare": 0.1, "sparse": 0.16, "mixed": 0.16, "grass": 0.28, "forest": 0.18, "bright": 0.02}
"""Of the classes in procedural landscapes, on average."""
CONSTANCY = 12.0
"""How near each landscape is to these shares: the sum of the parameters of a Dirichlet distribution."""
SMALLEST = 30
"""Pixels of the smallest object of a learned layout."""
SIZE = (256, 256)
"""Rows and columns of a made mask, where nobody says and there is none to look at."""
MADE = ("given", "rearranged", "procedural", "none")


@dataclass(frozen=True)
class Made:
    """A mask that was made: labels (bands, h, w), where they lie, and the names of the bands."""

    labels: NDArray[np.integer]
    grid: GeoBox
    bands: tuple[str, ...]


class Layouts:
    """The masks of a synthesis by number."""

    def __init__(self, model: Model, wish: Wish, settings: Synthesis) -> None:
        self.wish, self.settings = wish, settings
        self.bands = model.task.inputs[0].bands
        self.georeferenced = settings.georeferenced

    def check(self, model: Model) -> None:
        """Raise where the masks that are asked for cannot be had; all that were given are looked through.

        Raises
        ------
        OptionError
            Masks are needed and not given.
        InputError
            One does not fit the model.
        """
        wish = self.wish
        if wish.layout in ("given", "rearranged") and not wish.masks:
            raise OptionError(f"--layout {wish.layout} needs --masks")
        if wish.layout not in MADE and not Path(wish.layout).exists():
            raise OptionError(f"--layout {wish.layout} is neither of {', '.join(MADE)} nor a model of label structure")
        if self.georeferenced and not wish.masks:
            raise InputError("the model makes images that need a coordinate reference system: take it from --masks")
        if len(self.bands) > 1 and wish.layout not in ("given", "none"):
            raise OptionError(
                f"--layout {wish.layout} makes masks of one band; the model needs {', '.join(self.bands)}"
            )
        for path in wish.masks:
            try:
                fit_all(model.recipe, model.task, io.open(path), {})
            except InputError as error:
                raise error if path in str(error) else InputError(f"{path}: {error}") from error

    def name(self, number: int) -> str:
        """File name of an image without its suffix."""
        wish = self.wish
        if wish.layout == "given" and wish.count in (None, len(wish.masks)) and self._distinct:
            return self._stems[number]
        return f"{self._stems[number % len(wish.masks)]}_{number:05d}" if wish.masks else f"image_{number:05d}"

    @cached_property
    def _stems(self) -> list[str]:
        return [Path(path).name.split(".")[0] for path in self.wish.masks]

    @cached_property
    def _distinct(self) -> bool:
        return len(set(self._stems)) == len(self._stems)

    def mask(self, model: Model, number: int) -> tuple[str | Made, str]:
        """The mask of a number, by its path where it was given, and what it was made of."""
        wish = self.wish
        if wish.layout == "given":
            path = wish.masks[number % len(wish.masks)]
            return path, path
        rng = np.random.default_rng([wish.seed, number, zlib.crc32(wish.layout.encode())])
        if wish.layout == "none":
            return self._placed(np.zeros((len(self.bands), *self.shape), np.uint8)), ""
        if wish.layout == "rearranged":
            made, source = self._rearranged(rng, number)
        elif wish.layout == "procedural":
            made, source = self._procedural(rng), "procedural"
        else:
            made, source = _learned(wish.layout, self.shape, seed=wish.seed + number), wish.layout
        return self._placed(made[None]), source

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a made mask."""
        if self.wish.size is not None or not self.wish.masks:
            return self.wish.size or SIZE
        return self._sources[0].shape[-2], self._sources[0].shape[-1]

    @cached_property
    def _sources(self) -> list[NDArray[np.int64]]:
        """The first band of all masks."""
        found = []
        for path in self.wish.masks:
            image = io.open(path)
            plane = image.isel(t=0, z=0) if is_stack(image) else image
            values, valid = io.read_window(plane, slice(None), slice(None))
            found.append(np.where(valid, values, 0)[0].astype(np.int64))
        return found

    def _rearranged(self, rng: np.random.Generator, number: int) -> tuple[NDArray[np.integer], str]:
        if self.settings.labels == "instances":
            made = labels.rearranged(self._sources, rng, shape=self.shape).mask
            return made, ", ".join(self.wish.masks)
        at = number % len(self._sources)
        return labels.turned_window(self._sources[at], rng, shape=self.shape), self.wish.masks[at]

    def _procedural(self, rng: np.random.Generator) -> NDArray[np.integer]:
        if self.settings.labels == "instances":
            return labels.nuclei(self.shape, rng, diameter=DIAMETER)
        known = self.settings.classes
        missing = sorted(set(known) - set(SHARES))
        if missing:
            raise OptionError(f"--layout procedural draws {', '.join(SHARES)}; the model has {', '.join(missing)}, too")
        drawn = rng.dirichlet([CONSTANCY * SHARES[name] for name in known])
        gsd = float(self.wish.numbers.get("gsd", 10.0))
        made = labels.landscape(self.shape, rng, classes=dict(zip(known, drawn.tolist(), strict=True)), gsd=gsd)
        table = np.zeros(max(labels.CLASSES.values()) + 1, np.int64)
        table[[labels.CLASSES[name] for name in known]] = list(known.values())
        return table[made]

    def _placed(self, made: NDArray[np.integer]) -> Made:
        """A made mask at the first corner of the first given one, with its pixel size and reference system."""
        affine, crs = Affine.identity(), None
        if self.wish.masks:
            grid = io.grid_of(io.open(self.wish.masks[0]))
            affine, crs = grid.affine, grid.crs
        return Made(made, GeoBox(made.shape[-2:], affine, crs), self.bands)


def _learned(path: str, shape: tuple[int, int], *, seed: int) -> NDArray[np.integer]:
    """Objects of a model of label structure: an image of signed distances, cut into objects.

    Raises
    ------
    OptionError
        The model makes no distances.
    """
    model = load(path)
    if not isinstance(model.recipe.task, Synthesis) or model.recipe.task.unit != "distance":
        raise OptionError(f"{path} is no model of label structure: its task.unit is not distance")
    blank = np.zeros((1, *shape))
    steps = max(2, model.recipe.sampler.steps)
    distance = model.predict(blank, steps=steps, seed=seed, instrument={"mask": (0.0,)})["sample"].values[0]
    return labels.from_distance(distance, reach=model.recipe.task.reach, smallest=SMALLEST)


def write_mask(mask: str | Made, path: Path) -> None:
    """Write a mask, as it is where it was given; nothing where it is there already."""
    if path.exists():
        return
    if isinstance(mask, str):
        io.save(io.open(mask), path)
        return
    largest = int(mask.labels.max(initial=0))
    profile = plain_profile(list(mask.bands), dtype="uint16" if largest < 2**16 else "uint32")
    profile = replace(profile, transform=mask.grid.affine)
    with RasterWriter(path, grid=mask.grid, bands=list(mask.bands), profile=profile) as writer:
        for row in range(0, mask.labels.shape[1], STRIP):
            part = mask.labels[:, row : row + STRIP].astype(np.float64)
            writer.write(part, np.ones(part.shape, bool), row, 0)
