"""Sound whose times in the file are wrong, so that its samples must be counted: no place in it can be sought."""

import mmap
from pathlib import Path

from pipeline.media.sound import adts

#: What a FLAC file begins with: its mark, and the header of the block that comes first, the last one of all or not.
_FLAC_HEADS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")


def is_due(path: Path, demuxer: str) -> bool:
    """Whether the rate of raw AAC changes, or several FLAC files were joined byte by byte: their clocks begin anew."""
    match demuxer:
        case "aac":
            return adts.changes_rate(path)
        case "flac":
            return _is_joined_flac(path)
        case _:
            return False


def _is_joined_flac(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = [data.find(head) for head in _FLAC_HEADS]
        first = min((place for place in places if place >= 0), default=len(data))
        return any(data.find(head, first + 1) >= 0 for head in _FLAC_HEADS)
