"""Segments that travel together: answered in one object, and each alone as soon as one of them is not well."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from pipeline import keys
from pipeline.errors import LeavingError, PermanentError, ResourceError, TransientError
from pipeline.job import ANSWERED, PLANNED, Answer, Failure, Job, ParcelAnswers, Plan, Result, Work
from pipeline.ledger import MemoryLedger
from pipeline.payload import PARCEL_BYTES, PARCEL_SEGMENTS, Payload, Piece, unpack
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.completion import survey
from pipeline.stages.cut import cut, decode, store_plan
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.packing import pack_all
from pipeline.stages.prepare import prepare
from pipeline.stages.reconcile import lost
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore, a_job, accept

JOB = a_job()


@dataclass
class Engine(FakeAnswerer):
    """Counts tries as `Serving` does; raises what it is told to, as often as it is told."""

    ledger: MemoryLedger
    errors: dict[int, list[Exception]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        index = int(name.rsplit("-", 1)[1])
        self.ledger.begin([Work(stage="infer", job=job.id, window=0, index=index)])
        answer = super().answer(name, payload, job, tries)
        if self.errors.get(index):
            raise self.errors[index].pop(0)
        return answer


class Mill:
    """One job of one window of so many clips."""

    def __init__(self, clips: int = 4) -> None:
        self.store, self.ledger, self.queue = MemoryStore(), MemoryLedger(), list[Work]()
        self.ports = Ports(store=self.store, ledger=self.ledger, send=self.queue.append)
        self.engine = Engine(self.ledger)
        self.source = FakeSource((clips,))
        accept(self.store, JOB)
        self.deliver(Work(stage="prepare", job=JOB.id))

    def deliver(self, work: Work) -> None:
        stages: dict[str, Callable[[int], None]] = {
            "prepare": lambda tries: prepare(work, self.ports, self.source),
            "cut": lambda tries: cut(work, self.ports, self.source),
            "infer": partial(infer, work, self.ports, self.engine),
            "finish": lambda tries: finish(work, self.ports),
        }
        attempt(work, self.ports, stages[work.stage], count=work.stage != "infer")

    def work(self) -> None:
        """Until the job has ended, with a steward."""
        for _ in range(20):
            while self.queue:
                self.deliver(self.queue.pop(0))
            if keys.open_job(JOB.id) not in self.store.objects:
                return
            self.queue += lost(JOB.id, self.ports)
        raise AssertionError("it does not end")

    @property
    def result(self) -> Result:
        return Result.from_bytes(self.store.objects[keys.result(JOB.id)])

    def objects(self, folder: str) -> list[str]:
        prefix = f"{keys.job_prefix(JOB.id)}{folder}/"
        return [key.removeprefix(prefix) for key in self.store.list(prefix)]


WORDS = "word0 word1 word2 word3"


def test_neighbours_are_one_object_one_message_and_one_answer() -> None:
    mill = Mill()
    assert [work.name for work in mill.queue] == [f"infer.{JOB.id}.0-0-3"]
    assert mill.objects("segments") == ["00000-00000-00003.bin"]
    mill.deliver(mill.queue.pop())
    assert mill.objects("answers") == ["00000-00000-00003.json"]
    assert len(survey(mill.store, JOB.id).answered) == 4
    mill.work()
    assert mill.result.text == WORDS
    assert mill.objects("segments") == []


def test_a_parcel_ends_at_its_size_and_at_its_number() -> None:
    store = MemoryStore()
    ports = Ports(store=store, ledger=MemoryLedger(), send=lambda work: None)
    sizes = [PARCEL_BYTES // 2, PARCEL_BYTES // 2, 1, 2 * PARCEL_BYTES, *[10] * (PARCEL_SEGMENTS + 1)]
    pieces = [Piece(float(n), n + 1.0, Payload(kind="text", text="x" * size)) for n, size in enumerate(sizes)]
    packed = pack_all(JOB, 0, pieces, ports)
    assert packed.lengths == (2, 1, 1, PARCEL_SEGMENTS, 1)
    assert [segment.index for segment in packed.segments] == list(range(len(sizes)))
    read = [payload for key in sorted(store.objects) for payload in unpack(store.get(key)).payloads]
    assert read == [piece.payload for piece in pieces]


@pytest.mark.parametrize(
    ("error", "status", "asked"),
    [
        (PermanentError("it is damaged"), "partial", 1),
        (ResourceError("it was too large beside the others"), "done", 2),
        (ValueError("a bug"), "done", 2),
        (TransientError("the engine was away"), "done", 2),
        (LeavingError("the worker leaves"), "done", 2),
    ],
)
def test_one_that_fails_stands_alone_and_the_others_are_answered(error: Exception, status: str, asked: int) -> None:
    mill = Mill()
    mill.engine.errors = {1: [error]}
    mill.work()
    assert mill.result.status == status
    counts = [mill.engine.asked.count(f"infer.{JOB.id}.0-{index}") for index in range(4)]
    assert counts == [1, asked, 1, 1], "what was answered is not asked again"
    stored = ParcelAnswers.from_bytes(mill.store.objects[keys.answers(JOB.id, 0, 0, 3)])
    assert [answer is None for answer in stored.answers] == [False, True, False, False]
    alone = ANSWERED.validate_json(mill.store.objects[keys.answers(JOB.id, 0, 1)])
    assert isinstance(alone, Failure) == (status == "partial")


def test_what_counts_as_a_try_does_so_and_what_does_not_does_not() -> None:
    mill = Mill()
    mill.engine.errors = {0: [TransientError("away")], 1: [ResourceError("too large")] * 3}
    mill.work()
    first, second = (ANSWERED.validate_json(mill.store.objects[keys.answers(JOB.id, 0, n)]) for n in (0, 1))
    assert first.attempts == 1
    assert isinstance(second, Failure)
    assert (second.error, second.attempts) == ("resource", 3)


def test_an_outage_that_meets_them_all_leaves_the_parcel_whole() -> None:
    mill = Mill()
    mill.engine.errors = {index: [TransientError("away")] for index in range(4)}
    mill.work()
    assert mill.result.text == WORDS
    assert mill.objects("answers") == ["00000-00000-00003.json"]
    assert mill.objects("alone") == []
    assert mill.result.provenance.attempts == 1


def test_a_parcel_that_was_begun_and_not_ended_is_taken_apart() -> None:
    mill = Mill()
    (parcel,) = mill.queue
    mill.ledger.begin([parcel.each[2]])  # it was in the engine when its worker died
    mill.deliver(mill.queue.pop())
    assert mill.engine.asked == []
    assert [work.name for work in mill.queue] == [f"infer.{JOB.id}.0-{index}" for index in range(4)]
    mill.work()
    assert mill.result.text == WORDS
    assert mill.result.provenance.attempts == 2


def test_who_comes_late_with_a_whole_parcel_is_refused() -> None:
    mill = Mill()
    (parcel,) = mill.queue
    late = Mill()
    late.deliver(late.queue.pop())
    answers = late.store.objects[keys.outcome(parcel)]
    mill.ledger.begin([parcel.each[0]])
    mill.deliver(mill.queue.pop())
    assert not mill.store.create(keys.outcome(parcel), answers)
    assert survey(mill.store, JOB.id).answered == frozenset()


def test_after_taking_apart_what_was_answered_meanwhile_stays_answered() -> None:
    mill = Mill()
    (parcel,) = mill.queue
    late = Mill()
    late.deliver(late.queue.pop())
    mill.store.create(keys.outcome(parcel), late.store.objects[keys.outcome(parcel)])
    mill.ledger.begin(parcel.each)
    mill.work()
    assert mill.result.text == WORDS
    assert mill.engine.asked == []


def test_a_damaged_parcel_fails_in_each_of_its_segments() -> None:
    mill = Mill()
    (parcel,) = mill.queue
    mill.store.objects[keys.segments(JOB.id, *parcel.numbers)] = b"what is this"
    mill.work()
    assert mill.result.status == "failed"
    assert len([segment for segment in mill.result.segments if segment.reason]) == 4


def test_payloads_that_are_gone_are_cut_again_as_they_were() -> None:
    mill = Mill()
    mill.engine.errors = {1: [ResourceError("too large")] * 9}
    mill.work()
    assert mill.result.status == "partial"
    plan = PLANNED.validate_json(mill.store.objects[keys.plan(JOB.id, 0)])
    assert isinstance(plan, Plan)
    store = mill.store
    store.delete([keys.answers(JOB.id, 0, 1), keys.result(JOB.id)])
    accept(store, JOB)
    (again,) = lost(JOB.id, mill.ports)
    assert again.stage == "cut"
    mill.deliver(again)
    assert mill.objects("segments") == ["00000-00001.bin"]
    store.delete([keys.answers(JOB.id, 0, 0, 3), keys.segments(JOB.id, 0, 1)])
    cut(Work(stage="cut", job=JOB.id, window=0), mill.ports, mill.source)
    assert mill.objects("segments") == ["00000-00000-00003.bin"]


def test_who_cuts_a_window_long_after_its_job_has_ended_leaves_nothing() -> None:
    mill = Mill()
    mill.work()
    windows = mill.source.prepare(JOB)
    decoded = decode(JOB, windows, windows.windows[0], mill.ports, mill.source)
    assert mill.objects("segments") != []
    store_plan(Work(stage="cut", job=JOB.id, window=0), decoded, mill.ports)
    assert mill.objects("segments") == []
    assert mill.queue == []
