"""A small software renderer: buildings, scenes and their photos, drawn from a seed with numpy and OpenCV."""
