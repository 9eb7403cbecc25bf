"""The life of jobs as a machine that hypothesis drives: whatever happens, in whatever order, each one ends once.

The real stages, the books around them, the producer and the steward on a store and a ledger in memory. A rule is
something that happens to a mill: a message is delivered, doubled, lost; a process dies at some call; Redis is wiped;
somebody cancels, tries again, submits again.

The machine remembers what it did to each piece of work. What it did not poison, cancel or let die too often must be
done, with the right text; the controls at the end are mills that fail work for which nobody gave them a reason.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipeline import keys
from pipeline.errors import PermanentError, ResourceError, TransientError, UsageError
from pipeline.job import Answer, Job, Result, Work, work_named
from pipeline.ledger import Ending, MemoryLedger, Taken, is_segment, job_of
from pipeline.payload import Payload
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.settings import Steward as StewardSettings
from pipeline.stages import Ports
from pipeline.stages.attempt import Outcome, _tried, attempt, fail, quarantined
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
#: Of these a segment may fail; an outage is no reason.
DEADLY = frozenset({"kills", "refused", "too large"})


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
        self.num_written: Counter[str] = Counter()

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        self._doom.come()
        is_new = super().create(key, data, content_type)
        self.num_written[key] += is_new
        return is_new

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        self._doom.come()
        super().replace(key, data, content_type)

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
            self.num_written[key] = 0  # what was taken back may be written again

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


class OneByOne(Executor):
    """Whatever a steward would do at once, so that the same steps lead to the same end whenever they are repeated."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Engine(FakeAnswerer):
    """Counts a try when it gets a segment, as `Serving` does, and obeys poison."""

    def __init__(self, world: "LifeOfJobs") -> None:
        super().__init__()
        self._world = world

    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        work = work_named(name)
        self._world.answering(work)
        self._world.ledger.begin([work])
        self._world.begun.add(name)
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
        self.begun: set[str] = set()  #: what the process at work has begun
        self.deaths: Counter[str] = Counter()  #: by work, the processes that died over it alone
        self.died_together: set[str] = set()  #: segments whose process died while their parcel was answered
        self._new_ledger()

    def _new_ledger(self) -> None:
        self.ledger = DoomedLedger(self.doom)
        self.ports = Ports(
            store=self.store, ledger=self.ledger, send=self.queue.append, max_attempts=MOST_ATTEMPTS, windows_ahead=2
        )
        configuration = Settings(steward=StewardSettings(lease_seconds=1e-9))
        self.producer = Producer(self.ports, configuration)
        self.steward = Steward(self.ports, self, configuration)  # type: ignore[arg-type]
        self.steward._admitter._requests._pool = OneByOne()  # type: ignore[assignment]

    def waiting(self) -> frozenset[str]:
        """Of the queue, for the steward."""
        return frozenset(work.name for work in self.queue)

    def answering(self, work: Work) -> None:
        """Nobody computes what is stored, unless what told them so was lost."""
        stored = work.index is not None and (work.window, work.index) in survey(self.store, work.job).answered
        assert not stored or work.job in self.excused, f"{work.name} is computed again"
        self.answers[work.name] += 1

    # What happens to a mill

    @initialize(
        clips=st.sampled_from([(1,), (2,), (1, 0, 3)]),
        kinds=st.lists(st.sampled_from(POISON), max_size=3),
        num_jobs=st.integers(1, len(JOBS)),
    )
    def arrange(self, clips: tuple[int, ...], kinds: list[str], num_jobs: int) -> None:
        self.clips = clips
        self.source = FakeSource(clips)
        self.engine = Engine(self)
        first, last = self.segments_of(JOBS[0])[0], self.segments_of(JOBS[0])[-1]
        names = dict.fromkeys([first, self.segments_of(JOBS[1])[-1], last])
        self.poison = dict(zip(names, kinds, strict=False))
        for job in JOBS[:num_jobs]:
            self.submit(job)

    @rule(job=st.sampled_from(JOBS))
    def submit(self, job: Job) -> None:
        """Again and again is once: what failed is tried again."""
        if keys.result(job.id) in self.store.objects:
            if self.producer.result(job.id).status != "done":
                self._retried(job.id, everything=False)
            return
        self.producer._open(job, is_new=job.id not in self.submitted)
        self.submitted.add(job.id)

    @precondition(lambda self: self.queue)
    @rule(number=st.integers(0, 10), dies_at=st.none() | st.integers(0, 25))
    def deliver(self, number: int, dies_at: int | None) -> None:
        work = self.queue.pop(number % len(self.queue))
        self._work_on(work, dies_at)

    @precondition(lambda self: self.queue)
    @rule(most=st.integers(1, 8))
    def work(self, most: int) -> None:
        """Some messages, one after the other."""
        while self.queue and most:
            self._work_on(self.queue.pop(0), None)
            most -= 1

    @precondition(lambda self: self.queue)
    @rule(number=st.integers(0, 10), dies_at=st.integers(1, 12), times=st.integers(2, MOST_ATTEMPTS))
    def die_again_and_again(self, number: int, dies_at: int, times: int) -> None:
        work = self.queue.pop(number % len(self.queue))
        for _ in range(times):
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
        self.deaths.update(self.died_together)  # nobody knows any more that they are to stand alone
        self.died_together.clear()
        self._new_ledger()

    @rule(dies_at=st.none() | st.integers(0, 40))
    def look(self, dies_at: int | None) -> None:
        self._as_process(self.steward.look, dies_at)

    @precondition(lambda self: self.submitted)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.submitted)))
        has_ended = survey(self.store, job).finished  # perhaps nobody could write down yet how
        with suppress(UsageError):
            self.producer.cancel(job)
            self.cancelled |= set() if has_ended else {job}

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), everything=st.booleans())
    def retry(self, data: st.DataObject, everything: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.submitted)))
        if not self.is_open(job):
            self._retried(job, everything=everything)

    # What is always so

    @invariant()
    def every_outcome_is_written_once(self) -> None:
        outcomes = {key: number for key, number in self.store.num_written.items() if number > 1}
        assert outcomes == {}

    @invariant()
    def whoever_was_accepted_is_open_or_has_ended(self) -> None:
        for job in self.submitted:
            assert self.is_open(job) or keys.result(job) in self.store.objects, f"{job} is lost"

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
            most = max(MOST_ATTEMPTS, *self.deaths.values(), 0) + 1
            assert all(failure.attempts <= most for failure in result.failures), result

    def teardown(self) -> None:
        """Faults end: everything ends, and nothing is left."""
        if not hasattr(self, "engine"):
            return
        self.doom.calls_left = None
        for _ in range(MOST_ROUNDS):
            if not any(key.startswith(keys.OPEN) for key in self.store.objects):
                break
            self.ledger.leases_run_out()
            for _ in range(len(self.queue)):
                self._work_on(self.queue.pop(0), None)
            self._as_process(self.steward.look, None)
        for job in self.submitted:
            assert not self.is_open(job), f"{job} is stranded"
            self._ended_for_a_reason(Result.from_bytes(self.store.objects[keys.result(job)]))
        self.a_result_tells_the_truth()
        self.every_outcome_is_written_once()

    def _ended_for_a_reason(self, result: Result) -> None:
        """What the machine did nothing to is done, word for word; nothing fails but what it let fail."""
        job, may_fail = result.job, self._may_fail(result.job)
        if not may_fail:
            expected = {"cancelled"} if job in self.cancelled else {"done"}
            if len(self.starts) == 1:
                expected.add("done")  # whoever answers it does not look whether it was cancelled meanwhile
            assert result.status in expected, f"{job} is {result.status} without a reason: {result.error}"
        assert len(result.failures) <= len(may_fail), f"{job} has failures without a reason: {result.failures}"
        for start, segment in zip(self.starts, self.segments_of(job), strict=True):
            told = [one.text for one in result.segments if one.start == start]
            if told != [f"word{start}"]:
                assert not any(told), f"{segment} has another's text"
                stages = {f"prepare.{job}", f"cut.{job}.{start // 100}", f"finish.{job}"}
                assert job in self.cancelled or may_fail & {segment, *stages}, f"{segment} fails without a reason"

    def _may_fail(self, job: str) -> frozenset[str]:
        """The work of a job that the machine has poisoned, or let die as often as it is tried."""
        poisoned = {name for name, kind in self.poison.items() if kind in DEADLY}
        deaths = self.deaths + Counter(self.died_together)
        dead = {name for name, number in deaths.items() if number >= MOST_ATTEMPTS}
        return frozenset(name for name in poisoned | dead if job_of(name) == job)

    # How it happens

    def is_open(self, job: str) -> bool:
        return any(key.startswith(keys.open_job(job)) for key in self.store.objects)

    @property
    def starts(self) -> list[int]:
        """Where the clips of the media begin, which is what is said in them."""
        return [100 * window + index for window, number in enumerate(self.clips) for index in range(number)]

    def segments_of(self, job: Job | str) -> list[str]:
        """The work of its segments, by name."""
        job = job if isinstance(job, str) else job.id
        if len(self.starts) == 1:
            return [f"infer.{job}"]
        return [f"infer.{job}.{start // 100}-{start % 100}" for start in self.starts]

    def _retried(self, job: str, *, everything: bool) -> None:
        self.producer.retry(job, everything=everything)
        self.cancelled.discard(job)
        self.deaths = Counter({name: number for name, number in self.deaths.items() if job_of(name) != job})
        self.died_together = {name for name in self.died_together if job_of(name) != job}
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
        self.begun = {work.name} if count else set()
        self._as_process(lambda: attempt(work, self.ports, stages[work.stage], count=count), dies_at, work)

    def _as_process(self, run: Callable[[], Any], dies_at: int | None, work: Work | None = None) -> None:
        """Run as a process of its own, which perhaps dies; its message comes back then, or does not."""
        self.doom.calls_left = dies_at
        try:
            run()
        except DiedError:
            self.ledger.leases_run_out()
            if work is not None:
                self._died(work)
                self.excused.add(work.job)  # it may have died between its answer and the ledger
                if dies_at is None or dies_at % 2:
                    self.queue.append(work)
        finally:
            self.doom.calls_left = None

    def _died(self, work: Work) -> None:
        """A death of a parcel is held against its segments once: from then on each stands alone."""
        if work.last is None:
            self.deaths.update(self.begun)
        else:
            self.died_together |= self.begun


