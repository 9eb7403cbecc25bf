"""The proof of the completion rule: the real stages under random schedules, doubled deliveries and crashes.

Every call that a stage makes to its ports is a point where another delivery may run or the process may die. A
delivery that dies is delivered again (the queue gives back what was not acknowledged). No steward helps, except where
a test says so: the rule alone must leave no job behind.

Whoever cancels or retries is stepped like a delivery, so that what they do falls between any two calls of the stages.
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import formats, keys
from pipeline.errors import MissingObjectError, PermanentError, UsageError
from pipeline.job import Answer, Failure, Result, Work
from pipeline.ledger import MemoryLedger, is_segment
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stages import Ports, finish, infer
from pipeline.stages.attempt import fail
from pipeline.stages.completion import Survey, advance, due, survey
from pipeline.stages.cut import cut
from pipeline.stages.outcomes import read_outcome
from pipeline.stages.prepare import prepare
from pipeline.stages.reconcile import lost, open_jobs
from pipeline.tasks import Fold
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore, a_job, accept

#: What had become of a job when it was cancelled.
MOMENTS = frozenset(
    {
        "before it is prepared",
        "before it is cut",
        "between cut and infer",
        "between the answers",
        "before finish",
        "while finish runs",
        "after its end",
    }
)
#: From then on a job can only end as cancelled.
MOST_ROUNDS = 5
EARLY = MOMENTS - {"before finish", "while finish runs", "after its end"}
MAX_ACTIVE = 3
MAX_CRASHES = 6


class CrashError(BaseException):
    """The process is gone: no handler of the stages may catch it."""


class Delivery:
    """A message being worked on, in a thread that stands still at every port call until it is let go.

    Without `work`: what somebody does who is none of the mill.
    """

    def __init__(self, run: Callable[[], None], work: Work | None = None) -> None:
        self.work = work
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._crash = False
        self.ended = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, args=(run,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def _main(self, run: Callable[[], None]) -> None:
        CURRENT.delivery = self
        try:
            self.pause()
            run()
        except CrashError:
            pass
        except BaseException as error:
            self.error = error
        self.ended = True
        self._stopped.release()

    def pause(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._crash:
            raise CrashError

    def step(self, *, crash: bool = False) -> None:
        self._crash = crash
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error


class _Current(threading.local):
    delivery: Delivery | None = None


CURRENT = _Current()


def pause() -> None:
    if CURRENT.delivery is not None:
        CURRENT.delivery.pause()


class SteppedStore(MemoryStore):
    """Stands still before every operation; tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.on_written: Callable[[str, bytes], None] = lambda key, data: None

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        pause()
        is_new = super().create(key, data, content_type)
        if is_new:
            self.on_written(key, data)
        return is_new

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        pause()
        super().replace(key, data, content_type)
        self.on_written(key, data)

    def get(self, key: str) -> bytes:
        pause()
        return super().get(key)

    def exists(self, key: str) -> bool:
        pause()
        return super().exists(key)

    def list(self, prefix: str) -> Iterator[str]:
        pause()
        return super().list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            pause()
            super().delete([key])

    def upload(self, key: str, source: Path) -> bool:
        raise NotImplementedError


class SteppedLedger(MemoryLedger):
    """Stands still before what tells a stage to go on or to look.

    Everything is news to it: who dies between announcing and sending is helped by the steward, who has no part here.
    """

    def announce(self, works: Sequence[Work]) -> Sequence[Work]:
        pause()
        super().announce(works)
        return works

    def answered(self, work: Work, seconds: float, left: int = 0) -> bool:
        pause()
        return super().answered(work, seconds, left)


class DeafLedger(SteppedLedger):
    """Never tells that an answer was the last one of its window."""

    def answered(self, work: Work, seconds: float, left: int = 0) -> bool:
        pause()
        return False


