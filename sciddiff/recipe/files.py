"""From what a recipe calls its data to the rasters on this computer."""

import glob
import os
import re
from pathlib import Path

from sciddiff.errors import RecipeError

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")


def expand_variables(text: str) -> str:
    """
    Replace each `${NAME}` by the environment variable.

    Parameters
    ----------
    text : str
        A path as a recipe has it.

    Raises
    ------
    RecipeError
        Naming every variable that is not set.
    """
    names = re.findall(r"\$\{(\w+)\}", text)
    unset = [name for name in dict.fromkeys(names) if name not in os.environ]
    if unset:
        names_are = f"{' and '.join(unset)} {'is' if len(unset) == 1 else 'are'}"
        raise RecipeError(f"got {text!r}, but {names_are} not set in the environment; e.g. export {unset[0]}=/data")
    return re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], text)


def find_rasters(text: str, folder: Path) -> list[Path]:
    """
    Find the rasters that a recipe's path means.

    Parameters
    ----------
    text : str
        A file, a folder (its rasters, not those of folders below) or a glob (`**` for folders below).
    folder : pathlib.Path
        What a relative path is relative to.

    Returns
    -------
    list of pathlib.Path
        Absolute paths, sorted; one or more.

    Raises
    ------
    RecipeError
        When nothing is found there.
    """
    path = Path(os.path.abspath(folder / Path(expand_variables(text)).expanduser()))  # keeps links
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if child.suffix.lower() in RASTER_SUFFIXES)
    else:
        matches = map(Path, glob.glob(str(path), recursive=True))
        found = sorted(match for match in matches if match.is_file())
    if not found:
        expected = f"rasters ({', '.join(RASTER_SUFFIXES)}) in it" if path.is_dir() else "a file, a folder or a glob"
        raise RecipeError(f"got {text!r}, which finds nothing at {path}; expected {expected}")
    return found
