"""The files of the matrix, made by ffmpeg from tones and colours that are known."""

import subprocess
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.media.ffmpeg import Ffmpeg
from tests.integration.media.matrix import CASES, COLOURS, FIRST, FPS, LENGTH, LEVEL, SECOND, SECONDS, SILENCE, Case


def make(name: str, folder: Path, ffmpeg: Ffmpeg) -> Path:
    """The file of that name."""
    case, path = CASES[name], folder / name
    inputs: list[str] = []
    maps: list[str] = []
    if case.video:
        width, height = case.size
        inputs += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FPS)]
        inputs += ["-i", str(_pictures(case, folder))]
        maps += ["-map", "0:v"]
    if case.video and case.decoy:
        inputs += ["-f", "lavfi", "-i", f"color=black:s={case.size[0]}x{case.size[1]}:r={FPS}:d={SECONDS}"]
        maps += ["-map", "1:v"]
    if case.audio and case.decoy:
        inputs += ["-f", "lavfi", "-i", f"anullsrc=r={case.rate}:d={LENGTH}"]
        maps += ["-map", "0:a"]
    if case.audio:
        inputs += [*(("-itsoffset", str(case.late)) if case.late else ()), "-i", str(_tones(case, folder))]
        maps += ["-map", f"{len(maps) // 2}:a"]
    if case.cover:
        inputs += ["-i", str(_cover(folder))]
        maps += ["-map", f"{len(maps) // 2}:v"]
    colours = ("-pix_fmt", "yuv420p") if case.video not in (None, "ffv1", "prores", "mjpeg") else ()
    argv = [str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", "-y", *inputs, *maps, "-threads", "1", *colours]
    subprocess.run([*argv, *case.options, str(path)], check=True, capture_output=True, timeout=120)
    return path


def tones(rate: int, seconds: float) -> NDArray[np.float64]:
    """The first tone, silence, and the second tone; shape (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    first = LEVEL * np.sin(2 * np.pi * FIRST * times) * (times < SILENCE[0])
    return first + LEVEL / 2 * np.sin(2 * np.pi * SECOND * times) * (times >= SILENCE[1])


def _tones(case: Case, folder: Path) -> Path:
    path = folder / f"tones-{case.rate}-{case.channels}-{case.seconds}.wav"
    if not path.exists():
        mono = (tones(case.rate, case.seconds) * 32_767).astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setparams((case.channels, 2, case.rate, 0, "NONE", ""))
            file.writeframes(np.repeat(mono[:, None], case.channels, axis=1).tobytes())
    return path


def _pictures(case: Case, folder: Path) -> Path:
    """Half a second of each colour; the right half shows the next one."""
    width, height = case.size
    path = folder / f"pictures-{width}x{height}.rgb"
    if not path.exists():
        frames = np.empty((round(SECONDS * FPS), height, width, 3), np.uint8)
        for number in range(len(frames)):
            place = int(number / FPS * 2)
            frames[number, :, : width // 2] = COLOURS[place % len(COLOURS)]
            frames[number, :, width // 2 :] = COLOURS[(place + 1) % len(COLOURS)]
        path.write_bytes(frames.tobytes())
    return path


def _cover(folder: Path) -> Path:
    """A picture of some hundred kilobytes, which is far more than the head of a file."""
    path = folder / "cover.jpg"
    if not path.exists():
        Image.effect_noise((600, 600), 90).convert("RGB").save(path, quality=95)
    return path
