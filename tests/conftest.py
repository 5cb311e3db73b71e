"""What several tests share: where the real rasters are."""

import os
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread each, for what they start too: processes that share the cores wait for each other's threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real rasters, or a skip that says how to get it."""
    folder = Path(os.environ.get("SCIDDIFF_REALDATA", ROOT.parent / "shared" / "realdata"))
    if not (folder / "rs").is_dir():
        pytest.skip(f"no real rasters at {folder}; set SCIDDIFF_REALDATA")
    return folder
