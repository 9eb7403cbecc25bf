"""Stand-ins for the outside world of a stage: small, deterministic, and honest about the contract they stand in for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from pipeline import keys
from pipeline.errors import MissingObjectError, PermanentError
from pipeline.job import (
    Answer,
    AudioStream,
    Failure,
    Job,
    Media,
    MediaInfo,
    Origin,
    SegmentLimits,
    Span,
    Window,
    Windows,
)
from pipeline.payload import Payload, Piece
from pipeline.tasks import Fold

ORIGIN = Origin(engine="fake", model="fake", revision="1", versions={})


class MemoryStore:
    """An object store in a dictionary. `num_refused` counts creates that lost a race."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.num_refused = 0
        self.reread_before: dict[tuple[str, str], bytes] = {}
        self.times: dict[str, datetime] = {}  #: by key, when it was written
        self.uploads: dict[str, datetime] = {}  #: by key, when an upload was begun that has not ended

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        if key in self.objects:
            self.num_refused += 1
            return False
        self.objects[key] = data
        self.times[key] = datetime.now(UTC)
        return True

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        self.objects[key] = data
        self.times[key] = datetime.now(UTC)

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError as error:
            raise MissingObjectError(f"no object {key}") from error

    def exists(self, key: str) -> bool:
        return key in self.objects

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in tuple(self.objects) if key.startswith(prefix)))

    def etags(self, prefix: str) -> Mapping[str, str]:
        return {key: sha256(self.objects.get(key, b"")).hexdigest() for key in self.list(prefix)}

    def reread(self, key: str, etag: str) -> bytes:
        data = self.reread_before.get((key, etag)) or self.get(key)
        if sha256(data).hexdigest() == etag:
            self.reread_before[key, etag] = data
        return data

    def first(self, prefix: str, most: int, after: str = "") -> Sequence[str]:
        return [key for key in self.list(prefix) if key > after][:most]

    def folders(self, prefix: str) -> Sequence[str]:
        inside = (key.removeprefix(prefix) for key in self.list(prefix))
        return sorted({key.split("/")[0] for key in inside if "/" in key})

    def written(self, key: str) -> datetime:
        self.get(key)
        return self.times[key]

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self.objects.pop(key, None)

    def upload(self, key: str, source: Path) -> bool:
        is_new = key not in self.objects
        self.objects[key] = source.read_bytes()
        return is_new

    def drop_uploads(self, prefix: str, before: datetime) -> int:
        old = [key for key, begun in self.uploads.items() if key.startswith(prefix) and begun < before]
        for key in old:
            del self.uploads[key]
        return len(old)

    def mark(self, bucket: str, key: str) -> tuple[str, int]:
        data = self.get(f"s3://{bucket}/{key}")
        return f"etag-{len(data)}", len(data)

    def download(self, key: str, target: Path) -> None:
        target.write_bytes(self.get(key))

    def address(self, key: str) -> str:
        return f"memory://{key}"

    def self_test(self) -> None:
        return


class FakeCut:
    """One-second clips of the bytes that their place in the media makes."""

    flags: tuple[str, ...] = ()
    missing: Failure | None = None
    missing_until: float | None = None

    def __init__(self, window: Window, num_clips: int) -> None:
        self._window = window
        self._num_clips = num_clips
        self.end = window.start + num_clips

    def __iter__(self) -> Iterator[Piece]:
        for number in range(self._num_clips):
            start = self._window.start + number
            pcm = int(start).to_bytes(2, "little") * 16_000
            yield Piece(start=start, end=start + 1.0, payload=Payload(kind="sound", pcm=pcm, covers=1.0))


class FakeSource:
    """Media of `clips_per_window` one-second clips in each window, and the folds that are wanted behind them."""

    def __init__(self, clips_per_window: tuple[int, ...], fold: Fold = "never", text_characters: int = 8000) -> None:
        self._clips = clips_per_window
        self._fold = fold
        self._limits = SegmentLimits(text_characters=text_characters)

    def prepare(self, job: Job) -> Windows:
        starts = [100.0 * number for number in range(len(self._clips))]
        ends = [*starts[1:], None]
        return Windows(
            media=MediaInfo(
                demuxer="wav",
                duration=100.0 * len(self._clips),
                audio=AudioStream(index=0, codec="pcm", sample_rate=16_000, channels=1),
            ),
            limits=self._limits,
            fold=self._fold,
            windows=tuple(
                Window(index=number, start=start, end=end)
                for number, (start, end) in enumerate(zip(starts, ends, strict=True))
            ),
        )

    @contextmanager
    def cut(self, job: Job, windows: Windows, window: Window) -> Iterator[FakeCut]:
        yield FakeCut(window, self._clips[window.index])


class FakeAnswerer:
    """Says the number that the clip's samples hold, or the numbers of a fold joined; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused: set[str] = set()

    def ask(self, name: str, payload: Payload, job: Job, tries: int) -> Callable[[], Answer]:
        return partial(self.answer, name, payload, job, tries)

    def answer(self, name: str, payload: Payload, job: Job, tries: int) -> Answer:
        self.asked.append(name)
        if name in self.refused:
            raise PermanentError("it is refused")
        text = f"word{int.from_bytes(payload.pcm[:2], 'little')}"
        if payload.kind == "fold":
            text = "+".join(line.split("] ")[1].removeprefix("word") for line in payload.text.splitlines())
        return Answer(spans=(Span(start=0.0, end=1.0, text=text),), origin=ORIGIN, attempts=tries + 1)


def a_job(name: str = "a.wav", number: int = 1) -> Job:
    return Job(
        id=f"j{number:024d}",
        media=Media(name=name, key=keys.media("default", "0" * 64), sha256="0" * 64, size=1),
        engine="fake:fake",
        submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def accept(store: MemoryStore, job: Job) -> None:
    """What submit leaves in the bucket."""
    store.create(keys.open_job(job.id), job.to_bytes())
