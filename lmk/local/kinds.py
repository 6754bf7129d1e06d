"""The kinds of local features by name; nothing here loads what computes them."""

from collections.abc import Mapping

ROOTSIFT, DELF = "rootsift", "delf"
ROOTSIFT_AND_DELF = "both"
KINDS: Mapping[str, tuple[str, ...]] = {ROOTSIFT: (ROOTSIFT,), DELF: (DELF,), ROOTSIFT_AND_DELF: (ROOTSIFT, DELF)}
"""What may be asked for, and the kinds of evidence that it gives; the first is the one that pictures show."""
