"""DELF: its network, its training, and published models read."""
