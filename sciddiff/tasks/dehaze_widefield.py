"""Light of other planes taken off a widefield image: as a confocal microscope would have seen the plane in focus."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.errors import OptionError
from sciddiff.physics import out_of_focus
from sciddiff.physics.blur import gaussian_blur
from sciddiff.physics.fractal import uniform
from sciddiff.physics.optics import Optics
from sciddiff.recipe.tasks import DehazeWidefield as Settings
from sciddiff.tasks import beside, local
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage, planes_beside
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.look import BRIGHT, DARK

OPTICS = Optics(na=1.0, wavelength=0.525, index=1.33, pixel_size=0.1)
"""A microscope for the draws; the distance of its planes is chosen for the defocus that is asked for."""
FOCUS = 5
"""Side of the mean under which the darkest places are looked for, so that noise is not taken for darkness."""
OPENING = 33
"""Side in pixels of the window whose darkest place bounds the haze from above; wider than most structures."""
SMOOTH = (8.0, 60.0)
"""Range of the widths of the smooth background, in pixels."""
OFFSET = 0.2
"""Share of the training scenes' brightness up to which a camera's offset goes; it is to come off with the haze."""
FROM_GIVEN = 0.5
"""Part of the haze that comes from the planes given along z, where there are some."""
GLOW = 0.25
"""Share of the brightness around a pixel that counts as contrast: the brighter, the more haze may be left, or be taken
off that is none."""


class DehazeWidefield(OneImage):
    """x -> x + light out of focus + background + noise, plane by plane; see `Task` for what each method does.

    The result is zero where nothing is in focus: the camera's offset goes with the background, for nothing in one image
    tells one from the other.
    """

    channelwise = True
    numbers = 1
    stride = local.CELL
    takes_noisy = True
    radius = FOCUS // 2 + 3 * (OPENING // 2) + local.RADIUS

    def __init__(self, settings: Settings, bands: Sequence[str], *, volume: bool = False):
        if len(bands) != 1:
            raise OptionError(f"widefield haze is taken off one band, got {', '.join(bands)}; channels go one by one")
        self.settings = settings
        self.bands = self.scene_bands = tuple(bands)
        self.inputs = (Input("image", self.bands), *beside.inputs(settings.neighbours, self.bands))
        self.neighbours = beside.told(settings.neighbours)
        self.volume = volume
        self.maps = 5 + 2 * (planes_beside(self.neighbours) + volume)

    # ---- observations ----

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Take an image, {"image": (b, 1, h, w)}, and where the task sees further planes "neighbour", (b, 2 n, h, w).

        Raises
        ------
        OptionError
            Where something is said of an instrument.
        """
        checked(instrument, {}, task="dehaze_widefield")
        image = inputs["image"]
        return Observation(dict(inputs), {}, image.new_zeros(len(image), self.numbers, dtype=torch.float32))

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Add the light of planes out of focus, a smooth background and noise to sharp planes.

        Parameters
        ----------
        clean
            (b, 1, h, w), zero where dark and about one in bright structures, or in any unit where nothing was measured;
            or with further planes, or with a measured widefield image in the same levels at the end, or both. Where
            something was measured it is taken as it is.
        generator
            Source of the draws; without it all are those of the middle of their ranges, from a fixed seed.
        instrument_dropout
            Of no effect: nothing is told of the instrument.
        """
        source = torch.Generator(clean.device).manual_seed(0) if generator is None else generator
        scene, planes, known, measured = beside.split(clean, self.neighbours)
        dark, spread = _levels(scene) if measured is None else (scene.new_zeros(()), scene.new_ones(()))
        light = ((torch.cat([scene, planes], 1) - dark) / spread).clamp_min(0)
        seen = torch.cat([self._seen(each, source, nominal=generator is None) for each in light.split(1)])
        truth, image, others = light[:, :1], seen[:, :1], seen[:, 1:]
        if measured is not None:
            real = measured.abs().amax((1, 2, 3), keepdim=True) > 0
            pairs = (scene, truth), (measured, image), (planes, others)
            truth, image, others = (torch.where(real, there, made) for there, made in pairs)
        if generator is not None and planes.shape[1]:
            known = beside.lost(known, source)
        planes_seen = beside.named(others * spread + dark, known)
        return self.observe({"image": image * spread + dark, **planes_seen, "truth": truth * spread})

    def _seen(self, light: Tensor, source: Generator, *, nominal: bool) -> Tensor:
        """One sharp scene, (1, planes, h, w), its light from zero to about one, as a widefield camera sees it."""
        settings = self.settings

        def drawn(bounds: tuple[float, float]) -> float:
            low, high = map(math.log, bounds)
            return math.exp(low + (high - low) * (0.5 if nominal else float(uniform(source, (), low=0, high=1))))

        mean, defocus = light[:, :1].mean().clamp_min(1e-3), drawn(settings.defocus)
        # the distance at which a point has that spread: hypot(focus, distance tan / 2)
        slope = math.tan(math.asin(OPTICS.na / OPTICS.index)) / 2
        step = defocus * OPTICS.pixel_size / slope
        haze = out_of_focus.haze_of_picture(light, optics=OPTICS, generator=source, step=step, share=1.0)
        if self.neighbours is not None and self.neighbours[0] == "z":
            haze = (1 - FROM_GIVEN) * haze + FROM_GIVEN * self._from_given(light, defocus)
        ground = out_of_focus.smooth_background(
            (1, 1, *light.shape[2:]), source, level=drawn(settings.background), width=drawn(SMOOTH)
        )
        offset = 0.0 if nominal else OFFSET * float(uniform(source, (), low=-1, high=1))
        expected = light + drawn(settings.haze) * haze + mean * ground.to(light)
        dose, read = drawn(settings.dose), drawn(settings.read_noise)
        white = torch.randn(light.shape, generator=source, device=light.device)
        return (torch.poisson(dose * expected, generator=source) + read * white) / dose + offset

    def _from_given(self, light: Tensor, defocus: float) -> Tensor:
        """Light of the planes given along z in each of them, (1, planes, h, w), the restored one first; of its mean."""
        reach = 0 if self.neighbours is None else self.neighbours[1]
        places = [0, *(n for n in range(-reach, reach + 1) if n)]
        most = min(light.shape[2:]) / 6
        totals = []
        for own in places:
            others = [
                gaussian_blur(light[:, at : at + 1], (min(defocus * abs(place - own), most),) * 2)
                for at, place in enumerate(places)
                if place != own
            ]
            totals.append(sum(others, torch.zeros_like(light[:, :1])) / len(others))
        return torch.cat(totals, 1)

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The sharp plane, zero where nothing is in focus."""
        return obs.inputs["truth"]

    def degrade(self, high: Tensor, obs: Observation) -> Tensor | None:
        """Not known: the haze is none of the result's own."""
        return None

    # ---- engine ----

    def base(self, obs: Observation) -> Tensor:
        """The image less a local smooth background; see `background`."""
        image = obs.inputs["image"]
        return image - background(image)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale: the local contrast of the image, and a share of what the base holds and of the image's spread around.

        Maps: those of `local.contrast_free` of the image, and over the scale the base, its mean over 17 x 17 and its
        mean over about 68 x 68 pixels; then further planes, in a volume the image among them.
        """
        image = obs.inputs["image"]
        free = local.contrast_free(image)
        away = (image - local.wide_mean(image)).square()
        glow = local.box_mean(base.square(), local.SPREAD) + local.wide_mean(away)
        scale = (free.scale.square() + GLOW**2 * glow).sqrt()
        near = local.box_mean(base, local.NEAR)
        maps = [free.maps, base / scale, near / scale, local.wide_mean(base) / scale]
        if self.neighbours is not None:
            planes, known = beside.given(obs, self.neighbours)
            near, middle = local.box_mean(image, local.NEAR), image if self.volume else None
            maps += beside.maps(planes, known, near=near, scale=scale, middle=middle)
        return Condition(scale=scale, maps=torch.cat(maps, 1).clamp(-10, 10))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """As it is: how much of each pixel's light is in focus was not measured."""
        return x

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """The image as it is, a rolling ball under it (Sternberg 1983), and the base itself."""
        return {"as_measured": lambda obs: obs.inputs["image"], "rolling_ball": _rolling_ball, LINEAR: self.base}


