"""Matches of local features by a network that sees both photos, in place of their descriptors' distances.

The network stands elsewhere and is loaded with the first pair, so that this file knows features and arrays alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lmk.local.features import LocalFeatures
from lmk.local.kinds import Matching, install_line
from lmk.util.errors import LmkError
from lmk.util.files import digest_of_file, installed_file
from lmk.util.late import Late

Matcher = Callable[[Sequence[tuple[LocalFeatures, LocalFeatures]]], list[np.ndarray]]
"""Pairs of photos, query and index, to matches (k, 2) int, rows of both, the surest first."""


@dataclass(frozen=True)
class Glue:
    """A `Matcher` by a network.

    Attributes:
        kind: The name of the kind of local features.
        matching: Which network.
        weights: The file of its weights.
    """

    kind: str
    matching: Matching
    weights: Path

    def key(self) -> dict[str, object]:
        """All that matches depend on besides the features."""
        keras = [version("keras"), os.environ.get("KERAS_BACKEND", "tensorflow")]
        return {"matcher": self.matching.matcher, "weights": digest_of_file(self.weights), "keras": keras}

    def __call__(self, pairs: Sequence[tuple[LocalFeatures, LocalFeatures]]) -> list[np.ndarray]:
        return self._matcher(pairs)

    @cached_property
    def _matcher(self) -> Matcher:
        return Late(self.matching.matcher)(self.weights)


def glue(kind: str, matching: Matching, weights: str | None) -> Glue:
    """The matcher of a kind whose weights are in a file, in a folder, or in an installed package.

    Raises:
        LmkError: They are nowhere.
    """
    return Glue(kind, matching, weights_of(kind, matching.file, matching.package, weights))


def find_weights(file: str, package: str, weights: str | None) -> Path | None:
    """The published file of weights: the one given, the one in the given folder, or that of an installed package.

    Args:
        file: Its name.
        package: The package that holds it, and where: `package/folder/file`.
        weights: A file, a folder, a name such as `imagenet`, or None.
    """
    given = None if weights in (None, "none", "tiny", "imagenet") else Path(str(weights)).expanduser()
    places = [] if given is None else [given, given / file]
    name, _, inside = package.partition("/")
    places += [path for path in (installed_file(name, inside),) if path is not None]
    return next((path for path in places if path.is_file() and path.name == file), None)


def weights_of(kind: str, file: str, package: str, weights: str | None) -> Path:
    """What `find_weights` finds for a kind of local features.

    Raises:
        LmkError: There is none.
    """
    found = find_weights(file, package, weights)
    if found is None:
        raise LmkError(
            f"The weights of {kind} are not there. Put {file} into the folder of weights, or install the package "
            f"that holds it: {install_line(package)}"
        )
    return found
