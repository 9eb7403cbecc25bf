"""A recording to try reelmill with: 44 s of a person reading the opening of "A Tale of Two Cities"."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UsageError

INSTALL = "pip install --no-deps moonshine-voice==0.1.5"  # MIT; its dependencies are for talking and listening
SHA256 = "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e"


def speech_sample() -> Path:
    """The recording, a 48 kHz mono WAV. Raises UsageError with the command that brings it."""
    spec = find_spec("moonshine_voice")  # found but not imported: it would look for a sound card
    if spec is None or spec.origin is None:
        raise UsageError(f"the sample recording is not installed: {INSTALL}")
    path = Path(spec.origin).parent / "assets" / "two_cities.wav"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise UsageError(f"{path} is not the recording that was expected: {INSTALL} --force-reinstall")
    return path


if __name__ == "__main__":
    print(speech_sample())
