"""Raw AAC (ADTS): whether its sample rate changes, of which ffmpeg's clock knows nothing. Nothing is decoded.

ffmpeg counts the time of such a file by the rate of its first frame, so that behind a change neither times nor places
that are sought mean anything. Such files are read from their start to their end, and their samples are counted.
"""

import mmap
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

#: A frame begins with twelve set bits, the version, two bits that are 0, and whether there is a checksum; the next byte
#: holds the rate in its middle.
_FRAME = re.compile(rb"\xff[\xf0\xf1\xf8\xf9](.)", re.DOTALL)
_HEADER_BYTES = 7
_IN_A_ROW = 3  # frames, each where the one before it ends: bytes that only look like one are followed by nothing
_MAX_LOOKS = 1_000_000  # at what looks like a frame, in a file that may be made to look so everywhere


def changes_rate(path: Path) -> bool:
    """Whether frames of more than one sample rate are in a file; also said of one with too much that looks like it."""
    if path.stat().st_size < _HEADER_BYTES:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        looks = count()
        place = _first(_FRAME, data, 0, looks)
        if place is None or place == len(data):
            return place is not None
        rate = _rate(data[place + 2])
        others = bytes(byte for byte in range(256) if _rate(byte) != rate)
        other = re.compile(rb"\xff[\xf0\xf1\xf8\xf9][" + re.escape(others) + rb"]", re.DOTALL)
        return _first(other, data, place, looks) is not None


def _first(frame: re.Pattern[bytes], data: mmap.mmap, start: int, looks: Iterator[int]) -> int | None:
    """Where frames begin to follow each other; the end of the data when too much only looks like one."""
    for found in frame.finditer(data, start):
        if next(looks) == _MAX_LOOKS:
            return len(data)
        if _goes_on(data, found.start()):
            return found.start()
    return None


def _goes_on(data: mmap.mmap, place: int) -> bool:
    """Whether frames of one rate follow each other from there on."""
    rate = None
    for _ in range(_IN_A_ROW):
        header = data[place : place + _HEADER_BYTES]
        if len(header) < _HEADER_BYTES or _FRAME.match(header) is None or rate not in (None, _rate(header[2])):
            return False
        rate = _rate(header[2])
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        if length < _HEADER_BYTES:
            return False
        place += length
    return True


def _rate(byte: int) -> int:
    return byte >> 2 & 15
