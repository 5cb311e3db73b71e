"""The store of a run: cores as Zarr shards, and a ledger with their checksums.

In the folder of the run, see `runs`, lie `ledger/*.jsonl` (one file a writing process, so that none waits for another)
and a Zarr v3 group for each product with shard = core. A core counts when its line stands in a ledger, and a line is
written after its shards: a kill loses the cores in flight and no more.
"""

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from sciddiff.errors import OutputError
from sciddiff.inference.plan import Plan, Product
from sciddiff.inference.unfilled import Held, held
from sciddiff.io import cog
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.stored import Encoder
from sciddiff.io.stored_stack import StackEncoder
from sciddiff.model.tiles import Tile
from sciddiff.model.windows import Window, span

LEDGER = "ledger"
INNER = 1024
"""Largest side of the chunks inside a shard."""


@dataclass(frozen=True)
class Core:
    """A finished core: for each product its checksum, without and with mask, and what happened to its pixels."""

    number: int
    checksums: Mapping[str, tuple[int, int]]
    holes: Mapping[str, bool]
    clipped: Mapping[str, int]
    partly: Mapping[str, bool]
    held: Held | None
    """See `unfilled.held`; None, too, where the task leaves no gaps."""

    @classmethod
    def of(cls, line: str) -> "Core | None":
        """Return what a ledger says; None for a line that a kill cut short, or for one taken back."""
        try:
            data = json.loads(line)
            pairs = {name: (int(one), int(two)) for name, (one, two) in data["checksums"].items()}
            held = None if data["held"] is None else Held(*data["held"])
            return cls(data["number"], pairs, data["holes"], data["clipped"], data["partly"], held)
        except (ValueError, KeyError, TypeError):
            return None


