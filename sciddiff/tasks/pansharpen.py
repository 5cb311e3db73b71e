"""Pan-sharpening: a coarse image of many bands and a fine one of few, on grids at any sub-pixel distance."""

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.baselines import fusion, interpolation, registered_fusion
from sciddiff.physics import sensor
from sciddiff.recipe.tasks import Pansharpen as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage, known_name
from sciddiff.tasks.guide_shift import measured_shift
from sciddiff.tasks.instrument import checked, gain_range, network_numbers

log = logging.getLogger("sciddiff")

FUSIONS: Mapping[str, Callable[..., NDArray[np.float64]]] = {
    "exp": fusion.exp,
    "brovey": fusion.brovey,
    "bt_h": fusion.bt_h,
    "gsa": fusion.gsa,
    "mtf_glp_fs": fusion.mtf_glp_fs,
    "mtf_glp_hpm": fusion.mtf_glp_hpm,
    "bdsd_pc": fusion.bdsd_pc,
}
"""Classical answers by the names of this house."""

GAIN_STEP = 0.02
"""Spacing of the gains for which interpolators are solved; between them they are mixed linearly."""
HIGH, NEAR, WIDE = 3, 7, 33
"""Sides of windows in pixels of the image: of the mean that detail stands out from, of the regression of the bands'
detail on the guide's, and of the wider one that steadies it where a window holds little."""
PRIOR = 0.2
"""Weight of the wider window."""
RIDGE = 1e-3
"""Share of the guide's own variance added to it, which keeps alike guide bands apart."""
AROUND = (3, 7, 15)
"""Sides, in pixels of the image, of the windows from which the misfit is continued to where the image was not measured,
the smallest that holds a measured pixel: as far as the interpolator looks."""
MET = "met"
"""Name of the map of an observation that says where image and guide show one scene: not beyond the image's edge or in
its holes, where it is filled and the guide goes on."""
ROUNDING = 1e-6
"""Guide pixels by which the places of grids are rounded."""
MOST_SHIFT = 0.5
"""Guide pixels of misregistration above which a warning is given."""


