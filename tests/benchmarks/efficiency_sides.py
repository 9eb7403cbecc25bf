"""The two sides of `pipeline_efficiency.py`: a mill whose infer worker can be held still, and the engine by itself."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from pipeline import keys, tasks
from pipeline.broker import Queues
from pipeline.engines import Reply, Request
from pipeline.engines.gemma3n import Gemma3nEngine
from pipeline.fleet import open_ports
from pipeline.job import Answer, Options, Plan, Windows, Work
from pipeline.local import LocalMill
from pipeline.payload import unpack
from pipeline.producer import Producer
from pipeline.stages.completion import parcels, survey
from pipeline.stages.outcomes import read_outcome

TASK = "transcribe"
PATIENCE = 120  # seconds; then something is wrong
GLANCE = 0.1  # seconds between two looks for an answer


@dataclass(frozen=True, slots=True)
class Run:
    """What one side did with all segments of a round."""

    texts: dict[str, str]  #: by the name of the segment's work
    seconds: float
    cpu_seconds: float


class HeldMill:
    """A mill in which segments can be made to wait on the queue until the clock starts."""

    def __init__(self, mill: LocalMill) -> None:
        self._ports = open_ports(mill.settings)
        self._queues = Queues(mill.settings)
        self._producer = Producer(self._ports, mill.settings)
        self._infer = next(worker for worker in mill.workers if worker.role == "infer")
        self._mill = mill
        self._works: list[Work] = []  #: whose segments wait on the queue

    def answer(self, files: Sequence[Path]) -> None:
        """Files from end to end: afterwards every worker is loaded and warm."""
        self._await_end([self._submit(file) for file in files])

    def queue(self, files: Sequence[Path]) -> list[Request]:
        """Hold the infer worker, let the files be cut, and return a request for each segment that waits now."""
        self._infer_process().suspend()
        jobs = [self._submit(file) for file in files]
        self._works = [work for job in jobs for work in self._parcels(job)]
        # The worker had already asked for its next message: one may be on its way to it.
        self._await(lambda: self._queues.depth("infer") >= len(self._works) - 1, "the segments on the queue")
        return [request for work in self._works for request in self._requests(work)]

    def run(self, requests: Sequence[Request]) -> Run:
        """Let the infer worker go; the clock stops when the last answer is in the object store."""
        works = self._works
        cpu = self._cpu_seconds()
        began = time.perf_counter()
        self._infer_process().resume()
        for work in works:
            self._await(partial(self._ports.store.exists, keys.outcome(work)), f"the answer of {work.name}")
        seconds = time.perf_counter() - began
        cpu = self._cpu_seconds() - cpu
        found = [read_outcome(work.numbers, self._ports.store.get(keys.outcome(work))) for work in works]
        answers = [answer for outcomes in found for answer in outcomes.values() if isinstance(answer, Answer)]
        self._await_end(sorted({work.job for work in works}))
        names = [request.id for request in requests]
        return Run({name: answer.text for name, answer in zip(names, answers, strict=True)}, seconds, cpu)

    def _submit(self, file: Path) -> str:
        return self._producer.submit(file, file.name, Options(), task=TASK).id

    def _parcels(self, job: str) -> list[Work]:
        """The infer work of a job, once all of it is cut."""
        planned: dict[int, Plan] = {}

        def is_cut() -> bool:
            seen = survey(self._ports.store, job)
            planned.update({number: plan for number, plan in seen.planned.items() if isinstance(plan, Plan)})
            return isinstance(seen.prepared, Windows) and len(planned) == len(seen.prepared.windows)

        self._await(is_cut, f"the cuts of {job}")
        return [work for _, plan in sorted(planned.items()) for work in parcels(job, plan)]

    def _requests(self, work: Work) -> list[Request]:
        payloads = unpack(self._ports.store.get(keys.segments(work.job, *work.numbers))).payloads
        task = tasks.named(TASK)
        return [
            Request(
                id=one.name, turns=task.turns(payload, Options()), task=TASK, max_tokens=task.max_tokens(payload.kind)
            )
            for one, payload in zip(work.each, payloads, strict=True)
        ]

    def _infer_process(self) -> psutil.Process:
        return psutil.Process(self._infer.pid)

    def _cpu_seconds(self) -> float:
        """Of all processes of the mill: services, workers, their pools."""
        times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
        return float(sum(one.user + one.system for one in times))

    def _await_end(self, jobs: Sequence[str]) -> None:
        self._await(lambda: not self._producer.open_jobs() & set(jobs), f"the end of {', '.join(jobs)}")
        for job in jobs:
            result = self._producer.result(job)
            if result.status != "done":
                raise SystemExit(f"{result.media.name} is {result.status}: {result.error}")

    def _await(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            self._mill.raise_if_broken()
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {PATIENCE} s in vain for {what}")
            time.sleep(GLANCE)


class BareEngine:
    """The engine of the infer worker with nothing around it: no queue, no store, no threads, no speech gate."""

    def __init__(self, engine: Gemma3nEngine) -> None:
        self._engine = engine
        self.num_tokens = 0  #: of all answers so far

    def run(self, requests: Sequence[Request]) -> Run:
        """Answer requests as fast as slots get free. What is done before they enter the batch is not timed."""
        waiting = [self._engine.prepare(request) for request in requests]
        texts: dict[str, str] = {}
        cpu, began, tokens = time.process_time(), time.perf_counter(), self._count()
        while len(texts) < len(requests):
            joining, waiting = waiting[: self._engine.free_slots], waiting[self._engine.free_slots :]
            # Both sides may encode what comes next along with what is in.
            self._engine.look_ahead(waiting[: self._engine.capabilities.max_batch], 0)
            self._engine.admit(joining)
            for name, outcome in self._engine.step().items():
                if not isinstance(outcome, Reply):
                    raise SystemExit(f"the engine cannot answer {name}: {outcome}")
                texts[name] = outcome.text
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        self.num_tokens += self._count() - tokens
        return Run(texts, seconds, cpu)

    def alone(self, request: Request) -> str:
        """The text of a request that has no batch mates."""
        (text,) = self.run([replace(request, id=f"{request.id}.alone")]).texts.values()
        return text

    def _count(self) -> int:
        """Tokens so far: one of each prompt's prefill pass, the others of decode steps."""
        decoders = self._engine.run.decoders.values()
        return sum(decoder.counters.prefill_rows + decoder.counters.useful for decoder in decoders)
