"""Pretrained backbones by name, and the files of their weights."""
