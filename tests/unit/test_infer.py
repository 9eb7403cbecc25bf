"""One segment through the task's prompt, a real Serving and an engine that answers from a script."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

import pytest

from pipeline.engines import Capabilities, Clip, Outcome, Reply, Request, StaticEngine, untimed
from pipeline.errors import PermanentError
from pipeline.job import Answer, Job, Options, Origin, Span, Work
from pipeline.ledger import MemoryLedger
from pipeline.media.sound.speech import Activity
from pipeline.payload import Payload
from pipeline.serving import Serving
from pipeline.settings import Engine
from pipeline.stages.answering import Caution, EngineAnswerer
from tests.doubles import a_job

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SECOND = Payload(kind="sound", pcm=b"\x00\x10" * 16_000)


class ScriptedEngine(StaticEngine):
    """Gives its replies in turn and remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__(Engine(name="echo", batch_wait=0))
        self._replies = list(replies)
        self.asked: list[Request] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(kinds=frozenset({"sound"}), max_batch=1, max_cost=1)

    def load(self) -> Origin:
        return Origin(engine="script", model="s", revision="1", versions={})

    def generate(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        self.asked += batch
        return [self._replies.pop(0) for _ in batch]


@contextmanager
def answering(engine: ScriptedEngine, activity: Activity) -> Iterator[Callable[[Job], Answer]]:
    def heard(clip: Clip) -> Activity:
        assert len(clip) == 16_000
        return activity

    serving = Serving(engine)
    serving.start()
    try:
        answerer = EngineAnswerer(serving, heard)
        yield lambda job: answerer.ask("infer.j1.0-0", SECOND, job, 0)()
    finally:
        serving.stop()


SPEECH = Activity(spans=((0.2, 0.4), (0.5, 0.9)))
MUSIC = Activity(spans=(), flags=("no_speech",))


def asking(**options: object) -> Job:
    return a_job().model_copy(update={"task": "ask", "options": Options.model_validate(options)})


def test_words_without_times_are_put_where_speech_was_heard() -> None:
    with answering(ScriptedEngine(Reply(spans=untimed("one two"))), SPEECH) as answer:
        assert answer(a_job()).spans == (Span(start=0.2, end=0.9, text="one two"),)


def test_times_of_the_engine_are_kept() -> None:
    span = Span(start=0.3, end=0.5, text="one")
    with answering(ScriptedEngine(Reply(spans=(span,))), SPEECH) as answer:
        assert answer(a_job()).spans == (span,)


def test_the_silence_behind_a_phrase_is_no_part_of_it() -> None:
    said = (Span(start=0.0, end=0.6, text="one"), Span(start=0.6, end=1.0, text="two"))
    with answering(ScriptedEngine(Reply(spans=said)), SPEECH) as answer:
        assert [(span.start, span.end) for span in answer(a_job()).spans] == [(0.2, 0.4), (0.6, 0.9)]


def test_music_is_not_given_to_the_engine_for_a_transcript_but_may_be_asked_about() -> None:
    engine = ScriptedEngine(Reply(spans=untimed("a piano")))
    with answering(engine, MUSIC) as answer:
        assert answer(a_job()) == answer(a_job())
        assert not engine.asked
        assert answer(a_job()).flags == ("no_speech",)
        told = answer(asking(question="What plays?"))
        assert (told.text, told.flags) == ("a piano", ()), "a flag would hide it from the transcript"


def test_the_answer_tells_the_prompt_and_the_size_of_the_model() -> None:
    with answering(ScriptedEngine(Reply(spans=untimed("one"), variant="half")), SPEECH) as answer:
        origin = answer(a_job()).origin
    assert origin.variant == "half"
    assert origin.prompt is not None
    assert len(origin.prompt) == 16


def test_an_answer_that_does_not_fit_is_asked_for_once_more() -> None:
    engine = ScriptedEngine(Reply(spans=untimed("three")), Reply(spans=untimed('{"n": 3}')))
    with answering(engine, SPEECH) as answer:
        assert answer(asking(question="How many?", json_schema=SCHEMA)).text == '{"n": 3}'
    first, second = engine.asked
    assert second.id != first.id
    assert [turn.role for turn in second.turns] == ["system", "user", "model", "user"]
    assert second.turns[2].parts == ("three",)
    assert second.clips, "the sound stays in the conversation"


def test_two_answers_that_do_not_fit_are_a_clear_failure() -> None:
    engine = ScriptedEngine(Reply(spans=untimed("three")), Reply(spans=untimed('{"n": "3"}')))
    with answering(engine, SPEECH) as answer, pytest.raises(PermanentError, match=r"asked twice.*schema") as failed:
        answer(asking(question="How many?", json_schema=SCHEMA))
    assert failed.value.detail == '{"n": "3"}'


@pytest.mark.parametrize(("before", "meanwhile"), [(0, 2), (1, 2), (2, 3)])
def test_what_may_have_killed_its_process_counts_as_tried_while_it_is_prepared_and_not_while_it_waits(
    before: int, meanwhile: int
) -> None:
    ledger, seen = MemoryLedger(), list[int]()
    work = Work(stage="infer", job="j1", window=0, index=0)
    ledger.restore(work, before)

    class Watched(ScriptedEngine):
        def prepare(self, request: Request) -> Request:
            seen.append(ledger.tries(work))
            return request

    def heard(clip: Clip) -> Activity:
        seen.append(ledger.tries(work))
        return SPEECH

    serving = Serving(Watched(Reply(spans=untimed("one"))), before=lambda batch: seen.append(ledger.tries(work)))
    serving.start()
    try:
        answerer = EngineAnswerer(serving, heard, around=Caution(ledger))
        assert answerer.ask(work.name, SECOND, a_job(), before)().text == "one"
    finally:
        serving.stop()
    assert seen == [meanwhile, meanwhile, before], "the gate, the features, and right before the engine has it"


@pytest.mark.parametrize("with_care", [True, False])
def test_an_engine_does_not_begin_ahead_with_what_may_have_killed_its_process(with_care: bool) -> None:
    engine = ScriptedEngine(Reply(spans=untimed("one")))
    care = {"around": Caution(MemoryLedger())} if with_care else {}
    serving = Serving(engine)
    serving.start()
    try:
        EngineAnswerer(serving, lambda clip: SPEECH, **care).ask("infer.j1.0-0", SECOND, a_job(), 0)()
    finally:
        serving.stop()
    (request,) = engine.asked
    assert request.ahead is not with_care


def test_what_fails_while_it_is_prepared_with_care_is_counted_by_whoever_decides_on_errors() -> None:
    ledger = MemoryLedger()
    work = Work(stage="infer", job="j1", window=0, index=0)

    def heard(clip: Clip) -> Activity:
        raise PermanentError("no sound")

    serving = Serving(ScriptedEngine())
    caution = Caution(ledger)
    answerer = EngineAnswerer(serving, heard, around=caution)
    for _ in range(2):  # the next one gets its turn, too
        with pytest.raises(PermanentError):
            answerer.ask(work.name, SECOND, a_job(), 1)
        assert ledger.tries(work) == 1


def test_while_one_that_was_tried_is_with_the_engine_no_other_is_counted() -> None:
    ledger = MemoryLedger()
    caution = Caution(ledger)
    works = [Work(stage="infer", job=job, window=0, index=0) for job in ("j1", "j2")]
    answered: Future[Reply] = Future()
    counted: list[int] = []

    def prepare_second() -> None:
        with caution(works[1].name, 0):
            counted.append(ledger.tries(works[1]))

    tried = caution(works[0].name, 1)
    with tried:
        pass
    tried.lasts_until(lambda: answered)
    second = Thread(target=prepare_second)
    second.start()
    second.join(0.2)
    assert (counted, ledger.tries(works[1])) == ([], 0), "should the engine die now, the second one is not blamed"
    answered.set_result(Reply(spans=()))
    second.join(5)
    assert counted == [2]
