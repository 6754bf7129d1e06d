"""Bytes of disk: how many there are for what a run stores, and how people write them."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from lmk.util.errors import UsageError
from lmk.util.files import nearest_there

SPARED = 0.1
"""Share of the free disk that is left alone."""
IN_A_KERNEL = 18e9
"""Bytes that a Kaggle kernel may store: its output ends at 20 GB, and results and weights want some, too."""
_UNITS = {"": 1.0, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def parse_size(text: str) -> float:
    """Bytes of a size as people write it: 18GB, 500 MB, 1.5TB.

    Raises:
        UsageError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B?)\s*", text.upper())
    unit = found and (found[2] if found[2].endswith("B") or not found[2] else f"{found[2]}B")
    if not found or not float(found[1]):
        raise UsageError(f"'{text}' is no size. Write a number with a unit, such as 18GB.")
    return float(found[1]) * _UNITS[str(unit)]


def disk_for(folder: Path) -> float:
    """Bytes that a run may store in a folder that may be there: what is free and what it holds, less a tenth.

    What lies there already counts as free, so that a run that goes on is planned as it was begun.
    """
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return IN_A_KERNEL
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return (1 - SPARED) * (shutil.disk_usage(nearest_there(folder)).free + held)
