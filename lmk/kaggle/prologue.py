"""The first lines of every pushed kernel: they unpack lmk, which the script carries, and let Python find it.

The file's text goes into the script as it stands, so it needs nothing but Python itself.
"""

import base64
import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib import metadata
from pathlib import Path

NEEDED = ("cv2", "filelock", "joblib", "keras", "numpy", "pandas", "pyarrow", "rich", "scipy", "sklearn", "typer")
"""Modules that lmk imports; a kernel's image may lack one, and an attached dataset of wheels brings it."""


def unpack_lmk(payload: str, digest: str, seconds: float) -> Path:
    """Unpack the carried lmk into a folder named by its digest and put it first on Python's path.

    Args:
        payload: A zip of lmk's sources, base64.
        digest: Digest of the payload's bytes, SHA-256.
        seconds: The session's limit, counted from here; training stops before it.

    Raises:
        SystemExit: The payload was changed or cut short, or a module is missing and no wheel brings it.
    """
    packed = base64.b64decode(payload)
    if hashlib.sha256(packed).hexdigest() != digest:
        raise SystemExit("The lmk in this script is damaged. Push the kernel again.")
    folder = Path(tempfile.gettempdir(), f"lmk-bundle-{digest[:12]}-{os.getpid()}")
    zipfile.ZipFile(io.BytesIO(packed)).extractall(folder)
    sys.path.insert(0, str(folder))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)  # for processes that this one starts
    os.environ["LMK_BUNDLE"] = digest[:12]
    os.environ["LMK_SESSION_STARTED"], os.environ["LMK_SESSION_SECONDS"] = f"{time.time():.0f}", f"{seconds:.0f}"
    _install_wheels(folder)
    print(f"lmk from bundle {digest[:12]}, Python {sys.version.split()[0]}", flush=True)
    return folder


def _install_wheels(folder: Path) -> None:
    """Install, without the internet, the attached wheels of packages that are missing or of another version here."""
    root = Path(os.environ.get("LMK_KAGGLE_INPUT", "/kaggle/input"))
    # A competition's photos lie deeper than a dataset's files; looking at a million of them takes minutes.
    found = [path for depth in ("*/*.whl", "*/*/*.whl", "*/*/*/*.whl") for path in root.glob(depth)]
    wheels = sorted(path for path in found if _is_news(path))
    if wheels:
        print(f"wheels: {', '.join(path.name for path in wheels)}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, *map(str, wheels)], check=True)
        importlib.invalidate_caches()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"This kernel's image lacks {', '.join(missing)}. Download the wheels (`pip download`) and push the kernel "
            "with --wheels FOLDER."
        )


def _is_news(wheel: Path) -> bool:
    """Whether a wheel's version of its package is not installed."""
    package, version = wheel.name.split("-")[:2]
    try:
        return metadata.version(package) != version
    except metadata.PackageNotFoundError:
        return True
