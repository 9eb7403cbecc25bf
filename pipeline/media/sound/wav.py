"""The length that a WAV header declares. ffprobe hides it when the file is shorter than its header says."""

import struct

_UNKNOWN = 0x7FFF_F000  # sizes from here on are what recorders write before they know


def declared_seconds(head: bytes) -> float | None:
    """Seconds of sound that the header at the start of a WAV file declares; None when it does not know.

    `head` is the start of the file, long enough for the `data` chunk's header.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    byte_rate = None
    position = 12
    while position + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, position)
        if name == b"fmt " and position + 20 <= len(head):
            (byte_rate,) = struct.unpack_from("<I", head, position + 16)
        if name == b"data":
            return size / byte_rate if byte_rate and 0 < size < _UNKNOWN else None
        position += 8 + size + size % 2
    return None
