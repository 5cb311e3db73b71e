"""Whether the outputs of a run can be written as they are asked for: found out before anything is computed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sciddiff import io
from sciddiff.errors import OptionError, OutputError
from sciddiff.io import cog
from sciddiff.io.profile import RasterProfile
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.target import refuse_folder


def refuse_outputs(outputs: Sequence[tuple[Path, RasterProfile | StackProfile]], options: Mapping[str, str]) -> None:
    """Raise if an output cannot be written.

    Parameters
    ----------
    outputs
        Path and profile of each; beside the first one the run is kept.
    options
        Creation options, for those that are files.

    Raises
    ------
    OutputError
        A suffix, a type of pixels, or a place that will not do.
    OptionError
        A creation option that the format does not know.
    """
    kinds = [io.kind_of(path) for path, _ in outputs]
    stacks = all(isinstance(profile, StackProfile) for _, profile in outputs)
    if options and all(kind.endswith("zarr") for kind in kinds) and not stacks:
        raise OptionError(f"--co {next(iter(options))}: Zarr stores take no creation options")
    for (path, profile), kind in zip(outputs, kinds, strict=True):
        _refuse_place(path, kind, beside=outputs[0][0])
        if isinstance(profile, StackProfile):
            _refuse_stack(path, kind, profile, options)
        elif kind == "ome.tif":
            from sciddiff.io.ome import layout_of

            layout_of(path, profile, options)
        elif kind == "tif":
            cog.refuse_options(path, profile, options)


def _refuse_place(path: Path, kind: str, *, beside: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    refuse_folder(path, kind)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: cannot be written: no permission for the folder {path.parent}")
    if path.parent.stat().st_dev != beside.parent.stat().st_dev:
        raise OutputError(
            f"{path}: is on another disk than {beside}; whole outputs are renamed to their paths: put them on one disk"
        )


def _refuse_stack(path: Path, kind: str, profile: StackProfile, options: Mapping[str, str]) -> None:
    from sciddiff.io.ome import layout_of
    from sciddiff.io.stack_write import ngff_version

    if kind.endswith("zarr"):
        ngff_version(options)
    else:
        layout_of(path, profile, options)
