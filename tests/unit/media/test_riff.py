from pathlib import Path

import pytest

from pipeline.media.riff import is_cut_off


def part(kind: bytes, size: int) -> bytes:
    return kind + size.to_bytes(4, "little") + bytes(size)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (part(b"RIFF", 100), False),
        (part(b"RIFF", 101) + b"\0", False),
        (part(b"RIFF", 101), False),  # the byte that makes it even is not always there
        (part(b"RIFF", 100) + b"rubbish behind the end", False),
        (part(b"RIFF", 100) + part(b"RIFF", 100), False),
        (part(b"RIFF", 100)[:-2], True),
        (part(b"RIFF", 100) + part(b"RIFF", 100)[:60], True),
        (part(b"RIFF", 0) + bytes(100), False),  # a recorder that was switched off tells no length
        (b"RIFF", False),
        (b"", False),
    ],
)
def test_a_file_is_cut_off_where_its_last_part_is_longer_than_it(data: bytes, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    assert is_cut_off(path) is expected
