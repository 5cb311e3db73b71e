"""How wide a halo must be: change of a tile's core, in spreads of the residual, by the halo that it sees.

    python benchmarks/halo.py [MODEL]

Without a model: `sr_sentinel2_x4` with random weights.
"""

import sys

from sciddiff.model import build, load
from sciddiff.recipe import find_recipe, load_recipe
from sciddiff.training.halo import halo_table


def main() -> None:
    """Measure and print."""
    model = load(sys.argv[1]) if len(sys.argv) > 1 else build(load_recipe(find_recipe("sr_sentinel2_x4")))
    print(f"{model.recipe.name}: radius {model.radius} pixels, that of the network {model.network.radius}")
    for halo, error in halo_table(model).items():
        print(f"{halo:>6} px {error:9.1e}")


if __name__ == "__main__":
    main()
