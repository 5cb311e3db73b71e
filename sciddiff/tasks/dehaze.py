"""Haze taken off one image: I_b = J_b t_b + A_b (1 - t_b), one thickness for all bands; see `physics.haze`.

The base inverts the model with the haze that the darkest objects of each neighbourhood allow. The network corrects it
in units of A - J times that haze: in them the model's own residual, 1 - t_base / t, is smooth, whatever the ground
shows. The projection fits one thickness to the result and inverts the model with it, so that all detail is measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.baselines import dehazing
from sciddiff.errors import OptionError
from sciddiff.physics import haze
from sciddiff.physics.fractal import uniform
from sciddiff.physics.ground import draw_bare
from sciddiff.recipe.tasks import Dehaze as Settings
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage, known_name
from sciddiff.tasks.local import box_mean
from sciddiff.tasks.reflectance import refuse_numbers

CELL = 8
"""Side of the cells whose darkest pixels are taken; windows must be aligned to it."""
NEAR, WIDE, SMOOTH = 3, 13, 5
"""Cells along the windows in which dark objects are sought, for the base and for the network to see beside, and along
that over which the haze is averaged."""
DARK: Mapping[float, float] = {0.443: 0.005, 0.49: 0.008, 0.56: 0.014, 0.665: 0.006, 0.86: 0.004, 1.61: 0.0}
"""Least reflectance of clear ground by wavelength in um (assumed): deep water, shade and dense forest. It must bound
from below above all in the infrared, where thin haze adds little: 0.005 too much would hide a haze of 0.2."""
IMPOSSIBLE = -0.02
"""Reflectance below which a pixel is no dark object but over-corrected, as surface reflectance may be beside clouds;
one such pixel would vouch for clear air all around it."""
T_MIN, T_TRUSTED = 0.1, 0.3
"""Transmissions below which nothing is extrapolated, and from which the result is the inverse of the model alone."""
WHITE = 1.0
"""Largest reflectance that ground is taken to have: what is brighter than the haze's own light, such as snow and
clouds, bounds the haze over it from above."""
FIT = 5
"""Side of the window over which a thickness is fitted to a result, in pixels."""
STEP = 0.01
"""Difference of transmission by which a band's sensitivity to the thickness is taken."""
LEAST_CONTRAST, LEAST_HAZE = 0.12, 0.05
"""Of the two factors of the residual's scale: what joins the contrast to the light, whose level is known to a fifth, in
quadrature; what is added to the haze."""
THERE = "there"
"""Name of the map of an observation that says which bands were measured: in training those that a scene lacks hold the
haze over black ground, so that their residual goes with the others'."""
TRUTH = "truth"
"""Name of the clear scene of an observation that was simulated."""
ABSENT = -3.0
"""What the network sees of a band that the image lacks."""
LIGHT = (0.2, 1.5)
"""Range of an atmospheric light."""


