"""What a person sees of a run: figures and one HTML page."""
