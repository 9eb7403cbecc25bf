"""Whether the clock of a file goes back, as where recordings were joined byte by byte. Nothing is decoded.

Behind such a place, no time that is written in the file says where something lies. A transport or program stream is
then read from its start to its end, and ffmpeg, who knows such streams, puts the parts one behind the other. Of
Matroska it does not.
"""

import mmap
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.media.blocks import number

_TICKS = 90_000  # of these clocks, in a second
_WRAP = 1 << 33  # ticks after which they begin anew in good order
_BACK = _TICKS // 10  # that a clock goes back at least where it begins anew; so says ffmpeg
_CHUNK = 1 << 23  # bytes looked at at once
_SYNC = 0x47  # the first byte of a packet of a transport stream
_PACKET_BYTES = (188, 192)
#: What begins a pack of a program stream, with its clock: of MPEG-2 or of MPEG-1.
_PACK = re.compile(rb"\x00\x00\x01\xba([\x44-\x7f]....|[\x21-\x2f]....)", re.DOTALL)
_MATROSKA_HEAD = 4096  # bytes, in which the first segment begins
#: What begins a Matroska file: the mark and a length, and its kind not far behind.
_MATROSKA = re.compile(rb"\x1a\x45\xdf\xa3.{1,64}?\x42\x82[\x84\x88](?:webm|matroska)", re.DOTALL)


def go_back(path: Path, demuxer: str) -> bool:
    """Whether the clock of a transport or program stream begins anew somewhere; of others, it is not looked for."""
    if demuxer not in ("mpegts", "mpeg"):
        return False
    told = path.stat()
    return _go_back(path, demuxer, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=64)  # asked for again and again while a file is cut
def _go_back(path: Path, demuxer: str, size: int, _changed: int) -> bool:
    if not size:
        return False
    last: dict[int, int] = {}
    for stream, ticks in _program_clocks(path) if demuxer == "mpeg" else _transport_clocks(path):
        row = np.concatenate(([last.get(stream, int(ticks[0]))], ticks))
        steps = np.diff(row) % _WRAP
        if np.any((steps >= _WRAP // 2) & (steps < _WRAP - _BACK)):
            return True
        last[stream] = int(ticks[-1])
    return False


def share_of_first(path: Path, demuxer: str) -> float:
    """How much of a Matroska file is the first one in it: 1, unless others were written behind it."""
    size = path.stat().st_size
    if demuxer != "matroska" or not size:
        return 1.0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = _end_of_first(data[:_MATROSKA_HEAD])
        # Where it does not tell its length, as one that was sent live, the next one is looked for.
        found = _MATROSKA.search(data, 1) if end is None else _MATROSKA.match(data, end)
        return found.start() / size if found is not None else 1.0


def _end_of_first(head: bytes) -> int | None:
    """Where the first segment of a Matroska file ends, by its own account."""
    _, place = number(head, 0, keep_mark=True)
    length, place = number(head, place, keep_mark=False)
    _, place = number(head, place + (length or 0), keep_mark=True)
    length, place = number(head, place, keep_mark=False)
    return None if length is None else place + length


def _program_clocks(path: Path) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The clock in each pack, of all of them in a row. There is one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ticks = np.array([_program_clock(found[1]) for found in _PACK.finditer(data)], np.int64)
    if len(ticks):
        yield 0, ticks


def _program_clock(told: bytes) -> int:
    a, b, c, d, e = told
    if a & 0xC0 == 0x40:
        high = (a >> 3 & 7) << 30 | (a & 3) << 28
        return high | b << 20 | (c >> 3) << 15 | (c & 3) << 13 | d << 5 | e >> 3
    return (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1


def _transport_clocks(path: Path) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The clocks that packets carry, in rows, each with its stream.

    Three marks at the right distance tell a packet, wherever it begins: parts may be joined in the middle of one.
    """
    with path.open("rb") as file:
        packet = 0
        while data := file.read(_CHUNK):
            chunk = np.frombuffer(data, np.uint8)
            packet = packet or max(_PACKET_BYTES, key=lambda size: len(_packets(chunk, size)))
            yield from _clocks_of(chunk, packet)
            if len(data) == _CHUNK:
                file.seek(-2 * packet, os.SEEK_CUR)  # marks at the end of this chunk


def _clocks_of(chunk: NDArray[np.uint8], packet: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    begins = _packets(chunk, packet)
    carries = chunk[begins + 3] & 0x20 != 0
    begins = begins[carries]
    begins = begins[(chunk[begins + 4] >= 7) & (chunk[begins + 5] & 0x10 != 0) & (chunk[begins + 10] & 0x7E == 0x7E)]
    streams = (chunk[begins + 1].astype(np.int64) & 0x1F) << 8 | chunk[begins + 2]
    parts = [chunk[begins + place].astype(np.int64) for place in range(6, 11)]
    ticks = parts[0] << 25 | parts[1] << 17 | parts[2] << 9 | parts[3] << 1 | parts[4] >> 7
    for stream in np.unique(streams):
        yield int(stream), ticks[streams == stream]


def _packets(chunk: NDArray[np.uint8], packet: int) -> NDArray[np.int64]:
    """Where packets begin, but for the last two."""
    marks = np.flatnonzero(chunk == _SYNC)
    marks = marks[marks < len(chunk) - 2 * packet]
    is_packet: NDArray[np.bool_] = (chunk[marks + packet] == _SYNC) & (chunk[marks + 2 * packet] == _SYNC)
    return marks[is_packet]
