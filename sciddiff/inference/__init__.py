"""Prediction of rasters of any size: plan, predict, assemble."""

from sciddiff.inference.files import assemble_file, plan_file, predict_file
from sciddiff.inference.plan import Plan
from sciddiff.inference.runs import check_run, describe_run
from sciddiff.inference.shards import parse_shard, slurm_shard
from sciddiff.inference.simulate import simulate_file
from sciddiff.inference.synthesize import synthesize
from sciddiff.inference.wish import Wish, find_masks

__all__ = [
    "Plan",
    "Wish",
    "assemble_file",
    "check_run",
    "describe_run",
    "find_masks",
    "parse_shard",
    "plan_file",
    "predict_file",
    "simulate_file",
    "slurm_shard",
    "synthesize",
]