@dataclass
class Store:
    """The arrays and ledgers of a run, as one process has them open."""

    folder: Path
    plan: Plan
    _arrays: dict[tuple[str, str], Any] = field(default_factory=dict)
    _encoders: dict[str, Encoder | StackEncoder] = field(default_factory=dict)
    _ledger: Any = None

    def encoder(self, product: Product) -> Encoder | StackEncoder:
        """Of the stored numbers of a product."""
        if product.name not in self._encoders:
            profile = product.profile
            if isinstance(profile, StackProfile):
                self._encoders[product.name] = StackEncoder(profile)
            else:
                self._encoders[product.name] = Encoder.of(profile, self.plan.grid)
        return self._encoders[product.name]

    def place(self, product: Product, window: Window) -> tuple[int | slice, ...]:
        """Where a core lies in the array of a product: (band, y, x), or (t, c, z, y, x) of a stack."""
        if not product.is_stack:
            return slice(None), *span(window)
        t, z, *across = (0, 0, *span(window)) if self.plan.layout.frames is None else self.plan.layout.place(window)
        return t, slice(None), z, *across

    def group(self, product: Product) -> Path:
        """Folder of a product's Zarr group."""
        return self.folder / f"{product.name}.zarr"

    def array(self, product: Product, name: str) -> Any:
        """`pixels` or `mask` of a product."""
        if (product.name, name) not in self._arrays:
            path = self.group(product) / (_pixels(product, self.group(product)) if name == "pixels" else name)
            array = zarr.open_array(path, mode="r+", config={"write_empty_chunks": True})
            self._arrays[product.name, name] = array
        return self._arrays[product.name, name]

    def has_mask(self, product: Product) -> bool:
        """Whether cores of a product have a mask."""
        return self.encoder(product).masked

    def put(self, number: int, tile: Tile) -> None:
        """Write a core and its line in the ledger.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        window = tile.window
        rows, cols = span(window)
        line: dict[str, Any] = {"number": number, "checksums": {}, "holes": {}, "clipped": {}, "partly": {}}
        line["held"] = held(np.logical_and.reduce(tile.valid)) if self.plan.left_over else None
        try:
            for item in self.plan.products:
                values = _joined([tile.results[name] for name in item.results])
                valid = _joined([_validity(tile, name) for name in item.results])
                pixels, mask, clipped, partly = self.encoder(item).encode(values, valid, row=window.row, col=window.col)
                self.array(item, "pixels")[self.place(item, window)] = pixels
                if mask is not None:
                    self.array(item, "mask")[rows, cols] = mask
                line["checksums"][item.name] = cog.checksums(pixels, mask)
                line["holes"][item.name] = mask is not None and not bool(mask.all())
                line["clipped"][item.name], line["partly"][item.name] = clipped, partly
            self._write(json.dumps(line))
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror or error}") from error

    def take_back(self, numbers: list[int]) -> None:
        """Count cores as not done: their shards are damaged."""
        for file in sorted((self.folder / LEDGER).glob("*.jsonl")):
            kept = [
                line for line in file.read_text().splitlines() if not ((c := Core.of(line)) and c.number in numbers)
            ]
            replacement = file.with_suffix(".tmp")
            replacement.write_text("".join(f"{line}\n" for line in kept))
            os.replace(replacement, file)

    def done(self) -> dict[int, Core]:
        """Finished cores by number."""
        cores = {}
        for file in sorted((self.folder / LEDGER).glob("*.jsonl")):
            for line in file.read_text(errors="replace").splitlines():
                core = Core.of(line)
                if core is not None:
                    cores[core.number] = core
        return cores

    def intact(self, core: Core) -> bool:
        """Whether a core reads back as it was written."""
        window = self.plan.layout.window(core.number)
        rows, cols = span(window)
        for item in self.plan.products:
            try:
                pixels = self.array(item, "pixels")[self.place(item, window)]
                mask = self.array(item, "mask")[rows, cols] if self.has_mask(item) else None
            except Exception:  # noqa: BLE001 - whatever a codec makes of damaged bytes
                return False
            if cog.checksum(pixels, mask) != core.checksums[item.name][1]:
                return False
        return True

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _write(self, line: str) -> None:
        if self._ledger is None:
            name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
            self._ledger = (self.folder / LEDGER / name).open("w", buffering=1)
        self._ledger.write(line + "\n")


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _validity(tile: Tile, name: str) -> NDArray[np.bool_]:
    """Of a result; further maps have their own bands, and are valid where they are finite."""
    values = tile.results[name]
    return tile.valid if values.shape == tile.valid.shape else np.isfinite(values)


def create_arrays(store: Store, product: Product) -> None:
    """Make the Zarr group of a product: `pixels`, and `mask` where its cores have one.

    Parameters
    ----------
    store
        Of a run that is being made.
    product
        One of its plan's.
    """
    layout, bands = store.plan.layout, product.channels
    side = layout.tile
    inner = next(side // n for n in range(1, side + 1) if side % n == 0 and side // n <= INNER)
    group = zarr.create_group(store.group(product), zarr_format=3)
    dtype = np.dtype(product.profile.dtype)
    common: dict[str, Any] = {"fill_value": 0, "config": {"write_empty_chunks": True}}
    if product.is_stack:
        times, planes = layout.frames or (1, 1)
        shape: tuple[int, ...] = times, bands, planes, *layout.shape
        shards: tuple[int, ...] = 1, bands, layout.deep or 1, side, side
        chunks: tuple[int, ...] = 1, 1, 1, inner, inner
        axes: tuple[str, ...] = "t", "c", "z", "y", "x"
    else:
        shape, shards, chunks = (bands, *layout.shape), (bands, side, side), (1, inner, inner)
        axes = "c" if product.kind == "ome.zarr" else "band", "y", "x"
    group.create_array(
        _pixels(product, store.group(product)),
        shape=shape,
        shards=shards,
        chunks=chunks,
        dtype=dtype,
        dimension_names=axes,
        compressors=_codec(product),
        **common,
    )
    if store.has_mask(product):
        group.create_array(
            "mask",
            shape=store.plan.layout.shape,
            shards=(side, side),
            chunks=(inner, inner),
            dtype="uint8",
            dimension_names=("y", "x"),
            compressors=BloscCodec(cname="zstd", clevel=5),
            **common,
        )


def _codec(product: Product) -> BloscCodec:
    """Small where the store becomes the output; where it is scratch, cheap: it shares its cores with the network.

    Scratch is about as large as the product then. Integers of smooth scenery need an entropy coder for that, floats
    do not gain from one.
    """
    if product.kind.endswith("zarr"):
        return BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
    whole = np.dtype(product.profile.dtype).kind in "iu"
    return BloscCodec(cname="zstd" if whole else "lz4", clevel=1, shuffle="bitshuffle")


def _pixels(product: Product, group: Path) -> str:
    """Name of the array of a product's pixels: as its format has it, or as it is being made so."""
    if product.kind == "zarr" and not product.is_stack:
        return product.variable
    return "0" if product.kind.endswith("zarr") and (group / "0").exists() else "pixels"
