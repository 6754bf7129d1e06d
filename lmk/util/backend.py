"""Keras' backend, found as Keras finds it but without loading it: results depend on it, so keys name it."""

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

from lmk.util.errors import LmkError, did_you_mean, quoted

BACKENDS = ("tensorflow", "jax", "torch")
"""Backends that compute lmk's networks; Keras' other ones (numpy, openvino) cannot train."""
VARIABLE = "KERAS_BACKEND"
CHANNELS, FLOATS, EPSILON = "channels_last", "float32", 1e-7
"""Order of an image's axes, number format and smallest number that lmk computes with, whatever keras.json says."""
_ALLOWED = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}
"""Values that Keras takes in its file; anything else keeps it from being loaded."""


@dataclass(frozen=True)
class Backend:
    """The backend that Keras runs on, and what names it: the variable, Keras' file, or nothing (the default)."""

    name: str
    source: str


def keras_file() -> Path:
    """Where Keras looks for its settings; the file may be absent."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser() / "keras.json"
    home = Path("~").expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras" / "keras.json"


def backend_here() -> Backend:
    """The backend that Keras runs on in this process.

    Raises:
        LmkError: Nothing that lmk runs on is called so, it is not installed, or Keras' file would keep Keras from being
            loaded; the text names the file or the variable.
    """
    found = _named()
    where = f"{VARIABLE} is" if found.source == VARIABLE else f"{found.source} says"
    fix = f"Unset {VARIABLE}" if found.source == VARIABLE else f"Set {VARIABLE}, or change the file"
    if found.name not in BACKENDS:
        raise LmkError(
            f"{where} {quoted(found.name)}, a backend that lmk does not run on.{did_you_mean(found.name, BACKENDS)} "
            f"{fix}: {', '.join(BACKENDS)}."
        )
    if importlib.util.find_spec(found.name) is None:
        raise LmkError(f"{where} '{found.name}', which is not installed. Install it, or {fix[0].lower()}{fix[1:]}.")
    return found


def ignored_settings() -> list[str]:
    """Settings in Keras' file that lmk does not follow, as `name: value`."""
    given = _settings()
    wanted = {"image_data_format": CHANNELS, "floatx": FLOATS, "epsilon": EPSILON}
    return [f"{name}: {given[name]}" for name, value in wanted.items() if given.get(name, value) != value]


def _named() -> Backend:
    settings = _settings()
    if os.environ.get(VARIABLE):
        return Backend(os.environ[VARIABLE], VARIABLE)
    if "backend" in settings:
        return Backend(str(settings["backend"]), str(keras_file()))
    return Backend(BACKENDS[0], "default")


def _settings() -> dict[str, object]:
    """Settings in Keras' file; empty where it is absent or no JSON, which Keras passes over."""
    path = keras_file()
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LmkError(f"Keras' settings {path} cannot be read: {error.strerror}. Remove the file.") from error
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict):
        raise LmkError(f"Keras' settings {path} are no JSON object. Remove the file.")
    for name, allowed in _ALLOWED.items():
        if name in given and given[name] not in allowed:
            raise LmkError(
                f"{path}: {name} {quoted(given[name])} is none of {', '.join(allowed)}. Correct it, or remove the file."
            )
    if "epsilon" in given and not isinstance(given["epsilon"], float):
        raise LmkError(
            f"{path}: epsilon {quoted(given['epsilon'])} is no decimal number. Correct it, or remove the file."
        )
    return given
