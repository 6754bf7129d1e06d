"""Matches of local features by a network that sees both photos, in place of their descriptors' distances.

The network stands elsewhere and is loaded with the first pair, so that this file knows features and arrays alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lmk.local.features import LocalFeatures

Matcher = Callable[[Sequence[tuple[LocalFeatures, LocalFeatures]]], list[np.ndarray]]
"""Pairs of photos, query and index, to matches (k, 2) int, rows of both, the surest first."""
