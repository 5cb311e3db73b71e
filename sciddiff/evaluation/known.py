"""Scenes whose truth is known: simulated of a clean one, or in a folder beside what was measured of them."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.inference.simulate import simulate_file, simulate_image
from sciddiff.io.scene import files_of
from sciddiff.model import Model
from sciddiff.model.fit import of_any_size
from sciddiff.training.levels import brought_onto

IMAGE = re.compile(r"(\w+)\.(?:ome\.)?(?:tiff?|zarr)")
"""A file of a folder that holds the truth and what was measured of it."""
TRUTH = "target"


@dataclass(frozen=True)
class Known:
    """What was measured of a scene, or simulated, and the truth on the grid of the result.

    Attributes
    ----------
    image
        The task's main image.
    others
        Its other inputs by name.
    truth
        In the unit of the image.
    simulated
        Whether its pixels may have a size that the model is not for: those of a simulated image are what they are.
    """

    image: xr.DataArray
    others: Mapping[str, Sequence[xr.DataArray]]
    truth: xr.DataArray
    simulated: bool

    def hidden(self) -> NDArray[np.bool_] | None:
        """Pixels of which the truth is known and the image tells nothing, (h, w); None where it tells of all."""
        (_, known), (_, measured) = (_read(each) for each in (self.truth, self.image))
        if measured.shape != known.shape:
            return None
        hidden: NDArray[np.bool_] = np.logical_or.reduce(known & ~measured)
        for mask in self.others.get("mask", ()):
            hidden |= np.logical_or.reduce(_read(mask)[0] != 0)
        return hidden if hidden.any() else None

    def model(self, model: Model) -> Model:
        """One that takes pixels of any size where the image was simulated."""
        if not self.simulated:
            return model
        return replace(model, recipe=of_any_size(model.recipe))


def known_scene(model: Model, scene: str, scratch: Path) -> Known:
    """What lies in a folder, or is simulated of a clean scene.

    Parameters
    ----------
    model
        Whose task it is for. Of denoising the gain and offset of a folder's target to its image are fitted.
    scene
        Path of a folder with `target` and the task's inputs by name, such as `image.tif`, `pan.tif`, `date_1.tif`, as
        `simulate_file` writes them; or of a clean scene, of which the nominal instrument's images are simulated.
    scratch
        Folder that these go into.

    Raises
    ------
    InputError
        The scene does not fit the model, or a folder lacks what it should hold.
    """
    files = files_in(scene)
    simulated = TRUTH not in files
    _warn_trained(model, scene, scene if simulated else files[TRUTH])
    if simulated:
        files = {name: str(path) for name, path in simulate_file(model.recipe, scene, scratch).items()}
    return known_files(model, files, simulated=simulated)


def known_image(model: Model, clean: xr.DataArray) -> Known:
    """What the nominal instrument measures of a clean image, without noise, in memory.

    Parameters
    ----------
    model
        Whose forward model and bands are taken.
    clean
        (band, y, x), of any pixel size; the truth is it, cut to whole pixels of the main input.

    Raises
    ------
    InputError
        A band is missing, nothing is valid, or the image is smaller than one pixel of the main input.
    """
    return _known(model, simulate_image(model.recipe, clean), simulated=True)


def known_files(model: Model, files: Mapping[str, str], *, simulated: bool) -> Known:
    """The same of files by name.

    Parameters
    ----------
    model
        Whose task it is for.
    files
        Paths by name: `target`, and the task's inputs; those of one input are numbered.
    simulated
        See `Known`.

    Raises
    ------
    InputError
        One is missing.
    """
    wanted = re.compile(rf"{TRUTH}|({'|'.join(spec.name for spec in model.task.inputs)})(_\d+)?")
    images = {name: io.open(path) for name, path in files.items() if wanted.fullmatch(name)}
    return _known(model, images, simulated=simulated)


def _known(model: Model, images: Mapping[str, xr.DataArray], *, simulated: bool) -> Known:
    task, truth = model.task, images[TRUTH]
    main, *others = (
        [image for name, image in images.items() if re.fullmatch(rf"{spec.name}(_\d+)?", name)] for spec in task.inputs
    )
    if len(main) != 1:
        raise InputError(f"holds a {TRUTH} and {len(main) or 'no'} {task.inputs[0].name}, expected one of each")
    if not simulated and task.counts_electrons:
        truth = _in_unit_of(main[0], truth)
    given = {spec.name: found for spec, found in zip(task.inputs[1:], others, strict=True) if found}
    return Known(main[0], given, truth, simulated)


def files_in(scene: str) -> dict[str, str]:
    """Images of a folder by the names that they have there; none of what is a scene itself.

    Parameters
    ----------
    scene
        Its path.
    """
    if not Path(scene).is_dir():
        return {}
    found = {match[1]: str(path) for path in Path(scene).iterdir() if (match := IMAGE.fullmatch(path.name))}
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def _in_unit_of(image: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    found = brought_onto(truth, image) if truth.shape == image.shape else None
    if found is None:
        raise InputError(f"{TRUTH} and image show nothing in common, or differ in size")
    return found


def _warn_trained(model: Model, scene: str, truth: str) -> None:
    trained_on = model.record.get("provenance", {}).get("trained_on", [])
    if any(path.resolve().name in trained_on for path in files_of(truth)):
        warnings.warn(f"{scene}: {model.recipe.name} was trained on it, and may err more elsewhere", stacklevel=4)


def _read(image: xr.DataArray) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    return io.read_window(image, slice(None), slice(None))
