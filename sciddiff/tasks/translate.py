"""Virtual staining: channels that were not taken, from others of the same pixels."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.physics.fractal import normal
from sciddiff.recipe.tasks import Translate as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.look import levels_of

GAIN, OFFSET = 0.15, 0.03
"""Standard deviations, of a logarithm and in levels, by which levels are off: they depend on what an image shows."""
LEAST = 0.1
"""Least scale of the residual, in levels: where the image shows nothing."""


class Translate(OneImage):
    """x = other channels, of which the image tells what it can; see `Task` for what each method does.

    Both sides are in levels: zero at the first percentile of a channel's values, one at the 99.5th, of the whole file.
    So gain and offset of a camera make no difference; and a result says where a stain would be, in units of its own
    bright structures, not how many counts it would give.
    """

    levelled = True
    numbers = 1
    stride = local.CELL
    radius = local.RADIUS

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.bands = tuple(settings.targets)
        if both := sorted(set(self.bands) & set(bands)):
            raise OptionError(f"{', '.join(both)}: a target that is an input needs no translation")
        rows = settings.linear or [[0.0] * (len(bands) + 1)] * len(self.bands)
        if any(len(row) != len(bands) + 1 for row in rows):
            raise OptionError(
                f"task.linear needs {len(bands) + 1} numbers a target: one weight a band, then a constant"
            )
        self.linear = torch.tensor(rows)
        self.scene_bands = (*bands, *self.bands)
        self.inputs = (Input("image", tuple(bands)),)
        self.maps = 3 * len(bands)
        limits = (-math.inf, math.inf, len(bands))
        self.limits = {"dark": limits, "bright": limits}

    # ---- observations ----

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Where all bands of the image are."""
        return np.asarray(known["image"].all(0))

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """Levels of each band, in the model's order: `dark` and `bright`."""
        names = [str(name) for name in image.band.values]
        try:
            order = io.match_bands(list(self.inputs[0].bands), names)
        except InputError:  # unnamed bands are taken in the model's order
            order = list(range(len(names)))
        dark, bright = levels_of(image)
        return {"dark": tuple(dark[at] for at in order), "bright": tuple(bright[at] for at in order)}

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join an image with its levels.

        Parameters
        ----------
        inputs
            {"image": (b, c, h, w)}.
        instrument
            `dark` and `bright`: values of the image that count as no light and as bright structures, one or one a band.

        Raises
        ------
        OptionError
            Where one is missing, bright is not above dark, or a name is neither.
        """
        given = checked(instrument, self.limits, task="translation")
        if len(given) < len(self.limits):
            raise OptionError("translation needs the levels dark and bright of the whole image; `survey` measures them")
        image = inputs["image"]
        dark, bright = (
            torch.tensor(given[name], dtype=image.dtype).expand(image.shape[:2]).to(image.device)
            for name in ("dark", "bright")
        )
        if not (bright > dark).all():
            raise OptionError(f"bright is {list(given['bright'])}, dark is {list(given['dark'])}; needs to be above it")
        return self._observation({"image": image}, dark, bright)

    def _observation(self, inputs: Mapping[str, Tensor], dark: Tensor, bright: Tensor) -> Observation:
        blank = dark.new_zeros(len(dark), self.numbers, dtype=torch.float32)
        return Observation(inputs, {"dark": dark, "bright": bright}, blank)

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Take the image's bands of scenes whose levels are somewhat off; exact without a generator.

        Parameters
        ----------
        clean
            (b, c + targets, h, w) in levels.
        generator
            Source of the draws.
        instrument_dropout
            Of no effect.
        """
        image = clean[:, : len(self.inputs[0].bands)]
        shape = image.shape[:2]
        dark = OFFSET * normal(generator, shape).to(clean)
        spread = torch.exp(GAIN * normal(generator, shape).to(clean))
        return self._observation({"image": image}, dark, dark + spread)

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The targets, in levels."""
        return clean[:, len(self.inputs[0].bands) :]

    def degrade(self, high: Tensor, obs: Observation) -> Tensor | None:
        """Not known: stains do not make each other."""
        return None

    # ---- engine ----

    def _levels(self, obs: Observation) -> Tensor:
        dark, bright = (obs.instrument[name][..., None, None] for name in ("dark", "bright"))
        return (obs.inputs["image"] - dark) / (bright - dark)

    def base(self, obs: Observation) -> Tensor:
        """The linear map of the recipe: a weighted sum of the bands' levels and a constant, for each target."""
        image = self._levels(obs)
        linear = self.linear.to(image)
        return torch.einsum("ij,bjhw->bihw", linear[:, :-1], image) + linear[:, -1, None, None]

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale: the image's local spread in levels, the mean over bands, and a floor; for all targets alike.

        Maps: the levels, and those of `local.contrast_free`.
        """
        image = self._levels(obs)
        free = local.contrast_free(image)
        away = (image - local.box_mean(image, local.SPREAD)).square()
        spread = local.box_mean(away, local.SPREAD).mean(1, keepdim=True).sqrt()
        scale = (LEAST + spread).expand_as(base)
        return Condition(scale=scale, maps=torch.cat([image, free.maps], 1).clamp(-10, 10))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """As it is: nothing of the targets was measured."""
        return x

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """The linear map."""
        return {LINEAR: self.base}
