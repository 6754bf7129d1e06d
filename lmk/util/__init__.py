"""Errors, files, stores, the workspace and progress: what every other package uses and which uses none of them."""
