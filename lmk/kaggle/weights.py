"""Weights of backbones on Kaggle: private datasets made from folders here, and attached to kernels."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.kaggle.datasets import publish
from lmk.kaggle.kernels import Kernel
from lmk.kaggle.metadata import FILE_NAME, SLUG
from lmk.kaggle.records import now
from lmk.kaggle.resume import sha256_of
from lmk.util.errors import LmkError, quoted, reason_of
from lmk.util.files import write_json
from lmk.util.schema import check_types

MEMORY = "weights.json"
DATASET = "lmk-backbones"
"""Slug of the dataset that the kernels of this project attach."""
SUFFIXES = (".h5", ".hdf5", ".keras", ".safetensors", ".pth", ".pt", ".onnx", "pytorch_model.bin")
CONFIG = "config.json"
"""What lies beside the weights of a transformer and says what they are of."""
MODEL_PARTS = 5
"""owner/model/framework/variation/version"""


@dataclass(frozen=True)
class Published:
    """A dataset of weights that was sent from here.

    Attributes:
        ref: "owner/slug".
        digest: Digest of the files' names and contents.
        folder: Where the files lie here.
        files: Size in bytes by name.
        sent: When, ISO 8601 in UTC.
    """

    ref: str
    digest: str
    folder: str
    files: dict[str, int]
    sent: str


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, not in those below, and the configuration beside them.

    Raises:
        LmkError: There are none.
    """
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(SUFFIXES))
    if not found:
        raise LmkError(f"{folder} holds no files of weights ({', '.join(SUFFIXES)}).")
    config = folder / CONFIG
    return [config, *found] if config.is_file() else found


def published(root: Path) -> list[Published]:
    """The datasets that were sent from here, as the folder of kernels remembers them.

    Raises:
        LmkError: The memory is damaged.
    """
    path = root / MEMORY
    try:
        found = [Published(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
        for dataset in found:
            check_types(dataset)
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LmkError(
            f"{path} cannot be read ({quoted(str(error))}). Remove it and push the weights again."
        ) from error


def push_weights(client: Client, root: Path, folder: Path, slug: str = DATASET) -> tuple[Published, bool]:
    """Make a private dataset of a folder's weights, or a version of it where the files changed.

    Args:
        client: Kaggle.
        root: The folder of kernels, which remembers what was sent.
        folder: Holds the files.
        slug: Slug of the dataset.

    Returns:
        The dataset, processed by Kaggle, and whether anything was sent.

    Raises:
        LmkError: There are no weights, the slug is none, or Kaggle refuses the dataset.
        RemoteError: Kaggle failed, or the dataset is not processed in time.
    """
    if not SLUG.fullmatch(slug) or not 5 < len(slug) <= 50:
        raise LmkError(f"'{slug}' is no dataset's slug: write 6 to 50 of a-z, 0-9 and single hyphens, without owner.")
    files = weight_files(folder)
    ref = f"{client.username}/{slug}"
    digest = hashlib.sha256("".join(path.name + sha256_of(path) for path in files).encode()).hexdigest()[:12]
    known = [entry for entry in published(root) if entry.ref != ref]
    same = next((entry for entry in published(root) if (entry.ref, entry.digest) == (ref, digest)), None)
    sizes = {path.name: path.stat().st_size for path in files}
    made = Published(ref, digest, str(folder.resolve()), sizes, same.sent if same else now())
    if same is None:
        publish(client, ref, {path.name: path for path in files}, f"weights {digest}")
    write_json(root / MEMORY, [asdict(entry) for entry in [*known, made]])
    return made, same is None


def attach(kernel: Kernel, source: str) -> bool:
    """Add a dataset ("owner/slug" or one's own slug) or a model (five parts) to a kernel's settings.

    Returns:
        Whether it was not attached before.

    Raises:
        LmkError: The name is neither, or the settings cannot be read.
    """
    parts = source.split("/")
    if len(parts) not in (1, 2, MODEL_PARTS) or not all(parts):
        raise LmkError(f"'{source}' is neither OWNER/SLUG of a dataset nor OWNER/MODEL/FRAMEWORK/VARIATION/VERSION.")
    path = kernel.folder / FILE_NAME
    key = "model_sources" if len(parts) == MODEL_PARTS else "dataset_sources"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        names = list(values.get(key, []))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LmkError(f"{path} cannot be read ({reason_of(error)}).") from error
    if source in names or (len(parts) == 2 and parts[1] in names):
        return False
    values[key] = [*names, source]
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")  # keeps the order of the keys
    return True


def attached_sources(kernel: Kernel) -> list[str]:
    """Datasets and models that a kernel's settings attach."""
    try:
        values = json.loads((kernel.folder / FILE_NAME).read_text(encoding="utf-8"))
        return [str(name) for key in ("dataset_sources", "model_sources") for name in values.get(key, [])]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LmkError(f"{kernel.folder / FILE_NAME} cannot be read ({reason_of(error)}).") from error
