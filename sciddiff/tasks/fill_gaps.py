"""Gaps filled from around and from other dates: gaps between scans, dropped lines, dead columns, any mask."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from torch import Generator, Tensor

from sciddiff.baselines import inpainting
from sciddiff.errors import InputError
from sciddiff.physics import gaps
from sciddiff.physics.change import draw_change
from sciddiff.physics.fractal import uniform
from sciddiff.recipe.tasks import FillGaps as Settings
from sciddiff.tasks import masked
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage, known_name
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.local import box_mean
from sciddiff.tasks.look import all_valid, any_clear

OBSERVED, FROM_DATE, GENERATED = 0, 1, 2
"""Values of the flag: as measured, filled from another date, filled from around."""
LEVEL, SPREAD, WIDE = 17, 25, 2 * masked.REACH + 1
"""Sides in pixels: of the mean that detail stands out from, of the window of its spread, of the one behind that."""
WIDEST = 2 * masked.REACH
"""Pixels between known ones up to which a gap can be filled at all."""
FEW = 0.05
"""Weight of the wide window's spread against that of the near one: it counts where that holds few known pixels."""
FLOOR = 0.05
"""Least local scale, as a share of the wide one."""
LEAST_DEPTH, DEPTHS = 0.1, {7: 0.5, 17: 0.5}
"""Variance of the residual of a fill in that of detail: next to known pixels, and what the unknown share of windows of
these sides adds; as measured on gaps of all kinds."""
KEPT_SCALE = 0.1
"""Scale of the residual at known pixels, where there is none: the network need not learn what `project` restores."""
DRAWN = ("slc_off", "slc_off", "lines", "columns", "blobs")
"""Kinds of gaps in training, each as often as it stands here."""
WITHOUT_DATE, WHOLE_DATE = 0.5, 0.4
"""Shares of the training scenes without another date, and of the other dates without gaps of their own."""
MIDDLE, CONTRAST = 0.25, 0.06
"""Reflectance that stands for a scene's mean and spread where the change to another date is drawn."""


class _Seen(NamedTuple):
    """image (b, c, h, w) and where it is known, dates (b, k, c, h, w) and where they are; all masks boolean."""

    image: Tensor
    known: Tensor
    dates: Tensor
    seen: Tensor


