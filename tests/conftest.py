"""Fixtures that several tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("lmk", deadline=None)  # a busy machine is no mistake
settings.load_profile("lmk")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights; a test that needs it skips where it is missing."""
    folder = Path(os.environ.get("LMK_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs real photos in {folder} (set LMK_SHARED)")
    return folder
