"""Video as frames: which are looked at, each with its exact time, decoded once."""
