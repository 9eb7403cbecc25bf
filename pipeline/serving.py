"""One engine, one thread that drives it, and a Future for each request.

The thread asks the batcher what goes next, runs it, and answers each request by itself. A batch that fails as a whole
is split until the culprit stands alone. When the engine is lost (its device failed, it makes no progress), whoever owns
the process is told, because a new process is the only cure.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from pipeline.batching import Batcher
from pipeline.engines import ContinuousEngine, Engine, Outcome, Reply, Request, StaticEngine
from pipeline.errors import EngineLostError, LeavingError, PipelineError, ResourceError, TransientError
from pipeline.job import Origin

log = logging.getLogger(__name__)


class Serving:
    """Runs an engine behind `submit(request) -> Future[Reply]`.

    `before` is told of requests right before the engine gets them (tries are counted there). `on_lost` is called once,
    from the engine's or the watchdog's thread, with the reason and the ids of the requests in the engine, when that
    made no progress for its `stall_seconds` or raised an EngineLostError; it should end the process. `elsewhere` tells
    how many requests wait outside of this process, and must answer at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        before: Callable[[Sequence[Request]], None] = lambda requests: None,
        on_lost: Callable[[str, Sequence[str]], None] = lambda reason, names: None,
        elsewhere: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.origin: Origin | None = None
        self._before = before
        self._on_lost = on_lost
        self._elsewhere = elsewhere
        self._clock = clock
        self._capabilities = engine.capabilities
        self._batcher = Batcher(self._capabilities)
        self._futures: dict[str, Future[Reply]] = {}
        self._running: dict[str, Request] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._progress_at: float | None = None
        self._busy_since: float | None = None
        self._busy_before = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> Origin:
        """Load the engine and begin. Raises whatever its `load` raises."""
        self.origin = self.engine.load()
        self._capabilities = self.engine.capabilities  # once it is loaded, it knows its device
        self._batcher = Batcher(self._capabilities)
        self._thread.start()
        self._watchdog.start()
        return self.origin

    def prepare(self, request: Request) -> Request:
        """What the engine does with a request before its batch (features, tokens), in the caller's thread.

        Raises the PipelineError that it became.
        """
        try:
            return self.engine.prepare(request)
        except Exception as error:
            raise as_pipeline_error(error) from error

    def submit(self, request: Request) -> "Future[Reply]":
        """Prepare a request and queue it. Its Future gives the Reply or raises the PipelineError it became."""
        try:
            return self.queue(self.prepare(request))
        except PipelineError as error:
            future: Future[Reply] = Future()
            future.set_exception(error)
            return future

    def queue(self, request: Request) -> "Future[Reply]":
        """See `submit`; for a request that is prepared."""
        future: Future[Reply] = Future()
        with self._changed:
            if self._stopping:
                future.set_exception(_leaving())
                return future
            if request.id in self._futures:
                return self._futures[request.id]
            self._futures[request.id] = future
            self._batcher.add(request)
            self._changed.notify_all()
        return future

    def deadline(self) -> float:
        """When a request that arrives now should be handed out, on this serving's clock."""
        return self._clock() + self.engine.settings.batch_wait

    @property
    def busy_seconds(self) -> float:
        """How long the engine has had at least one request in it, since its start."""
        since = self._busy_since
        return self._busy_before + (0.0 if since is None else self._clock() - since)

    def drain(self) -> None:
        """Take nothing more: what waits goes back with a LeavingError, what is in the engine is finished."""
        with self._changed:
            self._stopping = True
            waiting = [self._futures.pop(request.id) for request in self._batcher.drain()]
            self._changed.notify_all()
        for future in waiting:
            future.set_exception(_leaving())

    def abandon(self) -> None:
        """Give back also what is in the engine; should it still end there, nobody hears of it."""
        self.drain()
        with self._changed:
            futures, self._futures = list(self._futures.values()), {}
        for future in futures:
            future.set_exception(_leaving())

    def stop(self, seconds: float | None = None) -> bool:
        """Drain, wait until the engine has ended what is in it, close it. False: it did not end in so many seconds."""
        self.drain()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        self.engine.close()
        return True

    def _run(self) -> None:
        try:
            if isinstance(self.engine, StaticEngine):
                self._run_static(self.engine)
            elif isinstance(self.engine, ContinuousEngine):
                self._run_continuous(self.engine)
        except EngineLostError as error:
            self._lose(str(error))
        except Exception as error:
            log.exception("the thread of the engine failed")
            self._lose(f"the thread of the engine failed: {error!r}")

    def _lose(self, reason: str) -> None:
        """Tell that the engine is lost; should the process go on nevertheless, nobody waits for an answer in vain."""
        self._on_lost(reason, sorted(self._running))
        with self._changed:
            self._stopping = True
            self._batcher.drain()
            self._running.clear()
            futures, self._futures = list(self._futures.values()), {}
        for future in futures:
            future.set_exception(TransientError("the engine is lost", reason))

    def _run_static(self, engine: StaticEngine) -> None:
        while (batch := self._wait_for_batch()) is not None:
            if not self._begin(batch):
                continue
            for request, outcome in zip(batch, self._generate(engine, batch), strict=True):
                self._answer(request.id, outcome)
            self._idle()

    def _wait_for_batch(self) -> list[Request] | None:
        with self._changed:
            while True:
                batch = self._batcher.next_batch(self._clock())
                if batch:
                    return batch
                if self._stopping:
                    return None
                due = self._batcher.due_at()
                self._changed.wait(None if due is None else max(0.0, due - self._clock()))

    def _generate(self, engine: StaticEngine, batch: Sequence[Request]) -> list[Outcome]:
        """Answer a batch; on failure halve it (too large) or take it apart (one is bad)."""
        try:
            outcomes = list(engine.generate(batch))
        except EngineLostError:
            raise
        except Exception as error:
            self._progress_at = self._clock()
            if len(batch) == 1:
                return [as_pipeline_error(error)]
            log.warning("a batch of %d failed as a whole, splitting it: %s", len(batch), error)
            size = len(batch) // 2 if isinstance(error, ResourceError) else 1
            parts = [batch[start : start + size] for start in range(0, len(batch), size)]
            return [outcome for part in parts for outcome in self._generate(engine, part)]
        self._progress_at = self._clock()
        if len(outcomes) != len(batch):
            return [ResourceError("the engine lost count of its batch") for _ in batch]
        return outcomes

    def _run_continuous(self, engine: ContinuousEngine) -> None:
        while True:
            with self._changed:
                while not self._stopping and not len(self._batcher) and not self._running:
                    self._changed.wait()
                if self._stopping and not self._running:
                    return
                budget = self._capabilities.max_cost - sum(request.cost for request in self._running.values())
                # What joins a suspect would die with it; what is begun ahead could kill it.
                slots = 0 if _holds_suspect(self._running.values()) else engine.free_slots
                joining = self._batcher.fill(slots, budget, self._clock()) if slots else []
                is_shared = not _holds_suspect((*self._running.values(), *joining))
                coming = self._batcher.peek(self._capabilities.max_batch) if is_shared else []
            if not joining and not self._running:
                raise EngineLostError(f"it has {engine.free_slots} free slots with nothing in it, and nothing fits")
            engine.look_ahead(coming, self._elsewhere())
            if joining and not self._begin(joining):
                joining = []
            self._advance(engine, joining)

    def _advance(self, engine: ContinuousEngine, joining: Sequence[Request]) -> None:
        try:
            if joining:
                engine.admit(joining)
            ended = dict(engine.step()) if self._running else {}
        except EngineLostError:
            raise
        except Exception as error:
            log.exception("the engine failed with %d requests in it", len(self._running))
            ended = {name: ResourceError("the engine failed", repr(error)) for name in self._running}
        self._progress_at = self._clock()
        for name, outcome in ended.items():
            self._answer(name, outcome)
        if not self._running:
            self._idle()

    def _begin(self, batch: Sequence[Request]) -> bool:
        """Count the try. False: that failed, and so did the requests."""
        try:
            self._before(batch)
        except PipelineError as error:
            for request in batch:
                self._answer(request.id, error)
            return False
        self._running |= {request.id: request for request in batch}
        if self._progress_at is None:
            self._progress_at = self._busy_since = self._clock()
        return True

    def _answer(self, name: str, outcome: Outcome) -> None:
        self._running.pop(name, None)
        with self._changed:
            future = self._futures.pop(name, None)
        if future is None:
            log.info("%s was given back before its answer came", name)
        elif isinstance(outcome, PipelineError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _idle(self) -> None:
        self._busy_before = self.busy_seconds
        self._progress_at = self._busy_since = None

    def _watch(self) -> None:
        stall = self.engine.settings.stall_seconds
        while not self._stopping:
            time.sleep(min(1.0, stall / 4))
            since = self._progress_at
            if since is not None and self._clock() - since > stall:
                self._on_lost(f"it made no progress for {stall:g} s", sorted(self._running))
                return


def _holds_suspect(requests: Iterable[Request]) -> bool:
    return any(request.alone for request in requests)


def _leaving() -> LeavingError:
    return LeavingError("the engine is shutting down")


def as_pipeline_error(error: Exception) -> PipelineError:
    """An engine's exception as a verdict on its request. An unknown one counts as a try, not as proof."""
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("the segment needs more memory than there is", repr(error))
    return ResourceError(f"the engine failed: {error}", repr(error))
