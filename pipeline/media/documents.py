"""Text documents: read whole, and cut into pieces where a reader would pause. Cutting is pure."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PermanentError
from pipeline.limits import within
from pipeline.settings import Limits

#: Encodings by the name that a text's is recorded under, such that a byte order mark is no part of the text.
_CODECS = {"utf-8": "utf-8-sig", "utf-16": "utf-16"}

_PARAGRAPH_END = re.compile(r"\n[ \t\r\f]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?…؟۔।][\"'”’»)\]}]*\s+|[。．！？][”’」』）】]*\s*|\n\s*")
_SPACE = re.compile(r"\s+")
#: Best first. The last place of a kind counts, if it is not so early that the piece would be less than half full.
_ENDS = (_PARAGRAPH_END, _SENTENCE_END, _SPACE)
_FIRST_STRETCH = 256  # characters
_JOINERS = "\u200d\ufe0e\ufe0f"  # they belong to the character before them, and to the one behind


@dataclass(frozen=True, slots=True)
class TextPiece:
    """`start` and `end` count the characters of the text."""

    start: int
    end: int
    text: str


def read(path: Path, encoding: str, limits: Limits) -> str:
    """The whole text of a file, as it stands there. `encoding` is `utf-8` or `utf-16`.

    Raises PermanentError when it is longer than it may be, is damaged, or holds nothing but white space.
    """
    within(limits, "text_bytes", path.stat().st_size, "size of a text", " bytes")
    try:
        text = path.read_bytes().decode(_CODECS[encoding])
    except UnicodeDecodeError as error:
        reason = f"the text is damaged: the bytes from number {error.start:,} on are not {encoding.upper()}"
        raise PermanentError(reason, str(error)) from error
    if not text.strip():
        raise PermanentError("there is nothing in the text but white space")
    return text


def pieces(text: str, longest: int) -> Iterator[TextPiece]:
    """A text in pieces of at most `longest` characters; joined, they are the text again.

    A piece ends behind a paragraph, else behind a sentence or a line, else behind a space, else where it is full.
    """
    start = 0
    while start < len(text):
        end = _end(text, start, longest)
        yield TextPiece(start, end, text[start:end])
        start = end


def _end(text: str, start: int, longest: int) -> int:
    latest = start + longest
    if len(text) <= latest:
        return len(text)
    for pattern in _ENDS:
        end = _last(pattern, text, start + longest // 2, latest)
        if end is not None:
            return end
    return _between_characters(text, start, latest)


def _last(pattern: re.Pattern[str], text: str, earliest: int, latest: int) -> int | None:
    """Where the last match ends that divides no character. It is mostly near, so a short stretch is looked at first."""
    stretch = _FIRST_STRETCH
    while True:
        begin = max(earliest, latest - stretch)
        for found in reversed(list(pattern.finditer(text, begin, latest))):
            if not _belongs_together(text[found.end() - 1], text[found.end()]):
                return found.end()
        if begin == earliest:
            return None
        stretch *= 4


def _between_characters(text: str, start: int, latest: int) -> int:
    """The last place up to `latest` where what a reader takes for one character is not divided."""
    end = latest
    while end > start + 1 and _belongs_together(text[end - 1], text[end]):
        end -= 1
    return end if end > start + 1 else latest


def _belongs_together(one: str, other: str) -> bool:
    return one + other == "\r\n" or other in _JOINERS or one == "\u200d" or unicodedata.combining(other) != 0