TestLifeOfJobs = LifeOfJobs.TestCase
TestLifeOfJobs.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
#: The same machine where it must find something; what exactly is of no interest.
CONTROL = settings(
    TestLifeOfJobs.settings,
    max_examples=1000,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


Tried = Callable[[Work, Ports, Callable[[int], None], int], Outcome]


def failing_all(work: Work, ports: Ports, run: Callable[[int], None], tries: int) -> Outcome:
    fail(work, quarantined(MOST_ATTEMPTS), ports)
    return "done"


def failing_one_window(work: Work, ports: Ports, run: Callable[[int], None], tries: int) -> Outcome:
    """Quarantines what is said in the last window of a long file."""
    return _tried(work, ports, run, MOST_ATTEMPTS if is_segment(work) and work.window == 2 else tries)


def blaming_neighbours(work: Work, ports: Ports, run: Callable[[int], None], tries: int) -> Outcome:
    """Fails a parcel with all that is in it because one of its segments killed a process."""
    return failing_all(work, ports, run, tries) if ports.ledger.tried(work.each) else _tried(work, ports, run, tries)


def impatient(work: Work, ports: Ports, run: Callable[[int], None], tries: int) -> Outcome:
    """Gives up one try too early."""
    return _tried(work, ports, run, tries + (tries == MOST_ATTEMPTS - 1))


@pytest.mark.parametrize("tried", [failing_all, failing_one_window, blaming_neighbours, impatient])
def test_a_mill_that_fails_healthy_work_is_caught(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stages.attempt._tried", tried)
    with pytest.raises(AssertionError, match="without a reason"):
        run_state_machine_as_test(LifeOfJobs, settings=CONTROL)


def test_a_mill_that_never_takes_a_deadly_parcel_apart_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryLedger, "tried", lambda self, works: False)
    with pytest.raises(AssertionError, match="is stranded"):
        run_state_machine_as_test(LifeOfJobs, settings=CONTROL)
