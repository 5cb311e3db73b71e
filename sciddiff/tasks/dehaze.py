"""Haze taken off one image: I_b = J_b t_b + A_b (1 - t_b), one thickness for all bands; see `physics.haze`.

The base inverts the model with the haze that the darkest objects of each neighbourhood allow. The network corrects it
in units of (A - J) times that haze, in which the haze of the model is a smooth field, free of the scene's texture. The
projection turns the result into transmissions and inverts the model with them, so that every detail is one measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff import io
from sciddiff.baselines import dehazing
from sciddiff.errors import InputError, OptionError
from sciddiff.physics import haze
from sciddiff.physics.fractal import uniform
from sciddiff.recipe.tasks import Dehaze as Settings
from sciddiff.tasks.base import Condition, Input, Instrument, Observation, OneImage, known_name
from sciddiff.tasks.local import box_mean

CELL = 8
"""Side of the cells whose darkest pixels are taken; windows must be aligned to it."""
NEAR, WIDE, SMOOTH = 3, 13, 5
"""Cells along the windows in which dark objects are sought, for the base and for the network to see beside, and along
that over which the haze is averaged."""
DARK = {0.443: 0.015, 0.49: 0.02, 0.56: 0.03, 0.665: 0.018, 0.86: 0.03, 1.61: 0.015, 2.19: 0.008}
"""Reflectance of the darkest objects of a clear neighbourhood by wavelength in um: water, shade and dense forest, about
the lowest tenth of windows of 1 to 4 km (measured on clear Sentinel-2 and Landsat scenes)."""
T_MIN = 0.1
"""Transmission below which nothing is extrapolated."""
T_TRUSTED = 0.3
"""Transmission from which on the result is the inverse of the model alone."""
FIT = 5
"""Side of the window over which a thickness is fitted to a result, in pixels."""
STEP = 0.01
"""Difference of transmission by which a band's sensitivity is taken."""
LEAST_CONTRAST, LEAST_HAZE = 0.05, 0.05
"""Floors of the two factors of the residual's scale."""
THERE = "there"
"""Name of the map of an observation that says where a band was measured."""
ABSENT = -3.0
"""What the network sees of a band that the image lacks."""
TOO_BRIGHT = 1.6
"""Median above which values are no reflectances, snow and cloud included."""


