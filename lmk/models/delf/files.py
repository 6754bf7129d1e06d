"""The files of a published DELF model: where they lie, what names them, and its PCA; nothing here loads Keras."""

from __future__ import annotations

from pathlib import Path

from lmk.local.pca import Pca
from lmk.models.datum import read_datum
from lmk.util.errors import LmkError
from lmk.util.files import digest_of, digest_of_file


def variables_of(folder: Path) -> Path:
    """The prefix of a folder's checkpoint.

    Raises:
        LmkError: It has none.
    """
    for part in (folder, folder / "model"):
        if (part / "variables" / "variables.index").is_file():
            return part / "variables" / "variables"
    raise LmkError(f"{folder} holds no variables/variables.index: give the folder that a published DELF unpacks to.")


def published_pca(folder: Path, dimensions: int) -> Pca:
    """The PCA beside a published model.

    Raises:
        LmkError: A file is absent or damaged, or the shapes do not agree.
    """
    pca = _pca_folder(folder)
    mean, rows = read_datum(pca / "mean.datum").ravel(), read_datum(pca / "pca_proj_mat.datum")
    path = pca / "pca_vars.datum"
    variances = read_datum(path).ravel() if path.exists() else None
    short = variances is not None and len(variances) < dimensions
    if rows.ndim != 2 or rows.shape[1] != len(mean) or len(rows) < dimensions or short:
        raise LmkError(f"{pca}: a mean of {len(mean)}, a matrix of {rows.shape}; {dimensions} rows are needed.")
    return Pca.of(mean, rows, variances, dimensions)


def published_digest(folder: Path) -> str:
    """Names a published model by the content of its files.

    Raises:
        LmkError: The folder holds none.
    """
    parts = (variables_of(folder).parent, _pca_folder(folder))
    files = sorted(path for part in parts for path in part.glob("*") if path.is_file())
    return digest_of({path.name: digest_of_file(path) for path in files})


def _pca_folder(folder: Path) -> Path:
    return folder / "pca" if (folder / "pca").is_dir() else folder.parent / "pca"
