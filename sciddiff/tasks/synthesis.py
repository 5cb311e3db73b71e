"""Synthesis: images that could be, given masks, class, numbers and style, any of them left open."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.labels.maps import instance_maps, margin
from sciddiff.physics.fractal import normal, uniform
from sciddiff.recipe.tasks import Synthesis as Settings
from sciddiff.tasks.base import (
    CHANGED,
    LINEAR,
    Condition,
    Edit,
    Input,
    Instrument,
    Observation,
    OneImage,
    known_name,
)
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.look import levels_of, looks
from sciddiff.tasks.style import PER_BAND, style_numbers

INSTANCE_MAPS = 4
"""Maps that an instance mask gives."""
ALL_HIDDEN = 0.1
"""Share of the training windows without any condition."""
BLUR = 0.1
"""Standard deviation by which the numbers of style are off in training: a reference shows other places."""
WILD = 8.0
"""Largest magnitude of the transformed image, beyond all that is trained."""


class Synthesis(OneImage):
    """x = an image that goes with a mask; see `Task` for what each method does.

    The main input is the mask. Images are learned as y = asinh((x - dark) / (bright - dark) / knee), so that dark and
    bright structures have detail of one order; the base is the mean of y, the same everywhere.
    """

    generative = True
    categorical = True
    stride = 1

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.bands = tuple(bands)
        if settings.centre is not None and len(settings.centre) != len(bands):
            raise OptionError(f"task.centre has {len(settings.centre)} numbers, needs {len(bands)}: one a band")
        self.centre = torch.tensor(settings.centre or [0.0] * len(bands))
        self.levelled = settings.unit == "levels"
        self.absolute = not self.levelled
        own = ("instance",) if settings.labels == "instances" else ()
        label_bands = (*own, *(("class",) if settings.classes else ()))
        self.labels = len(label_bands)
        self.facts = ("image_class", *settings.numbers)
        self.scene_bands = (*bands, *label_bands, *self.facts)
        self.inputs = (
            Input("mask", label_bands, is_labels=True),
            Input(CHANGED, tuple(bands), required=False),
            Input("region", ("region",), required=False, is_mask=True),
        )
        self.radius = margin(settings.reach) if own else 0
        self.maps = 1 + INSTANCE_MAPS * len(own) + len(settings.classes)
        self.style = PER_BAND * len(bands) * settings.style
        self.numbers = len(settings.image_classes) + 1 + 2 * len(settings.numbers) + self.style + 2
        self.limits = {
            "image_class": (0.0, max(len(settings.image_classes) - 1, 0), 1),
            **{name: (*limits, 1) for name, limits in settings.numbers.items()},
            "style": (-20.0, 20.0, max(self.style, 1)),
            "mask": (0.0, 1.0, 1),
            "dark": (-math.inf, math.inf, len(bands)),
            "bright": (-math.inf, math.inf, len(bands)),
        }

    # ---- observations ----

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Everywhere in a mask of instances; where one of classes is; of an image that is changed, where that is."""
        if CHANGED in known:
            return known[CHANGED]
        seen = np.asarray(known["mask"].all(0))
        return np.ones_like(seen) if self.settings.labels == "instances" else seen

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Refuse masks whose values name nothing that the model knows.

        Raises
        ------
        InputError
            They hold fractions, negative numbers or unknown classes, or do not say where they lie though they must.
        """
        if self.settings.georeferenced and io.grid_of(image).crs is None:
            raise InputError("the mask has no coordinate reference system; the model makes images that need one")
        if others.get("region") and not others.get(CHANGED):
            raise InputError("a region says where an image is changed: give the image, too")
        if image.chunks is not None:  # nothing is read before it is computed; `observe` looks again
            return
        for plane in _planes(image):
            for rows, cols in looks(plane):
                values, valid = io.read_window(plane, rows, cols)
                self._refuse(np.where(valid, values, 0))

    def _refuse(self, labels: NDArray[np.floating]) -> None:
        """Raise where labels (bands, h, w) are none."""
        if (labels < 0).any() or (labels != np.round(labels)).any():
            wrong = float(labels[(labels < 0) | (labels != np.round(labels))].flat[0])
            raise InputError(f"the mask holds {wrong:g}; labels are whole numbers from 0 on: save them as integers")
        if self.settings.classes:
            values = labels[-1].astype(np.int64)
            unknown = np.unique(values[~np.isin(values, [0, *self.settings.classes.values()])])
            if unknown.size:
                told = ", ".join(f"{name} {value}" for name, value in self.settings.classes.items())
                raise InputError(f"the mask holds the classes {unknown[:8].tolist()}; the model knows {told}")

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """Levels of the image that is changed, `dark` and `bright`."""
        given = (others or {}).get(CHANGED)
        if not given or not self.levelled:
            return {}
        dark, bright = levels_of(given[0])
        return {"dark": dark, "bright": bright}

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join a mask with what else is asked for.

        Parameters
        ----------
        inputs
            {"mask": (b, labels, h, w)}, and for a change "image" (b, c, h, w) and "region" (b, 1, h, w).
        instrument
            `image_class` by its number, the task's numbers by their names, `style` as `style.style_of` gives it; `mask`
            0 leaves the mask open; `dark` and `bright`, in the unit of the result, are what zero and one become.

        Raises
        ------
        OptionError
            A name is none of these, or out of its range.
        """
        given = dict(checked(instrument, self.limits, task=self.settings.kind))
        if "style" in given and len(given["style"]) != self.style:
            raise OptionError(f"style has {len(given['style'])} numbers, this model follows {self.style}")
        if "image_class" in given and not self.settings.image_classes:
            raise OptionError("this model knows no classes of images")
        if any(given.get(name, (0.0,))[0] % 1 for name in ("image_class", "mask")):
            raise OptionError("image_class and mask are whole numbers: the place of a class, 1 or 0")
        mask = inputs["mask"]
        for labels in mask.cpu().numpy():
            self._refuse(labels)
        batch, device = len(mask), mask.device
        facts = torch.full((batch, len(self.facts)), math.nan, device=device)
        for at, name in enumerate(self.facts):
            if name in given:
                facts[:, at] = float(given[name][0])
        style = torch.tensor(given.get("style", [math.nan] * self.style), dtype=torch.float32, device=device)
        shown = torch.full((batch,), float(given.get("mask", (1.0,))[0]), device=device)
        levels = {
            name: torch.tensor(given.get(name, (value,)), dtype=torch.float64, device=device)
            .expand(batch, len(self.bands))
            .clone()
            for name, value in (("dark", 0.0), ("bright", 1.0))
        }
        if not (levels["bright"] > levels["dark"]).all():
            dark, bright = (levels[name][0].tolist() for name in ("dark", "bright"))
            raise OptionError(f"bright is {bright}, dark {dark}; each bright needs to be above its dark")
        numbers = self._embedded(facts, style.expand(batch, -1), shown)
        return Observation(dict(inputs), {"mask": shown, **levels}, numbers)

    def _embedded(self, facts: Tensor, style: Tensor, shown: Tensor) -> Tensor:
        """What is asked for as the network sees it, (b, numbers): zero with a zero flag where it is open."""
        classes = torch.arange(len(self.settings.image_classes), device=facts.device)
        parts = [facts[:, :1] == classes, torch.isfinite(facts[:, :1])]
        for at, (low, high) in enumerate(self.settings.numbers.values(), start=1):
            parts += [(2 * facts[:, at : at + 1] - low - high) / (high - low), torch.isfinite(facts[:, at : at + 1])]
        known = torch.isfinite(style).all(1, keepdim=True) & (self.style > 0)
        parts += [style, known, shown[:, None]]
        return torch.cat([part.nan_to_num(0.0).float() for part in parts], 1)

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Tell of images what their sources say, each thing hidden now and then; all of it without a generator.

        Parameters
        ----------
        clean
            (b, c + labels + facts, h, w), see `scene_bands`.
        generator
            Source of the draws.
        instrument_dropout
            How often the mask, the class, each number and the style are hidden, each for itself.
        """
        count, batch = len(self.bands), len(clean)
        labels = clean[:, count : count + self.labels]
        facts = clean[:, count + self.labels :, 0, 0].clone()
        style = style_numbers(self.transformed(clean[:, :count])) if self.style else facts[:, :0]
        shown = torch.ones_like(facts[:, 0])
        if generator is not None:
            draws = uniform(generator, (batch, len(self.facts) + 3), low=0, high=1).to(clean)
            hidden = (draws < instrument_dropout) | (draws[:, -1:] < ALL_HIDDEN)
            style = style + BLUR * normal(generator, tuple(style.shape)).to(style)
            facts[hidden[:, : len(self.facts)]] = math.nan
            style = style.masked_fill(hidden[:, -3:-2], math.nan)
            shown = (~hidden[:, -2]).float()
        levels = {
            "dark": torch.zeros_like(clean[:, :count, 0, 0]),
            "bright": torch.ones_like(clean[:, :count, 0, 0]),
        }
        embedded = self._embedded(facts, style, shown)
        return Observation({"mask": labels}, {"mask": shown, **levels}, embedded)

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The image, transformed."""
        return self.transformed(clean[:, : len(self.bands)])

    def transformed(self, levels: Tensor) -> Tensor:
        """From levels or physical values to the space in which images are learned."""
        return torch.asinh(levels / self.settings.knee).clamp(-WILD, WILD)

    def degrade(self, high: Tensor, obs: Observation) -> Tensor | None:
        """Not known: nothing was measured."""
        return None

    def unconditional(self, obs: Observation) -> Observation | None:
        """With mask, class, numbers and style left open."""
        instrument = {**obs.instrument, "mask": torch.zeros_like(obs.instrument["mask"])}
        return replace(obs, instrument=instrument, numbers=torch.zeros_like(obs.numbers))

    def edited(self, obs: Observation) -> Edit | None:
        """The input `image`, to be changed where `region` is set, or everywhere."""
        image, known = obs.inputs.get(CHANGED), obs.inputs.get(known_name(CHANGED))
        if image is None or (known is not None and not known.any()):
            return None
        region = obs.inputs.get("region")
        told = obs.inputs.get(known_name("region"))
        if region is None or (told is not None and not told.any()):
            keep = torch.zeros_like(image[:, :1], dtype=torch.bool)
        else:
            keep = region == 0
        dark, bright = self._levels(obs)
        return Edit(self.transformed((image - dark) / (bright - dark)).float(), keep)

    def _levels(self, obs: Observation) -> tuple[Tensor, Tensor]:
        return obs.instrument["dark"][..., None, None], obs.instrument["bright"][..., None, None]

    # ---- engine ----

    def base(self, obs: Observation) -> Tensor:
        """The mean of y, band by band."""
        mask = obs.inputs["mask"]
        centre = self.centre.to(mask.device)
        return centre[None, :, None, None].expand(len(mask), -1, *mask.shape[-2:]).clone()

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale: one. Maps: whether a mask is told, then `labels.instance_maps` and each class as 0 and 1."""
        mask, shown = obs.inputs["mask"], obs.instrument["mask"].float()
        flag = shown[:, None, None, None].expand(-1, 1, *mask.shape[-2:])
        maps = torch.zeros(len(mask), self.maps - 1, *mask.shape[-2:], device=mask.device)
        for n in range(len(mask)):
            if shown[n] > 0:
                maps[n] = self._label_maps(mask[n])
        return Condition(scale=torch.ones_like(base), maps=torch.cat([flag, maps], 1))

    def _label_maps(self, labels: Tensor) -> Tensor:
        parts = []
        if self.settings.labels == "instances":
            ids = labels[0].cpu().numpy().astype(np.int64)
            parts.append(torch.from_numpy(instance_maps(ids, reach=self.settings.reach)).to(labels.device))
        parts += [(labels[-1:] == value).float() for value in self.settings.classes.values()]
        return torch.cat(parts)

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Back to the unit asked for; what is kept of a changed image is that image, bit for bit."""
        dark, bright = self._levels(obs)
        levels = self.settings.knee * torch.sinh(x.clamp(-WILD, WILD))
        made = (dark + (bright - dark) * levels).to(x.dtype)
        edit = self.edited(obs)
        return made if edit is None else torch.where(edit.keep, obs.inputs[CHANGED], made)

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """The mean."""
        return {LINEAR: lambda obs: self.project(self.base(obs), obs)}


def _planes(image: xr.DataArray) -> Iterator[xr.DataArray]:
    """The planes of a stack, each (band, y, x); an image itself."""
    if "z" not in image.dims:
        yield image
        return
    for t in range(image.sizes["t"]):
        for z in range(image.sizes["z"]):
            yield image.isel(t=t, z=z)