class FillGaps(OneImage):
    """x -> x less its gaps; see `Task` for what each method does.

    Known pixels come out bit for bit as they went in. Every step commutes with a gain and an offset of each band, so
    that digital numbers of any scale will do.
    """

    numbers = 1
    stride = masked.CELL
    extras: Mapping[str, tuple[str, ...]] = {"flag": ("flag",)}
    classes: Mapping[str, Mapping[int, tuple[int, int, int, int]]] = {"flag": masked.FLAG_COLOURS}

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.bands = self.scene_bands = tuple(bands)
        self.inputs = (Input("image", self.bands), Input("mask", ("mask",), required=False, is_mask=True))
        if settings.dates:
            self.inputs += (Input("date", self.bands, most=settings.dates, required=False),)
        seen = f" (up to {WIDEST} where another date saw them: -i date=PATH)" if settings.dates else ""
        self.left_over = (
            f"only gaps of up to {settings.widest} pixels along a row or a column{seen}, or under a mask "
            f"(-i mask=PATH), are filled, within {masked.REACH} of what is known; coarser pixels make gaps narrower"
        )
        self.maps = 4 * len(bands) + 2
        self.margin = WIDEST
        self.reach = masked.REACH
        self.radius = masked.INSERT_RADIUS + masked.FILL_RADIUS + LEVEL // 2 + WIDE // 2

    # ---- what is given ----

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Where the image is; in its gaps of up to `widest` pixels, or `WIDEST` where there is a date; under the mask.

        Nowhere further than `masked.REACH` rows or columns from what is known of the band. The rim of a scene is no
        gap, for nothing is on its other side.
        """
        kept = known["image"] & ~known["mask"] if "mask" in known else known["image"]
        filled = _gap(kept, self.settings.widest)
        if "date" in known:
            filled |= _gap(kept, WIDEST) & known["date"].any(0)
        if "mask" in known:
            filled |= known["mask"]
        side = 2 * masked.REACH + 1
        near = ndimage.maximum_filter(kept, size=(1, side, side), mode="constant")
        result: NDArray[np.bool_] = kept | (filled & near)
        return result

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Refuse a mask that leaves nothing of the image; warn where there is neither a mask nor a gap.

        Raises
        ------
        InputError
            It does.
        """
        if "mask" not in others and all_valid(image):
            warnings.warn(
                "the image has no gap: none of its pixels is nodata, and nothing is filled; say which value marks "
                "gaps, such as `gdal_edit.py -a_nodata 0 FILE`, or give -i mask=PATH",
                stacklevel=2,
            )
        if "mask" in others and not any_clear(image, others["mask"][0]):
            raise InputError("the mask covers every valid pixel of the image: nothing to fill from")

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join an image with its mask and other dates; those not given count as empty.

        Parameters
        ----------
        inputs
            image (b, c, h, w); mask (b, 1, h, w), not zero where to fill; date (b, dates * c, h, w); and the validity
            of each, which of the image counts as everywhere where not given.
        instrument
            None is known.

        Raises
        ------
        OptionError
            Where numbers of an instrument are given.
        """
        checked(instrument, {}, task="filling gaps")
        image = inputs["image"]
        full = {known_name("image"): torch.ones_like(image), **inputs}
        for spec in self.inputs[1:]:
            blank = image.new_zeros(len(image), spec.channels, *image.shape[2:])
            full.setdefault(spec.name, blank)
            full.setdefault(known_name(spec.name), blank)
        return self._prepared(Observation(full, {}, image.new_zeros(len(image), self.numbers)))

    def _parts(self, obs: Observation) -> _Seen:
        image = obs.inputs["image"]
        known = (obs.inputs[known_name("image")] > 0) & (obs.inputs["mask"] == 0)
        shape = (len(image), self.settings.dates, *image.shape[1:])
        if not self.settings.dates:
            return _Seen(image, known, image.new_zeros(shape), known.new_zeros(shape))
        return _Seen(image, known, obs.inputs["date"].view(shape), obs.inputs[known_name("date")].view(shape) > 0)

    def _prepared(self, obs: Observation) -> Observation:
        """With the dates in the radiometry of the image, their errors there, and the base: several steps need them.

        Where nothing is common to date and image within reach, the date counts as not there.
        """
        image, known, dates, seen = self._parts(obs)
        matched, trust = torch.zeros_like(dates), torch.zeros_like(dates)
        for at in _given(seen):
            matched[at], error = masked.match(dates[at], image[at[0]], seen=seen[at], known=known[at[0]])
            trust[at] = torch.where(seen[at], 1 / error, 0)
        maps = {"matched": matched.flatten(1, 2), "trust": trust.flatten(1, 2)}
        obs = replace(obs, inputs={**obs.inputs, **maps})
        return replace(obs, inputs={**obs.inputs, "base": self._filled(obs)})

    # ---- simulation ----

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Cut gaps drawn at random into clean scenes, and draw what other dates would have seen of them.

        Parameters
        ----------
        clean
            (b, c, h, w), sides multiples of `stride`; zero in a band that a scene lacks.
        generator
            Source of the draws; without it the nominal gaps of Landsat 7 and no other date.
        instrument_dropout
            Has no meaning here: no number of an instrument is told.
        """
        b, _, h, w = clean.shape
        present = clean.abs().amax((2, 3), keepdim=True) > 0
        if generator is None:
            missing = gaps.draw_gaps((b, h, w), generator=None)
            dates = {}
        else:
            missing = gaps.draw_gaps((b, h, w), generator=generator, kinds=DRAWN)
            dates = self._draw_dates(clean, present, generator)
        known = (present & ~missing.to(clean.device)[:, None]).to(clean)
        return self.observe({"image": clean * known, known_name("image"): known, **dates})

    def _draw_dates(self, clean: Tensor, present: Tensor, generator: Generator) -> dict[str, Tensor]:
        """From none to all dates for each scene, each with its own change and its own gaps."""
        b, c, h, w = clean.shape
        count = self.settings.dates
        if not count:
            return {}
        number = uniform(generator, (b,), low=0, high=1)
        given = torch.ceil((number - WITHOUT_DATE) / (1 - WITHOUT_DATE) * count)
        surface = ((MIDDLE + CONTRAST * clean) * present).clamp_min(0)
        dates, seen = clean.new_zeros(b, count, c, h, w), clean.new_zeros(b, count, c, h, w)
        for k in range(int(given.max())):
            at = (given > k).nonzero()[:, 0]
            whole = uniform(generator, (len(at), 1, 1), low=0, high=1) < WHOLE_DATE
            there = whole | ~gaps.draw_gaps((len(at), h, w), generator=generator)
            seen[at, k] = (present[at] & there.to(clean.device)[:, None]).to(clean)
            dates[at, k] = draw_change(surface[at], generator=generator) * seen[at, k]
        return {"date": dates.flatten(1, 2), known_name("date"): seen.flatten(1, 2)}

    # ---- engine ----

    def base(self, obs: Observation) -> Tensor:
        """The image where known; the matched dates, fitted to the image; else what is around those, (b, c, h, w)."""
        return obs.inputs["base"]

    def _filled(self, obs: Observation) -> Tensor:
        image, known, _, _ = self._parts(obs)
        total, weight = self._dates(obs, fitted=True)
        told = known | (weight > 0)
        held = torch.where(known, image, total / weight.clamp_min(_tiny(image)))
        return masked.fill(held, told)

    def _dates(self, obs: Observation, *, fitted: bool) -> tuple[Tensor, Tensor]:
        """Sum of the matched dates by their trust, and of the trust, (b, c, h, w) each; fitted to the image or not."""
        image, known, _, seen = self._parts(obs)
        matched, trust = (obs.inputs[name].view(seen.shape) for name in ("matched", "trust"))
        if fitted:
            matched = matched.clone()
            for at in _given(trust > 0):
                matched[at] = masked.membrane(matched[at], image[at[0]], known[at[0]] & seen[at])
        return (trust * matched).sum(1), trust.sum(1)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale of the residual: the spread of detail around, or the dates' disagreement where that is less.

        Maps: the base less its local mean over the spread; the logarithm of the scale over the wide spread; where
        known; the dates less the base over the spread; where there is a date, and how much is known around.
        """
        image, known, _, _ = self._parts(obs)
        near, wide = _spread(image, known)
        total, trust = self._dates(obs, fitted=False)
        floor = FLOOR * wide
        depth = sum(share * (1 - box_mean(known.to(image), side)) for side, share in DEPTHS.items())
        alone = near.square() * (LEAST_DEPTH + depth)
        scale = torch.sqrt(1 / (1 / alone + trust) + floor**2)
        apart = torch.where(trust > 0, total / trust.clamp_min(_tiny(image)) - base, 0) / near
        weight = known.to(image)
        maps = [
            (base - box_mean(base, LEVEL)) / near,
            torch.log(scale / wide).clamp(-4, 4),
            weight,
            apart.clamp(-5, 5),
            (trust > 0).to(image).amax(1, keepdim=True),
            box_mean(weight.amax(1, keepdim=True), LEVEL),
        ]
        return Condition(scale=torch.where(known, KEPT_SCALE * near, scale), maps=torch.cat(maps, 1))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Known pixels as they were measured, to the last bit; towards them, fitted dates as they were fitted."""
        image, known, _, _ = self._parts(obs)
        _, trust = self._dates(obs, fitted=False)
        return torch.where(known, image, masked.faded(x, obs.inputs["base"], known=known, fitted=trust > 0))

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        """`flag`: 0 observed, 1 filled from another date, 2 filled from around, the greatest over the bands."""
        _, known, _, _ = self._parts(obs)
        _, trust = self._dates(obs, fitted=False)
        filled = torch.where(trust > 0, FROM_DATE, GENERATED)
        missing = ~known & (box_mean(known.to(x), WIDE) > 0)  # a band that is nowhere is no gap
        return {"flag": torch.where(missing, filled, OBSERVED).amax(1, keepdim=True).to(x)}

    # ---- baselines ----

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """GDAL's FillNodata, membrane and thin plate, and the base itself; none looks at a date but the base."""
        return {
            "fill_nodata": lambda obs: self._inpaint(obs, inpainting.fill_nodata),
            "membrane": lambda obs: self._inpaint(obs, inpainting.smooth_fill),
            "biharmonic": lambda obs: self._inpaint(obs, inpainting.biharmonic),
            LINEAR: self.base,
        }

    def _inpaint(self, obs: Observation, method: Callable[..., NDArray[np.floating]]) -> Tensor:
        image, known, _, _ = self._parts(obs)
        return masked.by_band(image, known, method)


