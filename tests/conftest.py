"""What several tests share: where the real rasters are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real rasters, or a skip that says how to get it."""
    folder = Path(os.environ.get("SCIDDIFF_REALDATA", ROOT.parent / "shared" / "realdata"))
    if not (folder / "rs").is_dir():
        pytest.skip(f"no real rasters at {folder}; set SCIDDIFF_REALDATA")
    return folder
