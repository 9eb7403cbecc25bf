"""Folds as text; that they end, whatever crashes, is in the completion simulation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import keys
from pipeline.errors import PermanentError
from pipeline.job import Answer, Failure, Kind, MediaInfo, Plan, Segment, SegmentLimits, Span, Window, Windows
from pipeline.ledger import MemoryLedger
from pipeline.stages import Ports
from pipeline.stages.fold import folded, packed
from tests.doubles import ORIGIN, MemoryStore

JOB = "j1"


def segment(index: int, start: float, kind: Kind = "sound", window: int = 0) -> Segment:
    return Segment(window=window, index=index, kind=kind, start=start, end=start + 5)


def world(*told: tuple[Segment, str | Failure], longest: int = 1000) -> tuple[Ports, Windows]:
    """One window whose segments were answered so."""
    store = MemoryStore()
    plan = Plan(window=0, start=0, end=100, segments=tuple(one for one, _ in told))
    store.create(keys.plan(JOB, 0), plan.to_bytes())
    for one, text in told:
        answer = text if isinstance(text, Failure) else Answer(spans=spans(text), origin=ORIGIN)
        store.create(keys.answers(JOB, 0, one.index), answer.to_bytes())
    windows = Windows(
        media=MediaInfo(),
        windows=(Window(index=0, start=0, end=None),),
        fold="always",
        limits=SegmentLimits(text_characters=longest),
    )
    return Ports(store=store, ledger=MemoryLedger(), send=lambda work: None), windows


def spans(text: str) -> tuple[Span, ...]:
    return (Span(start=0, end=0, text=text),) if text else ()


def test_answers_stand_in_order_with_their_times_and_gaps_are_told() -> None:
    failure = Failure(error="permanent", reason="it is broken")
    ports, windows = world((segment(0, 0), "good day"), (segment(1, 65), failure), (segment(2, 3700), "the end"))
    (piece,) = folded(JOB, windows, 1, ports)
    assert piece.payload.kind == "fold"
    assert piece.payload.text.splitlines() == [
        "[00:00:00] good day",
        "[00:01:05] [missing: it is broken]",
        "[01:01:40] the end",
    ]
    assert (piece.start, piece.end) == (0, 3705)


def test_what_is_seen_and_what_is_said_are_told_apart_and_silence_is_left_out() -> None:
    ports, windows = world((segment(0, 0, "frames"), "a dog"), (segment(1, 2), "come here"), (segment(2, 4), ""))
    (piece,) = folded(JOB, windows, 1, ports)
    assert piece.payload.text.splitlines() == ["[00:00:00] seen: a dog", "[00:00:02] said: come here"]


def test_nothing_said_is_nothing_to_fold() -> None:
    ports, windows = world((segment(0, 0), ""))
    assert folded(JOB, windows, 1, ports) == []


def test_answers_that_never_become_fewer_end_in_a_failure() -> None:
    ports, windows = world(*((segment(index, index), "x" * 50) for index in range(3)), longest=62)
    first = folded(JOB, windows, 1, ports)
    assert len(first) == 3
    plan = Plan(window=1, start=0, end=9, segments=tuple(segment(i, i, "fold", window=1) for i in range(3)))
    ports.store.create(keys.plan(JOB, 1), plan.to_bytes())
    for index in range(3):
        answer = Answer(spans=spans("y" * 50), origin=ORIGIN)
        ports.store.create(keys.answers(JOB, 1, index), answer.to_bytes())
    with pytest.raises(PermanentError, match="do not become fewer"):
        folded(JOB, windows, 2, ports)


@given(st.lists(st.text(st.sampled_from("ab "), min_size=1, max_size=60), max_size=12), st.integers(5, 40))
def test_pieces_keep_every_word_and_never_exceed_the_limit(lines: list[str], longest: int) -> None:
    pieces = list(packed([(segment(index, index), line) for index, line in enumerate(lines)], longest))
    assert all(len(piece.payload.text) <= longest for piece in pieces)
    letters = "".join(piece.payload.text for piece in pieces).replace("\n", "").replace(" ", "")
    assert letters == "".join(lines).replace(" ", "")


def test_who_speaks_is_told_where_channels_are_kept_apart() -> None:
    first, second = (
        segment(index, start=9.0 - 8 * index).model_copy(update={"channel": index + 1}) for index in (0, 1)
    )
    ports, windows = world((first, "one"), (second, "two"))
    (piece,) = folded(JOB, windows, 1, ports)
    assert piece.payload.text == "[00:00:01] channel 2: two\n[00:00:09] channel 1: one"
