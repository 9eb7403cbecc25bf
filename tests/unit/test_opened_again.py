"""A job that has ended may be opened again at any moment, also while somebody still writes down how it ended."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline import formats, keys
from pipeline.errors import MissingObjectError, UsageError
from pipeline.job import Options, Result, Work
from pipeline.ledger import MemoryLedger
from pipeline.producer import Producer
from pipeline.settings import Settings, Steward
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from pipeline.stages.reconcile import lost
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore

#: More than any stage makes of calls to the store while it ends a job.
MOMENTS = range(14)
TEXT = {(2, 1): "word0 word1 word100", (1,): "word0"}


class HaltingStore(MemoryStore):
    """Lets others act right before the n-th call of whoever is halted."""

    def __init__(self) -> None:
        super().__init__()
        self._left = -1
        self._others: Callable[[], None] = lambda: None

    def halt_at(self, call: int, others: Callable[[], None]) -> None:
        self._left, self._others = call, others

    def go_on(self) -> None:
        """Halt nobody any more."""
        self._left = -1

    def _called(self) -> None:
        if self._left == 0:
            self._left = -1  # what the others call is theirs
            self._others()
        elif self._left > 0:
            self._left -= 1

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        self._called()
        return super().create(key, data, content_type)

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        self._called()
        super().replace(key, data, content_type)

    def get(self, key: str) -> bytes:
        self._called()
        return super().get(key)

    def delete(self, keys: Iterable[str]) -> None:
        self._called()
        super().delete(keys)


class World:
    """One job, whose first try at a segment is refused; and whoever works on it."""

    def __init__(self, clips: tuple[int, ...], folder: Path) -> None:
        self.clips = clips
        self.store = HaltingStore()
        self.sent: list[Work] = []
        self.ports = Ports(store=self.store, ledger=MemoryLedger(), send=self.sent.append)
        self.producer = Producer(self.ports, Settings(steward=Steward(jobs_in_flight=2)))
        self.source, self.answerer = FakeSource(clips), FakeAnswerer()
        path = folder / "talk.wav"
        path.write_bytes(b"some sound")
        self.job = self.producer.submit(path, "talk.wav", Options()).id
        self.answerer.refused = {f"infer.{self.job}", f"infer.{self.job}.0-1"}

    def do(self, work: Work) -> None:
        match work.stage:
            case "prepare":
                prepare(work, self.ports, self.source)
            case "cut":
                cut(work, self.ports, self.source)
            case "infer":
                attempt(work, self.ports, lambda tries: infer(work, self.ports, self.answerer))
            case "finish":
                finish(work, self.ports)

    def work(self, most: int = 1000) -> None:
        """As far as messages lead, and then as far as the steward does."""
        while most:
            if not self.sent and self.producer.is_open(self.job):
                self.sent += lost(self.job, self.ports)
            if not self.sent:
                return
            self.do(self.sent.pop(0))
            most -= 1

    def work_up_to_its_end(self) -> Work:
        """The work that ends the job, which is not done."""
        last = "finish" if len(self.clips) > 1 else "infer"
        while True:
            if not self.sent:
                self.sent += lost(self.job, self.ports)
            work = self.sent.pop(0)
            if work.stage == last:
                return work
            self.do(work)

    def open_again(self) -> None:
        self.answerer.refused = set()
        self.producer.retry(self.job)

    def result(self) -> Result:
        return self.producer.result(self.job)


def is_whole(world: World) -> bool:
    """Whether the job has ended once and for all, and its transcript is that of its result."""
    world.work()
    assert not world.producer.is_open(world.job), "it is left open"
    result = world.result()
    assert world.store.get(result.outputs["txt"]) == formats.render("txt", result)
    temporary = (keys.segments_of(world.job), keys.whole(world.job))
    assert not [key for key in world.store.objects if key.startswith(temporary)]
    assert list(world.producer.quarantined()) == ([result] if result.failures else [])
    return result.status == "done" and result.text == TEXT[world.clips]


@pytest.mark.parametrize("clips", list(TEXT))
@pytest.mark.parametrize("moment", MOMENTS)
def test_opened_again_while_its_end_is_written_it_is_done_anew(
    clips: tuple[int, ...], moment: int, tmp_path: Path
) -> None:
    world = World(clips, tmp_path)
    ending = world.work_up_to_its_end()

    def others() -> None:
        if keys.result(world.job) in world.store.objects:
            world.open_again()

    world.store.halt_at(moment, others)
    world.do(ending)
    world.store.go_on()
    if world.answerer.refused:  # it had no result at that moment
        assert not is_whole(world)
        world.open_again()
    assert is_whole(world)


@pytest.mark.parametrize("clips", list(TEXT))
@pytest.mark.parametrize("further", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("moment", MOMENTS)
def test_whoever_sleeps_through_its_end_and_its_new_beginning_undoes_nothing(
    clips: tuple[int, ...], moment: int, further: int, tmp_path: Path
) -> None:
    world = World(clips, tmp_path)
    ending = world.work_up_to_its_end()

    def others() -> None:
        world.do(ending)
        world.work()
        if keys.result(world.job) in world.store.objects:
            world.open_again()
            world.work(further)

    world.store.halt_at(moment, others)
    with suppress(MissingObjectError):  # what it was about to read was taken back: a try that did not succeed
        world.do(ending)
    world.store.go_on()
    world.answerer.refused = set()
    if not is_whole(world):  # what failed in the one round was written down in the other: it is tried once more
        world.open_again()
    assert is_whole(world)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_retry_that_dies_at_any_moment_loses_nothing_and_goes_on_when_repeated(
    everything: bool, moment: int, tmp_path: Path
) -> None:
    world = World((2, 1), tmp_path)
    world.work()
    assert world.result().status == "partial"
    world.answerer.refused = set()
    world.answerer.asked.clear()

    def die() -> None:
        raise InterruptedError

    world.store.halt_at(moment, die)
    try:
        world.producer.retry(world.job, everything=everything)
        world.store.go_on()
    except InterruptedError:
        if not world.producer.is_open(world.job):
            assert world.result(), "it is in one of two places"
            world.producer.retry(world.job, everything=everything)
    assert is_whole(world)
    if everything:
        assert len(set(world.answerer.asked)) == 3, "all was asked anew"


def test_two_who_open_it_again_at_the_same_time_open_one_round(tmp_path: Path) -> None:
    for moment in MOMENTS:
        folder = tmp_path / str(moment)
        folder.mkdir()
        world = World((2, 1), folder)
        world.work()

        def others(world: World = world) -> None:
            try:
                world.open_again()
            except UsageError:
                return  # the first one has opened it
            world.work()

        world.store.halt_at(moment, others)
        world.open_again()
        world.store.go_on()
        assert is_whole(world)
