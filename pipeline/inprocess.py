"""The whole mill in one process: the same stages, a list for a queue, no Celery, no Redis."""

import logging
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from pipeline.errors import WorldError
from pipeline.job import Work
from pipeline.stages import Ports
from pipeline.stages.answering import Answerer
from pipeline.stages.attempt import attempt
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from pipeline.stages.reconcile import lost, open_jobs
from pipeline.stages.source import Source

log = logging.getLogger(__name__)

#: Rounds in which nothing got done after which the mill gives up: the disk is full, say.
MAX_IDLE_ROUNDS = 5


class Mill:
    """Runs all open jobs of a bucket to their end.

    Segments are inferred by threads, so that batches reach the engine; media is cut by the calling thread.
    """

    def __init__(self, source: Source, answerer: Answerer, *, infer_threads: int) -> None:
        self._source = source
        self._answerer = answerer
        self._infer_threads = infer_threads
        self._queue: deque[Work] = deque()

    def send(self, work: Work) -> None:
        """The queue of this mill, to be given to `Ports`."""
        self._queue.append(work)

    def run(self, ports: Ports) -> None:
        """Work until no job is open. Raises WorldError when jobs stay open though nothing can be done."""
        idle_rounds = 0
        with ThreadPoolExecutor(self._infer_threads, thread_name_prefix="infer") as pool:
            while True:
                self._drain(ports, pool)
                before = open_jobs(ports)
                if not before:
                    return
                for job in before:
                    for work in lost(job, ports):
                        self.send(work)
                self._drain(ports, pool)
                idle_rounds = 0 if len(open_jobs(ports)) < len(before) else idle_rounds + 1
                if idle_rounds > MAX_IDLE_ROUNDS + ports.max_attempts:
                    raise WorldError("the work does not get on; the log above says why")

    def _drain(self, ports: Ports, pool: ThreadPoolExecutor) -> None:
        running: set[Future[None]] = set()
        while self._queue or running:
            while self._queue:
                work = self._queue.popleft()
                if work.stage == "infer":
                    running.add(pool.submit(self._infer, work, ports))
                else:
                    self._run_here(work, ports)
            done, running = wait(running, timeout=0.1, return_when=FIRST_COMPLETED) if running else (set(), running)
            for future in done:
                future.result()

    def _run_here(self, work: Work, ports: Ports) -> None:
        match work.stage:
            case "prepare":
                attempt(work, ports, lambda tries: prepare(work, ports, self._source))
            case "cut":
                attempt(work, ports, lambda tries: cut(work, ports, self._source))
            case _:
                attempt(work, ports, lambda tries: finish(work, ports))

    def _infer(self, work: Work, ports: Ports) -> None:
        attempt(work, ports, partial(infer, work, ports, self._answerer), count=False)
