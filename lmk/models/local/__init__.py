"""Networks of learned local features: from photos to keypoints and descriptors."""