class Dehaze(OneImage):
    """x -> x t + A (1 - t); see `Task` for what each method does."""

    absolute = True

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.bands = self.scene_bands = tuple(bands)
        self.inputs = (Input("image", self.bands),)
        self.extras = {"transmission": ("transmission",)}
        self.wavelengths = band_wavelengths(settings, bands)
        self.mean_light = torch.tensor(haze.mean_light(self.wavelengths))
        self.dark = torch.tensor(np.interp(self.wavelengths, list(DARK), list(DARK.values())), dtype=torch.float32)
        self.stride = CELL
        self.maps = 2 * len(self.bands) + 1
        self.numbers = 2
        self.radius = CELL * (max(WIDE // 2, NEAR // 2 + SMOOTH // 2) + 2) + FIT // 2

    # ---- observations ----

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        image = inputs["image"]
        given = instrument or {}
        light = self.mean_light.to(image)
        told = torch.tensor(given["light"]).to(image).expand(len(light)) if "light" in given else None
        light = (light if told is None else told).expand(len(image), -1)
        known = torch.full((len(image),), float(told is not None), device=image.device)
        there = (image != 0) | (inputs[known_name("image")] > 0 if known_name("image") in inputs else False)
        return Observation({**inputs, THERE: there.to(image)}, {"light": light}, self._numbers(light, known))

    def _numbers(self, light: Tensor, known: Tensor) -> Tensor:
        level = (light / self.mean_light.to(light)).mean(1) - 1
        return torch.stack([5 * level * known, known], 1).float()

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        b = len(clean)
        there = clean.abs().amax((2, 3), keepdim=True) > 0
        if generator is None:
            drawn = haze.draw_haze(clean, self.wavelengths, generator=None, strength=self.settings.strength)
            return self.observe({"image": drawn.hazy * there})
        h, w = clean.shape[2:]
        canvas = clean.new_zeros(b, len(self.bands), 2 * h, 2 * w)
        drawn = haze.draw_haze(canvas, self.wavelengths, generator=generator, strength=self.settings.strength)
        corner = uniform(generator, (b, 2), low=0, high=1)
        clear = (uniform(generator, (b,), low=0, high=1) < self.settings.clear).tolist()
        through = torch.ones_like(clean)
        for n, (down, along) in enumerate(corner.tolist()):
            row, col = int(down * h), int(along * w)
            if not clear[n]:
                through[n] = drawn.transmission[n, :, row : row + h, col : col + w]
        hazy = haze.scatter(clean, through, light=drawn.light)
        known = (uniform(generator, (b,), low=0, high=1) >= instrument_dropout).to(clean)
        light = torch.where(known[:, None] > 0, drawn.light, self.mean_light.to(clean))
        inputs = {"image": hazy, THERE: there.expand_as(hazy).to(hazy)}
        return Observation(inputs, {"light": light}, self._numbers(light, known))

    # ---- engine ----

    def _dark_cells(self, obs: Observation, side: int) -> Tensor:
        image = obs.inputs["image"]
        cells = -F.max_pool2d(-F.avg_pool2d(image, 2), CELL // 2)
        return -F.max_pool2d(-cells, side, stride=1, padding=side // 2)

    def _thickness(self, obs: Observation) -> tuple[Tensor, Tensor]:
        """(b,1,h,w) reference transmission by dark objects; dark level (b,c,h,w)."""
        dark = self._dark_cells(obs, NEAR)
        light = obs.instrument["light"].to(dark)[..., None, None]
        through = ((light - dark) / (light - self.dark.to(dark)[:, None, None])).clamp(haze.LOWEST, 1)
        t1 = haze.reference_transmission(through, self.wavelengths)
        t1 = torch.where(F.max_pool2d(obs.inputs[THERE], CELL) > 0, t1, 0).amax(1, keepdim=True).clamp_min(0.1)
        t1 = box_mean(t1, SMOOTH)
        both = F.interpolate(torch.cat([t1, self._dark_cells(obs, WIDE)], 1), scale_factor=CELL, mode="bilinear", align_corners=False)
        return both[:, :1], both[:, 1:]

    def base(self, obs: Observation) -> Tensor:
        image = obs.inputs["image"]
        t1, _ = self._thickness(obs)
        through = haze.transmission(t1, self.wavelengths)
        x = haze.unscatter(image, through, light=obs.instrument["light"].to(image), t_min=T_MIN)
        return x

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        image = obs.inputs["image"]
        t1, dark = self._thickness(obs)
        light = obs.instrument["light"].to(image)[..., None, None]
        scale = (light - base).clamp_min(LEAST_CONTRAST) * (1 - t1 + LEAST_HAZE)
        there = obs.inputs[THERE] > 0
        see = [torch.where(there, _logarithm(each), ABSENT) for each in (image, dark)]
        return Condition(scale=scale, maps=torch.cat([*see, -2 * torch.log(t1)], 1))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        image = obs.inputs["image"]
        light = obs.instrument["light"].to(image)
        through = haze.transmission(self._reference(x, obs), self.wavelengths).clamp_min(T_MIN)
        inverse = haze.unscatter(image, through, light=light, t_min=T_MIN)
        trust = ((through - T_MIN) / (T_TRUSTED - T_MIN)).clamp(0, 1)
        return torch.lerp(x, inverse, trust)

    def _reference(self, x: Tensor, obs: Observation) -> Tensor:
        image = obs.inputs["image"]
        light = obs.instrument["light"].to(image)[..., None, None]
        energy = box_mean((light - x) ** 2, FIT)
        through = box_mean((light - image) * (light - x), FIT) / energy.clamp_min(1e-6)
        each = haze.reference_transmission(through.clamp(T_MIN, 1), self.wavelengths)
        there = obs.inputs[THERE]
        rough = (each * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
        slope = haze.transmission(rough, self.wavelengths) - haze.transmission(rough - STEP, self.wavelengths)
        weight = energy * slope**2 * there
        return (weight * each).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-12)

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        return {"transmission": self._reference(x, obs)}

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Dark-object subtraction, dark channel prior, haze-optimised transform, each of the whole scene."""
        visible = [at for at, length in enumerate(self.wavelengths) if length < 0.7]
        blue, red = visible[0], visible[-1]

        def classical(method: Callable[..., NDArray[np.floating]]) -> Callable[[Observation], Tensor]:
            def run(obs: Observation) -> Tensor:
                out = obs.inputs["image"].clone()
                for scene in out:
                    there = scene.abs().amax((1, 2)) > 0
                    scene[there] = torch.from_numpy(method(scene[there].cpu().numpy(), np.array(self.wavelengths)[there.cpu().numpy()])).to(scene)
                return out

            return run

        return {
            "dark_object_subtraction": classical(lambda image, _: dehazing.dark_object_subtraction(image)),
            "dark_channel_prior": classical(lambda image, lengths: dehazing.dark_channel_prior(image, lengths)),
            "haze_optimised_transform": classical(lambda image, _: dehazing.haze_optimised_transform(image, (blue, red))),
            "linear": self.base,
        }


def band_wavelengths(settings: Settings, bands: Sequence[str]) -> list[float]:
    given = settings.wavelengths or {}
    rest = [band for band in bands if band not in given]
    found = dict(zip(rest, haze.wavelengths(settings.sensor, rest), strict=True)) | given
    return [found[band] for band in bands]


def _logarithm(image: Tensor) -> Tensor:
    return torch.log((image + 0.02).clamp_min(4e-3) / 0.1)
