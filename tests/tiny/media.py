"""Media of the tiny world with its truth: recordings of spoken digits, pictures, a slide show that is spoken to."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.settings import Settings
from tests.media_samples import encode, write_wav
from tests.tiny.drawing import draw
from tests.tiny.voice import SAMPLE_RATE, Voice, a_voice, speak
from tests.tiny.world import Split, a_scene, digit_string

Sound = NDArray[np.float32]

MOST_DIGITS = 4  # in a phrase: two phrases may share a clip, and a clip may hold eight
PAUSE = (0.7, 2.0)  # seconds between phrases
SLOWEST, FASTEST = 115, 160  # words a minute
NOISE = (25, 40)  # dB below the speech
SLIDE_SIZE = (320, 240)

#: How a suffix is encoded, by ffmpeg.
CODECS = {
    ".wav": (),
    ".mp3": ("-b:a", "96k"),
    ".opus": ("-c:a", "libopus", "-b:a", "32k"),
    ".m4a": ("-c:a", "aac", "-b:a", "96k"),
    ".flac": (),
}


@dataclass(frozen=True, slots=True)
class Phrase:
    """Some digits, and when they are said, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Slide:
    """A picture that is shown for a while, and what is said meanwhile."""

    start: float
    end: float
    caption: str
    phrase: str


def digits_recording(
    path: Path, seed: int, seconds: float, *, rate: int = SAMPLE_RATE, channels: int = 1, split: Split = "held_out"
) -> list[Phrase]:
    """One voice that says digits in phrases with pauses, encoded by the path's suffix; at most `seconds` long."""
    rng = random.Random(seed)
    voice = _calm_voice(rng)
    phrases: list[Phrase] = []
    parts: list[Sound] = [_pause(rng)]
    while True:
        words = digit_string(rng, rng.randint(1, MOST_DIGITS), split)
        spoken = speak(" ".join(words), voice)
        start = sum(map(len, parts)) / SAMPLE_RATE
        end = start + len(spoken) / SAMPLE_RATE
        if end + 0.2 > seconds and phrases:
            break
        phrases.append(Phrase(round(start, 3), round(end, 3), " ".join(words)))
        parts += [spoken, _pause(rng)]
    _write(path, _recorded(np.concatenate(parts), rng), rate, channels)
    return phrases


def picture(path: Path, seed: int, split: Split = "held_out") -> str:
    """A picture of one or two shapes, in the format of the path's suffix; returns its caption."""
    rng = random.Random(seed)
    drawn = draw(a_scene(rng, rng.choice((1, 2)), split), rng)
    drawn.image.save(path, quality=90)
    return drawn.scene.caption


def slide_show(path: Path, seed: int, num_slides: int, seconds: float = 4.0) -> list[Slide]:
    """An mp4 with one shape on each slide and a phrase spoken to it; each slide is shown for so many seconds."""
    rng = random.Random(seed)
    voice = _calm_voice(rng)
    slides: list[Slide] = []
    sound: list[Sound] = []
    folder = path.parent / f"{path.stem}-slides"
    folder.mkdir()
    for number in range(num_slides):
        drawn = draw(a_scene(rng, 1, "held_out"), rng)
        drawn.image.resize(SLIDE_SIZE, Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
        words = digit_string(rng, rng.randint(2, MOST_DIGITS), "held_out")
        spoken = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        said = speak(" ".join(words), voice)[: len(spoken) - SAMPLE_RATE]
        spoken[SAMPLE_RATE // 2 : SAMPLE_RATE // 2 + len(said)] = said
        sound.append(spoken)
        slides.append(Slide(number * seconds, (number + 1) * seconds, drawn.scene.caption, " ".join(words)))
    track = write_wav(folder / "sound.wav", _pcm(_recorded(np.concatenate(sound), rng))[:, None], SAMPLE_RATE)
    shown = ("-framerate", f"{1 / seconds:.6f}", "-i", str(folder / "%03d.png"))
    coded = ("-r", "25", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k")
    encode(_ffmpeg(), track, path, *shown, "-map", "0:a", "-map", "1:v", *coded)
    return slides


def _calm_voice(rng: random.Random) -> Voice:
    voice = a_voice(rng)
    return Voice(
        name=voice.name, words_per_minute=rng.randint(SLOWEST, FASTEST), pitch=voice.pitch, word_gap=voice.word_gap
    )


def _pause(rng: random.Random) -> Sound:
    return np.zeros(round(rng.uniform(*PAUSE) * SAMPLE_RATE), np.float32)


def _recorded(sound: Sound, rng: random.Random) -> Sound:
    """At a level between faint and full, with some noise."""
    spoken = sound[np.abs(sound) > 1e-3]
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(sound))
    noisy = sound + noise * spoken.std() * 10 ** (-rng.uniform(*NOISE) / 20)
    level = 10 ** rng.uniform(-1.0, -0.1)
    return (noisy / np.abs(noisy).max() * level).astype(np.float32)


def _pcm(sound: Sound) -> NDArray[np.int16]:
    return np.round(sound * 32767).astype("<i2")


def _write(path: Path, sound: Sound, rate: int, channels: int) -> None:
    samples = np.repeat(_pcm(sound)[:, None], channels, axis=1)
    plain = write_wav(path.with_suffix(".plain.wav"), samples, SAMPLE_RATE)
    encode(_ffmpeg(), plain, path, "-ar", str(rate), *CODECS[path.suffix])
    plain.unlink()


def _ffmpeg() -> Ffmpeg:
    return Ffmpeg.locate(Settings())
