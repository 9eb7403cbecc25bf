"""Media for tests, made with the same ffmpeg that is tested: beeps at known times, in any format."""

import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg import Ffmpeg

RATE = 44_100  # Hz
BEEP = 0.5  # seconds


def beeps(seconds: float, at: Sequence[float], level: float = 0.3, hz: float = 1000) -> NDArray[np.int16]:
    """Stereo beeps of half a second in silence; shape (samples, 2)."""
    times = np.arange(round(seconds * RATE)) / RATE
    on = np.zeros(len(times), np.bool_)
    for start in at:
        on |= (times >= start) & (times < start + BEEP)
    mono = (level * 32767 * np.sin(2 * np.pi * hz * times) * on).astype("<i2")
    return np.repeat(mono[:, None], 2, axis=1)


def noise_bursts(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """Stereo noise in bursts of 0.5 to 4 s with gaps of 0.3 to 1 s; shape (samples, 2)."""
    rng = np.random.default_rng(seed)
    level = np.empty(round(seconds * RATE), np.float32)
    at = 0
    while at < len(level):
        burst, gap = round(rng.uniform(0.5, 4) * RATE), round(rng.uniform(0.3, 1) * RATE)
        level[at : at + burst] = 0.1
        level[at + burst : at + burst + gap] = 0.0005
        at += burst + gap
    mono = np.clip(rng.normal(0, 1, len(level)) * level * 32767, -32768, 32767).astype("<i2")
    return np.repeat(mono[:, None], 2, axis=1)


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = RATE) -> Path:
    """`samples` of shape (samples, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def encode(
    ffmpeg: Ffmpeg, source: Path, target: Path, *options: str, video_seconds: float | None = None, late: float = 0.0
) -> Path:
    """`source` in another format, with a test picture beside it if wanted; `late` delays the sound against it."""
    argv = [str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", "-y"]
    argv += ["-itsoffset", str(late)] if late else []
    argv += ["-i", str(source)]
    if video_seconds is not None:
        argv += ["-f", "lavfi", "-i", f"testsrc=s=64x48:r=25:d={video_seconds}"]
    subprocess.run([*argv, *options, str(target)], check=True, capture_output=True, timeout=120)
    return target
