"""Where things are in new images: masks as they were given, rearranged, or made from none."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
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


Mask = str | xr.DataArray | Made
"""By its path where it was given."""


def stem(path: Path) -> str:
    """Name of a file without its suffix, .ome.tif or .tif; other dots are its own."""
    return re.sub(r"(\.ome)?\.[^.]*$", "", path.name)


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
        if self.georeferenced and self._place is None:
            raise InputError("the model makes images that need a coordinate reference system: take it from --masks")
        if len(self.bands) > 1 and wish.layout not in ("given", "none"):
            raise OptionError(
                f"--layout {wish.layout} makes masks of one band; the model needs {', '.join(self.bands)}"
            )
        if self.inputs and wish.layout not in ("given", "none"):
            raise OptionError(f"--layout {wish.layout} makes masks of no image; change one with masks as they are")
        blank = wish.layout == "none"
        for path in wish.masks:
            self._fit(model, io.open(path), path, inputs={} if blank else self.inputs)
        if blank:
            self._fit(model, self._blank(), "", inputs=self.inputs)
        objects = wish.layout == "rearranged" and self.settings.labels == "instances"
        if objects and not any(_first_band(path).any() for path in wish.masks):
            raise InputError(f"no objects in {', '.join(wish.masks)}: there is nothing to rearrange")

    def _fit(self, model: Model, mask: xr.DataArray, path: str, *, inputs: Mapping[str, Sequence[str]]) -> None:
        others = {name: [io.open(each) for each in paths] for name, paths in inputs.items()}
        named = [each for each in (path, *(each for paths in inputs.values() for each in paths)) if each]
        try:
            fit_all(model.recipe, model.task, mask, others)
        except InputError as error:
            told = not named or any(each in str(error) for each in named)
            raise error if told else InputError(f"{', '.join(named)}: {error}") from error

    @property
    def inputs(self) -> dict[str, list[str]]:
        """Paths of the task's other inputs by name."""
        given = (("image", self.wish.image), ("region", self.wish.region))
        return {name: [path] for name, path in given if path is not None}

    def names(self, count: int) -> list[str]:
        """File names of images without their suffix: those of given masks, and numbers after the last of them.

        Raises
        ------
        OptionError
            Two of them are equal.
        """
        names = [self.name(number) for number in range(count)]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < count else []
        if twice:
            raise OptionError(f"two images would be named {twice[0]}; rename its mask")
        return names

    def name(self, number: int) -> str:
        """One of `names`."""
        wish, stems = self.wish, self._stems
        if wish.layout == "given" and number < len(stems) and len(set(stems)) == len(stems):
            return stems[number]
        return f"{stems[number % len(stems)]}_{number:05d}" if wish.masks else f"image_{number:05d}"

    @cached_property
    def _stems(self) -> list[str]:
        return [stem(Path(path)) for path in self.wish.masks]

    def mask(self, model: Model, number: int) -> tuple[Mask, str]:
        """The mask of a number, by its path where it was given, and what it was made of."""
        wish = self.wish
        if wish.layout == "given":
            path = wish.masks[number % len(wish.masks)]
            return path, path
        rng = np.random.default_rng([wish.seed, number, zlib.crc32(wish.layout.encode())])
        if wish.layout == "none":
            return self._blank(), ""
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
        if self.wish.size is not None or self._place is None:
            return self.wish.size or SIZE
        height, width = io.grid_of(io.open(self._place)).shape
        return height, width

    @property
    def _place(self) -> str | None:
        """What says where a made mask lies."""
        return next(iter(self.wish.masks), self.wish.image)

    @cached_property
    def _sources(self) -> list[NDArray[np.int64]]:
        """The first band of all masks."""
        return [_first_band(path) for path in self.wish.masks]

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

    def _placed(self, made: NDArray[np.integer]) -> xr.DataArray | Made:
        """A made mask at the first corner of the first given one; only as a plane of a stack it is an image at once."""
        if self._place is not None and "stack" in io.open(self._place).encoding:
            return self._image(made)
        return Made(made, self._grid(made), self.bands)

    def _grid(self, made: NDArray[np.integer]) -> GeoBox:
        """Of a made mask, with the pixel size and reference system of the first given one."""
        affine, crs = Affine.identity(), None
        if self._place is not None:
            grid = io.grid_of(io.open(self._place))
            affine, crs = grid.affine, grid.crs
        return GeoBox(made.shape[-2:], affine, crs)

    def _blank(self) -> xr.DataArray:
        return self._image(np.zeros((len(self.bands), *self.shape), np.uint8))

    def _image(self, made: NDArray[np.integer]) -> xr.DataArray:
        """A made mask as an image."""
        stack = None if self._place is None else io.open(self._place).encoding.get("stack")
        grid = self._grid(made)
        profile = replace(plain_profile(list(self.bands), dtype="uint32"), transform=grid.affine)
        image = io.from_array(made.astype(np.float64), grid=grid, bands=list(self.bands), profile=profile)
        if stack is not None:
            image.encoding["stack"] = stack.with_dtype("uint32").select(self.bands)
        return image


def _first_band(path: str) -> NDArray[np.int64]:
    """The first band of the first plane of a mask."""
    image = io.open(path)
    plane = image.isel(t=0, z=0) if is_stack(image) else image
    values, valid = io.read_window(plane, slice(None), slice(None))
    return np.where(valid, values, 0)[0].astype(np.int64)


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


def write_mask(mask: Mask, path: Path) -> None:
    """Write a mask, as it is where it was given; nothing where it is there already."""
    if path.exists():
        return
    if not isinstance(mask, Made):
        io.save(io.open(mask) if isinstance(mask, str) else mask, path)
        return
    largest = int(mask.labels.max(initial=0))
    profile = plain_profile(list(mask.bands), dtype="uint16" if largest < 2**16 else "uint32")
    profile = replace(profile, transform=mask.grid.affine)
    with RasterWriter(path, grid=mask.grid, bands=list(mask.bands), profile=profile) as writer:
        for row in range(0, mask.labels.shape[1], STRIP):
            part = mask.labels[:, row : row + STRIP].astype(np.float64)
            writer.write(part, np.ones(part.shape, bool), row, 0)