class Pansharpen(OneImage):
    """x on the guide's grid -> degrade(x) + noise, coarser by `ratio`; see `Task` for what each method does."""

    cheap = (LINEAR, "mtf_glp_fs")

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.ratio = settings.ratio
        self.bands, self.guide = tuple(bands), tuple(settings.guide)
        self.scene_bands = self.bands + self.guide
        self.inputs: tuple[Input, ...] = (
            Input("image", self.bands, self.ratio),
            Input("pan", self.guide, sets_grid=True),
        )
        self.nominal = torch.tensor(sensor.nominal_mtf(settings.sensor, bands, settings.mtf))
        self.stride = math.lcm(self.ratio, local.CELL)
        self.maps = 2 * len(self.scene_bands)
        self.numbers = len(self.bands) + 5
        least, largest = gain_range(self.nominal, settings.mtf_range)
        half = self.ratio / 2
        self.limits = {
            "mtf": (least, largest, len(self.bands)),
            "noise": (0.0, 1.0, 1),
            "offset": (-half - ROUNDING, half + ROUNDING, 2),
        }
        # a low pixel is read at most half of itself off its block's centre
        self.blur_radius = sensor.blur_radius(least, self.ratio) + self.ratio
        interpolation_radius = (interpolation.MMSE_RADIUS + 1) * self.ratio
        rounds = (settings.projections + 1) * (self.blur_radius + self.ratio + interpolation_radius)
        gains_radius = (HIGH // 2 + WIDE // 2 + 2) * self.ratio + self.blur_radius
        self.radius = gains_radius + rounds + AROUND[-1] // 2 * self.ratio + local.RADIUS
        self._interpolator = interpolation.GainInterpolator(self.ratio, low=least, high=largest, step=GAIN_STEP)

    # ---- observations ----

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join measured images with their instrument.

        Parameters
        ----------
        inputs
            {"image": (b, c, h, w), "pan": (b, g, h ratio, w ratio)}; and the validity of both, everywhere where not
            given.
        instrument
            `mtf`: gain of the image's bands at their Nyquist frequency, one number or one a band, the sensor's nominal
            ones where not given. `noise`: standard deviation of the image's noise as a share of the image's, unknown
            where not given. `offset`: see `Task.observe`.

        Raises
        ------
        OptionError
            Where a name is none of these, or a number is out of its range.
        """
        image = inputs["image"]
        b, c = image.shape[:2]
        given = checked(instrument, self.limits, task="pan-sharpening")
        gains = torch.tensor(given.get("mtf", self.nominal.tolist())).expand(b, c).to(image.device)
        level = torch.tensor(given.get("noise", (0.0,))).expand(b).to(image.device)
        offset = torch.tensor(given.get("offset", (0.0, 0.0)), device=image.device).expand(b, 2)
        known = torch.ones(b, device=image.device)
        numbers = self._numbers(gains, level, offset, gain_known=known, noise_known=known * ("noise" in given))
        images = {name: inputs[name] for name in ("image", "pan")}
        if known_name("image") in inputs and known_name("pan") in inputs:
            fine = F.max_pool2d(inputs[known_name("pan")].amax(1, keepdim=True), self.ratio, ceil_mode=True)
            images[MET] = ((inputs[known_name("image")] > 0) | (fine == 0)).to(image)
        return Observation(images, {"gain": gains, "offset": offset}, numbers)

    def _numbers(
        self, gain: Tensor, noise: Tensor, offset: Tensor, *, gain_known: Tensor, noise_known: Tensor
    ) -> Tensor:
        numbers = network_numbers(gain, noise, gain_known=gain_known, noise_known=noise_known)
        return torch.cat([numbers, 2 * offset / self.ratio], 1)

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Degrade clean scenes by instruments drawn at random, or by the nominal one, free of noise: Wald's protocol.

        A share `instrument_dropout` of the scenes has an instrument that the network is not told: off its nominal
        gain, anisotropic, with the image shifted against the guide, and its bands against each other. The others are
        measured ones: their gain is told. Of these, too, half hide their noise.

        Parameters
        ----------
        clean
            (b, c + g, h, w): the bands, then the guide's, both on the fine grid; sides multiples of the ratio.
        generator
            Source of the draws, on the device of `clean`; without it the instrument is the nominal one and the grids
            begin at one corner.
        instrument_dropout
            Share of unknown instruments.

        References
        ----------
        Wald, Ranchin, Mangolini 1997: the images degraded by the ratio of their pixel sizes have the bands as truth.
        """
        b, c = len(clean), len(self.bands)
        bands, guide = clean[:, :c], clean[:, c:]
        blank = clean.new_zeros(b, c, clean.shape[2] // self.ratio, clean.shape[3] // self.ratio)
        if generator is None:
            obs = self.observe({"image": blank, "pan": guide})
            return replace(obs, inputs={"image": self.degrade(bands, obs), "pan": guide})

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=clean.device)

        def noisy(image: Tensor, noise: Tensor) -> Tensor:
            white = torch.randn(image.shape, generator=generator, device=clean.device)
            return image + noise[:, None, None, None] * image.std((2, 3), keepdim=True) * white

        def level() -> Tensor:
            least, most = self.settings.noise
            return torch.exp(math.log(least) + math.log(most / least) * uniform(b))

        low, high = self.settings.mtf_range
        known = (uniform(b) >= instrument_dropout).float()
        gain = low + (high - low) * (uniform(b, 1) + 0.3 * (uniform(b, c) - 0.5)).clamp(0, 1)
        unsure = (1 - known)[:, None, None]
        skew = torch.cat([d := self.settings.anisotropy * (uniform(b, 1, 1) - 0.5), -d], 2) * unsure
        shift = self.settings.shift * (2 * uniform(b, 1, 2) - 1 + 0.2 * (2 * uniform(b, c, 2) - 1)) * unsure
        # whole batches lie at one place: half pixels, as sensors have them
        halves = torch.randint(-self.ratio, self.ratio + 1, (2,), generator=generator, device=clean.device)
        offset = (halves / 2).expand(b, 2)
        sigma = sensor.mtf_sigma(gain, self.ratio)[..., None] * (1 + skew)
        place = offset[:, None] - shift
        radius = self.blur_radius + math.ceil(1.2 * self.settings.shift)
        image = sensor.degrade_at(bands, self.ratio, sigma=sigma, offset=place, radius=radius)
        noise = level()
        told = torch.where(known[:, None] > 0, gain, self.nominal.to(gain).expand(b, c))
        hidden = known * (uniform(b) < 0.5)
        numbers = self._numbers(told, noise, offset, gain_known=known, noise_known=hidden)
        inputs = {"image": noisy(image, noise), "pan": noisy(guide, level())}
        return Observation(inputs, {"gain": told, "offset": offset}, numbers)

    def degrade(self, high: Tensor, obs: Observation) -> Tensor:
        """The forward model without noise, for the observation's instrument and grids."""
        return self._measure(high, obs, obs.instrument["gain"])

    def _measure(self, high: Tensor, obs: Observation, gain: Tensor) -> Tensor:
        """What bands of gains (b, k) read of images (b, k, h, w)."""
        sigma = sensor.mtf_sigma(gain.to(high.dtype), self.ratio)[..., None].expand(-1, -1, 2)
        offset = obs.instrument["offset"].to(high.dtype)[:, None].expand_as(sigma)
        return sensor.degrade_at(high, self.ratio, sigma=sigma, offset=offset, radius=self.blur_radius)

    # ---- engine ----

    def _interpolate(self, low: Tensor, obs: Observation) -> Tensor:
        row, col = obs.instrument["offset"][0].tolist()
        return self._interpolator(low, obs.instrument["gain"], offset=(round(row, 6), round(col, 6)))

    def base(self, obs: Observation) -> Tensor:
        """Guide mixed by local gains, then brought to agreement with the image, (b, c, h ratio, w ratio).

        With X the mixed guide and L, U the forward model and the linear minimum-mean-square-error interpolator of each
        band: U(image - L X) + X = U(image) + (X - U L X), the interpolated band and the detail of the guide that it
        lacks (generalised Laplacian pyramid; Aiazzi et al. 2006).
        """
        image, guide = obs.inputs["image"], obs.inputs["pan"]
        # first: digital numbers would lose the contrast
        guide = guide - local.box_mean(guide, 2 * WIDE + 1)
        gains = self._injection(image, guide, obs)
        gains = F.interpolate(gains, scale_factor=self.ratio, mode="bilinear", align_corners=False)
        mixed = torch.einsum("bcghw,bghw->bchw", gains.unflatten(1, (len(self.bands), -1)), guide)
        return mixed + self._interpolate(self._continued(image - self.degrade(mixed, obs), obs), obs)

    def _continued(self, misfit: Tensor, obs: Observation) -> Tensor:
        """A misfit (b, c, h, w) from where the image was measured on to where it was not, zero far from there."""
        if MET not in obs.inputs:
            return misfit
        met = obs.inputs[MET]
        result, there = misfit * met, met > 0
        for side in AROUND:
            share = local.box_mean(met, side)
            reached = ~there & (share > 0.5 / side**2)
            result = torch.where(reached, local.box_mean(misfit * met, side) / share.clamp_min(0.5 / side**2), result)
            there = there | reached
        return result

    def _injection(self, image: Tensor, guide: Tensor, obs: Observation) -> Tensor:
        """Local regression of the bands' detail on the guide's at the image's scale, (b, c g, h, w)."""
        b, c, h, w = image.shape
        g = guide.shape[1]
        mean = obs.instrument["gain"].mean(1, keepdim=True).expand(b, g)
        low = self._measure(guide, obs, mean)
        low, image = (x - local.box_mean(x, HIGH) for x in (low, image))
        if MET in obs.inputs:  # bands that the image lacks are met nowhere
            met = obs.inputs[MET].amax(1, keepdim=True)
            low = low * -F.max_pool2d(-met, HIGH, stride=1, padding=HIGH // 2)
        pairs = torch.cat([low[:, :, None] * low[:, None], low[:, :, None] * image[:, None]], 2).flatten(1, 2)
        moments = local.box_mean(pairs, NEAR) + PRIOR * local.box_mean(pairs, WIDE)
        moments = moments.unflatten(1, (g, g + c)).permute(0, 3, 4, 1, 2)  # b h w g (g + c)
        own, shared = moments[..., :g].double(), moments[..., g:].double()
        spread = own.diagonal(dim1=-2, dim2=-1)
        tiny = torch.finfo(image.dtype).tiny
        own = own + torch.diag_embed(RIDGE * spread + tiny)
        return torch.linalg.solve(own, shared).permute(0, 4, 3, 1, 2).reshape(b, c * g, h, w).to(image)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Local scale of the base, and contrast-free maps of base and guide; see `local.contrast_free`."""
        scene = local.contrast_free(torch.cat([base, obs.inputs["pan"].to(base)], 1))
        return Condition(scale=scene.scale[:, : base.shape[1]], maps=scene.maps)

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Add the interpolated misfit of the degraded estimate, `projections` times."""
        for _ in range(self.settings.projections):
            misfit = obs.inputs["image"] - self.degrade(x, obs)
            x = x + self._interpolate(misfit * obs.inputs[MET] if MET in obs.inputs else misfit, obs)
        return x

    # ---- around the engine ----

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Where the image's band and all of the guide are."""
        return known["image"] & known["pan"].all(0)

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Measure the shift between image and guide in the middle of the scene; warn where it is large.

        Values of any unit will do: nothing but contrast counts.
        """
        shift = measured_shift(image, others["pan"][0], ratio=self.ratio, gain=float(self.nominal.mean()))
        if shift is None:
            log.info("the shift between image and pan is not measured: too little that both show")
            return
        told = f"the image lies {shift.row:+.2f} rows and {shift.col:+.2f} columns off the pan, in pixels of the pan"
        log.info("%s", told)
        if max(abs(shift.row), abs(shift.col)) > MOST_SHIFT:
            warnings.warn(
                f"{told}: edges will show twice; register the images first, unless these are clouds", stacklevel=2
            )

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Classical fusions, for which each band takes the guide band that it resembles most; and the base itself."""
        return {name: partial(self._fused, method=method) for name, method in FUSIONS.items()} | {
            LINEAR: self._whole_base
        }

    def _whole_base(self, obs: Observation) -> Tensor:
        """`base` of a guide that ends within a pixel of the image."""
        image, guide = obs.inputs["image"], obs.inputs["pan"]
        beyond = [self.ratio * low - fine for low, fine in zip(image.shape[2:], guide.shape[2:], strict=True)]
        padded = F.pad(guide, (0, beyond[1], 0, beyond[0]), mode="replicate")
        base = self.base(replace(obs, inputs={"image": image, "pan": padded}))
        return base[..., : guide.shape[2], : guide.shape[3]]

    def _fused(self, obs: Observation, method: Callable[..., NDArray[np.float64]]) -> Tensor:
        results = []
        measured = obs.inputs["image"], obs.inputs["pan"], obs.instrument["gain"]
        images, guides, gains = (x.double().cpu().numpy() for x in measured)
        for image, guide, gain, offset in zip(images, guides, gains, obs.instrument["offset"].tolist(), strict=True):
            fused = registered_fusion.fuse_guides(
                method, image, guide, ratio=self.ratio, offset=(offset[0], offset[1]), gains=gain.tolist()
            )
            results.append(torch.from_numpy(fused))
        return torch.stack(results).to(obs.inputs["image"])
