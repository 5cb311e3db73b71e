"""The engine: one noising process, its preconditioning, schedules, samplers, guidance and keyed noise."""

from sciddiff.diffusion.edit import keeping, partial_way
from sciddiff.diffusion.guide import autoguided, classifier_free, within
from sciddiff.diffusion.noise import keyed_normal
from sciddiff.diffusion.precondition import denoised, draw_angles, state, velocity_target
from sciddiff.diffusion.sample import (
    SAMPLERS,
    Sampler,
    Velocity,
    angle_euler,
    ddim,
    ddpm_ancestral,
    dpmpp_2m,
    heun,
    posterior_mean,
)
from sciddiff.diffusion.schedule import angles, ddpm_betas, log_angles

__all__ = [
    "SAMPLERS",
    "Sampler",
    "Velocity",
    "angle_euler",
    "angles",
    "autoguided",
    "classifier_free",
    "ddim",
    "ddpm_ancestral",
    "ddpm_betas",
    "denoised",
    "dpmpp_2m",
    "draw_angles",
    "heun",
    "keeping",
    "keyed_normal",
    "log_angles",
    "partial_way",
    "posterior_mean",
    "state",
    "velocity_target",
    "within",
]
