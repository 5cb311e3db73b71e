"""Removal of clouds and their shadows: what they hide comes from other dates, or from what is around them."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.baselines import compositing, inpainting
from sciddiff.errors import InputError
from sciddiff.physics.change import draw_change
from sciddiff.physics.cloud import CLEAR, draw_clouds
from sciddiff.physics.fractal import uniform
from sciddiff.physics.haze import wavelengths
from sciddiff.recipe.tasks import RemoveClouds as Settings
from sciddiff.tasks import dates as match_dates
from sciddiff.tasks import masked, regression
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage, known_name
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.local import box_mean
from sciddiff.tasks.look import any_clear, some_values
from sciddiff.tasks.reflectance import refuse_numbers

OBSERVED, FILLED, GENERATED = 0, 1, 2
"""What the flag says of a pixel: as measured, taken from another date, made up from what is around."""
SURFACE = {0.45: 0.06, 0.56: 0.08, 0.66: 0.08, 0.85: 0.25, 1.61: 0.20, 2.20: 0.13}
"""Reflectance of a vegetated land surface by wavelength in um: where nothing at all is known around."""
SPREAD = 31
"""Side of the window of the local contrast, in pixels."""
CLEAR_SCALE = 1e-3
"""Scale of the residual where there is none, as a share of the local contrast."""
NEAR, WIDE = 9, 33
"""Sides of the windows in which the share of clear pixels is told."""
RIM = 3
"""Pixels by which masks in training may be larger than what they mask."""
MOST_CLASS = 3
"""Largest class of masks of cloud, thin cloud and shadow alone; beyond it, several values are a classification."""
NOMINAL_COVER = (0.3, 0.3)
"""Cover of the nominal clouds."""


class _Seen(NamedTuple):
    """The parts of an observation: image (b, c, h, w), its clear pixels (b, 1, h, w), dates (b, k, c, h, w), and where
    each is seen (b, k, 1, h, w)."""

    image: Tensor
    clear: Tensor
    dates: Tensor
    seen: Tensor


class RemoveClouds(OneImage):
    """x -> x under opaque clouds where masked; see `Task` for what each method does.

    What stands under the mask has no part in the result. Clear pixels come out bit for bit as they went in.
    """

    absolute = True
    numbers = 1
    stride = regression.CELL
    extras: Mapping[str, tuple[str, ...]] = {"flag": ("flag",)}
    classes: Mapping[str, Mapping[int, tuple[int, int, int, int]]] = {"flag": masked.FLAG_COLOURS}

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.bands = tuple(bands)
        self.guide = tuple(settings.guide)
        self.scene_bands = self.bands + self.guide
        self.wavelengths = wavelengths(settings.sensor, bands)
        self.prior = torch.tensor(np.interp(self.wavelengths, list(SURFACE), list(SURFACE.values()))).float()
        self.inputs = (Input("image", self.bands), Input("mask", ("mask",), required=False, is_mask=True))
        if settings.dates:
            self.inputs += (
                Input("date", self.bands, most=settings.dates, required=False),
                Input("date_mask", ("mask",), most=settings.dates, required=False, is_mask=True),
            )
        self.detector = settings.detector
        if self.guide:
            self.inputs += (Input("guide", self.guide, required=False),)
        self.maps = 2 * len(bands) + 4 + settings.dates * (len(bands) + 1) + 2 * len(self.guide)
        self.reach = match_dates.MATCH_RADIUS + match_dates.RIM_RADIUS + match_dates.AROUND_RADIUS
        self.radius = self.reach + WIDE // 2

    # ---- observations ----

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Where the image is, and where it is masked: a hole in the image is filled only if the mask asks for it."""
        return known["image"] | known["mask"] if "mask" in known else known["image"]

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Refuse digital numbers, dates that lack bands, an image without a mask; and all cloud without any date.

        Raises
        ------
        InputError
            Of these.
        """
        dates = others.get("date", ())
        refuse_numbers(image, "the image")
        for number, each in enumerate(dates, start=1):
            refuse_numbers(each, f"date {number}")
            if len(each) < len(image):
                got, wanted = (", ".join(map(str, one.band.values)) for one in (each, image))
                raise InputError(f"date {number} has other bands than the image: {got}; the image has {wanted}")
        if len(others.get("date_mask", ())) > len(dates):
            raise InputError("more masks of dates are given than dates: the k-th -i date_mask= is of the k-th -i date=")
        if "mask" not in others and self.detector is None:
            raise InputError(
                "remove_clouds needs to know where the clouds are: give -i mask=PATH, a raster of one band on the "
                "image's ground, not zero where a cloud or its shadow is to be replaced"
            )
        for name in ("mask", "date_mask"):
            for each in others.get(name, ()):
                _warn_shares(each, name)
        if "mask" not in others or any_clear(image, others["mask"][0]):  # without one, the detector looks for it
            return
        _refuse_classes(others["mask"][0])
        if not dates:
            raise InputError(
                "the mask covers every valid pixel and no other date is given: nothing to fill from; give -i date=PATH"
            )
        warnings.warn(
            "the mask covers every valid pixel: the result is made of the other dates alone, in their own radiometry",
            stacklevel=2,
        )

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join an image with its mask and other dates; those not given count as clear, and as not there.

        Parameters
        ----------
        inputs
            image (b, c, h, w); mask (b, 1, h, w), not zero under clouds; date (b, dates * c, h, w) and date_mask
            (b, dates, h, w), likewise; guide; and the validity of each.
        instrument
            None is known.
        """
        checked(instrument, {}, task="removing clouds")
        image = inputs["image"]
        full = dict(inputs)
        for spec in self.inputs:
            shape = (len(image), spec.channels, *image.shape[2:])
            given = spec.name in inputs
            full.setdefault(spec.name, image.new_zeros(shape))
            full.setdefault(known_name(spec.name), image.new_full(shape, float(given)))
        return self._prepared(Observation(full, {}, image.new_zeros(len(image), 1)))

    def _parts(self, obs: Observation) -> _Seen:
        image = obs.inputs["image"]
        b, _, h, w = image.shape
        known = obs.inputs[known_name("image")].amax(1, keepdim=True)
        clear = known * (obs.inputs["mask"] == 0)
        if not self.settings.dates:
            return _Seen(image, clear, image.new_zeros(b, 0, 1, h, w), image.new_zeros(b, 0, 1, h, w))
        names = "date", known_name("date"), "date_mask"
        dates, seen, hidden = (obs.inputs[name].view(b, self.settings.dates, -1, h, w) for name in names)
        return _Seen(image, clear, dates, seen.amax(2, keepdim=True) * (hidden == 0))

    def _prepared(self, obs: Observation) -> Observation:
        """The observation with its dates brought to the image's radiometry and its base, which several steps need."""
        image, clear, dates, seen = self._parts(obs)
        maps = {"contrast": match_dates.contrast(image, clear, prior=self.prior.to(image))}
        if self.settings.dates:
            matched = match_dates.match(image, dates, clear=clear, seen=seen)
            maps |= {"matched": matched.values.flatten(1, 2), "variance": matched.variance.flatten(1, 2)}
        obs = replace(obs, inputs={**obs.inputs, **maps})
        return replace(obs, inputs={**obs.inputs, "base": self._filled(obs)})

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Hide clean scenes under clouds drawn at random, and draw what other dates would have seen of them.

        Parameters
        ----------
        clean
            Reflectance, (b, c, h, w), with the guide's bands last; zero in a band that a scene lacks.
        generator
            Source of the draws, on the device of `clean`; without it: a cover of 0.3, as many dates as may be given,
            the same clouds at every call.
        instrument_dropout
            Has no meaning here: no number of an instrument is told.
        """
        nominal = generator is None
        source = torch.Generator().manual_seed(0) if generator is None else generator
        work = clean.to(source.device)
        scene, guide = work[:, : len(self.bands)], work[:, len(self.bands) :]
        present = (scene.abs().amax((2, 3), keepdim=True) > 0).to(scene)
        gsd = float(uniform(source, (1,), low=self.settings.gsd[0], high=self.settings.gsd[1]))
        cover = NOMINAL_COVER if nominal else self.settings.cover
        cloudy = draw_clouds(scene, self.wavelengths, generator=source, cover=cover, gsd=gsd)
        mask = (cloudy.classes != CLEAR)[:, None].to(scene)
        mask = mask if nominal else grown_mask(mask, generator=source)
        inputs = {"image": cloudy.cloudy * present, "mask": mask}
        inputs |= {known_name("image"): present.expand_as(scene), known_name("mask"): torch.ones_like(mask)}
        inputs |= self._draw_dates(scene, present, source, gsd=gsd, nominal=nominal)
        if self.guide:
            there = (guide.abs().amax((2, 3), keepdim=True) > 0).to(guide)
            inputs |= {"guide": guide, known_name("guide"): there.expand_as(guide)}
        return self.observe({name: each.to(clean.device) for name, each in inputs.items()})

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The clean scene where something is sought, the image where it stays as it is."""
        return self._kept(clean[:, : len(self.bands)], obs)

    def _draw_dates(
        self, scene: Tensor, present: Tensor, generator: Generator, *, gsd: float, nominal: bool
    ) -> dict[str, Tensor]:
        """From none to all dates for each scene, each with its own change and its own clouds."""
        b, _, h, w = scene.shape
        count = self.settings.dates
        if not count:
            return {}
        given = count if nominal else torch.floor(uniform(generator, (b, 1, 1, 1, 1), low=0, high=count + 1))
        changed = [draw_change(scene, generator=generator) for _ in range(count)]
        cover = NOMINAL_COVER if nominal else (-0.4, 0.6)  # below zero is no cloud at all
        clouds = [self._clear(scene, generator, cover=cover, gsd=gsd) for _ in range(count)]
        seen = torch.stack(clouds, 1) * (torch.arange(count, device=scene.device).view(-1, 1, 1, 1) < given)
        known = seen * present[:, None]
        return {
            "date": (torch.stack(changed, 1) * known).view(b, -1, h, w),
            known_name("date"): known.expand(b, count, *scene.shape[1:]).reshape(b, -1, h, w),
        }

    def _clear(self, scene: Tensor, generator: Generator, *, cover: tuple[float, float], gsd: float) -> Tensor:
        """Clear pixels of a date, (b, 1, h, w); a cover below zero is none."""
        classes = draw_clouds(
            scene[:, :1], self.wavelengths[:1], generator=generator, cover=(max(cover[0], 0.0), cover[1]), gsd=gsd
        ).classes
        share = -cover[0] / (cover[1] - cover[0]) if cover[0] < 0 else 0.0
        without = uniform(generator, (len(scene), 1, 1), low=0, high=1) < share
        return ((classes == CLEAR) | without)[:, None].to(scene)

    # ---- engine ----

    def base(self, obs: Observation) -> Tensor:
        """The image where clear; the matched dates, fitted to the rim, where one is seen; else what is around."""
        return obs.inputs["base"]

    def _filled(self, obs: Observation) -> Tensor:
        image, clear, _, _ = self._parts(obs)
        filled, known = self._from_dates(obs)
        around = match_dates.surround(
            torch.where(clear > 0, image, filled), torch.maximum(clear, known), prior=self.prior.to(image)
        )
        # a band that neither the image nor a date has stays zero
        return torch.where(clear > 0, image, torch.where(known > 0, filled, around * self._present(obs)))

    def _present(self, obs: Observation) -> Tensor:
        """Whether a band is anywhere near, (b, c, h, w): far from all that is known every band counts as there."""
        known = obs.inputs[known_name("image")]
        some = box_mean(known.amax(1, keepdim=True), WIDE) > 0
        return ((box_mean(known, WIDE) > 0) | ~some).to(known)

    def _from_dates(self, obs: Observation) -> tuple[Tensor, Tensor]:
        """Matched dates, fitted to the rim and averaged, (b, c, h, w); where there is one.

        Their weights fall with the square of the variance: what has changed at the target is missed by all dates
        alike, so that the better one counts for more than if they erred independently.
        """
        image, clear, _, seen = self._parts(obs)
        total, weight = torch.zeros_like(image), torch.zeros_like(image)
        for k in range(seen.shape[1]):
            matched, variance = self._date(obs, "matched", k), self._date(obs, "variance", k)
            misfit = match_dates.carry(
                image - matched, clear * seen[:, k], sides=match_dates.RIM, doubt=match_dates.DOUBT
            )
            share = seen[:, k] / variance**2
            total, weight = total + share * (matched + misfit), weight + share
        known = (weight[:, :1] > 0).to(image)
        return total / torch.where(weight > 0, weight, 1), known

    def _date(self, obs: Observation, name: str, k: int) -> Tensor:
        c = len(self.bands)
        return obs.inputs[name][:, k * c : (k + 1) * c]

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale of the residual: the dates' disagreement with the image where filled, the contrast where generated.

        Maps: the base in its contrast and the logarithm of the scale in it; where clear, where a date is seen, how
        much of the surroundings is clear (two windows); each date less the base in units of the scale, and where it is
        seen; the guide in its contrast, and where it is.
        """
        _, clear, _, seen = self._parts(obs)
        any_date = seen.amax(1) if seen.shape[1] else torch.zeros_like(clear)
        known = torch.maximum(clear, any_date)
        contrast = obs.inputs["contrast"]
        precision = sum((seen[:, k] / self._date(obs, "variance", k) for k in range(seen.shape[1])), clear * 0)
        filled = precision.clamp_min(1e-12).rsqrt()
        near = box_mean(known, NEAR)
        scale = torch.where(any_date > 0, filled, contrast * (1 - 0.7 * near))
        scale = torch.where(clear > 0, CLEAR_SCALE * contrast, scale.clamp_min(match_dates.LEAST))
        maps = [(base - box_mean(base, SPREAD)) / contrast, torch.log(scale / contrast).clamp(-4, 4) * (1 - clear)]
        maps += [clear, any_date, near, box_mean(clear, WIDE)]
        for k in range(seen.shape[1]):
            step = (self._date(obs, "matched", k) - base) / scale.clamp_min(match_dates.LEAST)
            maps += [seen[:, k] * step.clamp(-5, 5), seen[:, k]]
        if self.guide:
            guide, there = obs.inputs["guide"], obs.inputs[known_name("guide")]
            level = box_mean(guide, SPREAD)
            spread = torch.sqrt(box_mean((guide - level) ** 2, SPREAD) + 1e-12)
            maps += [there * ((guide - level) / spread).clamp(-5, 5), there]
        return Condition(scale=scale, maps=torch.cat(maps, 1))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Clear pixels as they were measured, to the last bit; towards them, fitted dates as they were fitted."""
        _, clear, _, seen = self._parts(obs)
        fitted = seen.amax(1) > 0 if seen.shape[1] else torch.zeros_like(clear, dtype=torch.bool)
        return self._kept(masked.faded(x, obs.inputs["base"], known=clear > 0, fitted=fitted), obs)

    def _kept(self, x: Tensor, obs: Observation) -> Tensor:
        image, clear, _, _ = self._parts(obs)
        return torch.where(clear > 0, image, x)

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        """`flag`: 0 observed, 1 filled from another date, 2 generated, (b, 1, h, w)."""
        _, clear, _, seen = self._parts(obs)
        any_date = seen.amax(1) if seen.shape[1] else torch.zeros_like(clear)
        hidden = torch.where(any_date > 0, float(FILLED), float(GENERATED))
        return {"flag": torch.where(clear > 0, float(OBSERVED), hidden).to(x)}

    # ---- baselines ----

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Composites of the dates (with any), inpainting, and the base itself."""
        methods: dict[str, Callable[[Observation], Tensor]] = {
            "telea": lambda obs: self._inpaint(obs, inpainting.telea),
            "biharmonic": lambda obs: self._inpaint(obs, inpainting.biharmonic),
        }
        if self.settings.dates:
            methods |= {
                "median": lambda obs: self._composite(obs, compositing.median_composite),
                "nearest_date": lambda obs: self._composite(obs, compositing.nearest_clear_date),
                "normalised_date": lambda obs: self._composite(obs, compositing.best_of_dates),
            }
        return {**methods, LINEAR: self.base}

    def _inpaint(self, obs: Observation, method: Callable[..., NDArray[np.floating]]) -> Tensor:
        image, clear, _, _ = self._parts(obs)
        done = [method(each.cpu().numpy(), (seen[0] == 0).cpu().numpy()) for each, seen in zip(image, clear)]
        return torch.from_numpy(np.stack(done)).to(image)

    def _composite(self, obs: Observation, method: Callable[..., NDArray[np.floating]]) -> Tensor:
        """Clear pixels stay: a composite fills the holes of the target, which is the first of its series."""
        image, clear, dates, seen = self._parts(obs)
        series = torch.cat([image[:, None], dates], 1).cpu().numpy()
        known = (torch.cat([clear[:, None], seen], 1)[:, :, 0] > 0).cpu().numpy()
        done = torch.from_numpy(np.stack([method(each, mask) for each, mask in zip(series, known)])).to(image)
        return torch.where(clear > 0, image, done)


def _warn_shares(mask: xr.DataArray, name: str) -> None:
    """Tell of a mask that holds probabilities: whatever is not zero counts as cloud."""
    share = next((each for each in some_values(mask) if 0 < each < 1), None)
    if share is not None:
        warnings.warn(
            f"{name} holds shares such as {share:.3g}, as of probabilities: every pixel above zero counts as cloud; "
            "give one that is zero where clear, such as `gdal_calc.py -A PROBABILITY.tif --outfile=mask.tif "
            "--calc='A>0.4'`",
            stacklevel=3,
        )


def _refuse_classes(mask: xr.DataArray) -> None:
    """Raise where a mask without any zero tells kinds of ground apart, and not where to look away from."""
    values = some_values(mask)
    if max(values, default=0) > MOST_CLASS and len(values) > 1:
        some = ", ".join(f"{each:g}" for each in values[:5])
        raise InputError(
            f"the mask has no zero where the image is, but values such as {some}: it looks like a classification; give "
            "one that is zero where clear, such as `gdal_calc.py -A SCL.tif --outfile=mask.tif "
            "--calc='(A==3)|(A>=8)&(A<=10)'` of Sentinel-2's"
        )


def grown_mask(mask: Tensor, *, generator: Generator) -> Tensor:
    """Masks as detectors make them, larger than the cloud by up to `RIM` pixels, drawn for each; (b, 1, h, w)."""
    rims = torch.floor(uniform(generator, (len(mask),), low=0, high=RIM + 1)).long().tolist()
    return torch.cat(
        [F.max_pool2d(each[None], 2 * rim + 1, stride=1, padding=rim) for each, rim in zip(mask, rims, strict=True)]
    )
