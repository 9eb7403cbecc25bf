"""A tiny Gemma 3n of the real architecture: the closed world it understands, its training and its evaluation."""
