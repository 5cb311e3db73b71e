"""From tiles to files: products are written as tiles arrive, and appear at their path when they are whole."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sciddiff import io
from sciddiff.inference.plan import Plan
from sciddiff.model.tiles import Tile

UNCERTAINTY = ("std", "lower", "upper")


@dataclass(frozen=True)
class Product:
    """One output file: which results become its bands."""

    path: Path
    results: tuple[str, ...]


def assemble(
    plan: Plan,
    tiles: Iterable[Tile],
    products: Sequence[Product],
    *,
    overwrite: bool,
    creation_options: Mapping[str, str],
    provenance: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write every product of a run; none appears before all its tiles were written and read back.

    Parameters
    ----------
    plan
        Of the run.
    tiles
        All tiles of the plan, in any order.
    products
        What goes where.
    overwrite
        Whether a file that is there may be replaced.
    creation_options
        For GDAL's driver.
    provenance
        Tags of the `SCIDDIFF` namespace.
    progress
        Called with (tiles done, tiles) after each.
    """
    count = len(plan.layout.windows)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                _writer(plan, product, overwrite=overwrite, options=creation_options, provenance=provenance)
            )
            for product in products
        ]
        for done, tile in enumerate(tiles, 1):
            for product, writer in zip(products, writers, strict=True):
                _write(product, writer, tile)
            if progress is not None:
                progress(done, count)


def _writer(
    plan: Plan, product: Product, *, overwrite: bool, options: Mapping[str, str], provenance: Mapping[str, str]
) -> io.RasterWriter:
    names = [str(name) for name in plan.fitted.image.band.values]
    profile: io.RasterProfile | None = plan.profile
    if len(product.results) > 1:
        names = [f"{name}_{result}" for result in product.results for name in names]
        profile = None
    return io.RasterWriter(
        product.path,
        grid=io.grid_of(plan.fitted.image).zoom_to(plan.layout.shape),
        bands=names,
        profile=profile,
        overwrite=overwrite,
        creation_options=dict(options),
        provenance=dict(provenance),
    )


def _write(product: Product, writer: io.RasterWriter, tile: Tile) -> None:
    values = np.concatenate([tile.results[name] for name in product.results])
    valid = np.concatenate([tile.valid] * len(product.results))
    writer.write(values, valid, row=tile.window.row, col=tile.window.col)
