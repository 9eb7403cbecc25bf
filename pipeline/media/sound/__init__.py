"""Sound as 16 kHz clips of speech: decoded in one pass, packed, never cut inside a word."""
