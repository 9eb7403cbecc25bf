"""Who submits, and writes down what was accepted: the only witness beside the bucket that the checker hears."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pipeline.collecting.record import Collection, Line
from pipeline.errors import ReelmillError
from pipeline.identity import NORMAL
from pipeline.objects import ObjectStore
from pipeline.planning.look import Asked
from pipeline.producer import Producer
from pipeline.submitting.intake import Intake, Refused
from tests.faults.load import Item


class Submitter:
    """Submits items one by one. What is refused is written down as such and not tried again."""

    def __init__(self, producer: Producer, store: ObjectStore, engine: str, log: Path, webhook: str) -> None:
        """`engine` as jobs carry it; `webhook`: where each end is told."""
        self._producer = producer
        self._store = store
        self._engine = engine
        self._log = log
        self._asked = replace(NORMAL, webhook=webhook)
        self.num_accepted = 0
        self.num_refused = 0

    def submit(self, items: Iterable[Item]) -> None:
        """A line is written after the mill said yes, never before."""
        with self._log.open("a") as log:
            for item in items:
                entry = self._entry(item)
                log.write(json.dumps(entry) + "\n")
                log.flush()

    def submit_collection(self, name: str, items: Iterable[Item]) -> None:
        """Submit items as one collection; its jobs are accepted when its last shard is stored."""
        collection = Collection(
            id=name,
            name=name,
            engine=self._engine,
            submitted_at=datetime.now(UTC),
            webhook=self._asked.webhook,
            webhook_each=True,
        )
        by_name = {item.path.name: item for item in items}
        jobs: list[tuple[Item, str]] = []

        def told(line: Line | Refused) -> None:
            assert isinstance(line, Line), line
            jobs.append((by_name[line.media.name], line.job(collection).id))

        asked = [
            Asked(name=item.path.name, task=item.task, options=item.options, place=item.path)
            for item in by_name.values()
        ]
        Intake(self._store, self._producer.upload, collection).accept(lambda: iter(asked), told)
        with self._log.open("a") as log:
            log.write(json.dumps({"collection": name}) + "\n")
            for item, job in jobs:
                log.write(json.dumps(_accepted(item, job)) + "\n")
        self.num_accepted += len(jobs)

    def _entry(self, item: Item) -> dict[str, object]:
        try:
            job = self._producer.submit(item.path, item.path.name, item.options, task=item.task, asked=self._asked)
        except ReelmillError as error:
            self.num_refused += 1
            return {"refused": item.path.name, "reason": str(error)}
        self.num_accepted += 1
        return _accepted(item, job.id)


def _accepted(item: Item, job: str) -> dict[str, object]:
    return {"accepted": job, "name": item.path.name, "text": item.text, "fate": item.fate}


class Stream:
    """A submitter in a thread of its own: so many items a second until it is ended or the items are."""

    def __init__(self, submitter: Submitter, items: Iterator[Item], *, number: int, per_second: float) -> None:
        self._submitter = submitter
        self._items = items
        self._number = number
        self._pause = 1 / per_second
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="submitter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            due = time.monotonic()
            for item in islice(self._items, self._number):
                if self._ending.is_set():
                    return
                self._submitter.submit([item])
                due += self._pause
                self._ending.wait(max(0.0, due - time.monotonic()))
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Wait until all is submitted. Raises what no submitter should meet."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        self._ending.set()
        self.join()
