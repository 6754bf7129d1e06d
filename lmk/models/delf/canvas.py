"""A convolutional network on canvases: photos of many sizes go through one compiled network, each as if it were alone.

XLA compiles a network anew for every size of its input, and a competition's photos times DELF's scales have thousands.
Here a photo lies in the top left corner of a larger canvas, and before every layer that looks at neighbours whatever
lies beyond the photo is set to what that layer pads with. So each cell gets the very numbers that it has without a
canvas; cells beyond the photo's own map hold nothing.
"""

from __future__ import annotations

import keras
from keras import ops

POINTWISE_POOLS = (keras.layers.GlobalAveragePooling2D,)
MAXIMA = (keras.layers.MaxPooling2D,)


@keras.saving.register_keras_serializable("lmk")
class OnCanvas(keras.layers.Layer):
    """Canvases (b, h, w, 3) and the photos' height and width on them (b, 2) to a network's map (b, h', w', c), and the
    height and width (b, 2) of each photo's own part of it."""

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def call(self, inputs):
        canvases, sizes = inputs
        return run_masked(self.network, canvases, ops.cast(sizes, "int32"))

    def compute_output_spec(self, inputs):
        """The network's own map, of any size, and the sizes."""
        found = self.network.outputs[0]
        return keras.KerasTensor((None, None, None, found.shape[-1]), found.dtype), keras.KerasTensor(
            (None, 2), "int32"
        )


def run_masked(network: keras.Model, maps, sizes):
    """A functional network's map of canvases, and the size of each photo's own part of it.

    Args:
        network: Network from one map to one map, of convolutions, poolings, padding, layers that treat each cell alone,
            and squeeze-and-excitation. Models inside it are run the same way.
        maps: (b, h, w, c).
        sizes: (b, 2) int32, height and width of what counts.

    Raises:
        ValueError: A layer looks at neighbours in a way that is not known here.
    """
    known = {tensor.name: (maps, sizes) for tensor in network.inputs}
    inputs = set(known)
    for layer in network.layers:
        for node in layer._inbound_nodes:
            sources = [known[tensor.name] for tensor in node.input_tensors if tensor.name in known]
            if not sources or any(tensor.name in inputs for tensor in node.output_tensors):
                continue
            known[node.output_tensors[0].name] = _after(layer, sources)
    return known[network.outputs[0].name]


def _after(layer: keras.layers.Layer, sources: list):
    """A layer's output, and the size of what counts in it; None where it is no map."""
    values = [value for value, _ in sources]
    value, size = sources[0]
    if isinstance(layer, keras.Model):
        return run_masked(layer, value, size)
    if isinstance(layer, POINTWISE_POOLS):
        return _mean(layer, value, size), None
    if isinstance(layer, keras.layers.ZeroPadding2D):
        (above, below), (left, right) = layer.padding
        return layer(masked(value, size)), size + ops.convert_to_tensor([[above + below, left + right]], "int32")
    if size is not None and (getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)):
        return _neighbours(layer, value, size)
    found = [size for _, size in sources if size is not None]  # where a map is scaled by a vector, the map's own
    return layer(values if len(values) > 1 else value), found[0] if found else None


def masked(maps, sizes, beyond: float = 0.0):
    """Maps (b, h, w, c) that hold `beyond` outside of each one's height and width in `sizes` (b, 2)."""
    height, width = ops.shape(maps)[1:3]
    rows = ops.arange(height, dtype="int32")[None, :] < sizes[:, :1]
    columns = ops.arange(width, dtype="int32")[None, :] < sizes[:, 1:]
    inside = ops.logical_and(rows[:, :, None, None], columns[:, None, :, None])
    return ops.where(inside, maps, ops.cast(beyond, maps.dtype))


def _neighbours(layer: keras.layers.Layer, maps, sizes):
    """Convolution or pooling of what counts."""
    kernel = _first(getattr(layer, "kernel_size", None) or layer.pool_size)
    reach, stride = (kernel - 1) * _first(getattr(layer, "dilation_rate", 1)) + 1, _first(layer.strides)
    if reach == 1:
        return layer(maps), (sizes - 1) // stride + 1
    largest = isinstance(layer, MAXIMA)
    if isinstance(layer, keras.layers.AveragePooling2D) and layer.padding == "same":
        raise ValueError(f"'{layer.name}' averages over fewer cells at the border, which is not known here.")
    maps = masked(maps, sizes, _lowest(maps) if largest else 0.0)
    if layer.padding == "valid":
        return layer(maps), ops.maximum((sizes - reach) // stride + 1, 0)
    if stride == 1:
        return layer(maps), sizes
    return _strided(layer, maps, sizes, reach, stride, largest), (sizes - 1) // stride + 1


def _strided(layer: keras.layers.Layer, maps, sizes, reach: int, stride: int, largest: bool):
    """A layer with `same` padding and a stride: how much comes before the first cell depends on the photo's size, so
    each photo is moved on the canvas by what its own padding lacks of the largest one."""
    most = (reach - 1) // 2
    total = ops.maximum(((sizes - 1) // stride) * stride + reach - sizes, 0)
    lacking = most - total // 2
    beyond = _lowest(maps) if largest else 0.0
    maps = ops.pad(maps, [[0, 0], [most, reach], [most, reach], [0, 0]], constant_values=ops.cast(beyond, maps.dtype))
    for axis in (1, 2):
        moved = maps
        for step in range(1, most + 1):
            onwards = ops.roll(maps, -step, axis)
            moved = ops.where(lacking[:, axis - 1][:, None, None, None] == step, onwards, moved)
        maps = moved
    if largest:
        return ops.max_pool(maps, layer.pool_size, layer.strides, padding="valid")
    if not isinstance(layer, keras.layers.Conv2D):
        raise ValueError(f"'{layer.name}' has a stride and `same` padding, which is not known here.")
    found = ops.conv(maps, ops.cast(layer.kernel, maps.dtype), layer.strides, padding="valid")
    found = found + ops.cast(layer.bias, found.dtype) if layer.use_bias else found
    return layer.activation(found)


def _mean(layer: keras.layers.Layer, maps, sizes):
    """The mean over what counts, as global average pooling gives it: (b, c), or (b, 1, 1, c)."""
    cells = ops.cast(sizes[:, 0] * sizes[:, 1], "float32")[:, None, None, None]
    whole = ops.sum(ops.cast(masked(maps, sizes), "float32"), axis=(1, 2), keepdims=True) / cells
    whole = ops.cast(whole, maps.dtype)
    return whole if layer.keepdims else whole[:, 0, 0]


def _lowest(maps) -> float:
    """The least number of the maps' type, which no maximum takes."""
    return -65504.0 if keras.backend.standardize_dtype(maps.dtype) == "float16" else -3e38


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
