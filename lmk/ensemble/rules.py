"""The rules of fusion by name; nothing here is loaded but their names."""

LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD = "learned", "seed-0.85-0.15", "seed-35-inliers"
RULES = (LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD)
"""What dev taught; the 19th place's weights; the VGG16 solution's threshold."""
