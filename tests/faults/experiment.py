"""What an experiment is, and how one is run: a mill under load, a strike, healing, quiet, and the checker's verdict."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import S3
from tests.faults.bench import Bench
from tests.faults.checker import Verdict
from tests.faults.setup import Setup
from tests.faults.table import Row

Strike = Callable[[Bench], None]
MOST_NAMED = 3  # of the jobs or keys in a complaint
#: I4, MB: what Redis and the largest process of the crew may take, whatever breaks and however much waits.
REDIS_MB, RSS_MB = 100, 500


@dataclass(frozen=True, kw_only=True)
class Control:
    """The same with a protection taken away: the checker must find the violation that it protects from."""

    name: str
    setup: Setup
    finds: str
    """A name of `Verdict.violations` or `Bench.found`."""
    strike: Strike | None = None
    """None: that of the experiment."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    number: int
    name: str
    strike: Strike
    """Called while the mill works; leaves it as it should be healed, apart from the proxies, which are healed after."""
    setup: Setup
    recover_seconds: float | None = None
    """More than this is wrong."""
    submits: bool = True
    """Whether anything is submitted: then a store or queue that refuses all of it proves nothing."""
    controls: tuple[Control, ...] = ()
    lacks: Callable[[], str | None] = lambda: None
    """Why this machine cannot run it, and how to get what it needs."""
    quick: bool = False
    """Part of `make test`."""


def run(experiment: Experiment, s3: S3, *, seed: int, full: bool, controls: bool = True) -> Iterator[Row]:
    """The rows of an experiment and of its controls."""
    lack = experiment.lacks()
    if lack is not None:
        yield Row(number=experiment.number, name=experiment.name, skipped=lack)
        return
    yield _ran(experiment, s3, seed, full)
    for control in experiment.controls if controls else ():
        yield _controlled(experiment, control, s3, seed)


def _ran(experiment: Experiment, s3: S3, seed: int, full: bool) -> Row:
    with _folder() as folder, Bench(experiment.setup, s3, folder, seed=seed, full=full) as bench:
        seconds = _course(bench, experiment.strike)
        verdict = bench.verdict()
        complaints = [*bench.complaints, *_told(_violations(bench, verdict)), *_exceeded(experiment, bench, seconds)]
        if experiment.submits and not verdict.submitted:
            complaints.append("nothing was accepted")
        if complaints:
            print(bench.crew.logs(), flush=True)
        return _row(experiment, experiment.name, bench, verdict, seconds, tuple(complaints))


def _controlled(experiment: Experiment, control: Control, s3: S3, seed: int) -> Row:
    """Of small scale, always: it need only be as large as it takes to do harm."""
    with _folder() as folder, Bench(control.setup, s3, folder, seed=seed, full=False) as bench:
        seconds = _course(bench, control.strike or experiment.strike)
        verdict = bench.verdict()
        found = _violations(bench, verdict)
        complaints = () if control.finds in found else (f"found {', '.join(found) or 'nothing'}",)
        name = f"{experiment.name}, {control.name}"
        return _row(experiment, name, bench, verdict, seconds, complaints, must_find=control.finds)


def _course(bench: Bench, strike: Strike) -> float:
    """Run one; the seconds from the end of the faults until nothing was open."""
    stream = bench.submit()
    bench.await_busy()
    strike(bench)
    bench.heal()
    healed = time.monotonic()
    stream.join()
    bench.await_quiet()
    return time.monotonic() - healed


def _violations(bench: Bench, verdict: Verdict) -> dict[str, tuple[str, ...]]:
    return verdict.violations | {name: found for name, found in bench.found.items() if found}


def _told(violations: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [
        f"{len(found)} {name}: {', '.join(found[:MOST_NAMED])}{', ...' if len(found) > MOST_NAMED else ''}"
        for name, found in violations.items()
    ]


def _exceeded(experiment: Experiment, bench: Bench, seconds: float) -> Iterator[str]:
    """What was larger or slower than it may be."""
    if experiment.recover_seconds is not None and seconds > experiment.recover_seconds:
        yield f"took {seconds:.0f} s to recover, not {experiment.recover_seconds:.0f}"
    if bench.meter.redis_mb > REDIS_MB:
        yield f"Redis took {bench.meter.redis_mb:.0f} MB, not {REDIS_MB}"
    if bench.meter.rss_mb > RSS_MB:
        yield f"a process took {bench.meter.rss_mb:.0f} MB, not {RSS_MB}"


def _row(
    experiment: Experiment,
    name: str,
    bench: Bench,
    verdict: Verdict,
    seconds: float,
    complaints: tuple[str, ...],
    must_find: str | None = None,
) -> Row:
    refused = [f"{bench.submitter.num_refused} refused at submission"] if bench.submitter.num_refused else []
    return Row(
        number=experiment.number,
        name=name,
        submitted=verdict.submitted,
        done=verdict.done,
        partial=verdict.partial,
        quarantined=verdict.quarantined,
        lost=len(verdict.lost),
        doubled=len(verdict.doubled),
        duplicate_seconds=bench.engine_log.duplicate_seconds(),
        redis_mb=bench.meter.redis_mb,
        rss_mb=bench.meter.rss_mb,
        recover_seconds=seconds,
        notes=(*bench.notes, *refused),
        complaints=complaints,
        must_find=must_find,
    )


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reelmill-faults-", ignore_cleanup_errors=True) as name:
        yield Path(name)
