"""Where the cells of a feature map look at: stride, first centre and side of their receptive fields."""

from __future__ import annotations

import keras

from lmk.local.delf import Cells


def receptive_fields(model: keras.Model) -> Cells:
    """The receptive fields of a model from images to one feature map.

    Where branches meet, the largest field counts. A branch that pools the whole image, as squeeze-and-excitation does,
    sees all of it everywhere and counts for nothing. `same` padding with a stride is taken as of an even side; with
    an odd one such a layer moves the centres by half its own input's stride.

    Raises:
        ValueError: Branches meet that have different strides.
    """
    inputs = {tensor.name: Cells() for tensor in model.inputs}
    known: dict[str, Cells | None] = dict(inputs)
    for layer in model.layers:
        for node in layer._inbound_nodes:
            sources = [known[tensor.name] for tensor in node.input_tensors if tensor.name in known]
            if not sources or any(tensor.name in inputs for tensor in node.output_tensors):
                continue
            for tensor in node.output_tensors:
                known[tensor.name] = _after(layer, [source for source in sources if source is not None])
    found = known[model.outputs[0].name]
    if found is None:
        raise ValueError(f"The model '{model.name}' gives no feature map.")
    return found


def _after(layer: keras.layers.Layer, sources: list[Cells]) -> Cells | None:
    """Receptive field of a layer's output, None if it is no map."""
    if not sources or isinstance(layer, (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)):
        return None
    if len({source.stride for source in sources}) > 1:
        raise ValueError(f"At the layer '{layer.name}' branches meet that have different strides.")
    source = max(sources, key=lambda source: source.field)
    if isinstance(layer, keras.layers.ZeroPadding2D):
        before = layer.padding[0][0]
        return source.through(1, 1, before)
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if kernel is None:
        return source
    size, stride = (_first(kernel) - 1) * _first(getattr(layer, "dilation_rate", 1)) + 1, _first(layer.strides)
    padding = max(size - stride, 0) // 2 if layer.padding == "same" else 0
    return source.through(size, stride, padding)


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
