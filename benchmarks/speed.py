"""What steps and tiles cost in processor time, as ratios within one run: seconds of one machine say little of another.

    python benchmarks/speed.py [MODEL]

Without a model: `sr_sentinel2_x4` with random weights.
"""

import sys
import time

import numpy as np
import torch

from sciddiff.model import Model, build, load
from sciddiff.recipe import find_recipe, load_recipe

SIDE = 80
"""Of the input in pixels."""
REPEATS = 2


def seconds(model: Model, image: np.ndarray, *, steps: int = 1, tile: int | None = None) -> float:
    """Least processor time of a few runs."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        model.predict(image, steps=steps, tile=tile)
        times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    """Measure and print."""
    model = load(sys.argv[1]) if len(sys.argv) > 1 else build(load_recipe(find_recipe("sr_sentinel2_x4")))
    rng = np.random.default_rng(0)
    image = rng.standard_normal((len(model.task.bands), SIDE, SIDE)).astype(np.float32)
    out = SIDE * model.task.inputs[0].ratio
    model.predict(image)  # the first run solves filters and warms caches
    base = seconds(model, image)
    parameters = sum(value.numel() for value in model.network.parameters())
    print(f"{model.recipe.name}: {parameters / 1e6:.2f} M parameters, {torch.get_num_threads()} threads")
    print(f"posterior mean of {out} x {out} pixels: {base:.2f} s of processor time, the unit of what follows\n")
    print(f"{'steps':>8} {'time':>6}   of one sample, the mean included")
    for steps in (1, 2, 3, 5, 8):
        print(f"{steps:>8} {seconds(model, image, steps=steps) / base:6.2f}")
    print(f"\n{'tile':>8} {'time':>6}   of the mean; the halo is computed with each tile")
    for tile in (64, 160, 320):
        print(f"{tile:>8} {seconds(model, image, tile=tile) / base:6.2f}")


if __name__ == "__main__":
    main()
