"""Files that are larger than they look, lie about themselves, or are no media at all."""

import gzip
import io
import json
import struct
import zipfile
import zlib

from tests.hostile.pointing import DISGUISES, atom


def bombs() -> dict[str, bytes]:
    """Small files that are large, or say so."""
    squeezed = zlib.compress(bytes(200_000_000), 9)
    loop = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 256, 4, 1, 1) + struct.pack("<I", 8)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("media.mp4", bytes(50_000_000))
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return {
        "png of 30,000 x 30,000": png(30_000, 30_000),
        "png of 14,000 x 14,000": png(14_000, 14_000),
        "png with a profile of 200 MB": png(8, 8, chunk(b"iCCP", b"x\0\0" + squeezed)),
        "png with a note of 200 MB": png(8, 8, chunk(b"zTXt", b"x\0\0" + squeezed)),
        "gif of 65,535 x 65,535": b"GIF89a\xff\xff\xff\xff\x80\0\0"
        + bytes(6)
        + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\0;",
        "tiff that is its own next page": loop,
        "bmp of 2,000,000,000 pixels a row": struct.pack(
            "<2sIHHIIiiHHII", b"BM", 58, 0, 0, 54, 40, 2_000_000_000, 1, 1, 24, 0, 4
        )
        + bytes(20),
        "zip": packed.getvalue(),
        "gzip": gzip.compress(bytes(1_000_000)),
        "a billion laughs": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><x>&l9;</x>'.encode(),
        "laughing svg": f'<svg><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>&l9;</svg>'.encode(),
        "wav of 65,535 channels": wav(channels=0xFFFF),
        "wav of rate 0": wav(rate=0),
        "wav that promises 4 GB": wav(promised=0xFFFF_FFFF),
        "wav of 4 GHz": wav(rate=0xFFFF_FFFF),
        "avi of 10^9 frames, one a second": avi(frames=10**9, rate=1),
        "avi of 65,535 x 65,535": avi(frames=10, rate=1, side=0xFFFF),
        "avi of 10^9 frames a second": avi(frames=10**9, rate=10**9),
        "a thousand atoms inside one another": nested(1000),
        "an atom that has no end": b"\0\0\0\x01moov" + b"\xff" * 8,
        "atoms of no size": atom(b"ftyp", b"isom", bytes(4)) + bytes(8) * 1000,
        "matroska without an end": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" * 1000,
    }


def wav(*, channels: int = 1, rate: int = 16_000, promised: int = 3200) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate & 0xFFFF_FFFF, 2 * channels & 0xFFFF, 16)
    head = struct.pack("<4sI4s4sI", b"RIFF", 0xFFFF_FFFF, b"WAVE", b"fmt ", len(form))
    return head + form + struct.pack("<4sI", b"data", promised) + bytes(3200)


def avi(*, frames: int, rate: int, side: int = 16) -> bytes:
    """An AVI that promises frames, and has one."""

    def listed(name: bytes, *content: bytes) -> bytes:
        body = name + b"".join(content)
        return struct.pack("<4sI", b"LIST", len(body)) + body

    def part(name: bytes, body: bytes) -> bytes:
        return struct.pack("<4sI", name, len(body)) + body

    main = part(b"avih", struct.pack("<14I", 10**6 // rate, 0, 0, 0x10, frames, 0, 1, 0, side, side, 0, 0, 0, 0))
    stream = struct.pack("<4s4sIHHIIIIIIII4H", b"vids", b"DIB ", 0, 0, 0, 0, 1, rate, 0, frames, 0, 0, 0, 0, 0, 0, 0)
    form = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 3 * side * side & 0x7FFF_FFFF, 0, 0, 0, 0)
    header = listed(b"hdrl", main, listed(b"strl", part(b"strh", stream), part(b"strf", form)))
    body = b"AVI " + header + listed(b"movi", part(b"00db", bytes(3 * 16 * 16)))
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = atom(b"moov", inner)
    return atom(b"ftyp", b"isom", bytes(4)) + inner


def rubbish() -> dict[str, bytes]:
    """What is no media, under the name of some."""
    made = {
        "nothing": b"",
        "one byte": b"\xff",
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "a program": b"\x7fELF\x02\x01\x01" + bytes(200),
        "a pickle": b"\x80\x04\x95\x1f"
        + bytes(7)
        + b"\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04exit\x94\x85\x94R\x94.",
        "a disk": bytes(510) + b"\x55\xaa",
        "eps": b"\xc5\xd0\xd3\xc6" + bytes(26) + b"%!PS",
        "json": json.dumps({"media": 1}).encode() + b"\0",
    }
    return made | {f"{name} and no more": magic for name, magic in DISGUISES.items()}


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *more: bytes, bits: int = 1, colour: int = 0) -> bytes:
    """Black, one bit a pixel: the whole picture is there."""
    row = 1 + (width * bits * (3 if colour == 2 else 1) + 7) // 8
    squeezed = zlib.compressobj(1)
    data = b"".join(squeezed.compress(bytes(row * min(256, height - top))) for top in range(0, height, 256))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data + squeezed.flush()) + chunk(b"IEND", b"")
