"""The files of a published DELF model: where they lie, what names them, and its PCA; nothing here loads Keras."""

from __future__ import annotations

from pathlib import Path

from lmk.local.pca import Pca
from lmk.models.datum import read_datum
from lmk.util.errors import LmkError
from lmk.util.files import digest_of, digest_of_file

PLACES = ("", "model", "saved_model", "module")
"""Folders of an archive in which its model may lie; a TF-Hub module lies in the archive itself."""
VARIABLES = (Path("variables") / "variables", Path("model.ckpt"), Path("delf_weights"), Path("delg_weights"))
"""Prefixes of checkpoints: of a SavedModel or a TF-Hub module; and those that the training scripts write."""


def variables_of(folder: Path) -> Path:
    """The prefix of a folder's checkpoint.

    Raises:
        LmkError: It has none.
    """
    for place in PLACES:
        for prefix in VARIABLES:
            path = folder / place / prefix
            if path.with_name(f"{path.name}.index").is_file():
                return path
    for place in PLACES:
        if (folder / place / "saved_model.pb").is_file():
            raise LmkError(
                f"{folder / place} is a SavedModel without variables: its weights are constants of its graph, which "
                "lmk does not read. Give the archive that it was frozen from, with variables/variables.index."
            )
    raise LmkError(f"{folder} holds no variables/variables.index: give the folder that a published DELF unpacks to.")


def published_pca(folder: Path, channels: int, dimensions: int) -> Pca | None:
    """The PCA beside a published model; None where none was published with it.

    Args:
        folder: Folder of the model.
        channels: Channels of the descriptors that the PCA is given.
        dimensions: That are kept, at the most: a matrix of fewer rows keeps what it has.

    Raises:
        LmkError: A file is absent or damaged, the shapes do not agree, or the PCA is of other descriptors.
    """
    pca = _pca_folder(folder)
    if pca is None:
        return None
    mean, rows = read_datum(pca / "mean.datum").ravel(), read_datum(pca / "pca_proj_mat.datum")
    path = pca / "pca_vars.datum"
    variances = read_datum(path).ravel() if path.exists() else None
    kept = min(dimensions, len(rows))
    short = variances is not None and len(variances) < kept
    if rows.ndim != 2 or rows.shape[1] != len(mean) or len(mean) != channels or kept == 0 or short:
        lengths = "" if variances is None else f", {len(variances)} variances"
        raise LmkError(
            f"{pca}: a mean of {len(mean)}, a matrix of {rows.shape}{lengths}, where the model's descriptors have "
            f"{channels} values. Is it the PCA of another model?"
        )
    return Pca.of(mean, rows, variances, kept)


def published_digest(folder: Path) -> str:
    """Names a published model by the content of its files.

    Raises:
        LmkError: The folder holds none.
    """
    prefix, pca = variables_of(folder), _pca_folder(folder)
    files = sorted(prefix.parent.glob(f"{prefix.name}.*")) + (sorted(pca.glob("*")) if pca is not None else [])
    return digest_of({path.name: digest_of_file(path) for path in files if path.is_file()})


def _pca_folder(folder: Path) -> Path | None:
    """Where the PCA's files lie: in the model's folder or beside it."""
    for place in (folder / "pca", folder.parent / "pca"):
        if (place / "mean.datum").is_file() or (place / "pca_proj_mat.datum").is_file():
            return place
    return None
