"""The life of jobs as a machine that hypothesis drives: whatever happens, in whatever order, each one ends once.

The real stages, the books around them, the producer and the steward on a store and a ledger in memory. A rule is
something that happens to a mill: a message is delivered, doubled, lost; a process dies at some call; Redis is wiped;
somebody cancels, tries again, submits again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline import keys
from pipeline.errors import PermanentError, ResourceError, TransientError, UsageError
from pipeline.job import Answer, Job, Result, Work, work_named
from pipeline.ledger import Ending, MemoryLedger, Taken
from pipeline.payload import Payload
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.settings import Steward as StewardSettings
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.completion import survey
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore, a_job
from workers.steward import Steward

JOBS = [a_job(number=number) for number in (1, 2)]
MOST_ATTEMPTS = 3
#: Looks and deliveries after which every job must have ended, once faults have.
MOST_ROUNDS = 80
POISON = ("none", "kills", "refused", "too large", "away at first")


class DiedError(BaseException):
    """The process is gone: no handler may catch it."""


class Doom:
    """The process dies at the n-th call to its ports from now on; None: it lives."""

    def __init__(self) -> None:
        self.calls_left: int | None = None

    def come(self) -> None:
        if self.calls_left is None:
            return
        self.calls_left -= 1
        if self.calls_left < 0:
            raise DiedError


class DoomedStore(MemoryStore):
    """Counts what was written to each key of an outcome."""

    def __init__(self, doom: Doom) -> None:
        super().__init__()
        self._doom = doom
        self.written: Counter[str] = Counter()

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        self._doom.come()
        is_new = super().create(key, data, content_type)
        self.written[key] += is_new
        return is_new

    def get(self, key: str) -> bytes:
        self._doom.come()
        return super().get(key)

    def exists(self, key: str) -> bool:
        self._doom.come()
        return super().exists(key)

    def list(self, prefix: str) -> Iterator[str]:
        self._doom.come()
        return super().list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._doom.come()
            super().delete([key])
            self.written[key] = 0  # what was taken back may be written again

    def upload(self, key: str, source: Path) -> bool:
        raise NotImplementedError


class DoomedLedger(MemoryLedger):
    """A process may die at what it tells its ledger; its leases run out when it has."""

    def __init__(self, doom: Doom) -> None:
        super().__init__()
        self._doom = doom

    def start(self, work: Work, *, count: bool) -> int | Taken:
        self._doom.come()
        return super().start(work, count=count)

    def begin(self, works: Iterable[Work]) -> None:
        self._doom.come()
        super().begin(works)

    def answered(self, work: Work, seconds: float, left: int = 0) -> bool:
        self._doom.come()
        return super().answered(work, seconds, left)

    def close_job(self, job: str, ending: Ending | None = None) -> None:
        self._doom.come()
        super().close_job(job, ending)

    def leases_run_out(self) -> None:
        self._leases.clear()


class Engine(FakeAnswerer):
    """Counts a try when it gets a segment, as `Serving` does, and obeys poison."""

    def __init__(self, world: "LifeOfJobs") -> None:
        super().__init__()
        self._world = world

    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        work = work_named(name)
        self._world.answering(work)
        self._world.ledger.begin([work])
        match self._world.poison.get(name, "none"):
            case "kills":
                raise DiedError
            case "refused":
                raise PermanentError("it does not like it")
            case "too large":
                raise ResourceError("it does not fit")
            case "away at first":
                self._world.poison[name] = "none"
                raise TransientError("the engine is away")
        return super().answer(name, payload, job, tries)


class LifeOfJobs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.doom = Doom()
        self.store = DoomedStore(self.doom)
        self.queue: list[Work] = []
        self.poison: dict[str, str] = {}
        self.submitted: set[str] = set()
        self.cancelled: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.excused: set[str] = set()
        self.clips: tuple[int, ...] = (1,)
        self._new_ledger()

    def _new_ledger(self) -> None:
        self.ledger = DoomedLedger(self.doom)
        self.ports = Ports(
            store=self.store, ledger=self.ledger, send=self.queue.append, max_attempts=MOST_ATTEMPTS, windows_ahead=2
        )
        configuration = Settings(steward=StewardSettings(lease_seconds=1e-9))
        self.producer = Producer(self.ports, configuration)
        self.steward = Steward(self.ports, self, configuration)  # type: ignore[arg-type]

    def waiting(self) -> frozenset[str]:
        """Of the queue, for the steward."""
        return frozenset(work.name for work in self.queue)

    def answering(self, work: Work) -> None:
        """Nobody computes what is stored, unless what told them so was lost."""
        stored = work.index is not None and (work.window, work.index) in survey(self.store, work.job).answered
        assert not stored or work.job in self.excused, f"{work.name} is computed again"
        self.answers[work.name] += 1

    # What happens to a mill

    @initialize(clips=st.sampled_from([(1,), (2,), (1, 0, 3)]), kinds=st.lists(st.sampled_from(POISON), max_size=3))
    def arrange(self, clips: tuple[int, ...], kinds: list[str]) -> None:
        self.clips = clips
        self.source = FakeSource(clips)
        self.engine = Engine(self)
        names = [f"infer.{JOBS[0].id}.0-0", f"infer.{JOBS[0].id}", f"infer.{JOBS[1].id}.0-1"]
        self.poison = dict(zip(names, kinds, strict=False))

    @rule(job=st.sampled_from(JOBS))
    def submit(self, job: Job) -> None:
        """Again and again is once: what failed is tried again."""
        if keys.result(job.id) in self.store.objects:
            if self.producer.result(job.id).status != "done":
                self._retried(job.id, everything=False)
            return
        self.submitted.add(job.id)
        self.producer._open(job)

    @precondition(lambda self: self.queue)
    @rule(number=st.integers(0, 10), dies_at=st.none() | st.integers(0, 25))
    def deliver(self, number: int, dies_at: int | None) -> None:
        work = self.queue.pop(number % len(self.queue))
        self._work_on(work, dies_at)

    @precondition(lambda self: self.queue)
    @rule(number=st.integers(0, 10))
    def double(self, number: int) -> None:
        self.queue.append(self.queue[number % len(self.queue)])

    @precondition(lambda self: self.queue)
    @rule(number=st.integers(0, 10))
    def lose(self, number: int) -> None:
        self.queue.pop(number % len(self.queue))

    @rule()
    def wipe(self) -> None:
        """All of Redis: the queue, the ledger."""
        self.queue.clear()
        self.excused |= self.submitted
        self._new_ledger()

    @rule(dies_at=st.none() | st.integers(0, 40))
    def look(self, dies_at: int | None) -> None:
        self._as_process(self.steward.look, dies_at)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.submitted)))
        with suppress(UsageError):  # it has ended
            self.producer.cancel(job)
            self.cancelled.add(job)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), everything=st.booleans())
    def retry(self, data: st.DataObject, everything: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.submitted)))
        if keys.open_job(job) not in self.store.objects:
            self._retried(job, everything=everything)

    # What is always so

    @invariant()
    def every_outcome_is_written_once(self) -> None:
        outcomes = {key: number for key, number in self.store.written.items() if number > 1}
        assert outcomes == {}

    @invariant()
    def whoever_was_accepted_is_open_or_has_ended(self) -> None:
        for job in self.submitted:
            assert keys.open_job(job) in self.store.objects or keys.result(job) in self.store.objects

    @invariant()
    def a_result_tells_the_truth(self) -> None:
        for job in self.submitted:
            if (data := self.store.objects.get(keys.result(job))) is None:
                continue
            result = Result.from_bytes(data)
            assert (result.status == "done") == (not result.failures and result.error is None), result
            assert result.status != "cancelled" or job in self.cancelled
            if result.status == "done":
                assert len([segment for segment in result.segments if segment.text]) == sum(self.clips)
            assert all(failure.attempts <= MOST_ATTEMPTS + 1 for failure in result.failures)

    def teardown(self) -> None:
        """Faults end: everything ends, and nothing is left."""
        if not hasattr(self, "engine"):
            return
        self.doom.calls_left = None
        for _ in range(MOST_ROUNDS):
            if not any(key.startswith(keys.OPEN) for key in self.store.objects):
                break
            self.ledger.leases_run_out()
            while self.queue:
                self._work_on(self.queue.pop(0), None)
            self._as_process(self.steward.look, None)
        for job in self.submitted:
            assert keys.open_job(job) not in self.store.objects, f"{job} is stranded"
            result = Result.from_bytes(self.store.objects[keys.result(job)])
            poisoned = any(kind != "none" and job in name for name, kind in self.poison.items())
            assert result.status == "done" or poisoned or job in self.cancelled or result.failures
        self.a_result_tells_the_truth()
        self.every_outcome_is_written_once()

    # How it happens

    def _retried(self, job: str, *, everything: bool) -> None:
        self.producer.retry(job, everything=everything)
        self.cancelled.discard(job)
        if everything:
            self.excused.add(job)

    def _work_on(self, work: Work, dies_at: int | None) -> None:
        stages: dict[str, Callable[[int], None]] = {
            "prepare": lambda tries: prepare(work, self.ports, self.source),
            "cut": lambda tries: cut(work, self.ports, self.source),
            "infer": lambda tries: infer(work, self.ports, self.engine, tries),
            "finish": lambda tries: finish(work, self.ports),
        }
        count = work.stage != "infer"
        self._as_process(lambda: attempt(work, self.ports, stages[work.stage], count=count), dies_at, work)

    def _as_process(self, run: Callable[[], Any], dies_at: int | None, work: Work | None = None) -> None:
        """Run as a process of its own, which perhaps dies; its message comes back then, or does not."""
        self.doom.calls_left = dies_at
        try:
            run()
        except DiedError:
            self.ledger.leases_run_out()
            if work is not None:
                self.excused.add(work.job)  # it may have died between its answer and the ledger
                if dies_at is None or dies_at % 2:
                    self.queue.append(work)
        finally:
            self.doom.calls_left = None


TestLifeOfJobs = LifeOfJobs.TestCase
TestLifeOfJobs.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
