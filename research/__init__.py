"""Ablation, ideas that did not pay, and the maker of the tiny weights."""
