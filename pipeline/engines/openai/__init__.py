"""Engine `openai`: any OpenAI-compatible server (vLLM, SGLang, `transformers serve`), which batches for itself.

Each slot is one request under way, in a thread of its own that does nothing but wait.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import numpy as np

from pipeline.engines import Capabilities, ContinuousEngine, Outcome, Request
from pipeline.engines.openai.chat import completion
from pipeline.engines.openai.exchange import BrokenOffError, Exchange, NotConnectedError, OverdueError
from pipeline.engines.openai.outcomes import CHECK_PLACE, DOUBTFUL, outcome, retry_after
from pipeline.engines.openai.pace import Pace
from pipeline.engines.openai.server import Server
from pipeline.errors import PermanentError, ResourceError, TransientError
from pipeline.job import SAMPLE_RATE, Origin, SegmentLimits
from pipeline.settings import Engine as EngineSettings

SLOTS = 64
#: What Gemma 3n takes well; a server may be told to take less and then refuses by itself.
LIMITS = SegmentLimits(clip_seconds=30.0, images=8, image_pixels=768, text_characters=8_000)
MAX_SAMPLES = int((LIMITS.clip_seconds + 0.1) * SAMPLE_RATE)  # cutting may round up by a little

STEP_SECONDS = 0.02  # while slots are free: what arrives meanwhile waits this long
FULL_STEP_SECONDS = 0.25  # while there are none
CLOSE_SECONDS = 2.0

log = logging.getLogger(__name__)


def create(settings: EngineSettings) -> "OpenAIEngine":
    return OpenAIEngine(settings)


@dataclass(slots=True)
class UnderWay:
    """A request in its slot."""

    exchange: Exchange
    thread: threading.Thread
    sent_at: float | None = None  #: None while it waits for the server to recover


class OpenAIEngine(ContinuousEngine):
    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self._slots = settings.max_batch or SLOTS
        self._server: Server | None = None
        self._pace = Pace()
        self._under_way: dict[str, UnderWay] = {}
        self._ended: SimpleQueue[tuple[str, Outcome]] = SimpleQueue()
        self._closing = threading.Event()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            kinds=frozenset({"sound", "image", "text"}),
            limits=LIMITS,
            max_batch=self._slots,
            max_cost=float(self._slots),  # the server does its own accounting
        )

    def load(self) -> Origin:
        """Raises WorldError that says what to do when the server is away, refuses the key or lacks the model."""
        server = Server(self.settings)
        revision = server.find_model()
        version = server.version()
        self._server = server
        log.info("%s is served at %s, %d requests at once", server.model, server.address.url, self._slots)
        versions = {"server": version} if version else {}
        return Origin(engine="openai", model=server.model, revision=revision, versions=versions)

    def prepare(self, request: Request) -> Request:
        """See `Engine.prepare`: `inputs` is the request's body. Raises PermanentError for what is no sound."""
        reason = refusal(request)
        if reason is not None:
            raise PermanentError(reason)
        return replace(request, inputs=completion(request, self.settings.model), cost=1.0)

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._under_way)

    def admit(self, requests: Sequence[Request]) -> None:
        if self._server is None:
            raise RuntimeError("load() the engine first")
        for request in requests:
            thread = threading.Thread(target=self._carry, args=(request,), name=f"openai {request.id}", daemon=True)
            self._under_way[request.id] = UnderWay(self._server.completion(), thread)
            thread.start()

    def step(self) -> Mapping[str, Outcome]:
        """Wait, for a moment, until a request has ended; returns all that have."""
        self._end_overdue()
        ended: dict[str, Outcome] = {}
        wait = STEP_SECONDS if self.free_slots else FULL_STEP_SECONDS
        try:
            while True:
                name, verdict = self._ended.get(timeout=wait)
                ended[name] = verdict
                del self._under_way[name]
                wait = 0.0
        except Empty:
            return ended

    def close(self) -> None:
        """Break off what is under way: the server sees its connections go, and may stop working on it."""
        self._closing.set()
        for one in self._under_way.values():
            one.exchange.abort()
        until = time.monotonic() + CLOSE_SECONDS
        for one in self._under_way.values():
            one.thread.join(max(0.0, until - time.monotonic()))
        self._under_way.clear()

    def _end_overdue(self) -> None:
        """A server that sends a byte now and then is never silent for long: the whole answer has its limit too."""
        latest = time.monotonic() - self.settings.request_seconds
        for one in self._under_way.values():
            if one.sent_at is not None and one.sent_at < latest:
                one.exchange.abort()

    def _carry(self, request: Request) -> None:
        """A slot's thread: whatever happens, the request gets an outcome."""
        try:
            verdict = self._ask(request, self._under_way[request.id])
        except Exception as error:
            log.exception("the request %s could not be carried", request.id)
            verdict = ResourceError(f"the engine failed: {error}", repr(error))
        self._ended.put((request.id, verdict))

    def _ask(self, request: Request, slot: UnderWay) -> Outcome:
        assert self._server is not None
        while (pause := self._pace.pause()) > 0:
            if self._closing.wait(pause):
                return TransientError("the engine is shutting down")
        slot.sent_at = sent_at = time.monotonic()
        asked = 0.0
        try:
            received = self._server.complete(slot.exchange, request.inputs)
            is_well = received.status not in DOUBTFUL or self._server.is_well()
            verdict, asked = outcome(received, is_well=is_well), retry_after(received.headers)
        except NotConnectedError as error:
            verdict = TransientError(f"nothing answers at {self._server.address.url}: {CHECK_PLACE}", str(error))
        except OverdueError as error:
            limit = f"REELMILL_ENGINE__REQUEST_SECONDS={self.settings.request_seconds:g}"
            verdict = TransientError(f"the server took longer than {limit}", str(error))
        except BrokenOffError as error:
            # It may have died of this request, so it counts as a try and is asked alone the next time.
            verdict = ResourceError("the server broke off the connection while it worked on this", str(error))
        if isinstance(verdict, TransientError):
            self._pace.failed(sent_at, asked)
        else:
            self._pace.succeeded(sent_at)
        return verdict


def refusal(request: Request) -> str | None:
    """Why a request cannot be sent, in plain words; None when it can. A server would cut a long clip in silence."""
    for clip in request.clips:
        if clip.dtype != np.float32 or clip.ndim != 1:
            return f"the clip is not mono float32 sound but {clip.dtype} of shape {clip.shape}"
        if not np.isfinite(clip).all():
            return "the clip holds samples that are not numbers"
        if clip.size > MAX_SAMPLES:
            return f"the clip is {clip.size / SAMPLE_RATE:.1f} s long, the engine takes {LIMITS.clip_seconds:g} s"
    return None
