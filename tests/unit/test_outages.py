"""Every call to the object store, the ledger and the queue fails in turn: no job is lost, no try is counted.

Each k-th call raises TransientError, before it has had an effect or behind it (the answer is lost), for all k up to
more calls than a job makes. The stages, the books around them and the steward are the real ones.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import pytest

from pipeline import keys
from pipeline.errors import PipelineError, TransientError
from pipeline.job import Answer, Job, Result, Work, work_named
from pipeline.ledger import MemoryLedger
from pipeline.payload import Payload
from pipeline.settings import Settings
from pipeline.settings import Steward as StewardSettings
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore, a_job, accept
from workers.steward import Steward

When = Literal["before", "behind"]

STORE_CALLS = ("create", "get", "exists", "list", "delete")
LEDGER_CALLS = (
    *("start", "end", "held", "busy_jobs", "tries", "tried", "begin", "postpone", "postponed", "announce", "expect"),
    *("answered", "admit", "in_flight", "dismiss", "add", "close_job", "endings", "note", "count", "counts", "lead"),
    "is_blank",
)
#: Of a start that raises nothing happens, by its contract; `restore` and `release` never raise.
ONLY_BEFORE = frozenset({"start"})
MOST_ROUNDS = 40


class Faults:
    """Makes each `every`-th call fail that any of its ports gets."""

    def __init__(self, every: int, when: When) -> None:
        self._every = every
        self._when = when
        self._num_calls = 0
        self.num_failed = 0
        self.heals = False

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*args: Any, **kwargs: Any) -> Any:
            self._num_calls += 1
            fails = not self.heals and self._num_calls % self._every == 0
            self.num_failed += fails
            if fails and (self._when == "before" or name in ONLY_BEFORE):
                raise TransientError("away")
            found = call(*args, **kwargs)
            if fails:
                raise TransientError("away", "the answer is lost")
            return found

        return failing

    def of(self, target: Any, names: tuple[str, ...]) -> None:
        """Let calls of these names fail."""
        for name in names:
            setattr(target, name, self.around(name, getattr(target, name)))


class Mill:
    """One job of two windows, workers, a steward, and faults in all that they touch."""

    def __init__(self, clips: tuple[int, ...], faults: Faults) -> None:
        self.queue: list[Work] = []
        self.store = MemoryStore()
        self.ledger = MemoryLedger()
        self.ledger.is_blank()
        self.most_tries = 0
        self.job = a_job()
        accept(self.store, self.job)
        self._source = FakeSource(clips)
        self._answerer = Engine(self.ledger, faults)
        self._faults = faults
        faults.of(self.store, STORE_CALLS)
        faults.of(self.ledger, LEDGER_CALLS)
        self.ports = Ports(store=self.store, ledger=self.ledger, send=faults.around("send", self.queue.append))
        settings = Settings(steward=StewardSettings(lease_seconds=1e-9))
        self.steward = Steward(self.ports, self, settings)  # type: ignore[arg-type]

    def waiting(self) -> frozenset[str]:
        return frozenset(work.name for work in self.queue)

    @property
    def is_open(self) -> bool:
        return keys.open_job(self.job.id) in self.store.objects

    def run(self) -> None:
        """Work and look, until the job has ended."""
        for _ in range(MOST_ROUNDS):
            if not self.is_open:
                return
            while self.queue:
                self._deliver(self.queue.pop(0))
            self.ledger._leases.clear()  # those that could not be given back run out
            for step in (self.steward.leads, self.steward.look, self.steward.turn):
                _within_outage(step)

    def _deliver(self, work: Work) -> None:
        stages: dict[str, Callable[[int], None]] = {
            "prepare": lambda tries: prepare(work, self.ports, self._source),
            "cut": lambda tries: cut(work, self.ports, self._source),
            "infer": lambda tries: infer(work, self.ports, self._answerer, tries),
            "finish": lambda tries: finish(work, self.ports),
        }
        _within_outage(partial(attempt, work, self.ports, stages[work.stage], count=work.stage != "infer"))
        states = self.ledger._states.get(work.job, {})
        self.most_tries = max([self.most_tries, *(state for state in states.values() if state != "ended")])


def _within_outage(step: Callable[[], object]) -> None:
    with suppress(TransientError):  # as a worker does: it logs it, and takes the next message
        step()


class Engine(FakeAnswerer):
    """Counts the try when the engine gets the segment, as `Serving` does, and is lost now and then."""

    def __init__(self, ledger: MemoryLedger, faults: Faults) -> None:
        super().__init__()
        self._ledger = ledger
        self._generate = faults.around("engine", lambda: None)

    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        self._ledger.begin([work_named(name)])
        self._generate()
        return super().answer(name, payload, job, tries)


@pytest.mark.parametrize(("clips", "most"), [((1,), 30), ((2, 0, 3), 60)], ids=["whole", "windows"])
@pytest.mark.parametrize("when", ["before", "behind"])
def test_whatever_fails_now_and_then_the_job_is_done_and_no_try_is_counted(
    clips: tuple[int, ...], most: int, when: When
) -> None:
    for every in range(2, most):
        faults = Faults(every, when)
        mill = Mill(clips, faults)
        mill.run()
        told = f"every {every}th call fails {when} its effect"
        assert faults.num_failed, told
        if mill.is_open:  # the same call fails in each round: it is an outage without an end
            faults.heals = True
            mill.run()
        result = Result.from_bytes(mill.store.objects[keys.result(mill.job.id)])
        assert result.status == "done", told
        assert not mill.is_open, told
        assert result.provenance.attempts == 1, told
        assert mill.most_tries <= 1, told
        assert [key for key in mill.store.objects if key.startswith(keys.TRIES)] == [], told


@pytest.mark.parametrize(("sets_back", "status"), [(True, "done"), (False, "failed")])
def test_without_setting_back_the_count_an_outage_would_quarantine(
    sets_back: bool, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what the test above shows is not so by itself."""
    if not sets_back:
        monkeypatch.setattr(MemoryLedger, "restore", lambda self, work, tries: None)
    faults = Faults(10**9, "before")
    mill = Mill((1,), faults)
    real, failed = mill.store.create, list[str]()

    def away(key: str, data: bytes, content_type: str = "application/json") -> bool:
        if key.startswith(keys.JOBS) and len(failed) < 5:
            failed.append(key)
            raise TransientError("S3 is away")
        return real(key, data, content_type)

    mill.store.create = away  # type: ignore[method-assign]
    mill.run()
    assert Result.from_bytes(mill.store.objects[keys.result(mill.job.id)]).status == status


def test_an_error_that_is_no_outage_still_counts() -> None:
    """The control of the controls: faults of another kind end in a failure."""
    faults = Faults(2, "before")
    mill = Mill((1,), faults)
    faults.heals = True

    def too_big(*args: Any) -> Answer:
        raise PipelineError("too big")

    mill._answerer.answer = too_big  # type: ignore[method-assign]
    mill.run()
    assert Result.from_bytes(mill.store.objects[keys.result(mill.job.id)]).status == "failed"
