"""The ways to rank landmarks by nearest photos, by name; nothing here loads what computes them."""

KNN, ABC, PRODUCT = "knn", "a-b-c", "cosine-times-logit"
SCORES = {
    KNN: "cosines of whitened descriptors of all networks side by side",
    ABC: "the 1st place of 2020: cosines, less likeness to non-landmarks of the photo found (B) and of the query (C)",
    PRODUCT: "the 3rd place of 2020: sum of cosine^9 * logit^10 over the 5 nearest photos",
}
"""Name and description of each. `lmk.retrieval.neighbours` computes the first, `lmk.retrieval.published` the others."""
