"""Local features: extraction, matching and geometric verification."""
