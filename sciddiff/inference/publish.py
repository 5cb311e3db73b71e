"""Whole products to their paths: what says so is written first, so that the same command ends what a kill began.

`published.json` names for each product the file or folder that was made in the run's folder, its identity, and its
path. As long as each of them is at one of its two places, publishing can be ended without the model or its inputs.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sciddiff.errors import OutputExistsError
from sciddiff.inference.runs import DETECTED, PLAN, PUBLISHED, locked, read_plan, remove, sweep
from sciddiff.inference.store import Store
from sciddiff.io import cog
from sciddiff.io.target import sync


@dataclass(frozen=True)
class Item:
    """A whole product: what it is called, where it was made, where it goes, and what renaming does not change of it."""

    name: str
    staged: Path
    path: Path
    identity: list[int]

    @property
    def arrived(self) -> bool:
        """Whether it is at its path."""
        return _identity(self.path) == self.identity

    @property
    def waits(self) -> bool:
        """Whether it is still where it was made."""
        return _identity(self.staged) == self.identity


@dataclass(frozen=True)
class Published:
    """A run whose products are whole: some or all of them are at their paths."""

    folder: Path
    asked: Mapping[str, Any]
    """See `key.asked`."""
    provenance: Mapping[str, str]
    items: tuple[Item, ...]

    @property
    def whole(self) -> bool:
        """Whether all products are at their paths, and only the run is left to be removed."""
        return all(item.arrived for item in self.items)


def publish_run(store: Store, ready: Mapping[str, Path], *, overwrite: bool) -> None:
    """Move whole products to their paths and remove the run.

    Parameters
    ----------
    store
        Of the run.
    ready
        For each product by name, where it was made.
    overwrite
        Whether outputs that are there may be replaced.

    Raises
    ------
    OutputExistsError
        One is there and may not; nothing has been moved then.
    """
    plan, folder = store.plan, store.folder
    for product in plan.products:
        refuse_existing(product.path, overwrite=overwrite)
    found = [name for name, paths in plan.inputs.items() if any(folder / DETECTED in Path(p).parents for p in paths)]
    inputs = {name: stamps for name, stamps in plan.key["input"].items() if name not in found}
    items = tuple(Item(item.name, ready[item.name], item.path, _identity(ready[item.name])) for item in plan.products)
    published = Published(folder, {**plan.key, "input": inputs}, plan.provenance, items)
    _record(published)
    finish(published, overwrite=overwrite)


def read_published(folder: Path) -> Published | None:
    """Return how far the publishing of a run is; None where it has not begun, or where its products are gone.

    Parameters
    ----------
    folder
        Of the run.
    """
    try:
        data = json.loads((folder / PUBLISHED).read_text())
        items = tuple(
            Item(each["name"], folder / each["staged"], folder.parent / each["path"], each["identity"])
            for each in data["items"]
        )
        published = Published(folder, data["asked"], data["provenance"], items)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return published if all(item.arrived or item.waits for item in items) else None


def end_published(folder: Path, asked: Callable[[], Mapping[str, Any]] | None, *, overwrite: bool) -> dict[str, str]:
    """End the publishing of a run that a kill interrupted, if one is there.

    Parameters
    ----------
    folder
        Of the run.
    asked
        Gives what is asked for now, see `key.asked`: a run that was to give something else is only removed, if all
        its products are at their paths. None: whatever the run was to give is wanted.
    overwrite
        Whether outputs that are there may be replaced.

    Returns
    -------
    dict
        Paths by name; empty where nothing, or nothing of what is asked for, was published.

    Raises
    ------
    OutputError
        Another process holds the run.
    OutputExistsError
        An output came to a path meanwhile and may not be replaced.
    """
    sweep(folder)
    if not (folder / PUBLISHED).exists():
        return {}
    published = read_published(folder)
    wanted = {} if asked is None or published is None else asked()
    same = published is not None and all(published.asked.get(name) == value for name, value in wanted.items())
    if published is not None and not same and not published.whole:
        return {}
    with locked(folder, alone=True):
        if published is None:
            _forget(folder)
            return {}
        paths = finish(published, overwrite=overwrite)
    return paths if same else {}


def _forget(folder: Path) -> None:
    """Let a run be continued whose product was published and is gone: from its cores, where they are all there.

    A Zarr group leaves the run when it is published, and its cores with it.
    """
    if (folder / PLAN).exists():
        names = [item["name"] for item in read_plan(folder)["products"]]
        if not all((folder / f"{name}.zarr").exists() for name in names):
            (folder / PLAN).unlink()
    (folder / PUBLISHED).unlink(missing_ok=True)


def finish(published: Published, *, overwrite: bool) -> dict[str, str]:
    """Move what is not at its path yet, and remove the run; the paths by name.

    Parameters
    ----------
    published
        Of a run whose lock the caller holds.
    overwrite
        Whether outputs that are there may be replaced.

    Raises
    ------
    OutputExistsError
        One came there since and may not be replaced.
    """
    for item in published.items:
        if item.arrived:
            continue
        refuse_existing(item.path, overwrite=overwrite)
        _write_provenance(item.path, published.provenance)
        if item.staged.is_dir():
            _publish_folder(item.staged, item.path)
        else:
            cog.publish(item.staged, item.path, overwrite=overwrite)
    remove(published.folder)
    return {item.name: str(item.path) for item in published.items}


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise if an output is there and may not be replaced.

    Raises
    ------
    OutputExistsError
        It is.
    """
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(f"{path} exists; pass --overwrite to replace it")


def _record(published: Published) -> None:
    """Write `published.json`; paths in the run's folder and beside it are kept as names, for a run that is moved."""
    folder, beside = published.folder, published.folder.absolute().parent
    items = [
        {
            **asdict(item),
            "staged": item.staged.name,
            "path": item.path.name if item.path.parent == beside else str(item.path),
        }
        for item in published.items
    ]
    draft = folder / f"{PUBLISHED}.tmp"
    draft.write_text(
        json.dumps({"asked": published.asked, "provenance": dict(published.provenance), "items": items}, indent=2)
    )
    sync(draft)
    os.replace(draft, folder / PUBLISHED)
    if os.name == "posix":  # elsewhere folders cannot be opened
        sync(folder)


def _publish_folder(whole: Path, path: Path) -> None:
    former = whole.with_name(f"{whole.name}.former")
    if path.is_symlink() or path.is_file():  # no folder can be renamed to it
        path.unlink()
    elif path.exists():
        shutil.rmtree(former, ignore_errors=True)
        os.rename(path, former)
    os.rename(whole, path)
    shutil.rmtree(former, ignore_errors=True)


def _write_provenance(path: Path, provenance: Mapping[str, str]) -> None:
    beside = path.with_name(f"{path.name}.json")
    draft = beside.with_name(f".{beside.name}.tmp")
    draft.write_text(json.dumps({name.lower(): text for name, text in provenance.items()}, indent=2) + "\n")
    os.replace(draft, beside)


def _identity(path: Path) -> list[int]:
    """What stays the same when a file or folder is renamed; empty where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_ino, stat.st_size if path.is_file() else 0, stat.st_mtime_ns if path.is_file() else 0]
