"""Reading the few elements of Matroska that hold text with its times, as ffmpeg writes them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

_SEGMENT, _CLUSTER, _GROUP = 0x18538067, 0x1F43B675, 0xA0
_CLUSTER_TIME, _BLOCK, _DURATION = 0xE7, 0xA1, 0x9B
_BLOCK_HEADER = 4  # bytes: track, time (two), flags


@dataclass(frozen=True, slots=True)
class Block:
    """What one track holds at one time; both times in milliseconds. `track` counts from 1."""

    track: int
    start: int
    length: int
    data: bytes


def blocks(data: bytes) -> Iterator[Block]:
    """The blocks of a file in which time counts in milliseconds, in its order. What is cut off at the end is left out.

    Only blocks with a duration are read, no more than 126 tracks, and nothing that is laced.
    """
    for segment in _inside(data, _SEGMENT):
        for cluster in _inside(segment, _CLUSTER):
            time = next((int.from_bytes(found) for found in _inside(cluster, _CLUSTER_TIME)), 0)
            for group in _inside(cluster, _GROUP):
                length = next((int.from_bytes(found) for found in _inside(group, _DURATION)), 0)
                for block in _inside(group, _BLOCK):
                    if len(block) >= _BLOCK_HEADER:
                        start = time + int.from_bytes(block[1:3], signed=True)
                        yield Block(block[0] & 0x7F, start, length, block[_BLOCK_HEADER:])


def _inside(data: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of the elements with that id, one level down."""
    place = 0
    while place < len(data):
        name, place = number(data, place, keep_mark=True)
        size, place = number(data, place, keep_mark=False)
        # A size of ones alone means: to the end.
        end = len(data) if size is None else place + size
        if name == wanted and (size is None or end <= len(data)):
            yield data[place:end]
        place = end


def number(data: bytes, place: int, *, keep_mark: bool) -> tuple[int | None, int]:
    """A number whose first set bit tells how many bytes it has, and what follows it; None when all bits are set."""
    first = data[place] if place < len(data) else 0
    num_bytes = 9 - first.bit_length()
    if num_bytes > 8:
        return 0, len(data)
    value = int.from_bytes(data[place : place + num_bytes])
    if keep_mark:
        return value, place + num_bytes
    bits = value & ((1 << 7 * num_bytes) - 1)
    return None if bits == (1 << 7 * num_bytes) - 1 else bits, place + num_bytes
