"""What looking at a job reads, and how often."""

from collections import Counter

from pipeline import keys
from pipeline.job import Failure, MediaInfo, Plan, Window, Windows
from pipeline.stages.completion import survey
from tests.doubles import MemoryStore

JOB = "j1"
WINDOWS = 40
MEDIA = MediaInfo(duration=60.0 * WINDOWS)


class Counting(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.read: Counter[str] = Counter()

    def get(self, key: str) -> bytes:
        self.read[key] += 1
        return super().get(key)


def plan(window: int) -> Plan:
    return Plan(window=window, start=60.0 * window, end=60.0 * (window + 1), segments=())


def planned(store: MemoryStore) -> None:
    windows = tuple(Window(index=index, start=60.0 * index, end=60.0 * (index + 1)) for index in range(WINDOWS))
    store.create(keys.windows(JOB), Windows(media=MEDIA, windows=windows).to_bytes())
    for window in range(WINDOWS):
        store.create(keys.plan(JOB, window), plan(window).to_bytes())


def test_a_plan_is_read_once_however_often_a_long_file_is_looked_at() -> None:
    store = Counting()
    planned(store)
    first = survey(store, JOB)
    for _ in range(WINDOWS):
        assert survey(store, JOB) == first
    assert len(first.planned) == WINDOWS
    assert store.read.total() == WINDOWS + 1


def test_a_plan_that_was_renewed_is_read_again() -> None:
    store = Counting()
    planned(store)
    failure = Failure(error="permanent", reason="cannot be decoded")
    store.replace(keys.plan(JOB, 3), failure.to_bytes())
    assert survey(store, JOB).planned[3] == failure
    store.replace(keys.plan(JOB, 3), plan(3).to_bytes())
    assert survey(store, JOB).planned[3] == plan(3)