def background(image: Tensor) -> Tensor:
    """Local smooth background that no place exceeds by much: the opening of the image's local mean, smoothed.

    The brightest flat window of `OPENING` pixels that fits under the mean over `FOCUS`, then the mean over windows.

    Parameters
    ----------
    image
        (b, c, h, w).
    """
    darkest = -_brightest(-local.box_mean(image, FOCUS))
    return local.box_mean(_brightest(darkest), OPENING)


def _brightest(image: Tensor) -> Tensor:
    """Greatest value of each window of `OPENING` pixels, along rows and columns in turn."""
    half = OPENING // 2
    rows = F.max_pool2d(image, (OPENING, 1), stride=1, padding=(half, 0))
    return F.max_pool2d(rows, (1, OPENING), stride=1, padding=(0, half))


def _levels(scene: Tensor) -> tuple[Tensor, Tensor]:
    """Dark of each scene, and its bright structures above it, (b, 1, 1, 1) each."""
    flat = scene.flatten(1).double()
    dark, bright = (flat.quantile(share, 1).to(scene).view(-1, 1, 1, 1) for share in (DARK, BRIGHT))
    return dark, torch.where(bright > dark, bright - dark, 1)


def _rolling_ball(obs: Observation) -> Tensor:
    from skimage.restoration import rolling_ball

    image = obs.inputs["image"]
    smooth = local.box_mean(image, FOCUS)
    # in levels: the ball is round only where brightness and pixels have like units
    low, high = smooth.amin(), smooth.amax()
    unit = 255 / (high - low).clamp_min(torch.finfo(image.dtype).tiny)
    planes = ((smooth - low) * unit).double().cpu().numpy()
    under = np.stack([[rolling_ball(plane, radius=OPENING) for plane in each] for each in planes])
    return image - (torch.from_numpy(under).to(image) / unit + low)
