"""Shared fixtures: where genuine data lie, and small twin granules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of genuine satellite data, named by IS2ICE_REAL_DATA or beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
    folder = Path(os.environ.get("IS2ICE_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no genuine data at {folder}; set IS2ICE_REAL_DATA to the folder that holds them")
    return folder
