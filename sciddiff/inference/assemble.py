"""From the store to files: each product is joined, read back against the ledger, and moved to its path when whole."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from rasterio.windows import Window

from sciddiff.errors import InterruptedRun, OutputError
from sciddiff.inference.plan import Plan, Product
from sciddiff.inference.publish import publish_run
from sciddiff.inference.store import Core, Store
from sciddiff.inference.unfilled import unfilled
from sciddiff.io import cog
from sciddiff.io.profile import RasterProfile, RasterWarning
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.stored import Encoder
from sciddiff.io.virtual import virtual_raster
from sciddiff.model.windows import Window as Place
from sciddiff.model.windows import span


class DamagedStore(OutputError):
    """Cores of a run do not read back as they were written; they count as not done now."""


def assemble_run(store: Store, *, overwrite: bool, stop: Callable[[], str | None] = lambda: None) -> None:
    """Write every product of a run whose cores are all there, then remove the run.

    Parameters
    ----------
    store
        Of the run; the caller holds its lock.
    overwrite
        Whether outputs that are there may be replaced.
    stop
        Looked at between cores: the name of a signal ends it; the same command continues.

    Raises
    ------
    OutputError
        Cores are missing, or an output cannot be written or reads back differently.
    DamagedStore
        Cores are damaged and must be computed again.
    InterruptedRun
        `stop` said so.
    """
    cores = store.done()
    missing = store.plan.layout.count - len(cores)
    if missing:
        raise OutputError(
            f"{store.folder}: {missing} of {store.plan.layout.count} cores are missing; "
            "run the shards that did not end, then assemble again"
        )

    def check() -> None:
        if (name := stop()) is not None:
            raise InterruptedRun(f"stopped by {name} while joining; the same command continues")

    ready = {}
    for product in store.plan.products:
        try:
            ready[product.name] = _join(store, product, cores, check)
        except OutputError as error:
            _blame_store(store, cores, error)
            raise
    publish_run(store, ready, overwrite=overwrite)
    if store.plan.left_over:
        _warn_unfilled(store.plan, cores)


def _warn_unfilled(plan: Plan, cores: Mapping[int, Core]) -> None:
    """Say how much of a result stayed without a value between values."""
    left = unfilled(plan.layout, {number: core.held for number, core in cores.items()})
    if left:
        share = 100 * left / math.prod((*plan.layout.shape, *(plan.layout.frames or ())))
        told = f"{left} pixels ({share:.3g} %) stay without a value: {plan.left_over}"
        warnings.warn(f"{plan.products[0].path.name}: {told}", RasterWarning, stacklevel=3)


def _blame_store(store: Store, cores: Mapping[int, Core], error: OutputError) -> None:
    damaged = [number for number, core in cores.items() if not store.intact(core)]
    if damaged:
        store.take_back(damaged)
        raise DamagedStore(
            f"{store.folder}: {len(damaged)} cores were damaged on disk and must be computed again: "
            "give the predict command once more"
        ) from error


def _join(store: Store, product: Product, cores: Mapping[int, Core], check: Callable[[], None]) -> Path:
    """Write a product inside the run's folder and read it back; its path."""
    check()
    clipped = sum(core.clipped[product.name] for core in cores.values())
    if isinstance(product.profile, StackProfile):
        path = (_stack_zarr if product.kind.endswith("zarr") else _stack_tiff)(store, product, cores, check)
        if clipped:
            told = f"{product.path.name}: {clipped} values were clipped to the range of {product.profile.dtype}"
            warnings.warn(told, RasterWarning, stacklevel=2)
        return path
    holes = store.has_mask(product) and any(core.holes[product.name] for core in cores.values())
    encoder = cast(Encoder, store.encoder(product))
    profile = replace(encoder.profile, mask=product.profile.mask or holes)
    joined = {"tif": _geotiff, "ome.tif": _ome_tiff, "zarr": _zarr, "ome.zarr": _zarr}[product.kind]
    path = joined(store, product, profile, cores, check)
    partly = any(core.partly[product.name] for core in cores.values())
    added = holes and not product.profile.mask
    cog.report(profile, name=product.path.name, clipped=clipped, partly=partly, masked=added)
    return path