def _gap(known: NDArray[np.bool_], widest: int) -> NDArray[np.bool_]:
    """Unknown pixels of (c, h, w) in narrow runs along rows or columns; see `between`."""
    return between(known, widest, axis=1) | between(known, widest, axis=2)


def between(known: NDArray[np.bool_], widest: int, *, axis: int) -> NDArray[np.bool_]:
    """Unknown pixels in runs of at most `widest` along an axis with a known pixel at both ends.

    >>> between(np.array([1, 0, 0, 1, 0, 0, 0, 1, 0], bool), 2, axis=0).astype(int)
    array([0, 1, 1, 0, 0, 0, 0, 0, 0])
    """
    size = known.shape[axis]
    place = np.arange(size).reshape([-1 if at == axis else 1 for at in range(known.ndim)])
    before = np.maximum.accumulate(np.where(known, place, -2 * size - widest), axis)
    after = np.flip(np.minimum.accumulate(np.flip(np.where(known, place, 2 * size + widest), axis), axis), axis)
    result: NDArray[np.bool_] = ~known & (after - before - 1 <= widest)
    return result


def _given(seen: Tensor) -> list[tuple[Tensor, int]]:
    """For each date that any image of the batch has: which images, and its number; of (b, k, c, h, w)."""
    there = seen.flatten(2).any(2)
    return [(there[:, k].nonzero()[:, 0], k) for k in range(there.shape[1]) if there[:, k].any()]


def _spread(image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square of the detail of the known pixels over a near and a wide window, (b, c, h, w) each."""
    weight, tiny = known.to(image), _tiny(image)
    wide = box_mean(weight, WIDE)
    start = image - box_mean(image * weight, WIDE) / wide.clamp_min(tiny)
    level = box_mean(start * weight, LEVEL) / box_mean(weight, LEVEL).clamp_min(tiny)
    square = weight * (start - level) ** 2
    far, near = box_mean(square, WIDE), box_mean(square, SPREAD)
    behind = (far / wide.clamp_min(tiny)).sqrt()
    front = torch.sqrt((near + FEW * far) / (box_mean(weight, SPREAD) + FEW * wide).clamp_min(tiny))
    least = tiny**0.25
    return torch.maximum(front, FLOOR * behind).clamp_min(least), behind.clamp_min(least)


def _tiny(image: Tensor) -> float:
    return torch.finfo(image.dtype).tiny
