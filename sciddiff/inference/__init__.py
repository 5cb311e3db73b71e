"""Prediction of rasters of any size: plan, predict, assemble."""

from sciddiff.inference.files import plan_file, predict_file
from sciddiff.inference.plan import Plan
from sciddiff.inference.simulate import simulate_file

__all__ = ["Plan", "plan_file", "predict_file", "simulate_file"]