def _geotiff(
    store: Store, product: Product, profile: RasterProfile, cores: Mapping[int, Core], check: Callable[[], None]
) -> Path:
    plan, final = store.plan, store.folder / f"{product.name}.tif"
    template = store.folder / f"{product.name}.template.tif"
    options = plan.creation_options
    with cog.guarded(product.path):
        cog.create(template, profile, plan.grid, provenance=plan.provenance).close()
        cog.settle_gcps(template, profile)
        pixels = store.array(product, "pixels")
        mask = store.array(product, "mask") if profile.mask else None
        with virtual_raster(
            template, pixels, mask, chunk=pixels.chunks[-1], profile=profile, provenance=plan.provenance
        ) as source:
            cog.copy(source, final, profile, options=options)
        template.unlink()
        windows = (
            (Window(w.col, w.row, w.width, w.height), core.checksums[product.name][profile.mask])
            for w, core in ((plan.layout.window(number), core) for number, core in sorted(cores.items()))
        )
        cog.verify(final, profile, windows, name=product.path, options=options, stop=check)
    return final


def _ome_tiff(
    store: Store, product: Product, profile: RasterProfile, cores: Mapping[int, Core], check: Callable[[], None]
) -> Path:
    from sciddiff.io.ome import read_stored_ome, write_ome_tiff

    plan, final = store.plan, store.folder / f"{product.name}.ome.tif"
    with cog.guarded(product.path):
        write_ome_tiff(
            store.array(product, "pixels"),
            store.array(product, "mask") if profile.mask else None,
            final,
            grid=plan.grid,
            profile=profile,
            provenance=plan.provenance,
            options=plan.creation_options,
            check=check,
        )
        _compare(product, cores, store, lambda window: read_stored_ome(final, *span(window)), check, mask=profile.mask)
    return final


def _zarr(
    store: Store, product: Product, profile: RasterProfile, cores: Mapping[int, Core], check: Callable[[], None]
) -> Path:
    from sciddiff.io.zarr import finish_ome_zarr, finish_zarr

    with cog.guarded(product.path):
        _compare(product, cores, store, partial(_stored, store, product, profile.mask), check, mask=profile.mask)
        finish = finish_ome_zarr if product.kind == "ome.zarr" else finish_zarr
        finish(
            store.group(product),
            grid=store.plan.grid,
            profile=profile,
            provenance=store.plan.provenance,
            variable=product.variable,
        )
    return store.group(product)


def _stored(store: Store, product: Product, masked: bool, window: Place) -> tuple[Any, Any]:
    mask = store.array(product, "mask")[span(window)] if masked else None
    return store.array(product, "pixels")[store.place(product, window)], mask


def _stack_tiff(store: Store, product: Product, cores: Mapping[int, Core], check: Callable[[], None]) -> Path:
    from sciddiff.io.stack_files import read_stack_window
    from sciddiff.io.stack_write import write_stack_ome_tiff

    plan, final = store.plan, store.folder / f"{product.name}.ome.tif"

    def read(window: Place) -> tuple[Any, Any]:
        t, c, z, rows, cols = store.place(product, window)
        return read_stack_window(final, t, c, z, cast(slice, rows), cast(slice, cols)), None

    with cog.guarded(product.path):
        write_stack_ome_tiff(
            store.array(product, "pixels"),
            final,
            profile=cast(StackProfile, product.profile),
            provenance=plan.provenance,
            options=plan.creation_options,
            check=check,
        )
        _compare(product, cores, store, read, check)
    return final


def _stack_zarr(store: Store, product: Product, cores: Mapping[int, Core], check: Callable[[], None]) -> Path:
    from sciddiff.io.stack_write import finish_stack_ome_zarr

    with cog.guarded(product.path):
        _compare(product, cores, store, partial(_stored, store, product, False), check)
        finish_stack_ome_zarr(
            store.group(product),
            profile=cast(StackProfile, product.profile),
            provenance=store.plan.provenance,
            options=store.plan.creation_options,
            check=check,
        )
    return store.group(product)


def _compare(
    product: Product,
    cores: Mapping[int, Core],
    store: Store,
    read: Callable[[Place], tuple[Any, Any]],
    check: Callable[[], None],
    *,
    mask: bool = False,
) -> None:
    """Raise unless every core reads back as it was written."""
    for number, core in sorted(cores.items()):
        check()
        window = store.plan.layout.window(number)
        if cog.checksum(*read(window)) != core.checksums[product.name][mask]:
            where = f"row {window.row}, column {window.col}"
            where += f", plane {window.frame}" if product.is_stack else ""
            raise OutputError(f"{product.path}: pixels at {where} read back differently: nothing is kept")
