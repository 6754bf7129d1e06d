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
DEEPEST = 4
"""Steps from the model to an array, such as `backbone/l2a/conv2a/kernel`."""


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Every array of a checkpoint by its name.

    A checkpoint of TensorFlow 2 names an array by the shortest way to it, which may be its place in some list. Here its
    names are the ways to it from the model through attributes, such as `backbone/l2a/conv2a/kernel`, whichever object
    was saved.

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
        arrays = {key: reader.get_tensor(key) for key in set(names.values())}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise LmkError(f"{prefix}.* is no whole checkpoint ({reason}). Unpack the archive again.") from error
    return {name: arrays[key] for name, key in names.items()}


def _by_attribute(graph: bytes) -> dict[str, str]:
    """Every way from the model to each of its arrays, and the array's name in the checkpoint; empty without a model."""
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph).nodes
    children = [{child.local_name: child.node_id for child in node.children} for node in nodes]
    models = [number for number, known in enumerate(children) if known.keys() >= MODEL]
    found: dict[str, str] = {}
    waiting: list[tuple[int, tuple[str, ...]]] = [(number, ()) for number in models[:1]]
    while waiting:
        number, way = waiting.pop()
        for attribute in nodes[number].attributes:
            found["/".join(way)] = attribute.checkpoint_key
        # Lists that Keras keeps beside the attributes lead to the same arrays, so no node is left out as seen.
        if len(way) < DEEPEST:
            waiting += [(child, (*way, name)) for name, child in children[number].items()]
    return found
