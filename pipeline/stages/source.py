"""A job's media as the stages see it: fetched from the bucket once per machine, then probed and cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pipeline.job import Failure, Job, MediaInfo, Window, Windows
from pipeline.media.audio import SpeechClip, WindowCut
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.windows import choose_windows
from pipeline.store import ObjectStore


class Cut(Protocol):
    """The clips of one window, decoded as they are iterated; what is known at the end stands in the attributes."""

    def __iter__(self) -> Iterator[SpeechClip]: ...

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
    def cut(self, job: Job, media: MediaInfo, window: Window, clip_seconds: float) -> Iterator[Cut]:
        """Open one window of a job's media."""
        raise NotImplementedError


class MediaSource:
    """The real one: ffmpeg on a local copy."""

    def __init__(
        self, store: ObjectStore, cache: MediaCache, ffmpeg: Ffmpeg, *, window_seconds: float, clip_seconds: float
    ) -> None:
        self._store = store
        self._cache = cache
        self._ffmpeg = ffmpeg
        self._window_seconds = window_seconds
        self._clip_seconds = clip_seconds

    def prepare(self, job: Job) -> Windows:
        with self._local(job) as path:
            info = probe(path, self._ffmpeg)
            windows = choose_windows(path, info, self._window_seconds, self._ffmpeg)
        return Windows(media=info, clip_seconds=self._clip_seconds, windows=windows)

    @contextmanager
    def cut(self, job: Job, media: MediaInfo, window: Window, clip_seconds: float) -> Iterator[Cut]:
        with self._local(job) as path:
            yield WindowCut(path, media, window, clip_seconds, self._ffmpeg)

    @contextmanager
    def _local(self, job: Job) -> Iterator[Path]:
        def fetch(target: Path) -> None:
            self._store.download(job.media.key, target)

        with self._cache.hold(job.media.sha256, job.media.size, fetch) as path:
            yield path
