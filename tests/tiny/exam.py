"""The exam of the tiny checkpoint: fresh questions about strings and scenes that training never met."""

import io
import random
import subprocess
from collections.abc import Callable, Sequence

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.tiny.answers import Question
from tests.tiny.checkpoint import CLIP_SECONDS
from tests.tiny.clips import Clip, a_clip, a_quiet_clip
from tests.tiny.data import things_wanted
from tests.tiny.drawing import Picture, draw
from tests.tiny.initial import TRAINED
from tests.tiny.voice import NEW_SPEAKERS, SAMPLE_RATE, SPEAKERS
from tests.tiny.world import (
    ASK_BOTH,
    ASK_DIGITS,
    ASK_SHAPES,
    CAPTION,
    CAPTION_FRAMES,
    DIGITS,
    TRANSCRIBE,
    TRANSCRIBE_HINTED,
    a_scene,
    ask_colour,
    ask_shape,
    digit_string,
    translate_speech,
    translate_text,
    translated,
)

Sound = NDArray[np.float32]
Ask = Callable[[random.Random], Question]

#: ffmpeg's arguments for a container and its codec.
CODECS = {
    "mp3, 48 kbit/s, 44.1 kHz": ("-ar", "44100", "-b:a", "48k", "-f", "mp3"),
    "opus, 24 kbit/s": ("-c:a", "libopus", "-b:a", "24k", "-f", "ogg"),
    "aac, 64 kbit/s": ("-c:a", "aac", "-b:a", "64k", "-f", "adts"),
    "wav, 8 kHz": ("-ar", "8000", "-f", "wav"),
}


def main_parts() -> dict[str, tuple[Ask, int]]:
    """What the checkpoint must know: how to ask, and how often."""
    return {"speech": (_transcribe(), 300), "pictures": (_caption(), 300)}


def other_parts() -> dict[str, tuple[Ask, int]]:
    """How that holds up elsewhere, and what else the checkpoint has learnt."""
    parts: dict[str, tuple[Ask, int]] = {
        "speech, language given": (_transcribe(words=TRANSCRIBE_HINTED), 75),
        "speech, voices never heard": (_transcribe(speakers=NEW_SPEAKERS), 150),
        "speech, clips of up to 5.12 s": (_transcribe(seconds=TRAINED.clip_samples / SAMPLE_RATE), 300),
        "silence and noise": (_silence, 60),
    }
    parts |= {f"speech through {name}": (_transcribe(codec=codec), 75) for name, codec in CODECS.items()}
    parts |= {
        "pictures through jpeg, quality 60": (_caption(lambda image: _recompressed(image, "JPEG")), 75),
        "pictures through webp, quality 60": (_caption(lambda image: _recompressed(image, "WEBP")), 75),
        "pictures at 640 x 360": (_caption(lambda image: image.resize((640, 360))), 75),
        "empty pictures": (_empty, 40),
        "two to four frames": (_frames, 75),
    }
    for language in ("German", "French"):
        parts[f"speech into {language}"] = (_translate_speech(language), 75)
        parts[f"text into {language}"] = (_translate_text(language), 75)
    return parts | {
        "colour of a shape": (_colour, 60),
        "shape of a colour": (_shape, 60),
        "number of shapes": (_count_shapes, 60),
        "number of digits": (_count_digits, 60),
        "picture and speech": (_both, 75),
    }


def _transcribe(
    words: str = TRANSCRIBE,
    speakers: Sequence[str] = SPEAKERS,
    codec: Sequence[str] = (),
    seconds: float = CLIP_SECONDS,
) -> Ask:
    def ask(rng: random.Random) -> Question:
        clip = _clip(rng, speakers, seconds)
        sound = _through(clip.sound, codec) if codec else clip.sound
        return Question(task="transcribe", words=words, answer=" ".join(clip.words), sound=sound)

    return ask


def _clip(rng: random.Random, speakers: Sequence[str] = SPEAKERS, seconds: float = CLIP_SECONDS) -> Clip:
    """A clip as long as the product would give to the model."""
    while True:
        clip = a_clip(rng, "held_out", speakers)
        if len(clip.sound) <= seconds * SAMPLE_RATE:
            return clip


