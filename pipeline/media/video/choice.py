"""Which frames of a video are looked at: what a user wrote, as numbers. Pure."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError
from pipeline.job import MediaInfo
from pipeline.settings import Video

SCENE_RATE = 2.0  # frames a second that are compared to find cuts: a scene shorter than half a second may be missed
SCENE_SECONDS = 30.0  # one frame at least is taken of so many, if no other number is given
MOST_RATE = 60.0  # frames a second
_LONG = 20 * 60  # seconds; of a longer video, scenes are enough
_EXPECTED = "write fps=N, scene, scene=SECONDS, keyframes or keyframes=N"


@dataclass(frozen=True, slots=True)
class Choice:
    """Of each cell of 1/`rate` seconds of the media, the first frame is looked at; it is taken if the mode says so.

    `fps`: always. `scene`: if it does not look like the one before it, and if it is the first one in a stretch of
    `every` seconds. `keyframes`: always, but only key frames count as frames.
    """

    mode: Literal["fps", "scene", "keyframes"]
    rate: float
    every: float = SCENE_SECONDS

    @property
    def gap(self) -> float:
        """Seconds from one frame that is taken to the next, at the most: 10 between key frames, as encoders set it."""
        return {"fps": 1 / self.rate, "scene": self.every, "keyframes": max(1 / self.rate, 10.0)}[self.mode]

    @property
    def taken_rate(self) -> float:
        """Frames of each second that are taken: of scenes at the least, of key frames at the most."""
        return 1 / self.every if self.mode == "scene" else self.rate

    def __str__(self) -> str:
        """What `parse` reads as the same choice."""
        return f"{self.mode}={self.every if self.mode == 'scene' else self.rate}"


def parse(text: str, default_rate: float = 1.0) -> Choice:
    """`fps=N` (frames a second), `scene[=SECONDS]` or `keyframes[=N]` (at most N a second; `default_rate` without).

    Raises UsageError when it is none of these.
    """
    mode, has_number, written = text.partition("=")
    number = _number(written) if has_number else None
    match mode:
        case "fps" if number is not None:
            return Choice("fps", _rate(number))
        case "scene":
            return Choice("scene", SCENE_RATE, SCENE_SECONDS if number is None else max(number, 1 / SCENE_RATE))
        case "keyframes":
            return Choice("keyframes", default_rate if number is None else _rate(number))
    raise UsageError(f"{text!r} does not say which frames: {_EXPECTED}")


def chosen(asked: str | None, video: Video, info: MediaInfo) -> Choice:
    """The choice of a job: what it asked for, else the setting, else by the length of the video.

    A length that is not known counts as short: nothing is left out that was not known to be much. An animation has
    neither key frames nor enough frames to look for scenes: of it the default rate is taken instead.
    """
    written = asked or video.frames
    usual = Choice("fps", video.frames_per_second)
    if written:
        choice = parse(written, video.frames_per_second)
        return usual if info.is_animation and choice.mode != "fps" else choice
    length = info.video.length if info.video is not None else None
    return usual if length is None or length <= _LONG else Choice("scene", SCENE_RATE)


def _number(written: str) -> float:
    try:
        number = float(written)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise UsageError(f"{written!r} is no number of frames or seconds above 0: {_EXPECTED}")
    return number


def _rate(number: float) -> float:
    if number > MOST_RATE:
        raise UsageError(f"{number:g} frames a second are too many: {MOST_RATE:g} is the most")
    return number
