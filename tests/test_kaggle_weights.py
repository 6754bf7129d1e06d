"""Where a kernel finds pretrained weights among what is attached to it."""

import pytest

from lmk.kaggle.inside import weights_folder
from lmk.util.errors import LmkError


@pytest.fixture
def attached(tmp_path, monkeypatch):
    monkeypatch.setenv("LMK_KAGGLE_INPUT", str(tmp_path))

    def attach(path: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")

    return attach


@pytest.mark.parametrize(
    "folder",
    [
        "my-weights",
        "datasets/owner/my-weights",
        "notebooks/owner/my-kernel",
        "models/keras/mobilenetv2/keras/imagenet/2",
    ],
)
@pytest.mark.parametrize(
    "file", ["mobilenetv2_1.0_imagenet_notop.weights.h5", "efficientnet-lite0-57934424.pth", "aliked-n16.pth"]
)
def test_weights_are_found_in_datasets_outputs_and_models(attached, tmp_path, folder, file):
    attached("competitions/landmarks/train/0/0/0/000.jpg")
    attached(f"{folder}/{file}")
    assert weights_folder() == tmp_path / folder


def test_without_weights_the_error_names_both_kinds_of_sources(attached):
    attached("datasets/owner/other/table.csv")
    with pytest.raises(LmkError, match="dataset_sources or a model to model_sources"):
        weights_folder()
