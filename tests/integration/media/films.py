"""Films in many formats and with many kinds of time stamps, and how their frames are sampled and listed."""

import json
import math
import subprocess
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipeline.job import SegmentLimits, Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.video.choice import parse
from pipeline.media.video.frames import FrameCut, FrameGroup
from pipeline.media.video.sampling import Film
from pipeline.payload import Frame
from tests.media_samples import beeps, encode, write_wav

WHOLE = Window(index=0, start=0, end=None)
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-threads", "1")
B_FRAMES = (*X264, "-bf", "3", "-g", "30", "-b_strategy", "0")
#: Frames at uneven times, none between 3.2 and 6.4 s.
UNEVEN = ("-vf", "select='not(between(t,3.2,6.4))*gt(random(0),0.3)'", "-fps_mode", "vfr")
FILMS: dict[str, tuple[str, ...]] = {
    "even.mp4": ("-c:v", "mpeg4"),
    "b-frames.mp4": B_FRAMES,
    "uneven.mp4": (*UNEVEN, *B_FRAMES),
    "uneven.mkv": (*UNEVEN, "-c:v", "mpeg4", "-bf", "2"),
    "late.mkv": ("-c:v", "mpeg4", "-output_ts_offset", "0.5"),
    "sound-first.mkv": ("-c:v", "mpeg4", "-vf", "setpts=PTS+0.5/TB", "-c:a", "aac"),
    "a.ts": (*B_FRAMES, "-c:a", "aac"),
    "silent.ts": B_FRAMES,
    "a.mpg": ("-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2", "-f", "vob"),
    "a.avi": ("-c:v", "mpeg4", "-c:a", "mp3"),
    "film.mp4": (*B_FRAMES, "-r", "24000/1001"),
    "59.94.mkv": (*B_FRAMES, "-r", "60000/1001"),
    "interlaced.ts": (*B_FRAMES, "-vf", "setfield=tff", "-flags", "+ildct+ilme", "-x264opts", "tff=1"),
    "open-gop.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-bf", "3", "-x265-params", "keyint=40:log-level=none"),
    "a.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
}
EDITED = "edited.mp4"
NAMES = (*FILMS, EDITED)


def make(folder: Path, ffmpeg: Ffmpeg) -> dict[str, Path]:
    """Ten seconds of each."""
    sound = write_wav(folder / "sound", beeps(10, [1, 5]))
    made: dict[str, Path] = {}
    for name, options in FILMS.items():
        streams = ("-map", "1:v", "-map", "0:a") if "-c:a" in options else ("-map", "1:v")
        made[name] = encode(ffmpeg, sound, folder / name, *streams, *options, video_seconds=10)
    made[EDITED] = folder / EDITED  # begins between two key frames, by an edit list
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-ss", "1.3", "-i", str(made["film.mp4"]), "-c", "copy"]
    subprocess.run([*argv, str(made[EDITED])], check=True, timeout=60)
    return made


def film(path: Path, ffmpeg: Ffmpeg, choice: str = "fps=1", *, most: int = 4, side: int = 64) -> Film:
    limits = SegmentLimits(images=most, image_pixels=side)
    return Film(path, probe(path, ffmpeg), parse(choice), limits, ffmpeg)


def sampled(wanted: Film, window: Window = WHOLE) -> tuple[FrameCut, list[FrameGroup]]:
    frame_cut = FrameCut(wanted, window)
    return frame_cut, list(frame_cut)


def frames_of(groups: list[FrameGroup]) -> list[Frame]:
    return [frame for group in groups for frame in group.frames]


def listed(path: Path, ffmpeg: Ffmpeg, *, keys_only: bool = False) -> list[Fraction]:
    """When each frame is shown by ffprobe's account, in seconds from the start of the file; exact, not rounded."""
    argv = [str(ffmpeg.ffprobe), "-v", "error", "-of", "json", "-show_format", "-show_streams"]
    argv += ["-show_frames", "-select_streams", "V:0", str(path)]
    said = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)
    shown = [frame for frame in said["frames"] if frame["key_frame"] or not keys_only]
    times = [frame.get("best_effort_timestamp") for frame in shown]
    tick = Fraction(said["streams"][0]["time_base"])
    return sorted(time * tick - _start(path, ffmpeg) for time in times if time is not None)


def _start(path: Path, ffmpeg: Ffmpeg) -> Fraction:
    """Where the file starts, exactly: the start of a stream, where ffprobe gives its rounded figure for the file."""
    argv = [str(ffmpeg.ffprobe), "-v", "error", "-of", "json", "-show_format", "-show_streams", str(path)]
    said = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)
    rounded = Fraction(said["format"]["start_time"])
    starts = [one["start_pts"] * Fraction(one["time_base"]) for one in said["streams"] if "start_pts" in one]
    return min(starts, key=lambda start: abs(start - rounded))


def first_of_each_cell(times: Iterable[Fraction], rate: float) -> list[Any]:
    """The times that `rate` frames a second give, to within the microsecond to which they are told."""
    found: dict[int, Fraction] = {}
    for time in times:
        if time >= 0:
            found.setdefault(math.floor(time * Fraction(str(rate))), time)
    return [pytest.approx(float(time), abs=1.01e-6) for time in found.values()]
