"""Figures that the documentation quotes, each measured by one module here.

`make bench NAME=speech-wer` runs `python -m tests.benchmarks.speech_wer`. Every module has a `main()` that prints a
table for people and, as its last line, one JSON object: {"benchmark": "speech-wer", "figures": {...}}.
`sides.py` is no benchmark: it runs reelmill, and the bare engine that it is compared with.
"""
