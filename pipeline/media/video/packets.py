"""What is known of a video without decoding it: where its packets and its key frames lie."""

from pathlib import Path

from pipeline.job import MediaInfo
from pipeline.media import arguments
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.video.choice import Choice
from pipeline.media.video.seeking import may_pay
from pipeline.media.video.showing import number

_MEASURED = 60.0  # seconds, from the start, in which key frames are counted
_MAX_BYTES = 8_000_000


def measured(path: Path, info: MediaInfo, choice: Choice, ffmpeg: Ffmpeg) -> MediaInfo:
    """With the distance of the key frames, where it decides how frames are best looked for."""
    if info.video is None or info.is_animation or choice.mode != "fps":
        return info
    if not may_pay(info.video, info.demuxer, 1 / choice.rate):
        return info
    found = key_frame_seconds(path, info, ffmpeg)
    return info.model_copy(update={"video": info.video.model_copy(update={"key_frame_seconds": found})})


def key_frame_seconds(path: Path, info: MediaInfo, ffmpeg: Ffmpeg) -> float | None:
    """From one key frame to the next, on average over the first minute; None when that has fewer than two."""
    times = [time for time, is_key in _packets(path, info, 0.0, _MEASURED, ffmpeg) if is_key]
    return round((max(times) - min(times)) / (len(times) - 1), 3) if len(times) > 1 else None


def shows(path: Path, info: MediaInfo, start: float, end: float, ffmpeg: Ffmpeg) -> bool:
    """Whether the file holds video between two times, in seconds of the media."""
    return any(start <= time <= end for time, _ in _packets(path, info, max(0.0, start), end, ffmpeg))


def _packets(path: Path, info: MediaInfo, start: float, end: float, ffmpeg: Ffmpeg) -> list[tuple[float, bool]]:
    """The times of the packets, from the key frame before `start` on, and whether each is a key frame."""
    assert info.video is not None, "who asks for frames has looked whether there are any"
    bounds = start + info.origin, end + info.origin
    argv = arguments.packets(ffmpeg.ffprobe, path, info.demuxer, info.video.index, *bounds)
    output, _ = ffmpeg.run(argv, _MAX_BYTES)
    rows = (line.split(",") for line in output.decode("utf-8", "replace").splitlines())
    found = ((number(row[0]), row[1]) for row in rows if len(row) > 1)
    return [(time - info.origin, "K" in flags) for time, flags in found if time is not None]