class Dehaze(OneImage):
    """x -> x t + A (1 - t), with t and A unknown; see `Task` for what each method does."""

    absolute = True
    cheap = ("dark_object_subtraction", "haze_optimised_transform", LINEAR)

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
        self.radius = CELL * (max(WIDE // 2, NEAR // 2 + SMOOTH // 2) + 2) + 2 * (FIT // 2)

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Refuse digital numbers."""
        refuse_numbers(image, "the image")

    # ---- observations ----

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join a measured image with what is known of the atmosphere.

        Parameters
        ----------
        inputs
            {"image": (b, c, h, w)}, reflectance; and its validity, by which a black band is told from an absent one.
        instrument
            `light`: the atmospheric light as a reflectance, one number or one a band; the mean of many scenes where not
            given, at a level that the network does not rely on.

        Raises
        ------
        OptionError
            Where a name is not `light`, or a number is out of its range.
        """
        image = inputs["image"]
        given = self._checked(instrument or {})
        told = "light" in given
        light = torch.tensor(given["light"]) if told else self.mean_light
        light = light.to(image).expand(len(image), len(self.bands))
        known = torch.full((len(image),), float(told), device=image.device)
        there = image != 0
        if known_name("image") in inputs:
            there = there | (inputs[known_name("image")] > 0)
        return Observation({**inputs, THERE: there.to(image)}, {"light": light}, self._numbers(light, known))

    def _checked(self, instrument: Instrument) -> Instrument:
        for name, numbers in instrument.items():
            if name != "light":
                raise OptionError(f"dehazing knows no {name!r} of an instrument; it knows light")
            if len(numbers) not in (1, len(self.bands)) or not all(LIGHT[0] <= each <= LIGHT[1] for each in numbers):
                wanted = f"1 or {len(self.bands)} reflectances from {LIGHT[0]:g} to {LIGHT[1]:g}"
                raise OptionError(f"light is {list(numbers)}; needs {wanted}")
        return instrument

    def _numbers(self, light: Tensor, known: Tensor) -> Tensor:
        level = (light / self.mean_light.to(light)).mean(1) - 1
        return torch.stack([5 * level * known, known], 1).float()

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Cover clean scenes with random haze; with that of `haze.draw_haze` without a generator.

        A random scene is a part of one twice as large, so that its clearest place need not be clear, and in the share
        `settings.clear` it has no haze.

        Parameters
        ----------
        clean
            Reflectance (b, c, h, w); zero in a band that a scene lacks.
        generator
            Source of the draws, on the device of `clean`.
        instrument_dropout
            Share of the scenes of which the network is not told the atmospheric light.
        """
        there = clean.abs().amax((2, 3), keepdim=True) > 0
        if generator is None:
            drawn = haze.draw_haze(clean, self.wavelengths, generator=None, strength=self.settings.strength)
            return self.observe({"image": drawn.hazy * there})
        clean = self._bared(clean, generator)
        through, drawn_light = self._draw(clean, generator)
        hazy = haze.scatter(clean, through, light=drawn_light)
        known = (uniform(generator, (len(clean),), low=0, high=1) >= instrument_dropout).to(clean)
        light = torch.where(known[:, None] > 0, drawn_light, self.mean_light.to(clean))
        inputs = {"image": hazy, THERE: there.expand_as(hazy).to(hazy), TRUTH: clean}
        return Observation(inputs, {"light": light}, self._numbers(light, known))

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The scene, with bare ground where that was drawn."""
        return obs.inputs.get(TRUTH, clean)

    def _bared(self, clean: Tensor, generator: Generator) -> Tensor:
        if not self.settings.bare:
            return clean
        chosen = uniform(generator, (len(clean), 1, 1, 1), low=0, high=1) < self.settings.bare
        return torch.where(chosen.to(clean.device), draw_bare(clean, self.wavelengths, generator=generator), clean)

    def _draw(self, clean: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Transmissions (b, c, h, w) and atmospheric lights (b, c)."""
        b, c, h, w = clean.shape
        canvas = clean.new_zeros(b, c, 2 * h, 2 * w)
        drawn = haze.draw_haze(
            canvas, self.wavelengths, generator=generator, strength=self.settings.strength, even=self.settings.even
        )
        corners = uniform(generator, (b, 2), low=0, high=1).tolist()
        clear = (uniform(generator, (b,), low=0, high=1) < self.settings.clear).tolist()
        through = torch.ones_like(clean)
        for number, (down, along) in enumerate(corners):
            row, col = int(down * h), int(along * w)
            if not clear[number]:
                through[number] = drawn.transmission[number, :, row : row + h, col : col + w]
        return through, drawn.light

    def degrade(self, high: Tensor, obs: Observation) -> None:
        """Not known: any scene may have been measured through some haze."""

    # ---- engine ----

    def _haze(self, obs: Observation) -> tuple[Tensor, Tensor]:
        """Reference transmission (b, 1, h, w) by the dark objects near, and the level of those around, (b, c, h, w)."""
        image = obs.inputs["image"]
        h, w = image.shape[2:]
        whole = (0, -w % CELL, 0, -h % CELL)
        image, there = (F.pad(each, whole, mode="replicate") for each in (image, obs.inputs[THERE]))
        near, around = self._darkest(image, there)
        light, dark = obs.instrument["light"].to(image)[..., None, None], self.dark.to(image)[:, None, None]
        each = haze.reference_transmission((light - near) / (light - dark), self.wavelengths)
        # dark objects are no darker than `dark`: each band bounds the haze from above, the least bound holds
        clearest = torch.where(F.max_pool2d(there, CELL) > 0, each, 0).amax(1, keepdim=True)
        smooth = box_mean(clearest.clamp_min(T_MIN), SMOOTH)
        both = torch.cat([smooth, around], 1)
        fine = F.interpolate(both, scale_factor=CELL, mode="bilinear", align_corners=False)[..., :h, :w]
        return torch.maximum(fine[:, :1], self._under_white(obs.inputs["image"], light)), fine[:, 1:]

    def _darkest(self, image: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Darkest values of `NEAR` and of `WIDE` cells around each cell: of possible ones, wherever there are any."""
        impossible = ((image < IMPOSSIBLE) & (there > 0)).any(1, keepdim=True)
        cells = [_cells(each) for each in (image.masked_fill(impossible, math.inf), image)]

        def darkest(side: int) -> Tensor:
            possible, least = (-F.max_pool2d(-each, side, stride=1, padding=side // 2) for each in cells)
            return torch.where(possible.isfinite(), possible, least)

        return darkest(NEAR), darkest(WIDE)

    def base(self, obs: Observation) -> Tensor:
        """Inverse of the model with the haze that the darkest objects near allow in every band."""
        image = obs.inputs["image"]
        through = haze.transmission(self._haze(obs)[0], self.wavelengths)
        return haze.unscatter(image, through, light=obs.instrument["light"].to(image), t_min=T_MIN)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale: contrast to the light times the haze of the base. Maps: logarithms of image and dark level, haze."""
        image = obs.inputs["image"]
        reference, around = self._haze(obs)
        light = obs.instrument["light"].to(image)[..., None, None]
        scale = torch.hypot(light - base, base.new_tensor(LEAST_CONTRAST)) * (1 - reference + LEAST_HAZE)
        seen = [torch.where(obs.inputs[THERE] > 0, _logarithm(each), ABSENT) for each in (image, around)]
        return Condition(scale=scale, maps=torch.cat([*seen, -2 * torch.log(reference)], 1))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Invert the model with the one thickness nearest to the result, where enough light comes through."""
        image = obs.inputs["image"]
        through = haze.transmission(self._reference(x, obs), self.wavelengths).clamp_min(T_MIN)
        inverse = haze.unscatter(image, through, light=obs.instrument["light"].to(image), t_min=T_MIN)
        trust = ((through - T_MIN) / (T_TRUSTED - T_MIN)).clamp(0, 1)
        ground = torch.lerp(x, inverse, trust)  # neither darker than black nor brighter than white
        return ground.clamp(image.clamp(max=0), image.clamp(min=WHITE))

    def _reference(self, x: Tensor, obs: Observation) -> Tensor:
        """Reference transmission (b, 1, h, w) of the haze that stands between a result and the image.

        By band, A - I = t (A - x) in least squares over `FIT` x `FIT` pixels; then the mean of what the bands tell of
        the reference, weighted by how well each tells it: squared contrast times squared sensitivity.
        """
        image, there = obs.inputs["image"], obs.inputs[THERE]
        light = obs.instrument["light"].to(image)[..., None, None]
        energy = box_mean((light - x) ** 2, FIT)
        through = box_mean((light - image) * (light - x), FIT) / energy.clamp_min(1e-6)
        each = haze.reference_transmission(through.clamp(T_MIN, 1), self.wavelengths)
        rough = (each * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
        slope = haze.transmission(rough, self.wavelengths) - haze.transmission(rough - STEP, self.wavelengths)
        weight = energy * slope**2 * there
        found = (weight * each).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-12)
        return torch.maximum(found, self._under_white(image, light))

    def _under_white(self, image: Tensor, light: Tensor) -> Tensor:
        """Least reference transmission (b, 1, h, w) behind which no ground near is brighter than `WHITE`."""
        room = (WHITE - light).clamp_min(1e-6)
        least = torch.where(light < WHITE, ((image - light) / room).clamp(0, 1), 0)
        bound = haze.reference_transmission(least, self.wavelengths).amax(1, keepdim=True)
        # of a window, then smooth: pixel by pixel it would flatten what is bright
        return box_mean(F.max_pool2d(bound, FIT, stride=1, padding=FIT // 2), FIT)

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        """`transmission` at 0.443 um: 1 without haze."""
        return {"transmission": self._reference(x, obs)}

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Dark-object subtraction, dark channel prior and haze-optimised transform of whole scenes; the base."""
        methods = {
            "dark_object_subtraction": lambda image, _: dehazing.dark_object_subtraction(image),
            "dark_channel_prior": dehazing.dark_channel_prior,
            "haze_optimised_transform": _haze_optimised_transform,
        }
        return {name: self._whole(method) for name, method in methods.items()} | {LINEAR: self.base}

    def _whole(self, method: "Classical") -> Callable[[Observation], Tensor]:
        """A classical method on the bands that each scene has."""

        def run(obs: Observation) -> Tensor:
            result = obs.inputs["image"].clone()
            for scene, there in zip(result, obs.inputs[THERE].amax((2, 3)) > 0, strict=True):
                lengths = [length for length, has in zip(self.wavelengths, there.tolist(), strict=True) if has]
                scene[there] = torch.from_numpy(method(scene[there].cpu().numpy(), lengths)).to(scene)
            return result

        return run


def _cells(image: Tensor) -> Tensor:
    """Least mean of 2 x 2 pixels in each cell."""
    return -F.max_pool2d(-F.avg_pool2d(image, 2), CELL // 2)


Classical = Callable[[NDArray[np.floating], Sequence[float]], NDArray[np.floating]]


def _haze_optimised_transform(image: NDArray[np.floating], wavelengths: Sequence[float]) -> NDArray[np.floating]:
    """Of the shortest and the longest visible band."""
    visible = [at for at, length in enumerate(wavelengths) if length <= dehazing.VISIBLE[1]]
    order = sorted(visible, key=lambda at: wavelengths[at])
    return dehazing.haze_optimised_transform(image, (order[0], order[-1]))


def band_wavelengths(settings: Settings, bands: Sequence[str]) -> list[float]:
    """Centre wavelength of each band in um: the settings' own, else the sensor's.

    Raises
    ------
    OptionError
        Where neither tells, or the settings name a band that the recipe lacks.
    """
    given = dict(settings.wavelengths or {})
    strange = [band for band in given if band not in bands]
    if strange:
        raise OptionError(f"task.wavelengths names {', '.join(strange)}; the recipe's bands are {', '.join(bands)}")
    rest = [band for band in bands if band not in given]
    given |= dict(zip(rest, haze.wavelengths(settings.sensor, rest), strict=True))
    return [given[band] for band in bands]


def _logarithm(image: Tensor) -> Tensor:
    """Of reflectance, about zero for 0.08."""
    return torch.log((image + 0.02).clamp_min(4e-3) / 0.1)
