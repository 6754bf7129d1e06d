"""Builders of steps from settings: one file a kind of steps; nothing is computed here, and Keras is not loaded."""
