"""The infer worker: one engine, one batcher, and threads that each carry one message.

Fetching and storing overlap with the engine; each message succeeds or fails for itself. The threads pool has no
limits of its own, so a watchdog ends the process when the engine hangs or its GPU fails: the supervisor starts it anew,
and the steward sends the segments again. Each that was in the engine has a try less, and goes alone next time.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from pipeline import engines
from pipeline.broker import INFER_QUEUES, Queues
from pipeline.engines import Clip, Request
from pipeline.errors import TransientError
from pipeline.fleet import open_ports
from pipeline.job import work_named
from pipeline.ledger import Ledger
from pipeline.media.sound.speech import Activity
from pipeline.redis_ledger import Suspect
from pipeline.served import TELL_SECONDS, tell_served
from pipeline.serving import Serving
from pipeline.settings import Settings, asked_engine
from pipeline.stages.answering import AGAIN, Answerer, Caution, EngineAnswerer, gate
from pipeline.stages.attempt import attempt
from pipeline.stages.infer import infer
from pipeline.stewarding.progress import ENGINE_MS
from workers.app import work_of, worker_app
from workers.leaving import LEAVE_SECONDS, when_told_to_stop
from workers.prepare import worker_arguments
from workers.room import Room

log = logging.getLogger(__name__)

#: Batches' worth of segments held at once: one in the engine, one gathering, one being fetched or stored.
BATCHES_HELD = 3
LOST = 70  # exit status
BUSY_SECONDS = 2  # between two times that the engine's busy time is told
DEPTH_SECONDS = 2  # between two looks at the queue's length


def run(settings: Settings) -> None:
    """Load the engine, then serve the infer queue until told to stop."""
    app = worker_app(settings)
    engine = engines.create(settings.engine)
    ports = open_ports(settings)

    def count_tries(requests: Sequence[Request]) -> None:
        # A second question about an answer belongs to the same try.
        ports.ledger.begin([work_named(request.id) for request in requests if not request.id.endswith(AGAIN)])

    def end_process(reason: str, names: Sequence[str]) -> None:
        log.critical("the engine is lost with %s: %s", ", ".join(names), reason)
        logging.shutdown()
        os._exit(LOST)

    serving = Serving(engine, before=count_tries, on_lost=end_process, elsewhere=QueueDepth(settings))
    origin = serving.start()
    log.info("engine %s, model %s, revision %.12s", origin.engine, origin.model, origin.revision)
    threads = settings.workers.infer_threads or BATCHES_HELD * engine.capabilities.max_batch
    room = Room(threads)
    answerers = Answerers(serving, gate(settings.speech), asked_engine(settings.engine), ports.ledger)

    def infer_task(
        job: str, window: int | None = None, index: int | None = None, last: int | None = None, urgent: bool = False
    ) -> None:
        work = work_of("infer", job, window, index, last, urgent=urgent)

        def run_stage(tries: int) -> None:
            infer(work, ports, answerers.of(tries), tries)

        with room.taken(len(work.each)):
            attempt(work, ports, run_stage, count=False)

    app.task(name="infer")(infer_task)
    busy = BusyTime(serving, ports.ledger)
    Presence(asked_engine(settings.engine), ports.ledger)
    when_told_to_stop(settings.workers.grace_seconds, at_first=serving.drain, at_last=serving.abandon)
    try:
        app.worker_main(worker_arguments("infer", "threads", threads, INFER_QUEUES, settings))
    finally:
        has_ended = serving.stop(LEAVE_SECONDS)
        busy.tell()
        if not has_ended:  # a call into a device that does not return would hold the process for ever
            logging.shutdown()
            os._exit(os.EX_OK)


class Answerers:
    """What was in a process that died is asked about with care, the rest without: care takes commands and time."""

    def __init__(self, serving: Serving, assess: Callable[[Clip], Activity], engine: str, ledger: Ledger) -> None:
        self._at_ease = EngineAnswerer(serving, assess, engine)
        self._with_care = EngineAnswerer(serving, assess, engine, around=Caution(ledger))

    def of(self, tries: int) -> Answerer:
        """For work that the ledger gave this number of tries."""
        return self._with_care if tries or isinstance(tries, Suspect) else self._at_ease


class BusyTime:
    """Adds the time that the engine was busy to what the ledger counts."""

    def __init__(self, serving: Serving, ledger: Ledger) -> None:
        self._serving = serving
        self._ledger = ledger
        self._told_ms = 0
        threading.Thread(target=self._keep_telling, name="busy-time", daemon=True).start()

    def tell(self) -> None:
        """What was not told yet; what cannot be told now is told next time."""
        busy_ms = int(self._serving.busy_seconds * 1000)
        if busy_ms == self._told_ms:
            return
        try:
            self._ledger.count(ENGINE_MS, busy_ms - self._told_ms)
        except TransientError as error:
            log.debug("%s: %s", error, error.detail)
        else:
            self._told_ms = busy_ms

    def _keep_telling(self) -> None:
        while True:
            time.sleep(BUSY_SECONDS)
            self.tell()


class Presence:
    """Says now and then which engine runs here, so that jobs that ask for it are let in."""

    def __init__(self, engine: str, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger
        threading.Thread(target=self._keep_telling, name="presence", daemon=True).start()

    def tell(self) -> bool:
        """Whether it could be said."""
        try:
            tell_served(self._engine, self._ledger)
        except TransientError as error:
            log.debug("%s: %s", error, error.detail)
            return False
        return True

    def _keep_telling(self) -> None:
        while True:
            time.sleep(TELL_SECONDS if self.tell() else BUSY_SECONDS)


class QueueDepth:
    """How many segments wait on the queue, as last seen; calling it never waits for Redis."""

    def __init__(self, settings: Settings) -> None:
        self._queues = Queues(settings)
        self._seen = 0
        threading.Thread(target=self._look, name="queue-depth", daemon=True).start()

    def __call__(self) -> int:
        return self._seen

    def _look(self) -> None:
        while True:
            try:
                self._seen = self._queues.depth("infer")
            except TransientError as error:
                log.debug("%s: %s", error, error.detail)
            time.sleep(DEPTH_SECONDS)
