import struct

import pytest

from pipeline.media.sound.wav import declared_seconds


def header(size: int, *, extra: bytes = b"", form: bool = True) -> bytes:
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16) if form else b""
    return b"RIFF\x00\x00\x00\x00WAVE" + fmt + extra + struct.pack("<4sI", b"data", size) + bytes(64)


def test_the_data_chunk_tells_the_length() -> None:
    assert declared_seconds(header(320_000)) == 10.0


def test_other_chunks_are_stepped_over_and_padded_to_even_length() -> None:
    assert declared_seconds(header(320_000, extra=b"LIST\x03\x00\x00\x00abc\x00")) == 10.0


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_recorder_that_did_not_know_promises_nothing(size: int) -> None:
    assert declared_seconds(header(size)) is None


@pytest.mark.parametrize("head", [b"", b"RIFF\x00\x00\x00\x00AVI ", header(320_000)[:30], header(320_000, form=False)])
def test_a_header_that_is_not_whole_promises_nothing(head: bytes) -> None:
    assert declared_seconds(head) is None
