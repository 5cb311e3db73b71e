"""Whether a model file can be used."""

from pathlib import Path
from typing import Any

import torch

from sciddiff.errors import SciddiffError
from sciddiff.model.file import load, read_header


def check_model(path: Path, *, deep: bool = False) -> dict[str, Any]:
    """What a model file is and what is wrong with it.

    Parameters
    ----------
    path
        Of the file.
    deep
        Load the weights and look at every one.

    Returns
    -------
    dict
        With `problems`, a list of sentences.
    """
    problems: list[str] = []
    result: dict[str, Any] = {"kind": "model", "path": str(path), "problems": problems, "notes": []}
    try:
        read_header(path)
        if deep:
            weights = load(str(path)).network.state_dict()
            odd = [name for name, value in weights.items() if not torch.isfinite(value).all()]
            problems += [f"weights {name} are not finite: train again, or fetch the file again" for name in odd]
    except SciddiffError as error:
        problems.append(str(error))
    return result
