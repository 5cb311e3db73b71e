"""What the tests of stacks share: numbers, files by others, a profile that says everything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from sciddiff.io.stack_profile import Annotation, Channel, Objective, Spatial, StackProfile, Units


def numbers(shape: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    """Different numbers everywhere, so that no two planes can be mistaken for each other."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def full_profile(dtype: str = "uint16") -> StackProfile:
    """Everything that OME-XML has a place for, of two channels and two frames."""
    return StackProfile(
        dtype,
        (
            Channel("DAPI", "0000FFFF", 461.0, 405.0, 0.125, "Hoechst", {"AcquisitionMode": "WideField"}),
            Channel("GFP <1>", "00FF00FF", 509.5, 488.0, 0.5),
        ),
        "TCZYX",
        pixel_size=Spatial(0.125, 0.25, 0.5),
        pixel_unit=Units("nm", "µm", "mm"),
        position=Spatial(100.0, -200.0, 3.0),
        position_unit=Units("µm", "mm", "µm"),
        time_increment=0.25,
        time_unit="ms",
        times=(0.5, 0.75),
        objective=Objective(1.4, 63.0, "Oil", 1.518, {"Model": "Plan"}),
        name="cells & <more>",
        description="é ü",
        acquired="2024-01-02T03:04:05",
        significant_bits=12 if dtype == "uint16" else None,
        microscope={"Manufacturer": "maker"},
        annotations=(Annotation("lab", (("dye", "β"), ("dish", "3"))),),
    )


def ome_zarr(path: Path, pixels: NDArray[Any], axes: str, *, version: str) -> None:
    """An OME-Zarr written by hand after the text of the specification, with sizes in nanometres."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    group.create_array("s0", data=pixels, chunks=tuple(min(size, 8) for size in pixels.shape))
    kinds = {"T": "time", "C": "channel"}
    units = {"T": {"unit": "second"}, "C": {}}
    told = [
        {"name": letter.lower(), "type": kinds.get(letter, "space"), **units.get(letter, {"unit": "nanometer"})}
        for letter in axes
    ]
    sizes = {"T": 2.0, "C": 1.0, "Z": 500.0, "Y": 200.0, "X": 100.0}
    steps = [{"type": "scale", "scale": [sizes[letter] for letter in axes]}]
    steps += [{"type": "translation", "translation": [0.0 if letter in "TC" else 1000.0 for letter in axes]}]
    scales = {"axes": told, "datasets": [{"path": "s0", "coordinateTransformations": steps}], "name": "by hand"}
    omero = {"channels": [{"label": "red", "color": "FF0000"}, {"label": "green", "color": "00ff00"}]}
    if version == "0.4":
        group.attrs.update({"multiscales": [{"version": version, **scales}], "omero": omero})
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [scales], "omero": omero}


def plain_tiff(path: Path, pixels: NDArray[Any], **told: Any) -> Path:
    """Pages of which nothing is said."""
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack", **told)
    return path


def ome_text(images: Sequence[str], *, uuid: str = "") -> bytes:
    """OME-XML of images that are written out, with an identity of its file if there is one."""
    space = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    own = f' UUID="{uuid}"' if uuid else ""
    return f'<?xml version="1.0" encoding="UTF-8"?><OME {space}{own}>{"".join(images)}</OME>'.encode()


def ome_image(number: int, planes: int, data: str, *, said: str = "", further: str = "") -> str:
    """An image of (planes, 8, 9) uint16 pixels by its number, with `TiffData`, attributes of its pixels, elements."""
    sizes = f'SizeX="9" SizeY="8" SizeZ="{planes}" SizeC="1" SizeT="1" Type="uint16" DimensionOrder="XYZCT"'
    channel = f'<Channel ID="Channel:{number}:0" Name="channel of {number}"/>'
    pixels = f'<Pixels ID="Pixels:{number}" {sizes} {said}>{channel}{data}{further}</Pixels>'
    return f'<Image ID="Image:{number}" Name="image {number}">{pixels}</Image>'
