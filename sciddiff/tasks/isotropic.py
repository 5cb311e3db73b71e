"""Axial restoration: planes between those of a stack, learned from the sharpness that its planes have."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from sciddiff.baselines import interpolation
from sciddiff.physics import microscope, sensor
from sciddiff.physics.optics import Optics, warn_sampling
from sciddiff.recipe.tasks import Isotropic as Settings
from sciddiff.tasks.base import LINEAR, Input, Observation
from sciddiff.tasks.super_resolution import GAIN_STEP, SuperResolution


class Isotropic(SuperResolution):
    """Super-resolution along the rows of sections in depth: blur along depth, one plane measured of `ratio`.

    In training the sections are planes themselves, blurred and thinned along one axis: what is sharp across them is
    the truth (Weigert et al. 2018, CARE; isotropic reconstruction). See `Task` for what each method does.
    """

    cheap: tuple[str, ...] = ("bicubic", LINEAR)

    def __init__(self, settings: Settings, bands: Sequence[str]):
        super().__init__(settings, bands)
        self.inputs = (Input("image", self.bands),)
        self.depth_ratio = settings.ratio

    def _make_interpolator(self, low: float, high: float) -> interpolation.GainInterpolator:
        return interpolation.LineInterpolator(self.ratio, low=low, high=high, step=GAIN_STEP)

    def _sampling(self, optics: Optics) -> tuple[str, ...]:
        return warn_sampling(optics, z_factor=self.ratio)

    def _gain(self, optics: Optics) -> float:
        gain = microscope.axial_gain(optics)
        return float(self.nominal[0]) if gain is None else gain

    def _measure(self, high: Tensor, *, sigma: Tensor, shift: Tensor | None = None, radius: int) -> Tensor:
        along = None if shift is None else shift[..., 0]
        return sensor.degrade_rows(high, self.ratio, sigma=sigma[..., 0], shift=along, radius=radius)

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Linear and cubic interpolation between planes, and the linear base itself."""
        return {
            "linear_rows": lambda obs: interpolation.linear_rows(obs.inputs["image"], self.ratio),
            "bicubic": lambda obs: interpolation.cubic_rows(obs.inputs["image"], self.ratio),
            LINEAR: self.base,
        }
