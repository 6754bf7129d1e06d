"""lmk: from a landmark-recognition competition's files to a checked submission."""

__version__ = "0.1.0"
