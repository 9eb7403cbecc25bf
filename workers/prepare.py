"""The prepare worker: probes, cuts and finishes, on prefork with limits of time and memory."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals

from pipeline import engines
from pipeline.broker import PREPARE_QUEUES, SOFT_LIMIT_SECONDS
from pipeline.errors import ResourceError
from pipeline.fleet import open_ports
from pipeline.job import Work
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.sound.vad import detector
from pipeline.settings import Sandbox, Settings
from pipeline.stages import Ports
from pipeline.stages.attempt import attempt
from pipeline.stages.cut import cut
from pipeline.stages.finish import finish
from pipeline.stages.prepare import prepare
from pipeline.stages.source import MediaSource
from pipeline.store import ObjectStore
from workers.app import work_of, worker_app
from workers.leaving import HAND_BACK, Interruptible, when_told_to_stop

#: A child above this is replaced after its task, kB.
MAX_CHILD_KB = 350_000


def media_source(settings: Settings, store: ObjectStore) -> MediaSource:
    """The media of jobs, through a cache that all workers of this machine share."""
    cache_dir = settings.workers.cache_dir or Path(tempfile.gettempdir()) / f"reelmill-media-{os.getuid()}"
    return MediaSource(
        store,
        MediaCache(cache_dir, settings.workers.cache_bytes),
        Ffmpeg.locate(settings),
        cutting=settings.cutting,
        video=settings.video,
        engine=engines.create(settings.engine).capabilities,
        detect=detector(settings.speech),
    )


def sandbox_of_a_fleet(asked: Sandbox) -> Sandbox:
    """The media of a fleet is anybody's: without a sandbox it is decoded only where the operator says so."""
    return asked.model_copy(update={"mode": "required"}) if asked.mode == "auto" else asked


def run(settings: Settings) -> None:
    """Serve the prepare, cut and finish queues until told to stop. Raises WorldError where it is not safe to."""
    settings = settings.model_copy(update={"sandbox": sandbox_of_a_fleet(settings.sandbox)})
    Ffmpeg.locate(settings).self_test()
    detector(settings.speech)  # tells now, not in the first job, that there is none
    app = worker_app(settings)

    @cache
    def ports() -> Ports:
        return open_ports(settings)

    @cache
    def source() -> MediaSource:
        return media_source(settings, ports().store)

    interruptible = Interruptible()
    when_told_to_stop(settings.workers.grace_seconds, at_first=lambda: None, at_last=pool_processes())

    def within_limit(work: Work, stage: Callable[[], None]) -> None:
        def run_stage(tries: int) -> None:
            try:
                with interruptible.stage():
                    stage()
            except SoftTimeLimitExceeded as error:
                raise ResourceError(f"it took longer than {SOFT_LIMIT_SECONDS} s") from error

        with interruptible.task():
            attempt(work, ports(), run_stage)

    def prepare_task(job: str, urgent: bool = False) -> None:
        work = work_of("prepare", job, urgent=urgent)
        within_limit(work, lambda: prepare(work, ports(), source()))

    def cut_task(job: str, window: int, urgent: bool = False) -> None:
        work = work_of("cut", job, window, urgent=urgent)
        within_limit(work, lambda: cut(work, ports(), source()))

    def finish_task(job: str, urgent: bool = False) -> None:
        work = work_of("finish", job, urgent=urgent)
        within_limit(work, lambda: finish(work, ports()))

    for name, task in (("prepare", prepare_task), ("cut", cut_task), ("finish", finish_task)):
        app.task(name=name)(task)
    app.conf.worker_max_memory_per_child = MAX_CHILD_KB
    processes = settings.workers.prepare_processes or os.cpu_count() or 1
    app.worker_main(worker_arguments("prepare", "prefork", processes, PREPARE_QUEUES, settings))


def pool_processes() -> Callable[[], None]:
    """Tells the pool processes of this worker, once it is up, to hand back what they work on."""
    ready: list[Any] = []
    signals.worker_ready.connect(lambda sender, **_: ready.append(sender.pool), weak=False)

    def interrupt() -> None:
        for pid in ready[-1].info["processes"] if ready else ():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, HAND_BACK)

    return interrupt


def worker_arguments(name: str, pool: str, concurrency: int, queues: tuple[str, ...], settings: Settings) -> list[str]:
    """The command line of a Celery worker. Mingle and gossip are chatter between workers that nothing here needs."""
    return [
        "worker",
        f"--hostname={name}-{os.getpid()}@%h",
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        f"--queues={','.join(queues)}",
        f"--loglevel={settings.log_level}",
        "--without-mingle",
        "--without-gossip",
        "--disable-prefetch",
    ]
