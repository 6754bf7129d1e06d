"""The rules of fusion by name; nothing here loads what computes them."""

from typing import Literal

LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD = "learned", "seed-0.85-0.15", "seed-35-inliers"
RULES = (LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD)
"""Learned on dev; the 19th place's weights; the VGG16 solution's threshold. `lmk.ensemble.fuse.FUSIONS` has each."""

Divisor = Literal["dev", "batch"]
DIVISORS: tuple[Divisor, ...] = ("dev", "batch")
"""What the published sum divides inliers by: the most that a dev query has, so that a query's score does not depend on
the queries beside it; or the most of the queries that are asked, as published."""
