"""Where clouds and their shadows are: the probability of each, pixel by pixel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.baselines.cloud_tests import FLOOR, cloud_guess, haze_optimised, shadow_guess, surely_cloud
from sciddiff.errors import OptionError
from sciddiff.physics import cloud as sky
from sciddiff.physics.fractal import fractal_noise, uniform
from sciddiff.physics.haze import wavelengths
from sciddiff.recipe.tasks import CloudMask as Settings
from sciddiff.tasks.base import Condition, Input, Instrument, Observation, OneImage
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.local import CELL, NEAR, box_mean, wide_mean
from sciddiff.tasks.reflectance import MOST, refuse_numbers

CLEAR, CLOUD, SHADOW = 0, 1, 2
"""Classes of the mask."""
COLOURS = {CLEAR: (110, 150, 90, 255), CLOUD: (255, 255, 255, 255), SHADOW: (50, 50, 80, 255)}
"""Of the classes."""
LOOKED_AT = (0.49, 0.56, 0.665, 0.85)
"""Wavelengths of the bands of the physical tests: blue, green, red, near infrared; in um."""
ABSORBED = {1.3: 0.0, 1.6: 1.0, 2.2: 1.4}
"""How much darker clouds are by wavelength in um, as a multiple of what is drawn for 1.6 um."""
SMOOTH = 3
"""Side of the window over which a shadow must be seen."""
FAINT = 0.02
"""Weight of a surely cloudy pixel in means of what is clear."""
EMPTY = 0.2
"""Share of training windows without a cloud."""
NOMINAL_COVER = (0.3, 0.3)
"""Cover of the nominal clouds."""


class _Bands(NamedTuple):
    """Reflectance (b, 1, h, w) in the bands of the physical tests."""

    blue: Tensor
    green: Tensor
    red: Tensor
    nir: Tensor


class CloudMask(OneImage):
    """x = 1 where there is cloud (or shadow), else 0: its posterior mean is the probability; see `Task`."""

    absolute = True
    numbers = 1
    stride = CELL
    bands = ("cloud", "shadow")
    extras: Mapping[str, tuple[str, ...]] = {"mask": ("mask",)}
    classes: Mapping[str, Mapping[int, tuple[int, int, int, int]]] = {"mask": COLOURS}
    cheap = ("cloud_tests",)

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.scene_bands = tuple(bands)
        self.inputs = (Input("image", self.scene_bands),)
        self.wavelengths = wavelengths(settings.sensor, bands)
        self._looked_at = [int(np.abs(np.array(self.wavelengths) - each).argmin()) for each in LOOKED_AT]
        if len(set(self._looked_at)) < len(LOOKED_AT):
            raise OptionError(f"the cloud mask needs blue, green, red and near infrared; got {', '.join(bands)}")
        self.maps = 3 * len(bands) + 4
        self.radius = (NEAR // 2 + 2) * CELL + SMOOTH // 2 + settings.dilate

    # ---- observations ----

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Where all bands of the image are."""
        return np.asarray(known["image"].all(0))

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Refuse digital numbers.

        Raises
        ------
        InputError
            They are.
        """
        refuse_numbers(image, "the image")

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Take an image of reflectance, {"image": (b, c, h, w)}; bands that it lacks are zero.

        Raises
        ------
        OptionError
            Where something is said of an instrument.
        """
        checked(instrument, {}, task="the cloud mask")
        image = inputs["image"]
        return Observation({"image": image}, {}, image.new_zeros(len(image), self.numbers))

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Cover clear scenes with clouds and their shadows; the truth, (b, 2, h, w), goes with what is seen.

        Parameters
        ----------
        clean
            Reflectance, (b, c, h, w); zero in a band that a scene lacks.
        generator
            Source of the draws; without it the clouds are the nominal ones and the scene is as it was.
        instrument_dropout
            Of no effect: nothing is told of the instrument.
        """
        there = (clean.abs().amax((2, 3), keepdim=True) > 0).to(clean)
        scene = clean if generator is None else self._varied(clean, generator)
        drawn = sky.draw_clouds(
            scene,
            self.wavelengths,
            generator=generator,
            cover=NOMINAL_COVER if generator is None else self.settings.cover,
            gsd=float(uniform(generator, (1,), low=self.settings.gsd[0], high=self.settings.gsd[1])),
        )
        if generator is None:
            return self._simulated(drawn.cloudy * there, drawn.alpha, drawn.shadow)
        strength = self._strength(clean, generator)
        alpha, shadow = drawn.alpha * strength, drawn.shadow * strength
        diffuse = torch.tensor(sky.diffuse_share(self.wavelengths)).to(clean)
        diffuse = diffuse * uniform(generator, (1,), low=0.6, high=1.5).to(clean)
        light = self._light(clean, generator)
        cloudy = sky.composite(scene, alpha, shadow=shadow, light=light, diffuse=diffuse)
        return self._simulated(cloudy * there, alpha, shadow)

    def _varied(self, clean: Tensor, generator: Generator) -> Tensor:
        """Scenes brighter or darker than they were, half of them under more air: light by (0.55 / wavelength)^2.5."""
        b, c = clean.shape[:2]
        gain = uniform(generator, (b, 1, 1, 1), low=-0.3, high=0.5)
        gain = gain + uniform(generator, (b, c, 1, 1), low=-0.05, high=0.05)
        air = uniform(generator, (b, 1, 1, 1), low=-0.05, high=0.05).clamp(min=0)
        law = (0.55 / torch.tensor(self.wavelengths, device=air.device)) ** 2.5
        return clean * torch.exp(gain).to(clean) + (air * law[:, None, None]).to(clean)

    def _strength(self, clean: Tensor, generator: Generator) -> Tensor:
        """Factor of the opacity, (b, 1, h, w): a third of the clouds thinner, many uneven, some not there."""
        b, _, h, w = clean.shape
        overall = (0.25 + 2.25 * uniform(generator, (b, 1, 1), low=0, high=1)).clamp(max=1)
        uneven = uniform(generator, (b, 1, 1), low=-0.3, high=0.7).clamp(min=0)
        some = uniform(generator, (b, 1, 1), low=0, high=1) >= EMPTY
        thinner = torch.special.ndtr(fractal_noise((b, h, w), generator=generator, beta=2.67, lowest=4.0))
        return (overall * (1 - uneven * thinner) * some)[:, None].to(clean)

    def _light(self, clean: Tensor, generator: Generator) -> Tensor:
        """Reflectance of the cloud, (b, c, h, w): white, darker where its droplets or ice absorb.

        By how much is assumed, not measured: up to half at 1.6 um.
        """
        b, c, h, w = clean.shape
        level = uniform(generator, (b, 1), low=0.4, high=0.95) * uniform(generator, (b, c), low=0.95, high=1.05)
        dark = torch.tensor(np.interp(self.wavelengths, list(ABSORBED), list(ABSORBED.values()))).to(level)
        level = level * (1 - uniform(generator, (b, 1), low=0, high=0.5) * dark)
        noise = fractal_noise((b, h, w), generator=generator, beta=2.0, lowest=8.0)
        texture = 0.85 + 0.3 * torch.special.ndtr(noise)
        return (level[:, :, None, None] * texture[:, None]).to(clean)

    def _simulated(self, cloudy: Tensor, alpha: Tensor, shadow: Tensor) -> Observation:
        classes = sky.classify(
            torch.where(alpha > sky.THIN_FROM, alpha, 0), torch.where(shadow > sky.SHADOW_FROM, shadow, 0)
        )
        cloud = (classes == sky.THIN) | (classes == sky.THICK)
        obs = self.observe({"image": cloudy})
        truth = torch.cat([cloud, classes == sky.SHADOW], 1).to(cloudy)
        return replace(obs, inputs={**obs.inputs, "truth": truth})

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """Where the simulation put clouds and shadows."""
        return obs.inputs["truth"]

    # ---- engine ----

    def _of(self, image: Tensor) -> _Bands:
        return _Bands(*(image[:, at : at + 1] for at in self._looked_at))

    def base(self, obs: Observation) -> Tensor:
        """Physical tests of brightness, whiteness and haze for clouds, of darkness for shadows; (b, 2, h, w)."""
        bands = self._of(obs.inputs["image"])
        cloud = cloud_guess(bands.blue, bands.green, bands.red)
        shadow = shadow_guess(bands.nir, bands.green, around=_clear_mean(bands.nir, cloud)) * (1 - cloud)
        return torch.cat([cloud, shadow], 1)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Square roots of the reflectances, plain and less their wide mean, which bands there are, and the tests."""
        image = obs.inputs["image"]
        root = image.clamp(0, MOST).sqrt()
        bands, cloud = self._of(image), base[:, :1]
        darkness = bands.nir.clamp(min=FLOOR) / _clear_mean(bands.nir, cloud).clamp(min=FLOOR)
        haze = haze_optimised(bands.blue, bands.red)
        extra = [base, torch.log(darkness).clamp(-2, 2), 10 * (haze - _clear_mean(haze, cloud))]
        maps = [2 * root, 4 * (root - wide_mean(root)), (image != 0).to(image), *extra]
        return Condition(scale=torch.ones_like(base), maps=torch.cat(maps, 1))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Probabilities are in 0..1, and what dazzles is cloud, even inside a cloud wider than the network looks."""
        bands = self._of(obs.inputs["image"])
        least = surely_cloud(bands.blue, bands.green, bands.red).to(x)
        cloud, shadow = x.clamp(0, 1).split(1, 1)
        return torch.cat([torch.maximum(cloud, least), torch.minimum(shadow, 1 - least)], 1)

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        """The mask: cloud above its threshold, shadow above its own elsewhere, each `dilate` pixels wider.

        Shadows count by their mean over 3 x 3 pixels: they have a width, which tree crowns and banks have not.
        """
        settings = self.settings
        cloud, shadow = (
            F.max_pool2d((part > limit).to(x), 2 * settings.dilate + 1, stride=1, padding=settings.dilate) > 0
            for part, limit in ((x[:, :1], settings.cloud_from), (box_mean(x[:, 1:], SMOOTH), settings.shadow_from))
        )
        mask = torch.where(cloud, CLOUD, torch.where(shadow, SHADOW, CLEAR))
        return {"mask": mask.to(x)}

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """The physical tests alone."""
        return {"cloud_tests": self._of_any_size}

    def _of_any_size(self, obs: Observation) -> Tensor:
        """The base of a scene whose sides are no multiples of the stride."""
        image = obs.inputs["image"]
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        return self.base(self.observe({"image": padded}))[..., :height, :width]


def _clear_mean(band: Tensor, cloud: Tensor) -> Tensor:
    """Mean of a band (b, 1, h, w) over some 68 pixels around, where it is clear."""
    weight = 1 - cloud + FAINT
    return wide_mean(band * weight) / wide_mean(weight)
