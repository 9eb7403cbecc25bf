"""What is read from whisper's tokens. Time marks are written m(seconds), any other number is a word."""

import pytest

from pipeline.engines.whisper.marks import Hypothesis, Piece, best, compression, split

FIRST_MARK = 1000


def m(seconds: float) -> int:
    return FIRST_MARK + round(seconds / 0.02)


@pytest.mark.parametrize(
    ("tokens", "pieces", "read"),
    [
        # One phrase; the mark at the end says that nothing follows.
        ([m(0), 1, 2, m(4)], [(0, 4, (1, 2))], 10),
        # Two phrases with a pause between them.
        ([m(0.5), 1, m(4), m(5), 2, m(9)], [(0.5, 4, (1,)), (5, 9, (2,))], 10),
        # A second phrase begins and is not finished: it has to be read again from the end of the first.
        ([m(0), 1, m(4), m(4), 2, 3], [(0, 4, (1,))], 4),
        # The same, before the first word of it.
        ([m(0), 1, m(4), m(4)], [(0, 4, (1,))], 4),
        # A single phrase without an end takes the whole window.
        ([m(1), 1, 2], [(1, 10, (1, 2))], 10),
        # No marks at all.
        ([1, 2], [(0, 10, (1, 2))], 10),
        # Marks only, or nothing: there was nothing to say.
        ([m(0), m(3)], [], 10),
        ([m(2)], [], 10),
        ([], [], 10),
        # Marks behind the end of the window count as its end.
        ([m(0), 1, m(12)], [(0, 10, (1,))], 10),
        # A mark that goes back in time never gives a phrase that ends before it starts.
        ([m(5), 1, m(3)], [(5, 5, (1,))], 10),
        # An unfinished phrase behind one that ends at 0 would be read again for ever.
        ([m(0), 1, m(0), 2], [(0, 0, (1,)), (0, 10, (2,))], 10),
    ],
)
def test_tokens_are_cut_at_their_time_marks(
    tokens: list[int], pieces: list[tuple[float, float, tuple[int, ...]]], read: float
) -> None:
    found, seconds = split(tokens, FIRST_MARK, 10)
    assert [piece.tokens for piece in found] == [words for _, _, words in pieces]
    assert [piece.start for piece in found] == pytest.approx([start for start, _, _ in pieces])
    assert [piece.end for piece in found] == pytest.approx([end for _, end, _ in pieces])
    assert seconds == pytest.approx(read)


def test_the_last_token_before_the_marks_is_a_word_and_the_first_mark_is_time_zero() -> None:
    assert split([FIRST_MARK, FIRST_MARK - 1, FIRST_MARK + 50], FIRST_MARK, 10)[0] == [Piece(0, 1, (FIRST_MARK - 1,))]


def hypothesis(text: str = "words", logprob: float = -0.3, no_speech: float = 0.0) -> Hypothesis:
    return Hypothesis(tokens=(), text=text, logprob=logprob, no_speech=no_speech)


LOOP = "it was the best of times " * 20


@pytest.mark.parametrize(
    ("decode", "is_bad", "is_silence"),
    [
        (hypothesis(), False, False),
        (hypothesis(LOOP), True, False),  # repeats itself, however sure the model is
        (hypothesis(logprob=-1.1), True, False),
        (hypothesis(logprob=-1.1, no_speech=0.7), True, True),
        (hypothesis(logprob=-0.3, no_speech=0.7), False, False),  # sure of its words: believed
        (hypothesis(""), False, False),
    ],
)
def test_a_decode_is_judged_by_repetition_and_confidence(decode: Hypothesis, is_bad: bool, is_silence: bool) -> None:
    assert (decode.is_bad, decode.is_silence) == (is_bad, is_silence)


def test_no_text_does_not_compress() -> None:
    assert compression(" ") == 0
    assert compression(LOOP) > 2.4 > compression("We had everything before us, we had nothing before us.")


def test_the_best_try_is_the_likeliest_that_does_not_repeat_itself() -> None:
    loop, unsure, surer = hypothesis(LOOP, -0.1), hypothesis("unsure", -1.5), hypothesis("surer", -1.2)
    assert best([loop, unsure, surer]) is surer
    assert best([loop, hypothesis(LOOP, -0.2)]) is loop
    assert best([surer, hypothesis("later", -1.2)]) is surer
