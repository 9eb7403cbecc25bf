from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PermanentError
from pipeline.media.documents import pieces, read
from pipeline.settings import Limits


def cut(text: str, longest: int) -> list[str]:
    return [piece.text for piece in pieces(text, longest)]


def test_a_piece_ends_behind_a_paragraph_before_anything_else() -> None:
    text = "One two three.\n\nFour. Five six seven eight."
    assert cut(text, 25) == ["One two three.\n\n", "Four. Five six seven ", "eight."]


def test_without_a_paragraph_a_piece_ends_behind_a_sentence_or_a_line() -> None:
    assert cut("One two three. Four five six seven.", 22) == ["One two three. ", "Four five six seven."]
    assert cut("One two three\nfour five six seven.", 22) == ["One two three\n", "four five six seven."]
    assert cut("他说。" * 4, 10) == ["他说。他说。他说。", "他说。"]


def test_without_a_sentence_a_piece_ends_behind_a_space_and_without_one_where_it_is_full() -> None:
    assert cut("one two three four", 12) == ["one two ", "three four"]
    assert cut("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


def test_an_early_paragraph_does_not_make_a_small_piece() -> None:
    assert cut("A.\n\nOne two three. Four five six", 20)[0] == "A.\n\nOne two three. "


@pytest.mark.parametrize("text", ["abcde\r\nfgh", "abcdee\u0301fgh", "abcd👩\u200d🔧fg"])
def test_what_a_reader_takes_for_one_character_is_not_divided(text: str) -> None:
    first = cut(text.replace(" ", ""), 6)[0]
    assert not first.endswith(("\r", "\u200d", "👩"))
    assert not text[len(first) :].startswith(("\u0301", "\u200d"))


@given(st.text(st.sampled_from("ab .\n\r\u0301。?\u200d"), max_size=200), st.integers(1, 30))
def test_the_pieces_are_the_text(text: str, longest: int) -> None:
    found = list(pieces(text, longest))
    assert "".join(piece.text for piece in found) == text
    assert all(0 < len(piece.text) <= longest and text[piece.start : piece.end] == piece.text for piece in found)
    assert all(one.end == other.start for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("Grüße\r\n".encode(), "utf-8"),
        ("Grüße\r\n".encode("utf-8-sig"), "utf-8"),
        ("Grüße\r\n".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "Grüße\r\n".encode("utf-16-be"), "utf-16"),
    ],
)
def test_a_text_is_read_as_it_stands_without_its_mark(data: bytes, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    assert read(path, encoding, Limits()) == "Grüße\r\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"good \xff\xff bad", "the bytes from number 5 on are not UTF-8"),
        (b" \n\t ", "nothing in the text but white space"),
        (b"x" * 101, "size of a text 101 bytes, allowed 100 bytes"),
    ],
)
def test_a_text_that_will_not_do_is_refused_in_plain_words(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    with pytest.raises(PermanentError, match=reason):
        read(path, "utf-8", Limits(text_bytes=100))


def test_the_last_end_counts_wherever_it_is() -> None:
    """As if the whole second half of a piece were looked through from its beginning."""
    for distance in (1, 100, 255, 256, 257, 258, 1_000, 1_023, 1_024, 1_025, 3_999):
        for end in ("\n\n", ". ", " ", ".\n  ", "\n\n\n"):
            text = "x" * (8_000 - distance) + end + "y" * 8_000
            first = next(iter(pieces(text, 8_000)))
            place = 8_000 - distance + len(end)
            assert first.end == min(place, 8_000 if distance < len(end) else place), (distance, end)
