"""Descriptors, whitening and nearest neighbours."""
