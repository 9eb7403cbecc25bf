"""A change of model with a backlog: jobs of an engine that nobody runs any more hold up nobody."""

import pytest

from pipeline import keys
from pipeline.job import Job
from pipeline.ledger import MemoryLedger
from tests.unit.test_collections import ARCHIVE, Mill, line, results, submit


def test_jobs_of_an_engine_that_nobody_runs_hold_up_no_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = "old"
    monkeypatch.setattr(MemoryLedger, "is_led", lambda self, office: office == f"engine:{runs}:m")
    mill = Mill(places=8)
    submit(mill, [line(number) for number in range(20)], ARCHIVE.model_copy(update={"engine": "old:m"}))
    mill.steward.look()
    mill.queue.clear()  # nobody answers them: the workers have another model now
    runs = "new"
    submit(mill, [line(number) for number in range(30, 33)], ARCHIVE.model_copy(update={"id": "c2", "engine": "new:m"}))
    for _ in range(20):
        mill.steward.look()
        mill.queue[:] = [work for work in mill.queue if work.job in new_jobs(mill)]
        mill.work()
    assert len(results(mill)) == 3
    assert "no infer worker runs old:m" in caplog.text
    runs = "old"
    mill.run()
    assert len(results(mill)) == 23


def new_jobs(mill: Mill) -> set[str]:
    opened = (Job.from_bytes(data) for key, data in mill.store.objects.items() if key.startswith(keys.OPEN))
    return {job.id for job in opened if job.engine == "new:m"}
