"""What becomes of a file on its way through the real probe and the real cut."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.engines import Capabilities
from pipeline.errors import PermanentError, ResourceError
from pipeline.job import Job, Media, SegmentLimits
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.payload import Piece
from pipeline.settings import Cutting, Video
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore, file_sha256
from tests.doubles import a_job


@dataclass(frozen=True)
class Outcome:
    """`refused`: the reason why there is no result. `missing`: why there is only a part of one."""

    refused: str | None
    pieces: tuple[Piece, ...] = ()
    missing: str | None = None

    def __bool__(self) -> bool:
        """Whether there is anything of the file."""
        return any(piece.payload.pcm or piece.payload.frames or piece.payload.text for piece in self.pieces)


class Mill:
    """The media stages on a bucket of their own. Anything but a result or a refusal is raised."""

    def __init__(self, folder: Path, ffmpeg: Ffmpeg) -> None:
        self.ffmpeg = ffmpeg
        limits = SegmentLimits(clip_seconds=5.0, images=4, image_pixels=64)
        self._store = DirectoryStore(folder / "bucket")
        self._source = MediaSource(
            self._store,
            MediaCache(folder / "cache", 10**9),
            ffmpeg,
            cutting=Cutting(window_seconds=60),
            video=Video(frames_per_second=1),
            engine=Capabilities(kinds=frozenset({"sound", "image", "text"}), limits=limits, max_batch=1, max_cost=1),
        )

    def run(self, path: Path, name: str = "hostile") -> Outcome:
        """All windows of a file, of every kind that is in it."""
        job = self._job(path, name)
        pieces: list[Piece] = []
        missing = None
        try:
            windows = self._source.prepare(job)
            for window in windows.windows:
                with self._source.cut(job, windows, window) as cut:
                    pieces += cut
                    missing = missing or (cut.missing.reason if cut.missing else None)
        except (PermanentError, ResourceError) as error:
            return Outcome(error.reason, tuple(pieces))
        return Outcome(None, tuple(pieces), missing)

    def _job(self, path: Path, name: str) -> Job:
        sha256 = file_sha256(path)
        media = Media(name=name, key=f"media/{sha256}", sha256=sha256, size=path.stat().st_size)
        self._store.upload(media.key, path)
        return a_job().model_copy(update={"media": media, "task": "summarize"})
