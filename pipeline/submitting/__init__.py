"""From what a user names to a collection: which one it is, what of it is in already, and the lines that are new."""
