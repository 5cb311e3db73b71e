"""The outputs of a run, and whether they can be written as asked for: found out before anything is computed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sciddiff import io
from sciddiff.errors import OptionError, OutputError
from sciddiff.io import cog
from sciddiff.io.profile import RasterProfile
from sciddiff.io.stack_profile import StackProfile
from sciddiff.io.target import refuse_folder
from sciddiff.model import Model
from sciddiff.model.request import Request


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


def outputs_of(
    model: Model, output: Path, uncertainty: Path | None, extras: Mapping[str, Path], *, request: Request
) -> list[tuple[str, Path, tuple[str, ...]]]:
    """Name, path and results of all outputs.

    Raises
    ------
    OptionError
        They contradict each other or the request.
    """
    named = _outputs(output, uncertainty, request=request)
    return named + _extra_outputs(model, extras, taken=[output, uncertainty])


def _extra_outputs(
    model: Model, extras: Mapping[str, Path], *, taken: Sequence[Path | None]
) -> list[tuple[str, Path, tuple[str, ...]]]:
    unknown = [name for name in extras if name not in model.task.extras]
    if unknown:
        gives = ", ".join(model.task.extras) or "nothing else"
        raise OptionError(f"{model.recipe.name} gives no {', '.join(unknown)}; beside its image it gives {gives}")
    paths = [path.absolute() for path in [*taken, *extras.values()] if path is not None]
    if len(set(paths)) < len(paths):
        raise OptionError(f"two outputs have one path: {', '.join(str(path) for path in paths)}")
    return [(name, path.absolute(), (name,)) for name, path in extras.items()]


def _outputs(output: Path, uncertainty: Path | None, *, request: Request) -> list[tuple[str, Path, tuple[str, ...]]]:
    named: list[tuple[str, Path, tuple[str, ...]]] = [("output", output.absolute(), (request.product,))]
    if uncertainty is not None:
        if request.samples < 2:
            raise OptionError("--uncertainty needs the spread of samples: add --samples 8 --steps 3, say")
        if uncertainty.absolute() == output.absolute():
            raise OptionError(f"--uncertainty and --output are both {output}")
        named.append(("uncertainty", uncertainty.absolute(), ("std", "lower", "upper")))
    return named
