"""What whisper's tokens say: pieces of text between time marks, and whether a decode can be believed.

Pure functions of tokens and figures; nothing here knows the model.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

SECONDS_PER_MARK = 0.02

#: Thresholds of whisper's authors; beyond them a decode is not believed.
MAX_COMPRESSION = 2.4  # text that packs better than this repeats itself
MIN_LOGPROB = -1.0  # average per token
MAX_NO_SPEECH = 0.6  # with a low MIN_LOGPROB: there was nothing to hear


@dataclass(frozen=True, slots=True)
class Piece:
    """Text tokens and when they are said, in seconds from the start of the window."""

    start: float
    end: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One decode of one window."""

    tokens: tuple[int, ...]
    text: str  #: without time marks
    logprob: float  #: average per token
    no_speech: float  #: probability

    @property
    def is_silence(self) -> bool:
        return self.no_speech > MAX_NO_SPEECH and self.logprob < MIN_LOGPROB

    @property
    def repeats(self) -> bool:
        return compression(self.text) > MAX_COMPRESSION

    @property
    def is_bad(self) -> bool:
        return self.repeats or self.logprob < MIN_LOGPROB


def compression(text: str) -> float:
    """How many times smaller the text packs; 0 for no text."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def best(hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    """The likeliest one, but one that repeats itself only when all do. Ties go to the first."""
    return max([one for one in hypotheses if not one.repeats] or hypotheses, key=lambda one: one.logprob)


def split(tokens: Sequence[int], first_mark: int, duration: float) -> tuple[list[Piece], float]:
    """Cut tokens at their time marks; every token from `first_mark` on is one, 20 ms apart.

    Returns the pieces and how many seconds of the window they account for. That is less than `duration` when the
    model stopped in the middle of a phrase: it does so at the end of a window that cuts a sentence, and whoever
    takes the pieces must have it read the rest again.
    """
    pieces: list[Piece] = []
    words: list[int] = []
    start = 0.0
    for token in tokens:
        if token < first_mark:
            words.append(token)
            continue
        mark = min((token - first_mark) * SECONDS_PER_MARK, duration)
        if words:
            pieces.append(Piece(start, max(start, mark), tuple(words)))
            words = []
        start = mark
    begins_another = len(tokens) > 1 and min(tokens[-2:]) >= first_mark
    if pieces and (words or begins_another) and pieces[-1].end > 0:
        return pieces, pieces[-1].end
    if words:
        pieces.append(Piece(start, duration, tuple(words)))
    return pieces, duration
