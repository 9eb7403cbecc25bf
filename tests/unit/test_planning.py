"""How much work media is, by hand."""

from typing import Any

import pytest

from pipeline.engines.gemma3n.facts import Facts
from pipeline.job import AudioStream, Kind, MediaInfo, Options, PictureInfo, SegmentLimits, VideoStream
from pipeline.planning.estimate import UNKNOWN, Sizes, Work, work
from pipeline.settings import Video

SOUND = AudioStream(index=0, codec="aac", sample_rate=44_100, channels=2)
SIZES = Sizes(
    limits=SegmentLimits(clip_seconds=30, images=8, text_characters=4_000),
    video=Video(frames_per_second=1),
    facts=Facts(),
)


def film(seconds: float | None, *, audio: AudioStream | None = SOUND) -> MediaInfo:
    stream = VideoStream(index=0, codec="h264", width=640, height=360, length=seconds)
    return MediaInfo(kind="video", demuxer="mov", duration=seconds, audio=audio, video=stream)


def sound(seconds: float | None) -> MediaInfo:
    return MediaInfo(kind="sound", demuxer="mp3", duration=seconds, audio=SOUND)


PICTURE = MediaInfo(kind="picture", picture=PictureInfo(format="tiff", width=8, height=8, pages=3))
TEXT = MediaInfo(kind="text", encoding="utf-8", characters=9_000)


@pytest.mark.parametrize(
    ("info", "kinds", "options", "expected"),
    [
        # 1 h / (30 s x 0.9) = 133.3 clips of 188 tokens
        (sound(3600), ("sound",), {}, Work(134, 0, 134 * 188)),
        (sound(3600), ("sound",), {"channels": "split"}, Work(268, 0, 268 * 188)),
        (sound(0.2), ("sound",), {}, Work(1, 0, 188)),
        # 61 frames in groups of 8
        (film(60.5), ("frames",), {}, Work(8, 61, 61 * 256)),
        (film(60), ("frames",), {"frames": "fps=0.5"}, Work(4, 30, 30 * 256)),
        (film(60), ("frames",), {"frames": "scene=10"}, Work(1, 6, 6 * 256)),
        (film(60), ("frames", "sound"), {}, Work(8 + 3, 60, 60 * 256 + 3 * 188)),
        # Pieces of 8 frames, so 8 s of sound; at 4 s a frame a clip of 30 s is full first.
        (film(60), ("scene",), {}, Work(8, 60, 60 * 256 + 8 * 188)),
        (film(60), ("scene",), {"frames": "fps=0.25"}, Work(2, 15, 15 * 256 + 2 * 188)),
        (PICTURE, ("picture",), {}, Work(3, 3, 3 * 256)),
        (TEXT, ("text",), {}, Work(3, 0, 3_000)),
        (sound(None), ("sound",), {}, UNKNOWN),
        (film(None), ("frames", "sound"), {}, UNKNOWN),
    ],
)
def test_work_is_counted_by_kind(
    info: MediaInfo, kinds: tuple[Kind, ...], options: dict[str, Any], expected: Work
) -> None:
    assert work(info, kinds, Options(**options), SIZES) == expected


def test_tokens_are_those_of_the_checkpoint() -> None:
    tiny = Sizes(SIZES.limits, SIZES.video, Facts(audio_tokens=20, image_tokens=16, characters_per_token=1))
    assert work(sound(10), ("sound",), Options(), tiny).tokens == 20
    assert work(PICTURE, ("picture",), Options(), tiny).tokens == 48
    assert work(TEXT, ("text",), Options(), tiny).tokens == 9_000