def _silence(rng: random.Random) -> Question:
    return Question(task="transcribe", words=TRANSCRIBE, answer="", sound=a_quiet_clip(rng).sound)


def _caption(change: Callable[[Image.Image], Image.Image] = lambda image: image) -> Ask:
    def ask(rng: random.Random) -> Question:
        picture = _picture(rng, 1 if rng.random() < 0.3 else 2)
        return Question(task="caption", words=CAPTION, answer=picture.scene.caption, pictures=(change(picture.image),))

    return ask


def _empty(rng: random.Random) -> Question:
    picture = _picture(rng, 0)
    return Question(task="caption", words=CAPTION, answer=picture.scene.caption, pictures=(picture.image,))


def _frames(rng: random.Random) -> Question:
    pictures = [_picture(rng, int(rng.random() < 0.85)) for _ in range(rng.randint(2, 4))]
    answer = ", ".join(picture.scene.caption for picture in pictures)
    images = tuple(picture.image for picture in pictures)
    return Question(task="caption", words=CAPTION_FRAMES, answer=answer, pictures=images)


def _translate_speech(language: str) -> Ask:
    def ask(rng: random.Random) -> Question:
        clip = _clip(rng)
        answer = translated(clip.words, language)
        return Question(task="translate", words=translate_speech(language), answer=answer, sound=clip.sound)

    return ask


def _translate_text(language: str) -> Ask:
    def ask(rng: random.Random) -> Question:
        words = digit_string(rng, rng.randint(1, 8), "held_out")
        asked = translate_text(language, " ".join(words))
        return Question(task="translate", words=asked, answer=translated(words, language))

    return ask


def _colour(rng: random.Random) -> Question:
    while True:
        picture = _picture(rng, rng.randint(1, 2))
        first, *others = picture.scene.things
        if all(other.shape != first.shape for other in others):
            words = ask_colour(first.shape)
            return Question(task="ask", words=words, answer=first.colour, pictures=(picture.image,))


def _shape(rng: random.Random) -> Question:
    while True:
        picture = _picture(rng, rng.randint(1, 2))
        first, *others = picture.scene.things
        if all(other.colour != first.colour for other in others):
            words = ask_shape(first.colour)
            return Question(task="ask", words=words, answer=first.shape, pictures=(picture.image,))


def _count_shapes(rng: random.Random) -> Question:
    picture = _picture(rng, things_wanted(rng))
    answer = DIGITS[len(picture.scene.things)]
    return Question(task="ask", words=ASK_SHAPES, answer=answer, pictures=(picture.image,))


def _count_digits(rng: random.Random) -> Question:
    clip = _clip(rng)
    return Question(task="ask", words=ASK_DIGITS, answer=DIGITS[len(clip.words)], sound=clip.sound)


def _both(rng: random.Random) -> Question:
    picture, clip = _picture(rng, rng.randint(1, 2)), _clip(rng)
    answer = f"{picture.scene.caption}; {' '.join(clip.words)}"
    return Question(task="ask", words=ASK_BOTH, answer=answer, pictures=(picture.image,), sound=clip.sound)


def _picture(rng: random.Random, things: int) -> Picture:
    return draw(a_scene(rng, things, "held_out"), rng)


def _through(sound: Sound, codec: Sequence[str]) -> Sound:
    """The sound after it was encoded and decoded again."""
    pcm = np.round(sound * 32767).astype("<i2").tobytes()
    raw = ("-f", "s16le", "-ar", "16000", "-ac", "1")
    coded = _ffmpeg((*raw, "-i", "pipe:0", *codec, "pipe:1"), pcm)
    decoded = _ffmpeg(("-i", "pipe:0", *raw, "pipe:1"), coded)
    return (np.frombuffer(decoded, "<i2").astype(np.float32) / 32768)[: len(sound)]


def _ffmpeg(arguments: Sequence[str], given: bytes) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def _recompressed(image: Image.Image, form: str) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, quality=60)
    file.seek(0)
    return Image.open(file).convert("RGB")
