"""The media divided into cells of 1/rate seconds, from its start on, by Python and by ffmpeg alike. Pure.

Both count whole microseconds and calculate with the same numbers in the same order, so that they never disagree about a
frame.
"""

import math

_MICROSECONDS = 1_000_000
#: Microseconds by which a frame may lie before its cell: a start and a time, both rounded, are off by one together.
#: Not a whole number, so that no time lies where a cell begins.
_EARLY = 1.25


def cell(time: float, rate: float) -> int:
    """The number of the cell that a time lies in, in seconds of the media."""
    return _cell(round(time * _MICROSECONDS), rate)


def begin(number: int, rate: float) -> float:
    """The earliest time that lies in a cell; 0 in the first one."""
    first = max(0, math.ceil(number * _MICROSECONDS / rate - _EARLY))
    return (first + (_cell(first, rate) < number)) / _MICROSECONDS


def expression(time: str, origin: float, rate: float) -> str:
    """The same as `cell`, for ffmpeg to evaluate: of the variable `time`, on the clock on which the media starts at
    `origin`."""
    start = round(origin * _MICROSECONDS)
    return f"floor((round({time}*{_MICROSECONDS})-({start})+{_EARLY})*{rate!r}/{_MICROSECONDS})"


def _cell(microseconds: int, rate: float) -> int:
    return math.floor((microseconds + _EARLY) * rate / _MICROSECONDS)