class ForgetfulLedger(SteppedLedger):
    """Forgets everything now and then, as a Redis that is wiped does."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def announce(self, works: Sequence[Work]) -> Sequence[Work]:
        if self._chance.random() < 0.2:
            self.forget()
        return super().announce(works)

    def forget(self) -> None:
        self._states.clear()
        self._lacking.clear()


FOLDS: tuple[Fold, ...] = ("never", "several", "always")


class World:
    """One job under one seed."""

    def __init__(self, seed: int, *, loss: float = 0.0, wipes: bool = False) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.queue: list[Work] = []
        self.store = SteppedStore()
        self.answerer = FakeAnswerer()
        self.clips = tuple(self.random.choice((0, 1, 2, 3)) for _ in range(self.random.choice((1, 2, 3))))
        self.words = [f"word{100 * w + i}" for w, count in enumerate(self.clips) for i in range(count)]
        self.fold = self.random.choice(FOLDS)
        self.source = FakeSource(self.clips, self.fold, text_characters=60)  # up to three folds in a row
        self.ledger = ForgetfulLedger(self.random) if wipes else SteppedLedger()
        self.clients_die = False
        ahead = self.random.choice((1, 2, 4))
        self.ports = Ports(store=self.store, ledger=self.ledger, send=self.send, windows_ahead=ahead)
        self.job = a_job()
        self.active: list[Delivery] = []
        self.crashes_left = MAX_CRASHES
        accept(self.store, self.job)
        for work in self.ports.ledger.announce([Work(stage="prepare", job=self.job.id)]):
            self.send(work)

    def send(self, work: Work) -> None:
        pause()
        if self.random.random() >= self.loss:
            self.queue.append(work)
            if self.random.random() < 0.03:
                self.queue.append(work)

    def run(self, work: Work) -> None:
        match work.stage:
            case "prepare":
                prepare(work, self.ports, self.source)
            case "cut":
                cut(work, self.ports, self.source)
            case "infer":
                infer.infer(work, self.ports, self.answerer)
            case "finish":
                finish.finish(work, self.ports)

    def settle(self) -> None:
        """Deliver, step and crash at random until nothing is left to deliver."""
        while self.queue or self.active:
            self.step()

    def step(self) -> None:
        if self.queue and len(self.active) < MAX_ACTIVE and (not self.active or self.random.random() < 0.3):
            work = self.queue.pop(self.random.randrange(len(self.queue)))
            self.active.append(Delivery(lambda: self.run(work), work))
            return
        delivery = self.random.choice(self.active)
        may_die = self.crashes_left > 0 and (delivery.work is not None or self.clients_die)
        crash = may_die and self.random.random() < 0.02
        delivery.step(crash=crash)
        if crash:
            self.crashes_left -= 1
            self.come_back(delivery)
        if delivery.ended:
            self.active.remove(delivery)

    def come_back(self, delivery: Delivery) -> None:
        """The queue gives back the message of a delivery that died."""
        if delivery.work is not None:
            self.queue.append(delivery.work)

    @property
    def is_open(self) -> bool:
        return any(key.startswith(keys.OPEN) for key in self.store.objects)

    @property
    def is_stranded(self) -> bool:
        return keys.result(self.job.id) not in self.store.objects or self.is_open

    @property
    def result(self) -> Result:
        return Result.from_bytes(self.store.objects[keys.result(self.job.id)])

    @property
    def left(self) -> list[str]:
        """What only served the work, and is still there."""
        temporary = (keys.segments_of(self.job.id), keys.whole(self.job.id))
        return [key for key in self.store.objects if key.startswith(temporary)]


def told(result: Result) -> list[str]:
    return [segment.text for segment in result.segments if segment.text]


def is_complete(world: World) -> bool:
    """Whether all that is said is in the result, word for word."""
    folds = world.fold == "always" or (world.fold == "several" and len(world.words) > 1)
    if folds and world.words:
        words = [f"word{number}" for number in world.result.text.split("+")]
    else:
        words = world.result.text.split()
    return words == told(world.result) == world.words


def check_complete(world: World) -> None:
    assert world.result.status == "done"
    assert is_complete(world), world.result
    assert world.left == [] or world.store.num_refused, "segments stay only where a doubled cut wrote them late"


def rescue(world: World) -> None:
    """Look as the steward does, until the job has ended."""
    for _ in range(200):
        if not open_jobs(world.ports):
            return
        for work in lost(world.job.id, world.ports):
            world.send(work)
        world.settle()


@pytest.mark.parametrize("block", range(4))
def test_no_job_is_stranded_by_crashes_and_doubled_deliveries(block: int) -> None:
    for seed in range(block * 150, block * 150 + 150):
        world = World(seed)
        world.settle()
        assert not world.is_stranded, f"seed {seed}"
        check_complete(world)


def stranded(num_seeds: int) -> int:
    count = 0
    for seed in range(num_seeds):
        world = World(seed)
        world.settle()
        count += world.is_stranded
    return count


def test_without_the_look_after_the_plan_jobs_are_stranded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stages.cut.advance", lambda job, ports, urgent: None)
    assert stranded(120) > 0


def test_looking_before_writing_the_answer_strands_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def looking_too_early(work: Work, ports: Ports, answerer: FakeAnswerer, tries: int = 0) -> None:
        if is_segment(work) and ports.ledger.answered(work, 0.0):
            advance(work.job, ports)
        original(work, replace(ports, ledger=DeafLedger()), answerer, tries)

    original = infer.infer
    monkeypatch.setattr(infer, "infer", looking_too_early)
    assert stranded(120) > 0


@pytest.mark.parametrize(("loss", "wipes"), [(0.15, False), (0.0, True), (0.1, True)])
def test_lost_messages_and_wiped_ledgers_strand_jobs_and_the_steward_saves_them(loss: float, wipes: bool) -> None:
    num_stranded = 0
    for seed in range(150):
        world = World(seed, loss=loss, wipes=wipes)
        world.settle()
        num_stranded += world.is_stranded
        rescue(world)
        assert not world.is_stranded, f"seed {seed}"
        check_complete(world)
    assert num_stranded > 0, "the control: without the steward some jobs must be lost"


class Visited(World):
    """A world in which somebody cancels the job at some moment, perhaps twice.

    `wipes`: around that moment Redis is emptied, and what somebody has in hand then does not come back when they die.
    `retries`: what was cancelled or failed is tried again, and perhaps cancelled again; where answers are not folded,
    some segments are refused before. `clients_die`: so may whoever cancels or retries.
    """

    def __init__(
        self, seed: int, *, loss: float = 0.0, wipes: bool = False, retries: int = 0, clients_die: bool = False
    ) -> None:
        super().__init__(seed, loss=loss, wipes=wipes)
        self.clients_die = clients_die
        self.producer = Producer(self.ports, Settings())
        self.store.on_written = self._written
        self.steps_done = 0
        self.visits = [(self._soon(), self.cancel) for _ in range(self.random.choice((1, 1, 2)))]
        if wipes:
            self.visits.append((self.visits[0][0] + self.random.randrange(12), self.wipe))
        self.retries_left, self.num_retries = retries, 0
        self._retrying: Delivery | None = None
        if retries and self.fold == "never":  # a fold that is under way would be of what was refused
            places = [f".{window}-{index}" for window, number in enumerate(self.clips) for index in range(number)]
            refused = [place for place in ["", *places] if self.random.random() < 0.3]
            self.answerer.refused = {f"infer.{self.job.id}{place}" for place in refused}
        self.moments: set[str] = set()  #: of `MOMENTS`
        self.ends: set[bytes] = set()  #: each result that was ever written
        self.kept: dict[str, bytes] = {}  #: the answers that it had when it was cancelled
        self.possible_ends: set[str] = {"done", "partial", "failed"} if self.answerer.refused else {"done"}

    # What happens

    def run(self, work: Work) -> None:
        try:
            super().run(work)
        except PermanentError as error:
            fail(work, Failure(error="permanent", reason=error.reason), self.ports)
        except MissingObjectError:
            assert self.num_retries, "nothing is taken back but by a retry"

    def settle(self) -> None:
        while self.queue or self.active or self.visits or self._may_retry:
            self.step()

    def step(self) -> None:
        """Let the next visitor in, if it is their time or nothing else happens, or go on."""
        self.steps_done += 1
        rests = not (self.queue or self.active)
        now = [
            visit for visit in sorted(self.visits, key=lambda visit: visit[0]) if rests or visit[0] < self.steps_done
        ]
        if now:
            self.visits.remove(now[0])
            self.active.append(Delivery(now[0][1]))
        elif self._may_retry and (rests or self.random.random() < 0.02):
            self._begin_retry()
        else:
            super().step()

    def cancel(self) -> None:
        try:
            self.producer.cancel(self.job.id)
        except UsageError:
            self.moments.add("after its end")

    def retry(self) -> None:
        with suppress(UsageError):
            self.producer.retry(self.job.id)

    def come_back(self, delivery: Delivery) -> None:
        """Whoever died while they tried it again does so once more, and that goes on where they were."""
        super().come_back(delivery)
        self.retries_left += delivery is self._retrying

    def wipe(self) -> None:
        self.queue.clear()
        assert isinstance(self.ledger, ForgetfulLedger)
        self.ledger.forget()
        for delivery in self.active:
            delivery.work = None

    def _soon(self) -> int:
        """A step from now on; small numbers more often, because small jobs are soon done."""
        return self.steps_done + self.random.randrange(self.random.choice((20, 60, 150)))

    @property
    def _may_retry(self) -> bool:
        if not self.retries_left or (self._retrying is not None and not self._retrying.ended):
            return False
        return keys.result(self.job.id) in self.store.objects and self.result.status != "done"

    def _begin_retry(self) -> None:
        self.retries_left -= 1
        self.num_retries += 1
        self.possible_ends = {"done"}
        self.answerer.refused = set()
        self._retrying = Delivery(self.retry)
        self.active.append(self._retrying)
        if self.random.random() < 0.3:
            self.visits.append((self._soon(), self.cancel))

    # What is remembered of it

    def _written(self, key: str, data: bytes) -> None:
        if key == keys.result(self.job.id):
            self.ends.add(data)
        elif key in {keys.cancelled(self.job.id, round) for round in range(MOST_ROUNDS)}:
            moment = self._moment()
            self.moments.add(moment)
            self.kept = dict(self._answers())
            self.possible_ends.add("cancelled")
            if moment in EARLY and not self._may_be_whole:
                self.possible_ends = {"cancelled"}

    def _moment(self) -> str:
        """What had become of the job right before it was cancelled."""
        still = MemoryStore()
        still.objects = self.store.objects
        seen = replace(survey(still, self.job.id), cancelled=False)
        stages = {work.stage for work in due(seen, windows_ahead=1)}
        if keys.result(self.job.id) in self.store.objects:
            return "after its end"
        if any(delivery.work is not None and delivery.work.stage == "finish" for delivery in self.active):
            return "while finish runs"
        if stages & {"prepare", "cut"}:
            return "before it is prepared" if "prepare" in stages else "before it is cut"
        if "infer" in stages:
            return "between the answers" if seen.outcomes else "between cut and infer"
        return "before finish"

    @property
    def _may_be_whole(self) -> bool:
        """Whether it may be one segment, whose answer is its end: nobody looks then whether it was cancelled."""
        return len(self.clips) == 1 and len(self.words) == 1

    def _answers(self) -> Iterator[tuple[str, bytes]]:
        """Those about the media, without failures: neither finish nor a retry takes them away."""
        for key, data in self.store.objects.items():
            numbers = keys.numbers(key) if key.startswith(keys.answers_of(self.job.id)) else ()
            if numbers and numbers[0] < len(self.clips):
                outcomes = read_outcome(numbers, data).values()
                if all(isinstance(outcome, Answer) for outcome in outcomes):
                    yield key, data

    @property
    def kept_words(self) -> set[str]:
        outcomes = [read_outcome(keys.numbers(key), data).values() for key, data in self.kept.items()]
        return {outcome.text for some in outcomes for outcome in some if isinstance(outcome, Answer)}


def wrongs(world: Visited) -> set[str]:
    """What is wrong with the end of a job, in a few words each."""
    if world.is_stranded:
        return {"stranded"}
    result, objects = world.result, world.store.objects
    words = told(result)
    made = {
        result.outputs[name]: formats.render(name, result) for name in formats.TRANSCRIPTS if name in result.outputs
    }
    lost_words = world.kept_words - set(words) if result.status == "cancelled" else set()
    found = {
        "ended twice": len(world.ends) > 1 + world.num_retries,
        "ended as what it cannot": result.status not in world.possible_ends,
        "formats of another end": any(objects.get(key) != data for key, data in made.items()),
        "text out of place": words != [word for word in world.words if word in words],
        "incomplete": result.status == "done" and not is_complete(world),
        "answers lost": bool(lost_words) or any(objects.get(key) != data for key, data in world.kept.items()),
        "left behind": world.left != [],
    }
    return {what for what, is_so in found.items() if is_so}


def test_a_job_that_is_cancelled_at_any_moment_ends_once() -> None:
    moments = set[str]()
    for seed in range(300):
        world = Visited(seed)
        world.settle()
        assert wrongs(world) == set(), f"seed {seed}"
        moments |= world.moments
    assert moments == MOMENTS


def test_of_a_job_that_is_cancelled_at_any_moment_nothing_is_left_behind() -> None:
    for seed in range(300):
        world = Visited(seed)
        world.settle()
        assert world.left == [], f"seed {seed}"


@pytest.mark.parametrize(("loss", "wipes"), [(0.15, False), (0.0, True), (0.1, True)])
def test_cancelled_jobs_whose_messages_and_clients_are_lost_are_ended_by_the_steward(loss: float, wipes: bool) -> None:
    moments, num_stranded = set[str](), 0
    for seed in range(150):
        world = Visited(seed, loss=loss, wipes=wipes, clients_die=True)
        world.settle()
        num_stranded += world.is_stranded
        rescue(world)
        assert wrongs(world) == set(), f"seed {seed}"
        moments |= world.moments
    assert num_stranded > 0, "the control: without the steward some jobs must be lost"
    assert moments >= EARLY


@pytest.mark.parametrize(("loss", "wipes"), [(0.0, False), (0.1, True)])
def test_a_job_that_is_tried_again_at_any_moment_ends_once_each_time(loss: float, wipes: bool) -> None:
    """Also while somebody slow still works on how it was: nothing of that gets into the new round, or ends it."""
    num_retries = 0
    for seed in range(150):
        world = Visited(seed, loss=loss, wipes=wipes, retries=2, clients_die=wipes)
        world.settle()
        rescue(world)
        assert wrongs(world) == set(), f"seed {seed}"
        num_retries += world.num_retries
    assert num_retries > 100


def telling_before_marking(producer: Producer, job: str) -> None:
    """Sends the message of a cancelled job before it is cancelled."""
    producer._ports.send(Work(stage="finish", job=job))
    producer._ports.store.create(keys.cancelled(job), b"{}")


def not_looking_for_the_mark(store: MemoryStore, job: str) -> Survey:
    return replace(survey(store, job), cancelled=False)


def overwriting(result: Result, ports: Ports) -> Result:
    """Of two ends the last one stands."""
    ports.store.replace(keys.result(result.job), result.to_bytes())
    finish.publish(result, ports)
    return result


def closing_first(result: Result, ports: Ports) -> Result:
    """Closes the job, then writes its result."""
    ports.store.delete([keys.open_job(result.job)])
    return commit(result, ports)


def throwing_answers_away(seen: Survey, ports: Ports) -> Mapping[tuple[int, int], Answer | Failure]:
    return {} if seen.cancelled else read_all(seen, ports)


commit, read_all = finish.commit, finish._read_answers


@pytest.mark.parametrize(
    ("where", "shortcut", "wrong"),
    [
        ("producer.Producer.cancel", telling_before_marking, "stranded"),
        ("stages.finish.survey", not_looking_for_the_mark, "stranded"),
        ("stages.finish.commit", closing_first, "stranded"),
        ("stages.finish.commit", overwriting, "ended twice"),
        ("stages.finish.commit", overwriting, "formats of another end"),
        ("stages.finish._read_answers", throwing_answers_away, "answers lost"),
    ],
)
def test_shortcuts_that_strand_or_double_cancelled_jobs_are_seen(
    where: str, shortcut: Callable[..., object], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"pipeline.{where}", shortcut)
    for seed in range(300):
        world = Visited(seed)
        world.settle()
        if wrong in wrongs(world):
            return
    pytest.fail("none of them did harm")
