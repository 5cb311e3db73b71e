"""Learning from rasters: patches, loop, ema, checkpoint, validation."""

from sciddiff.training.loop import train

__all__ = ["train"]
