"""A job's media as the stages see it: fetched from the bucket once per machine, then probed and cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pipeline import tasks
from pipeline.engines import Capabilities
from pipeline.job import Failure, Job, Window, Windows
from pipeline.media.audio import WindowCut
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.windows import choose_windows
from pipeline.payload import Piece
from pipeline.store import ObjectStore


class Cut(Protocol):
    """The pieces of one window, made as they are iterated; what is known at the end stands in the attributes."""

    def __iter__(self) -> Iterator[Piece]: ...

    @property
    def end(self) -> float: ...

    @property
    def flags(self) -> tuple[str, ...]: ...

    @property
    def missing(self) -> Failure | None: ...

    @property
    def missing_until(self) -> float | None: ...


class Source(Protocol):
    """Raises PermanentError when the media is bad, ResourceError when it is too big this time."""

    def prepare(self, job: Job) -> Windows: ...

    @contextmanager
    def cut(self, job: Job, windows: Windows, window: Window) -> Iterator[Cut]:
        """Open one window of a job's media."""
        raise NotImplementedError


class MediaSource:
    """The real one: ffmpeg and Pillow on a local copy."""

    def __init__(
        self, store: ObjectStore, cache: MediaCache, ffmpeg: Ffmpeg, *, window_seconds: float, engine: Capabilities
    ) -> None:
        self._store = store
        self._cache = cache
        self._ffmpeg = ffmpeg
        self._window_seconds = window_seconds
        self._engine = engine

    def prepare(self, job: Job) -> Windows:
        task = tasks.named(job.task)
        with self._local(job) as path:
            info = probe(path, self._ffmpeg)
            kinds = task.kinds(info, job.options)
            windows = choose_windows(path, info, self._window_seconds, self._ffmpeg)
        return Windows(media=info, kinds=kinds, limits=self._engine.limits, windows=windows, fold=task.fold(info))

    @contextmanager
    def cut(self, job: Job, windows: Windows, window: Window) -> Iterator[Cut]:
        with self._local(job) as path:
            yield SoundCut(path, windows, window, self._ffmpeg)

    @contextmanager
    def _local(self, job: Job) -> Iterator[Path]:
        def fetch(target: Path) -> None:
            self._store.download(job.media.key, target)

        with self._cache.hold(job.media.sha256, job.media.size, fetch) as path:
            yield path


class SoundCut(WindowCut):
    """The clips of speech of a window."""

    def __init__(self, path: Path, windows: Windows, window: Window, ffmpeg: Ffmpeg) -> None:
        super().__init__(path, windows.media, window, windows.limits.clip_seconds, ffmpeg)
