"""Which backend runs is known before Keras is loaded, as Keras itself decides it; what cannot run is one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmk.util import backend
from lmk.util.backend import backend_here, ignored_settings, keras_file
from lmk.util.errors import LmkError


@pytest.fixture
def keras_json(tmp_path, monkeypatch):
    """Writes Keras' file in a home of its own; no variable is set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KERAS_HOME", "KERAS_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None if name == "torch" else object())

    def write(content: object) -> Path:
        path = tmp_path / ".keras" / "keras.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_the_variable_rules_over_the_file_and_the_file_over_the_default(keras_json, monkeypatch):
    assert backend_here() == backend.Backend("tensorflow", "default")
    path = keras_json({"backend": "jax"})
    assert path == keras_file()
    assert backend_here() == backend.Backend("jax", str(path))
    monkeypatch.setenv("KERAS_BACKEND", "")  # empty means unset, to Keras, too
    assert backend_here().name == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert backend_here() == backend.Backend("tensorflow", "KERAS_BACKEND")
    monkeypatch.setenv("KERAS_HOME", str(path.parent.parent / "elsewhere"))
    monkeypatch.delenv("KERAS_BACKEND")
    assert backend_here().source == "default"


@pytest.mark.parametrize("name", ["theano", "numpy", "Jax", "torch"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_backend_that_cannot_run_is_one_line_that_names_who_says_so(keras_json, monkeypatch, name, by_variable):
    path = keras_json({"backend": name} if not by_variable else {})
    if by_variable:
        monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(LmkError, match=f"'{name}'") as caught:
        backend_here()
    assert ("KERAS_BACKEND is" if by_variable else f"{path} says") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [[], "3", {"floatx": "bfloat16"}, {"image_data_format": "th"}, {"epsilon": 1}, {"epsilon": "x"}, {"floatx": []}],
)
def test_a_file_that_would_keep_keras_from_loading_is_named(keras_json, content):
    path = keras_json(content)
    with pytest.raises(LmkError) as caught:
        backend_here()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "\x00", "[" * 100_000])
def test_a_file_that_is_no_json_is_passed_over_as_keras_does(keras_json, content):
    keras_json(content)
    assert backend_here().name == "tensorflow"


def test_settings_that_are_not_followed_are_listed(keras_json):
    keras_json({"image_data_format": "channels_first", "floatx": "float32", "epsilon": 0.001})
    assert ignored_settings() == ["image_data_format: channels_first", "epsilon: 0.001"]


@pytest.mark.parametrize("variable", ["", "tensorflow"])
def test_what_is_found_is_what_keras_runs_on_and_channels_stand_last(tmp_path, variable):
    """In a process of its own, with a file that says otherwise."""
    (tmp_path / "keras.json").write_text(
        '{"backend": "%s", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1}'
        % ("jax" if variable else "tensorflow")
    )
    script = (
        "from lmk.util.backend import backend_here; from lmk.models.start import start_keras\n"
        "found = backend_here(); start_keras(); import keras\n"
        "print(found.name, keras.backend.backend(), keras.config.image_data_format(), keras.config.floatx())\n"
        "print(keras.layers.Conv2D(2, 3)(keras.Input((8, 9, 3))).shape, keras.config.epsilon())"
    )
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": variable}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines() == [
        "tensorflow tensorflow channels_last float32",
        "(None, 6, 7, 2) 1e-07",
    ], done.stderr
