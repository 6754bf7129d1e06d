"""Feature maps read at places between their cells, by gathers alone, so that every backend does it in one step."""

import keras
from keras import ops


def sample(maps, places, cubic: bool = False):
    """Values of feature maps at places, interpolated bilinearly or bicubically; beyond the map they are 0.

    Args:
        maps: (b, h, w, c) float.
        places: (b, n, 2) float, (x, y) in cells; (0, 0) is the centre of the first cell.
        cubic: Keys' kernel with a = -0.75 over 4 x 4 cells in place of 2 x 2.

    Returns:
        (b, n, c).
    """
    batch, height, width, channels = ops.shape(maps)
    flat = ops.reshape(maps, (batch, height * width, channels))
    x, y = places[..., 0], places[..., 1]
    left, top = ops.floor(x), ops.floor(y)
    steps = (-1, 0, 1, 2) if cubic else (0, 1)
    last_row, last_column = (ops.cast(side - 1, maps.dtype) for side in (height, width))
    found = None
    for down in steps:
        row = top + down
        row_weight = _weight(y - row, cubic)
        for right in steps:
            column = left + right
            inside = (row >= 0) & (row <= last_row) & (column >= 0) & (column <= last_column)
            weight = row_weight * _weight(x - column, cubic) * ops.cast(inside, maps.dtype)
            value = ops.expand_dims(weight, -1) * gather(flat, row, column, height, width)
            found = value if found is None else found + value
    return found


def gather(flat, rows, columns, height, width):
    """Cells (b, n, c) of maps (b, h * w, c) at rows and columns (b, n), which are brought inside the map."""
    rows = ops.clip(ops.cast(rows, "int32"), 0, height - 1)
    columns = ops.clip(ops.cast(columns, "int32"), 0, width - 1)
    return ops.take_along_axis(flat, ops.expand_dims(rows * width + columns, -1), axis=1)


def _weight(distance, cubic: bool):
    """Weight of a cell at a signed distance, in cells."""
    distance = ops.abs(distance)
    if not cubic:
        return 1 - distance
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return ops.where(distance <= 1, near, far)


def local_maxima(scores, radius: int):
    """Which cells of maps (b, h, w, 1) are the largest within so many cells in each direction: (b, h, w, 1) bool."""
    largest = ops.max_pool(scores, 2 * radius + 1, strides=1, padding="same")
    return scores == largest


@keras.saving.register_keras_serializable("lmk")
class Enlarge(keras.layers.Layer):
    """Maps (b, h, w, c) to (b, factor h, factor w, c), bilinearly, whatever their size.

    By gathers along rows and columns: Keras' own resizing needs to know the size on TensorFlow.

    corners: Whether the outermost cells' centres stay the outermost (PyTorch's `align_corners`), not their edges.
    """

    def __init__(self, factor: int, corners: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.corners = factor, corners

    def call(self, maps):
        return self._along(self._along(maps, 1), 2)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and height * self.factor, width and width * self.factor, channels

    def get_config(self):
        return super().get_config() | {"factor": self.factor, "corners": self.corners}

    def _along(self, maps, axis: int):
        count = ops.shape(maps)[axis]
        cells = ops.cast(ops.arange(count * self.factor), maps.dtype)
        last = ops.cast(count, maps.dtype) - 1
        if self.corners:
            places = cells * last / (last * self.factor + self.factor - 1)
        else:
            places = ops.clip((cells + 0.5) / self.factor - 0.5, 0, last)
        before = ops.floor(places)
        after = ops.minimum(before + 1, last)
        share = ops.reshape(places - before, (-1, 1, 1) if axis == 1 else (-1, 1))
        first, second = (ops.take(maps, ops.cast(rows, "int32"), axis=axis) for rows in (before, after))
        return first + (second - first) * share
