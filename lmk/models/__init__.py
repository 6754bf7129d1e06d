"""Networks from pixels to scores, and retrieval by their descriptors (Keras 3, any backend)."""
