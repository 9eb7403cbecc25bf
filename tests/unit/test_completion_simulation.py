"""The proof of the completion rule: the real stages under random schedules, doubled deliveries and crashes.

Every call that a stage makes to its ports is a point where another delivery may run or the process may die. A
delivery that dies is delivered again (the queue gives back what was not acknowledged). No steward helps, except where
a test says so: the rule alone must leave no job behind.
"""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import keys
from pipeline.job import Result, Work
from pipeline.ledger import MemoryLedger, is_segment
from pipeline.stages import Ports, infer
from pipeline.stages.completion import advance
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.prepare import prepare
from pipeline.stages.reconcile import lost, open_jobs
from pipeline.tasks import Fold
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore, a_job, accept

MAX_ACTIVE = 3
MAX_CRASHES = 6


class CrashError(BaseException):
    """The process is gone: no handler of the stages may catch it."""


class Delivery:
    """A message being worked on, in a thread that stands still at every port call until it is let go."""

    def __init__(self, work: Work, run: Callable[[], None]) -> None:
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
    """Stands still before every operation."""

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        pause()
        return super().create(key, data, content_type)

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
        if self._chance.random() < 0.05:
            self._states.clear()
            self._lacking.clear()
        return super().announce(works)


FOLDS: tuple[Fold, ...] = ("never", "several", "always")


class World:
    """One job under one seed."""

    def __init__(self, seed: int, *, loss: float = 0.0, wipes: bool = False) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.queue: list[Work] = []
        self.store = SteppedStore()
        self.answerer = FakeAnswerer()
        clips = tuple(self.random.choice((0, 1, 2, 3)) for _ in range(self.random.choice((1, 2, 3))))
        self.words = [f"word{100 * w + i}" for w, count in enumerate(clips) for i in range(count)]
        self.fold = self.random.choice(FOLDS)
        self.source = FakeSource(clips, self.fold, text_characters=60)  # up to three folds in a row
        ledger = ForgetfulLedger(self.random) if wipes else SteppedLedger()
        ahead = self.random.choice((1, 2, 4))
        self.ports = Ports(store=self.store, ledger=ledger, send=self.send, windows_ahead=ahead)
        self.job = a_job()
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
                finish(work, self.ports)

    def settle(self) -> None:
        """Deliver, step and crash at random until nothing is left to deliver."""
        active: list[Delivery] = []
        crashes_left = MAX_CRASHES
        while self.queue or active:
            if self.queue and len(active) < MAX_ACTIVE and (not active or self.random.random() < 0.3):
                work = self.queue.pop(self.random.randrange(len(self.queue)))
                active.append(Delivery(work, lambda work=work: self.run(work)))
                continue
            delivery = self.random.choice(active)
            crash = crashes_left > 0 and self.random.random() < 0.02
            delivery.step(crash=crash)
            if crash:
                crashes_left -= 1
                self.queue.append(delivery.work)
            if delivery.ended:
                active.remove(delivery)

    @property
    def is_stranded(self) -> bool:
        return keys.result(self.job.id) not in self.store.objects or keys.open_job(self.job.id) in self.store.objects


def check_complete(world: World) -> None:
    result = Result.from_bytes(world.store.objects[keys.result(world.job.id)])
    assert result.status == "done"
    folds = world.fold == "always" or (world.fold == "several" and len(world.words) > 1)
    if folds and world.words:
        assert result.text.split("+") == [word.removeprefix("word") for word in world.words]
    else:
        assert result.text.split() == world.words
    assert [segment.text for segment in result.segments if segment.text] == world.words
    left = [key for key in world.store.objects if "/segments/" in key]
    assert left == [] or world.store.num_refused, "segments stay only where a doubled cut wrote them late"


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
        for _ in range(200):
            if not open_jobs(world.ports):
                break
            for work in lost(world.job.id, world.ports):
                world.send(work)
            world.settle()
        assert not world.is_stranded, f"seed {seed}"
        check_complete(world)
    assert num_stranded > 0, "the control: without the steward some jobs must be lost"
