"""Bare rows of frames of sound, without a container: found also where the first one is cut off, or zeros lie before it.

A mark of a frame is short, and sound in a broken container has frames, too: so they must follow each other to the end
of what is known of the file, each where the one before it ends. Pure.
"""

import re
from collections.abc import Callable, Iterator

_LEAST = 3  # frames
_MAX_LOOKS = 20_000  # at what may be a frame, in a file that is made to look so everywhere
_TAGS = (b"TAG", b"APETAGEX", b"\0")  # what may lie behind the last frame
_HEADER_BYTES = 8
_LONGEST = 8192  # bytes of a frame of any of these
_MARK = re.compile(rb"\xff[\xe0-\xff]|\x0b\x77|\x56[\xe0-\xff]")
#: Archives may hold whole files as they are, sound among them: those are no sound.
_ARCHIVES = (b"PK", b"Rar!", b"7z\xbc\xaf")
_TAR, _TAR_PLACE = b"ustar", 257

_LAYER_3, _LAYER_2 = 1, 2  # as two bits say it
_MPEG_1, _RESERVED = 3, 1
#: kb/s: of MPEG-1, layers 2 and 3, and of MPEG-2, either layer.
_BITRATES = {
    (True, _LAYER_2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, _LAYER_3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, _LAYER_2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, _LAYER_3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_AC3_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)

#: Length of a frame, and what must be the same in the next one; None for what is none.
_Frame = tuple[int, object]


def demuxer(head: bytes) -> str | None:
    """What reads the row of frames that begins in the first bytes of a file; None where there is none."""
    if head.startswith(_ARCHIVES) or head[_TAR_PLACE:].startswith(_TAR):
        return None
    begin = len(head) - len(head.lstrip(b"\0"))
    looks = iter(range(_MAX_LOOKS))
    for found in _MARK.finditer(head, begin, begin + _LONGEST):
        for name, frame in _KINDS.items():
            if _goes_on(head, found.start(), frame, looks):
                return name
    return None


def _goes_on(head: bytes, place: int, frame: Callable[[bytes], _Frame | None], looks: Iterator[int]) -> bool:
    """Whether all that follows from there on are such frames."""
    count, same = 0, None
    while found := frame(head[place : place + _HEADER_BYTES]):
        if next(looks, None) is None or (count and found[1] != same):
            return False
        count, place, same = count + 1, place + found[0], found[1]
    return count >= _LEAST and (place + _HEADER_BYTES > len(head) or head[place:].startswith(_TAGS))


def _mpeg_audio(header: bytes) -> _Frame | None:
    """Layer 2 or 3, but for frames without a bit rate, whose length nothing tells."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer, bitrate, rate = header[1] >> 3 & 3, header[1] >> 1 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == _RESERVED or layer not in (_LAYER_2, _LAYER_3) or bitrate in (0, 15) or rate == 3:
        return None
    hertz, kilobits = _RATES[version][rate], _BITRATES[version == _MPEG_1, layer][bitrate - 1]
    samples = 576 if layer == _LAYER_3 and version != _MPEG_1 else 1152
    return samples * kilobits * 125 // hertz + (header[2] >> 1 & 1), (version, layer, rate)


def _adts(header: bytes) -> _Frame | None:
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return None
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return (length, (header[1], header[2] >> 2 & 15)) if length > 7 else None


def _ac3(header: bytes) -> _Frame | None:
    if len(header) < 6 or header[:2] != b"\x0b\x77" or header[5] >> 3 > 10 or header[4] >> 6 == 3:
        return None
    rate, size = header[4] >> 6, header[4] & 63
    if size > 37:
        return None
    bits = _AC3_KILOBITS[size // 2]
    words = (bits * 2, bits * 320 // 147 + size % 2, bits * 3)[rate]
    return words * 2, rate


def _eac3(header: bytes) -> _Frame | None:
    if len(header) < 6 or header[:2] != b"\x0b\x77" or not 10 < header[5] >> 3 <= 16:
        return None
    return 2 * (((header[2] & 7) << 8 | header[3]) + 1), header[4] >> 6


def _loas(header: bytes) -> _Frame | None:
    """AAC in LATM, with the marks of LOAS."""
    if len(header) < 3 or header[0] != 0x56 or header[1] & 0xE0 != 0xE0:
        return None
    length = (header[1] & 0x1F) << 8 | header[2]
    return (length + 3, None) if length else None


_KINDS: dict[str, Callable[[bytes], _Frame | None]] = {
    "mp3": _mpeg_audio,
    "aac": _adts,
    "ac3": _ac3,
    "eac3": _eac3,
    "loas": _loas,
}
