"""What a producer does: submit media, cancel, retry, and look at how jobs stand."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pipeline import engines, keys, tasks
from pipeline.admission import unreserved
from pipeline.errors import MissingObjectError, PermanentError, TransientError, UsageError
from pipeline.identity import NORMAL, Asked, new_job
from pipeline.job import Failure, Job, Media, Options, Plan, Result, Windows, Work
from pipeline.objects import split_address
from pipeline.served import is_served
from pipeline.settings import Engine as EngineSettings
from pipeline.settings import Settings, asked_engine
from pipeline.stages import Ports
from pipeline.stages.assembling import outputs
from pipeline.stages.completion import Numbers, Survey, due, hand_on, read_job, survey
from pipeline.stages.finish import publish
from pipeline.stages.outcomes import read_outcome
from pipeline.store import file_sha256
from pipeline.webhooks.debts import Debt, Debts

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "partial", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands. Seconds are seconds of media."""

    job: str
    name: str
    state: State
    done_seconds: float = 0.0
    total_seconds: float | None = None
    num_segments: int = 0
    num_answers: int = 0
    error: str | None = None
    lacks_engine: str | None = None  #: the engine that it waits for, where nobody runs that, as far as is known


class Producer:
    """The producer's side of the mill. Needs the object store; the queue and the ledger only speed things up."""

    def __init__(self, ports: Ports, settings: Settings) -> None:
        self._ports = ports
        self._store = ports.store
        self._debts = Debts(ports.store)
        self._most_in_flight = settings.steward.jobs_in_flight
        self._engine = settings.engine

    def submit(
        self,
        path: Path,
        name: str,
        options: Options,
        *,
        task: str = "transcribe",
        force: bool = False,
        asked: Asked = NORMAL,
    ) -> Job:
        """Accept one file as a job, or find that it was accepted before.

        The job's id is derived from its tenant, content, task, options and engine: one recording under two names is
        one job. Submitting again what is done changes nothing; what failed or was cancelled is tried again; `force`
        does everything anew. Raises PermanentError when the file cannot be read, UsageError when the task lacks an
        option or the engine cannot do it.
        """
        tasks.check(task, options)
        refuse_task(task, options, self._engine)
        media, is_new = self.upload(path, name, asked.tenant)
        job = new_job(media, task, options, asked_engine(self._engine), asked)
        if not is_new and self._store.exists(keys.result(job.id)):
            if force:
                self.retry(job.id, everything=True)
            elif self.result(job.id).status != "done":
                self.retry(job.id)
        else:
            self._open(job, is_new=is_new)
        if asked.webhook is not None:
            self.tell(job.id, asked.webhook)
        return job

    def tell(self, job: str, webhook: str) -> None:
        """Let a server be told how a job ended, or will end."""
        self._debts.owe(Debt(url=webhook, job=job, since=datetime.now(UTC)))

    def accept(self, job: Job) -> bool:
        """Open a job whose media lies in a bucket already; False: it has a result, and stays as it is."""
        if is_new := not self._store.exists(keys.result(job.id)):
            self._open(job, is_new=False)
        return is_new

    def retry(self, job: str, *, everything: bool = False) -> None:
        """Take back a job's failures (or all it has) and open it again, as a round of its own.

        Raises UsageError while it is still open. Stopped half way, it goes on where it was when it is called again.
        """
        result = self.result(job)
        seen = survey(self._store, job)
        round = seen.round + 1 if seen.finished else seen.round
        everything = self._begin(job, round, everything=everything)
        seen = survey(self._store, job)  # once more: what was on its way has perhaps arrived
        # Until it is open in the new round nobody works on it; and its record is always in one of two places.
        self._store.delete(self._taken_back(seen, result, everything=everything))
        with _without_redis():
            self._ports.ledger.close_job(job)
        self._store.delete([keys.open_job(job, earlier) for earlier in range(round)])
        asked = result.asked.model_copy(update={"submitted_at": datetime.now(UTC), "round": round})
        self._store.create(keys.open_job(job, round), asked.to_bytes())
        self._store.delete([keys.result(job), keys.quarantine(job)])
        if self._store.exists(keys.committed(job, round)):  # another began the same round, and it has ended
            publish(Result.from_bytes(self._store.get(keys.committed(job, round))), self._ports)
            return
        self._hurry(asked, is_new=False)

    def _begin(self, job: str, round: int, *, everything: bool) -> bool:
        """Note that a round begins; whether it is to make everything anew, as whoever noted it first has it."""
        key = keys.round_begun(job, round)
        if self._store.create(key, b"everything" if everything else b"failures"):
            return everything
        return self._store.get(key) == b"everything"

    def has_media(self, result: Result) -> bool:
        """Whether the media of a result is still there, so that nobody gives up what they cannot get again."""
        key = result.asked.media.key
        elsewhere = split_address(key)
        try:
            return self._store.exists(key) if elsewhere is None else bool(self._store.mark(*elsewhere))
        except MissingObjectError:
            return False

    def cancel(self, job: str) -> None:
        """End a job early. Answers it already has are kept in its result."""
        if self._store.exists(keys.result(job)):
            raise UsageError(f"job {job} has already ended")
        self.job(job)
        self._store.create(keys.cancelled(job, survey(self._store, job).round), b"{}\n")
        with _without_redis():
            self._ports.send(Work(stage="finish", job=job, urgent=True))

    def jobs(self) -> list[str]:
        """Ids of all jobs in the bucket: those that have ended and those that are open."""
        found = (key.removeprefix(keys.JOBS).split("/") for key in self._store.list(keys.JOBS))
        return sorted({parts[0] for parts in found if parts[1:] == ["result.json"]} | self.open_jobs())

    def open_jobs(self) -> frozenset[str]:
        return frozenset(keys.job_opened(key) for key in self._store.list(keys.OPEN))

    def is_open(self, job: str) -> bool:
        return any(self._store.list(keys.open_job(job)))

    def job(self, job: str) -> Job:
        found = read_job(self._ports, job)
        if found is not None:
            return found
        try:
            return Result.from_bytes(self._store.get(keys.result(job))).asked
        except MissingObjectError as error:
            raise UsageError(f"there is no job {job}") from error

    def result(self, job: str) -> Result:
        try:
            return Result.from_bytes(self._store.get(keys.result(job)))
        except MissingObjectError as error:
            self.job(job)
            raise UsageError(f"job {job} has not ended yet") from error

    def standing(self, job: str) -> Standing:
        """How a job stands: from the bucket, with the ledger's live figures where it has them."""
        asked = self.job(job)
        name = asked.media.name
        if self._store.exists(keys.result(job)):
            result = self.result(job)
            seconds = result.media.duration or 0.0
            return Standing(job, name, result.status, seconds, seconds, error=result.error)
        figures = self.figures(job)
        seen = survey(self._store, job)
        num_segments = sum(len(plan.segments) for plan in seen.planned.values() if isinstance(plan, Plan)) + seen.whole
        return Standing(
            job,
            name,
            "waiting" if seen.prepared is None and not seen.whole else "running",
            figures.get("done", 0.0),
            figures.get("seconds"),
            num_segments,
            len(seen.answered),
            lacks_engine=None if is_served(asked.engine, self._ports.ledger) else asked.engine,
        )

    def read(self, key: str) -> bytes:
        """An output of a result."""
        return self._store.get(key)

    def address(self, key: str) -> str:
        """Where a person finds an output."""
        return self._store.address(key)

    def figures(self, job: str) -> dict[str, float]:
        """Live figures of a job: `seconds` of media, and of those `done`. Cheap; empty when the ledger has none."""
        with _without_redis():
            return self._ports.ledger.figures(job)
        return {}

    def quarantined(self) -> Iterator[Result]:
        """Results of all jobs that hold something which cannot succeed.

        By what became of them last: an entry may be of an earlier round, by somebody who was slow to write it down.
        """
        for key in self._store.list(keys.QUARANTINE):
            try:
                result = Result.from_bytes(self._store.get(keys.result(keys.job_quarantined(key))))
            except MissingObjectError:
                continue  # it is tried again
            if result.failures:
                yield result

    def _open(self, job: Job, *, is_new: bool = True) -> None:
        """`is_new`: nothing is there of it. Else it may be open already, perhaps in a later round."""
        opened = None if is_new else read_job(self._ports, job.id)
        if opened is None:
            self._store.create(keys.open_job(job.id), job.to_bytes())
        self._hurry(opened or job, is_new=is_new)

    def _hurry(self, job: Job, *, is_new: bool) -> None:
        """Let an open job in at once, if there is room that the steward does not keep for others."""
        with _without_redis():
            if self._ports.ledger.admit(job.id, unreserved(self._most_in_flight, job.priority)):
                (start_new if is_new else start)(job, self._ports)

    def upload(self, path: Path, name: str, tenant: str) -> tuple[Media, bool]:
        """Put a file into the bucket; whether its tenant had none of these bytes there before.

        Raises PermanentError when it cannot be read.
        """
        try:
            before = path.stat()
            sha256 = file_sha256(path)
            key = keys.media(tenant, sha256)
            is_new = self._store.upload(key, path)
            after = path.stat()
        except OSError as error:
            raise PermanentError(f"the file cannot be read: {error.strerror}") from error
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            if is_new:
                self._store.delete([key])
            raise PermanentError("the file changed while it was read")
        return Media(name=name, key=key, sha256=sha256, size=after.st_size), is_new

    def _taken_back(self, seen: Survey, result: Result, *, everything: bool) -> Iterator[str]:
        """The plans behind the answers, so that whoever goes on after a stop still finds which answers go.

        What the formats hold stays until this round puts its own in its place.
        """
        yield keys.whole(seen.job)
        yield from (keys.cancelled(seen.job, earlier) for earlier in range(seen.round))
        # Media that a slow cut stored behind its end would be taken for that of the folds to come.
        yield from (keys.segments(seen.job, *numbers) for numbers in sorted(seen.payloads))
        yield from self._store.list(keys.tries_of_job(seen.job))
        if everything:
            yield from sorted(set(result.outputs.values()) - set(outputs(seen.job).values()))
        num_windows = len(seen.prepared.windows) if isinstance(seen.prepared, Windows) else 0
        # Folds are made of the answers of the windows, and are made anew from the new ones.
        renewed = {
            window
            for window, plan in seen.planned.items()
            if window >= num_windows or isinstance(plan, Failure) or plan.missing is not None
        }
        for numbers in sorted(seen.outcomes):
            key = keys.answers(seen.job, *numbers)
            if everything or numbers[0] in renewed or self._has_failed(numbers, key):
                yield key
        yield from (
            keys.alone(seen.job, *numbers) for numbers in sorted(seen.alone) if everything or numbers[0] in renewed
        )
        yield from (keys.plan(seen.job, window) for window in sorted(seen.planned) if everything or window in renewed)
        if everything or isinstance(seen.prepared, Failure):
            yield keys.windows(seen.job)

    def _has_failed(self, numbers: Numbers, key: str) -> bool:
        """Whether it is the failure of a segment; what is told of a parcel are answers."""
        outcomes = {} if len(numbers) > 2 else read_outcome(numbers, self._store.get(key))
        return any(isinstance(outcome, Failure) for outcome in outcomes.values())


@contextmanager
def _without_redis() -> Iterator[None]:
    """What is done here only hurries things: the steward does it as well, from the bucket, when Redis is back."""
    try:
        yield
    except TransientError as error:
        log.warning("%s; the job is safe in the object store and goes on when it is back", error)


def refuse_task(task: str, options: Options, settings: EngineSettings) -> None:
    """Raise UsageError when the engine cannot do the task, or has no sizes to choose from."""
    capabilities = engines.create(settings).capabilities
    can = capabilities.tasks
    if options.variant is not None and not capabilities.has_sizes:
        raise UsageError(f"the engine {settings.name} has one size: leave out --variant")
    if can is not None and task not in can:
        raise UsageError(
            f"the engine {settings.name} cannot {task}, only {', '.join(sorted(can))}: choose another with "
            "REELMILL_ENGINE__NAME, such as gemma3n"
        )


def start_new(job: Job, ports: Ports) -> None:
    """Send the first work of a job of which there is nothing yet."""
    hand_on([Work(stage="prepare", job=job.id)], ports, urgent=job.is_urgent)


def start(job: Job, ports: Ports) -> None:
    """Send what a job lacks."""
    hand_on(due(survey(ports.store, job.id), ports.windows_ahead), ports, urgent=job.is_urgent)
