"""`run --in-process`: the same stages in this process, a folder as the bucket."""

import os
import sys
import time
from collections.abc import Sequence

from pipeline import engines
from pipeline.cli import BROKEN_WORLD
from pipeline.cli.submitting import Order, Submitted, accepted, submit_each
from pipeline.finding import Found, Unusable
from pipeline.inprocess import Mill
from pipeline.ledger import MemoryLedger
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.sound.vad import detector
from pipeline.producer import Producer
from pipeline.serving import Serving
from pipeline.settings import Settings, asked_engine
from pipeline.stages import Ports
from pipeline.stages.answering import EngineAnswerer, gate
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore


def run_here(
    settings: Settings, files: list[Found | Unusable], order: Order, *, json: bool
) -> tuple[Submitted, Producer, float, float]:
    """Do the work on files without Redis, S3 or workers: gives the jobs, their seconds, and those of the engine.

    Raises WorldError when the engine or ffmpeg is missing.
    """
    store = DirectoryStore(settings.data_dir / "bucket")
    engine = engines.create(settings.engine)
    source = MediaSource(
        store,
        MediaCache(settings.data_dir / "cache", settings.workers.cache_bytes),
        Ffmpeg.locate(settings),
        cutting=settings.cutting,
        video=settings.video,
        engine=engine.capabilities,
        detect=detector(settings.speech),
    )
    ledger = MemoryLedger()
    serving = Serving(engine, on_lost=_give_up)
    serving.start()
    try:
        mill = Mill(
            source,
            EngineAnswerer(serving, gate(settings.speech), asked_engine(settings.engine)),
            infer_threads=settings.workers.infer_threads or 2 * engine.capabilities.max_batch,
        )
        ports = Ports(
            store=store,
            ledger=ledger,
            send=mill.send,
            windows_ahead=settings.cutting.windows_ahead,
            max_attempts=settings.steward.max_attempts,
            limits=settings.limits,
        )
        producer = Producer(ports, settings)
        submitted = accepted(producer, submit_each(producer, files, order), json=json)
        began = time.monotonic()
        mill.run(ports)
        took = time.monotonic() - began
    finally:
        serving.stop()
    return submitted, producer, took, serving.busy_seconds


def _give_up(reason: str, names: Sequence[str]) -> None:
    """Nothing mends a thread that hangs or a GPU that failed: end the process. The same command goes on from here."""
    print(f"reelmill: the engine is lost with {', '.join(names)}: {reason}", file=sys.stderr, flush=True)
    os._exit(BROKEN_WORLD)
