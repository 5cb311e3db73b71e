"""Synthetic labelled images in memory, as the experiments of this folder ask for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io, labels
from sciddiff.evaluation.windows import Image, Labels
from sciddiff.inference.wish import Wish, styled, task_of, told
from sciddiff.model import Model


@dataclass(frozen=True)
class Made:
    """A function from labels (h, w) and a seed to an image (c, h, w), in the style of one of the references in turn.

    Attributes
    ----------
    model
        Of synthesis.
    wish
        What is asked of all images.
    references
        Images whose style is taken, where no class is asked for; none of their labels are.
    """

    model: Model
    wish: Wish
    references: tuple[Image, ...] = ()

    @cached_property
    def _asked(self) -> list[dict[str, tuple[float, ...]]]:
        plain, _ = told(self.model, self.wish)
        if self.wish.image_class is not None or not self.references:
            return [plain]
        bands = list(self.model.task.bands)
        images = [
            io.from_array(image, grid=GeoBox(image.shape[1:], Affine.identity(), None), bands=bands)
            for image in self.references
        ]
        return [{**plain, **styled(self.model, image)} for image in images]

    def _grid(self, mask: Labels) -> GeoBox:
        """Of a mask that lies nowhere: somewhere, where the model asks for a place."""
        if not task_of(self.model).settings.georeferenced:
            return GeoBox(mask.shape, Affine.identity(), None)
        side = float(self.wish.numbers.get("gsd", 10.0))
        return GeoBox(mask.shape, Affine(side, 0, 0, 0, -side, 0), "EPSG:3857")

    def __call__(self, mask: Labels, seed: int) -> Image:
        """An image of a mask."""
        found = self.model.predict(
            io.from_array(mask[None], grid=self._grid(mask), bands=list(self.model.task.inputs[0].bands)),
            steps=self.wish.steps or self.model.recipe.sampler.steps,
            seed=seed,
            instrument=self._asked[seed % len(self._asked)],
            guidance=self.wish.guidance,
        )
        return np.asarray(found["sample"].values, np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be found again."""
        return {"model": self.model, "wish": replace(self.wish), "references": self.references}


def new_masks(kind: str) -> Any:
    """A function that makes new labels of annotated ones: objects rearranged, or class masks turned and mirrored."""
    return partial(_rearranged if kind == "instances" else _turned)


def _rearranged(sources: Sequence[Labels], rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return labels.rearranged(list(sources), rng, shape=shape).mask


def _turned(sources: Sequence[Labels], rng: np.random.Generator, shape: tuple[int, int]) -> Labels:
    return labels.turned_window(sources[int(rng.integers(len(sources)))], rng, shape=shape)
