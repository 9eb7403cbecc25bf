"""Collections from their lines to their end: a real steward, the real stages, a mill that works when told to."""

import random
from datetime import UTC, datetime

import pytest

from pipeline import keys
from pipeline.collecting.record import SHARD_LINES, Collection, Ended, Line, Progress
from pipeline.collecting.shards import Writer, all_lines
from pipeline.errors import UsageError
from pipeline.job import Failure, Media, Options, Result, Work
from pipeline.ledger import MemoryLedger
from pipeline.settings import Settings
from pipeline.settings import Steward as StewardSettings
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from pipeline.stewarding.progress import note_name
from tests.doubles import FakeAnswerer, FakeSource, MemoryStore
from workers.steward import Steward

ARCHIVE = Collection(id="c1", name="archive", engine="fake:fake", submitted_at=datetime(2026, 1, 1, tzinfo=UTC))


def line(number: int, **more: object) -> Line:
    sha256 = f"{number:064x}"
    media = Media(name=f"{number}.wav", key=keys.media("default", sha256), sha256=sha256, size=1)
    return Line(media=media, is_new=True, **more)  # type: ignore[arg-type]


class Mill:
    """A steward and workers, of which any may be replaced by a new one that knows nothing."""

    def __init__(self, places: int = 8, clips: tuple[int, ...] = (1,)) -> None:
        self.store = MemoryStore()
        self.places = places
        self.queue: list[Work] = []
        self.answerer = FakeAnswerer()
        self.source = FakeSource(clips)
        self.most_open = 0
        self.restart()

    def restart(self) -> None:
        """Everything but the bucket is gone."""
        self.queue.clear()
        self.ports = Ports(store=self.store, ledger=MemoryLedger(), send=self.queue.append)
        self.new_steward()

    def new_steward(self) -> None:
        settings = Settings(steward=StewardSettings(jobs_in_flight=self.places, lease_seconds=1e-9))
        self.steward = Steward(self.ports, self, settings)  # type: ignore[arg-type]

    def waiting(self) -> frozenset[str]:
        return frozenset(work.name for work in self.queue)

    def work(self, most: int = 10**9) -> None:
        """Do so many pieces of work, and what follows of them."""
        while self.queue and most:
            most -= 1
            work = self.queue.pop(0)
            match work.stage:
                case "prepare":
                    attempt(work, self.ports, lambda tries, work=work: prepare(work, self.ports, self.source))  # type: ignore[misc]
                case "cut":
                    attempt(work, self.ports, lambda tries, work=work: cut(work, self.ports, self.source))  # type: ignore[misc]
                case "infer":
                    run = lambda tries, work=work: infer(work, self.ports, self.answerer, tries)  # noqa: E731
                    attempt(work, self.ports, run, count=False)  # type: ignore[arg-type]
                case "finish":
                    attempt(work, self.ports, lambda tries, work=work: finish(work, self.ports))  # type: ignore[misc]
            if len(self.queue) % 16 == 0:
                self.most_open = max(self.most_open, sum(1 for _ in self.store.list(keys.OPEN)))

    def run(self, looks: int = 400) -> None:
        for _ in range(looks):
            self.steward.look()
            self.work()
            if not list(self.store.list(keys.OPEN_COLLECTIONS)) and not list(self.store.list(keys.OPEN)):
                return
        raise AssertionError("it does not end")

    def ended(self, collection: str = "c1") -> Ended:
        return Ended.from_bytes(self.store.get(keys.ended_collection(collection)))


def submit(mill: Mill, lines: list[Line], collection: Collection = ARCHIVE) -> None:
    writer = Writer(mill.store, collection)
    for one in lines:
        writer.add(one)
    writer.close()


def results(mill: Mill) -> dict[str, Result]:
    found = [key for key in mill.store.objects if key.endswith("/result.json")]
    return {key: Result.from_bytes(mill.store.objects[key]) for key in found}


def test_every_line_becomes_a_job_that_ends_and_few_are_open_at_once() -> None:
    mill = Mill(places=8)
    submit(mill, [line(number) for number in range(SHARD_LINES + 10)])
    mill.run()
    assert len(results(mill)) == SHARD_LINES + 10
    assert mill.most_open <= 8
    assert mill.ended().tally.statuses == {"done": SHARD_LINES + 10}
    assert len(list(mill.store.list(keys.ended_shards("c1")))) == 2


