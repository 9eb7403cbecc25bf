"""How many requests a job of one segment makes of the object store, counted on their way to SeaweedFS.

The real stages, driven by a real steward in one process. What the steward asks at each look, and what a collection
takes once, is the same whether it has few lines or many: what more lines add is what jobs take.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline import engines, keys
from pipeline.collecting.record import Collection, Ended, Line
from pipeline.collecting.shards import Writer
from pipeline.identity import NORMAL
from pipeline.job import Options, Work
from pipeline.ledger import MemoryLedger
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.producer import Producer
from pipeline.serving import Serving
from pipeline.settings import Engine, Settings, Speech, asked_engine
from pipeline.stages import Ports
from pipeline.stages.answering import EngineAnswerer, gate
from pipeline.stages.attempt import attempt
from pipeline.stages.infer import infer
from pipeline.stages.prepare import prepare
from pipeline.stages.source import MediaSource
from pipeline.store import open_store
from tests.media_samples import beeps, write_wav
from tests.s3_proxy import S3Proxy
from workers.steward import Steward

FEW, MORE = 2, 10  # lines
MOST = 8
CAPTIONS = 2  # what has times is written as .srt and .vtt, too
ONCE = 1  # the promise of a collection: it is made where the work takes long enough to tell
LOOKS = 4
TEXT, SOUND = ("translate", Options(to="de")), ("transcribe", Options())
ID = re.compile(r"j[a-z2-7]{24}|[0-9a-f]{64}")


class Mill:
    """A steward, and whoever does what it sends. All of them reach the store through the proxy."""

    def __init__(self, proxy: S3Proxy, folder: Path) -> None:
        self.proxy = proxy
        settings = Settings(
            s3=proxy.settings, engine=Engine(name="echo", model="echo", batch_wait=0), speech=Speech(gate="none")
        )
        self.queue: list[Work] = []
        self.ports = Ports(store=open_store(proxy.settings), ledger=MemoryLedger(), send=self.queue.append)
        self.producer = Producer(self.ports, settings)
        self.steward = Steward(self.ports, self, settings)  # type: ignore[arg-type]
        self.engine = asked_engine(settings.engine)
        engine = engines.create(settings.engine)
        self.serving = Serving(engine)
        self.answerer = EngineAnswerer(self.serving, gate(settings.speech), self.engine)
        self.source = MediaSource(
            self.ports.store,
            MediaCache(folder / "cache", settings.workers.cache_bytes),
            Ffmpeg.locate(settings),
            cutting=settings.cutting,
            video=settings.video,
            engine=engine.capabilities,
        )

    def waiting(self) -> frozenset[str]:
        return frozenset(work.name for work in self.queue)

    def work(self) -> None:
        """All that is sent, and what follows of it. A job of one segment needs no other stages."""
        while self.queue:
            work = self.queue.pop(0)
            attempt(work, self.ports, self._stage(work), count=work.stage != "infer")

    def _stage(self, work: Work) -> Callable[[int], None]:
        if work.stage == "prepare":
            return lambda tries: prepare(work, self.ports, self.source)
        assert work.stage == "infer"
        return lambda tries: infer(work, self.ports, self.answerer, tries)

    def requests(self, name: str, files: Sequence[Path], line: tuple[str, Options]) -> Counter[tuple[str, str]]:
        """What a collection takes from its first look to its end: methods and paths, without what tells jobs apart."""
        collection = Collection(id=name, name=name, engine=self.engine, submitted_at=datetime.now(UTC))
        writer = Writer(self.ports.store, collection)
        for path in files:
            media, is_new = self.producer.upload(path, path.name, NORMAL.tenant)
            writer.add(Line(media=media, task=line[0], options=line[1], is_new=is_new))
        writer.close()
        self.proxy.requests.clear()
        for _ in range(LOOKS):  # as many for few lines as for many
            self.steward.look()
            self.work()
        made = Counter((method, ID.sub("*", path.replace(name, "*"))) for method, path, _ in self.proxy.requests)
        ended = Ended.from_bytes(self.ports.store.get(keys.ended_collection(name)))
        assert ended.tally.statuses == {"done": len(files)}
        return made


@contextmanager
def mill(proxy: S3Proxy, folder: Path) -> Iterator[Mill]:
    running = Mill(proxy, folder)
    running.serving.start()
    try:
        yield running
    finally:
        running.serving.stop()
        running.steward.close()


def text(folder: Path, number: int) -> Path:
    path = folder / f"{number}.txt"
    path.write_text(f"a short text, number {number}")
    return path


def recording(folder: Path, number: int) -> Path:
    return write_wav(folder / f"{number}.wav", beeps(3, (1,), hz=300 + number))


def added(
    proxy: S3Proxy, folder: Path, make: Callable[[Path, int], Path], line: tuple[str, Options]
) -> Counter[tuple[str, str]]:
    """The requests that so many more lines add, by kind."""
    files = [make(folder, number) for number in range(2 * FEW + MORE)]
    with mill(proxy, folder) as running:
        few = running.requests("few", files[:FEW], line)
        many = running.requests("many", files[FEW:], line)
    assert many["PUT", f"/{proxy.settings.bucket}/jobs/*/result.json"] == FEW + MORE, many  # they are counted
    return many - few


def test_a_text_of_one_segment_takes_eight_requests(s3_proxy: S3Proxy, tmp_path: Path) -> None:
    made = added(s3_proxy, tmp_path, text, TEXT)
    assert made.total() <= MORE * MOST + ONCE, made


def test_a_recording_of_one_segment_takes_two_more_for_its_captions(s3_proxy: S3Proxy, tmp_path: Path) -> None:
    made = added(s3_proxy, tmp_path, recording, SOUND)
    assert made.total() <= MORE * (MOST + CAPTIONS) + ONCE, made
