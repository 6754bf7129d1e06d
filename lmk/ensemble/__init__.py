"""Several predictions into one: vote, blend, fuse."""
