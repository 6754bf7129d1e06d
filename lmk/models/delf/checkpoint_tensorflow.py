"""TensorFlow's checkpoints, read as plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from lmk.util.errors import LmkError

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The entry of a TensorFlow 2 checkpoint that says which object holds which array."""
MODEL = frozenset({"backbone", "attention"})
"""Attributes of the object that is a DELF or DELG model, wherever it stands among the objects."""


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its name.

    A checkpoint of TensorFlow 2 names an array by the shortest way to it, which may be its place in some list. Here its
    name is the way from the model through its attributes, such as `backbone/l2a/conv2a/kernel`, whoever saved the model.

    Args:
        prefix: Without what each of its files ends in, such as `model/variables/variables`.

    Raises:
        LmkError: There is no whole checkpoint.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = {name: name for name in reader.get_variable_to_shape_map() if name != GRAPH}
        if reader.has_tensor(GRAPH):
            names = _by_attribute(reader.get_tensor(GRAPH)) or names
        return {name: reader.get_tensor(key) for name, key in names.items()}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise LmkError(f"{prefix}.* is no whole checkpoint ({reason}). Unpack the archive again.") from error


def _by_attribute(graph: bytes) -> dict[str, str]:
    """The way from the model to each of its arrays, and the array's name in the checkpoint; empty without a model."""
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph).nodes
    children = [{child.local_name: child.node_id for child in node.children} for node in nodes]
    models = [number for number, known in enumerate(children) if known.keys() >= MODEL]
    found: dict[str, str] = {}
    waiting, seen = [(number, "") for number in models[:1]], set(models[:1])
    while waiting:
        number, way = waiting.pop()
        for attribute in nodes[number].attributes:
            found[way.removesuffix("/")] = attribute.checkpoint_key
        for name, child in children[number].items():
            # Attributes, not the lists that Keras keeps beside them: of several ways to a layer these say what it is.
            if child not in seen and not _is_list(name):
                seen.add(child)
                waiting.append((child, f"{way}{name}/"))
    return found


def _is_list(name: str) -> bool:
    return name.startswith(("layer-", "layer_with_weights-", "keras_api", "_")) or name in LISTS


LISTS = frozenset({"variables", "trainable_variables", "non_trainable_variables", "regularization_losses", "layers"})
"""What Keras adds to an object's attributes when it saves it."""
