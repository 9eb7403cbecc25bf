import itertools

import pytest

from pipeline.errors import WorldError
from pipeline.media.sound.placing import Placing, row_notes


def told(placing: Placing, written: int, place: int) -> None:
    """As ffmpeg prints it: six decimals, with or without the name of what prints."""
    for line in (f"[Eval @ 0x7f6ffc870] {written + 0.140625:f}", f"{place + 0.859375:f}"):
        assert placing.heed(line.encode()) == b""


def placed(rows: list[tuple[int, int]], data: bytes, chunk: int = 1000) -> bytes:
    placing = Placing()
    for row in rows:
        told(placing, *row)
    parts = (data[at : at + chunk] for at in range(0, len(data), chunk))
    return b"".join(itertools.chain.from_iterable(placing.put(part) for part in parts))


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 0)], b"abcdefgh"),
        ([(0, 3)], b"\0\0\0abcdefgh"),
        ([(0, -3)], b"defgh"),
        ([(0, 0), (4, 6)], b"abcd\0\0efgh"),
        ([(0, 0), (4, 3)], b"abcdfgh"),
        ([(0, -2), (4, 0), (6, 6)], b"cd\0\0\0\0gh"),
        ([(0, 0), (4, 1), (6, 6)], b"abcd\0\0gh"),
        ([(0, -20)], b""),
    ],
)
def test_each_row_is_put_where_it_belongs(rows: list[tuple[int, int]], expected: bytes, chunk: int) -> None:
    assert placed(rows, b"abcdefgh", chunk) == expected


def test_a_row_may_be_told_of_while_the_one_before_it_is_read() -> None:
    placing = Placing()
    told(placing, 0, 0)
    given = b"".join(placing.put(b"abcd"))
    told(placing, 6, 8)
    assert given + b"".join(placing.put(b"efgh")) == b"abcdef\0\0gh"


def test_silence_is_made_piece_by_piece_as_it_is_taken() -> None:
    placing = Placing()
    told(placing, 0, 10**12)
    silence = list(itertools.islice(placing.put(b"ab"), 5))
    assert {len(piece) for piece in silence} == {1 << 16}
    assert not any(map(any, silence))


def test_what_ffmpeg_says_otherwise_is_kept() -> None:
    placing = Placing()
    for line in (b"[mp3float @ 0x1] Header missing", b"12.500000", b"", b"0.140625 of it"):
        assert placing.heed(line) == line
    assert placing.heed(b"cut off: [Eval @ 0x55d0] 8.140625") == b"cut off: "


def test_an_ffmpeg_that_does_not_tell_the_times_is_not_used() -> None:
    with pytest.raises(WorldError, match="does not tell the times"):
        list(Placing().put(b"ab"))


def test_the_numbers_of_the_expression_are_those_that_are_read() -> None:
    notes = row_notes(4)
    assert "+0.140625,16)" in notes
    assert "+0.859375,16)" in notes
    assert notes.count("*4,") == notes.count("clip(")
