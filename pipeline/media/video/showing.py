"""Reading ffprobe's description of a video stream: what it takes to show its frames as they are meant. Pure."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pipeline.job import Turn, VideoStream

#: How a display matrix `x' = ax + cy, y' = bx + dy` turns a picture, by the signs of (a, b, c, d).
_TURNS: Mapping[tuple[int, int, int, int], Turn] = {
    (1, 0, 0, 1): "none",
    (0, 1, -1, 0): "clock",
    (0, -1, 1, 0): "cclock",
    (0, -1, -1, 0): "clock_flip",
    (0, 1, 1, 0): "cclock_flip",
    (-1, 0, 0, 1): "hflip",
    (1, 0, 0, -1): "vflip",
    (-1, 0, 0, -1): "half",
}
_QUARTERS: tuple[Turn, ...] = ("none", "cclock", "half", "clock")  # by quarter turns against the clock
_FIELDS: Mapping[str, Literal["top", "bottom"]] = {"tt": "top", "tb": "top", "bb": "bottom", "bt": "bottom"}
_TRANSFERS: Mapping[str, Literal["pq", "hlg"]] = {"smpte2084": "pq", "arib-std-b67": "hlg"}
_STANDARD_LINES = 576  # of television in BT.601; a larger picture that does not say is BT.709


def read(stream: Mapping[str, Any], index: int, origin: float) -> VideoStream | None:
    """The record of a stream; None when nobody knows how to decode it.

    `origin`: the time, as written in the file, that counts as its start; seconds.
    """
    codec, width, height = stream.get("codec_name"), stream.get("width") or 0, stream.get("height") or 0
    if not codec or codec == "unknown" or not width or not height:
        return None
    turn = _turn(stream)
    shown_width = max(1, round(width * _pixel_shape(stream)))
    upright = (height, shown_width) if is_quarter(turn) else (shown_width, height)
    start = number(stream.get("start_time"))
    return VideoStream(
        index=index,
        codec=codec,
        width=upright[0],
        height=upright[1],
        start=0.0 if start is None else max(0.0, round(start - origin, 6)),
        frame_rate=frame_rate(stream),
        turn=turn,
        field=_FIELDS.get(str(stream.get("field_order"))),
        matrix=_assumed_matrix(stream, width, height),
        transfer=_TRANSFERS.get(str(stream.get("color_transfer")), "sdr"),
    )


def frame_rate(stream: Mapping[str, Any]) -> float | None:
    """Frames a second, on average; None where the header does not say."""
    frames, _, seconds = str(stream.get("avg_frame_rate", "")).partition("/")
    rate = (number(frames) or 0.0) / (number(seconds) or 1.0)
    return rate or None


def is_quarter(turn: Turn) -> bool:
    """Whether what was wide is high afterwards."""
    return turn in ("clock", "cclock", "clock_flip", "cclock_flip")


def number(value: Any) -> float | None:
    """A finite number; None for `N/A` and the like."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _turn(stream: Mapping[str, Any]) -> Turn:
    for data in stream.get("side_data_list", ()):
        signs = _signs(str(data.get("displaymatrix", "")))
        if signs is not None and signs in _TURNS:
            return _TURNS[signs]
        if (angle := number(data.get("rotation"))) is not None:
            return _QUARTERS[round(angle / 90) % 4]
    clockwise = number(stream.get("tags", {}).get("rotate")) or 0.0
    return _QUARTERS[-round(clockwise / 90) % 4]


def _signs(written: str) -> tuple[int, int, int, int] | None:
    """Of (a, b, c, d) in ffprobe's three lines of `position: a b u`, `position: c d v`, `position: x y w`."""
    rows = [line.partition(":")[2].split() for line in written.split("\n") if line.strip()]
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        return None
    a, b, c, d = (int(value) for row in rows[:2] for value in row[:2])
    return _sign(a), _sign(b), _sign(c), _sign(d)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _pixel_shape(stream: Mapping[str, Any]) -> float:
    """Width of a pixel in heights of it."""
    across, _, down = str(stream.get("sample_aspect_ratio", "")).partition(":")
    shape = (number(across) or 1.0) / (number(down) or 1.0)
    return shape if 0.1 < shape < 10 else 1.0


def _assumed_matrix(stream: Mapping[str, Any], width: int, height: int) -> Literal["bt601", "bt709"] | None:
    if str(stream.get("color_space", "unknown")) not in ("unknown", "unspecified", "reserved"):
        return None
    return "bt601" if min(width, height) <= _STANDARD_LINES else "bt709"