def test_submitting_it_again_is_known_again_and_other_lines_are_refused() -> None:
    mill = Mill()
    lines = [line(number) for number in range(SHARD_LINES + 1)]
    submit(mill, lines)
    before = dict(mill.store.objects)
    submit(mill, [one.model_copy(update={"is_new": False}) for one in lines])
    assert mill.store.objects == before
    assert list(all_lines(mill.store, "c1")) == lines
    with pytest.raises(UsageError, match="other lines"):
        submit(mill, [line(7), *lines[1:]])


def test_a_submission_that_stopped_goes_on_where_it_was() -> None:
    mill = Mill()
    writer = Writer(mill.store, ARCHIVE)
    for number in range(SHARD_LINES + 5):
        writer.add(line(number))  # the last five are not stored when it dies
    again = Writer(mill.store, ARCHIVE)
    assert again.skip() == SHARD_LINES
    for number in range(SHARD_LINES, SHARD_LINES + 5):
        again.add(line(number))
    mill.steward.look()
    mill.work()
    again.close()
    mill.run()
    assert mill.ended().tally.lines == SHARD_LINES + 5


def test_two_lines_with_the_same_bytes_are_one_job_and_both_end() -> None:
    mill = Mill(places=4)
    submit(mill, [line(1), line(2), line(1).model_copy(update={"is_new": False}), line(1, custom_id="third")])
    mill.run()
    assert len(mill.answerer.asked) == 2
    assert mill.ended().tally.statuses == {"done": 4}


def test_a_line_that_has_a_result_is_answered_from_it_and_force_does_it_anew() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.run()
    other = ARCHIVE.model_copy(update={"id": "c2"})
    submit(mill, [line(1).model_copy(update={"is_new": False}), line(2)], other)
    mill.run()
    assert len(mill.answerer.asked) == 2
    assert mill.ended("c2").tally.statuses == {"done": 2}
    submit(mill, [line(1, force=True)], ARCHIVE.model_copy(update={"id": "c3"}))
    mill.run()
    assert len(mill.answerer.asked) == 3
    assert mill.ended("c3").tally.lines == 1


def test_what_failed_before_is_tried_again_by_another_collection_and_once_in_each() -> None:
    mill = Mill()
    mill.store.create(keys.windows(line(1).job(ARCHIVE).id), Failure(error="permanent", reason="bad").to_bytes())
    mill.store.create(keys.open_job(line(1).job(ARCHIVE).id), line(1).job(ARCHIVE).to_bytes())
    mill.run()
    old = [line(1).model_copy(update={"is_new": False}) for _ in range(3)]
    submit(mill, old, ARCHIVE.model_copy(update={"id": "c2"}))
    mill.run()
    assert mill.ended("c2").tally.statuses == {"done": 3}


@pytest.mark.parametrize("seed", range(8))
def test_stewards_and_the_ledger_may_die_at_any_time(seed: int) -> None:
    """Wipes, new stewards and lost messages in random order: every line ends once, no stored answer is made again."""
    chance = random.Random(seed)
    mill = Mill(places=chance.choice((1, 3, 20)), clips=chance.choice(((1,), (2, 1), (0, 3))))
    total = chance.choice((40, 40, SHARD_LINES + 30))
    submit(mill, [line(number) for number in range(total)])
    stored: set[str] = set()
    for _ in range(chance.choice((20, 60))):
        mill.steward.look()
        before = len(mill.answerer.asked)
        mill.work(chance.randrange(200))
        for name in mill.answerer.asked[before:]:
            assert name not in stored, "its answer was in the bucket"
        stored |= {name for name in mill.answerer.asked}
        match chance.randrange(6):
            case 0:
                mill.restart()
            case 1:
                mill.new_steward()
            case 2:
                mill.queue[:] = [work for work in mill.queue if chance.random() < 0.7]
    mill.run(looks=3000)
    assert len(results(mill)) == total
    assert mill.ended().tally.statuses == {"done": total}
    assert len(set(mill.answerer.asked)) == len(mill.answerer.asked)
    assert mill.most_open <= mill.places + 1


def test_how_a_collection_stands_is_told_while_it_goes_on() -> None:
    mill = Mill(places=4)
    submit(mill, [line(number, options=Options(language="en")) for number in range(10)])
    mill.steward.look()
    mill.work()
    mill.steward.look()
    progress = Progress.model_validate_json(mill.ports.ledger.noted(note_name("c1")) or "")
    assert progress.lines == 10
    assert 0 < progress.tally.lines < 10
    assert progress.tally.seconds == pytest.approx(progress.tally.lines)
