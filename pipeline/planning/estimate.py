"""How much work media is, before any of it is decoded: segments, frames and tokens. Pure.

These are estimates. Sound is counted as if somebody spoke all the time; of frames chosen by scenes or key frames, the
number that their choice promises. Answers that are put together and asked about again are not counted, nor are the
words of the prompts.
"""

import math
from dataclasses import dataclass, field

from pipeline.engines.gemma3n.facts import Facts
from pipeline.job import Kind, MediaInfo, Options, SegmentLimits
from pipeline.media.video.choice import chosen
from pipeline.settings import Video

#: Share of a clip that packed speech fills on average, by the benchmark speech-gate.
MEAN_CLIP_FILL = 0.9


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an estimate depends on beside the media: how large segments are, and what they cost."""

    limits: SegmentLimits
    video: Video  #: which frames are looked at, if the job does not say
    facts: Facts  #: of the model: tokens of a clip, of a picture, characters of a token


@dataclass(frozen=True, slots=True)
class Work:
    """What one file asks of an engine. None: its length is not known."""

    segments: int | None
    frames: int | None
    tokens: int | None  #: of clips, pictures and texts, as Gemma 3n counts them
    # What runs are measured in, beside the frames.
    seconds: float = field(default=0.0, compare=False)  #: of sound that is listened to
    pictures: int = field(default=0, compare=False)  #: of their own, which are among the frames
    characters: int = field(default=0, compare=False)

    def __add__(self, other: "Work") -> "Work":
        return Work(
            _sum(self.segments, other.segments),
            _sum(self.frames, other.frames),
            _sum(self.tokens, other.tokens),
            self.seconds + other.seconds,
            self.pictures + other.pictures,
            self.characters + other.characters,
        )


NOTHING = Work(0, 0, 0)
UNKNOWN = Work(None, None, None)


def work(info: MediaInfo, kinds: tuple[Kind, ...], options: Options, sizes: Sizes) -> Work:
    """The work that a file is for a task that cuts it into segments of these kinds."""
    return sum((_work(kind, info, options, sizes) for kind in kinds), NOTHING)


def _work(kind: Kind, info: MediaInfo, options: Options, sizes: Sizes) -> Work:
    """Tokens: `audio_tokens` for each clip, however short, `image_tokens` for each picture (both of the checkpoint's
    configuration: 188 and 256 in the published models), and a text's characters by `characters_per_token`."""
    facts, limits = sizes.facts, sizes.limits
    if kind == "picture":
        pages = info.picture.pages if info.picture is not None else 1
        return Work(pages, pages, pages * facts.image_tokens, pictures=pages)
    if kind == "text":
        characters = info.characters or 0
        tokens = math.ceil(characters / facts.characters_per_token)
        return Work(max(1, math.ceil(characters / limits.text_characters)), 0, tokens, characters=characters)
    if info.duration is None:
        return UNKNOWN
    if kind == "sound":
        tracks = _tracks(info, options)
        clips = tracks * max(1, math.ceil(info.duration / (limits.clip_seconds * MEAN_CLIP_FILL)))
        return Work(clips, 0, clips * facts.audio_tokens, seconds=tracks * info.duration)
    rate = chosen(options.frames, sizes.video, info).taken_rate
    seen_seconds = (info.video.length if info.video is not None else None) or info.duration
    frames = max(1, math.ceil(seen_seconds * rate))
    if kind == "frames":
        return Work(math.ceil(frames / limits.images), frames, frames * facts.image_tokens)
    # A piece ends when it has as many frames as it may, or as much sound.
    scenes = max(1, math.ceil(info.duration / min(limits.images / rate, limits.clip_seconds)))
    tokens = frames * facts.image_tokens + scenes * facts.audio_tokens
    return Work(scenes, frames, tokens, seconds=info.duration)


def _tracks(info: MediaInfo, options: Options) -> int:
    """How often the sound is gone through: once, or once for each channel."""
    return info.audio.channels if options.channels == "split" and info.audio is not None else 1


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
