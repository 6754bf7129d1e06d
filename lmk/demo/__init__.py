"""The demo competition: buildings rendered by ray casting, drawn as photos."""
