"""Where a long file is cut into windows, so that several workers can decode it: decided once, in silences if it can."""

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.job import MediaInfo, Window
from pipeline.media import clocks
from pipeline.media.description import longest
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import estimated_length
from pipeline.media.sound import counting
from pipeline.media.sound.levels import FRAMES_PER_SECOND, levels, pause_frames, quietest, silences, threshold
from pipeline.media.sound.packing import unvoiced
from pipeline.media.sound.pcm import Pcm
from pipeline.media.sound.vad import Detector, voice

_SEARCH = 5  # seconds on each side of a border in which a silence is looked for
_UNCUT = 1.5  # windows that a file may be long and still be one
#: Formats without an index: ffmpeg reads them from the start to find a place, so that each window costs more than the
#: one before it. No more than so many windows keep that below a tenth of the decoding.
_WITHOUT_INDEX = frozenset({"mp3", "aac", "loas", "ac3", "eac3", "amr", "dts", "mlp", "truehd"})
_MAX_WITHOUT_INDEX = 6


def choose_windows(
    path: Path, info: MediaInfo, window_seconds: float, ffmpeg: Ffmpeg, detect: Detector | None = None
) -> tuple[Window, ...]:
    """The windows of a file: they touch, the first starts at 0, the last is open, because a length may be wrong.

    Decodes 10 s of sound around each border, which is why borders are decided here once and then stored. The borders
    of a silent video lie on whole seconds; a picture, an animation or a text is one window.
    """
    if not info.is_timed or info.is_animation:
        return (Window(index=0, start=0.0, end=None),)
    length = info.duration if info.duration is not None else estimated_length(path, info, ffmpeg)
    length = min(max(length or 0.0, _seen_seconds(info)), longest(info, ffmpeg.limits))
    if info.demuxer in _WITHOUT_INDEX:
        window_seconds = max(window_seconds, length / _MAX_WITHOUT_INDEX)
    nominal = nominal_borders(length, window_seconds)
    if nominal and (clocks.go_back(path, info.demuxer) or counting.is_due(path, info.demuxer)):
        return _between([])  # no place in it can be sought
    if info.audio is None:
        return _between([float(border) for border in nominal])
    return _between(_in_silences(path, info, nominal, ffmpeg, detect))


def _in_silences(
    path: Path, info: MediaInfo, nominal: Sequence[int], ffmpeg: Ffmpeg, detect: Detector | None
) -> list[float]:
    """The borders moved to where nobody speaks."""
    around = min(_SEARCH, nominal[0] // 3) if nominal else 0
    borders: list[float] = []
    known = 0  # how many of them have something behind them
    for border in nominal:
        pcm = b"".join(Pcm(path, info, border - around, 2 * around, ffmpeg))
        # In a hole of the sound a border may lie anywhere.
        borders.append(round(border - around + place_border(pcm, detect), 3) if pcm else float(border))
        if pcm or border < _seen_seconds(info):
            known = len(borders)
    return borders[:known]  # there the file may end before its header says: the last window will tell


def _seen_seconds(info: MediaInfo) -> float:
    """Where its video ends, as far as anybody knows; 0 without one."""
    return (info.video.length or 0.0) if info.video is not None else 0.0


def _between(borders: Sequence[float]) -> tuple[Window, ...]:
    starts = [0.0, *borders]
    ends = [*borders, None]
    return tuple(
        Window(index=index, start=start, end=end) for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def nominal_borders(length: float, window_seconds: float) -> tuple[int, ...]:
    """Evenly spaced inner borders, on whole seconds."""
    if length <= _UNCUT * window_seconds:
        return ()
    count = math.ceil(length / window_seconds)
    return tuple(round(length * number / count) for number in range(1, count))


def place_border(pcm: bytes, detect: Detector | None = None) -> float:
    """Seconds from the start of s16le PCM to the best place for a border, on a 20 ms frame.

    That is the middle of the longest pause, of equals the one nearest to the middle; without one, the last place at
    which `detect` hears nobody. Without `detect`, shorter silences count, and then the quietest place.
    """
    sound = levels(pcm)
    middle = len(sound) / 2
    shortest = FRAMES_PER_SECOND // 5 if detect is None else pause_frames(sound)
    gaps = [gap for gap in silences(sound > threshold(sound)) if gap[1] - gap[0] >= shortest]
    if gaps:
        first, end = max(gaps, key=lambda gap: (gap[1] - gap[0], -abs(sum(gap) / 2 - middle)))
        return (first + end) // 2 / FRAMES_PER_SECOND
    if detect is None:
        return quietest(sound, 0, len(sound)) / FRAMES_PER_SECOND
    probabilities = voice(detect, pcm)
    margin = FRAMES_PER_SECOND // 2
    place, _ = unvoiced(lambda first, end: probabilities[first:end], margin, len(sound) - margin, len(sound))
    return place / FRAMES_PER_SECOND
