"""What a run reports of itself: losses by noise level, validation, one JSON line at each checkpoint."""

import json
import math
from pathlib import Path

from torch import Tensor

LEVELS = (0.0, 0.1, 0.3, 1.0, 3.0, math.inf)
"""Bounds of the noise levels sigma = tan t; the last bin holds the plain regressor too."""
SMOOTHING = 0.99


class Curves:
    """Smoothed losses by noise level and the last validation; `latest` is what progress shows."""

    def __init__(self, path: Path, *, since: int):
        self.path = path
        self.latest: dict[str, float] = {}
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= since]
            path.write_text("".join(line + "\n" for line in lines))

    def add(self, t: Tensor, loss: Tensor) -> None:
        """Take in the angles and losses of a step."""
        for angle, value in zip(t.tolist(), loss.tolist(), strict=True):
            sigma = math.tan(min(angle, math.pi / 2 - 1e-9))
            upper = next(bound for bound in LEVELS[1:] if sigma <= bound)
            name = "mean" if angle > math.pi / 2 - 1e-6 else f"sigma<={upper:g}"
            self.latest[name] = SMOOTHING * self.latest.get(name, value) + (1 - SMOOTHING) * value

    def validated(self, scores: dict[str, float]) -> None:
        """Take in a validation."""
        self.latest.update({f"valid {name}": value for name, value in scores.items()})

    def write(self, step: int, *, seconds: float, rate: float) -> None:
        """Append a line."""
        line = {"step": step, "seconds": round(seconds, 1), "learning_rate": rate, **self.latest}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
