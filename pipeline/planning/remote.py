"""Media in a bucket, fetched as far as it takes to describe it.

Sound and video tell what they are at their two ends: of a large file, both are put into a local file of the same size
that has a hole between them. That is enough for what is read in order (as much of it as ffprobe ever looks through lies
in the first end) and for an index at either end. When such a file is refused all the same, the whole of it is fetched
and looked at before anything is said. Pictures and texts are read whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TypeVar

from pipeline.errors import LimitError, PermanentError
from pipeline.limits import within
from pipeline.media import sniff
from pipeline.settings import Limits
from pipeline.store import S3Store

END_BYTES = 8 << 20  # fetched of each end; ffprobe looks through 5 MB (its `probesize`) unless told otherwise

Looked = TypeVar("Looked")


@dataclass(frozen=True, slots=True)
class Remote:
    """An object of any bucket, whoever put it there."""

    store: S3Store
    key: str
    size: int
    etag: str = ""  #: its store's mark of its bytes; empty: nobody asked

    def look(self, look: Callable[[Path], Looked], limits: Limits, folder: Path | None) -> Looked:
        """What `look` says of the object, given a local file in `folder`. Raises as `look`, and TransientError."""
        within(limits, "file_bytes", self.size, "size", " bytes")
        if self.size > 2 * END_BYTES and self._is_timed():
            try:
                with self._local(folder, whole=False) as path:
                    return look(path)
            except LimitError:  # told by a header, and that was there
                raise
            except PermanentError:
                pass
        with self._local(folder, whole=True) as path:
            return look(path)

    def _is_timed(self) -> bool:
        with NamedTemporaryFile(prefix="reelmill-") as file:
            self.store.copy(self.key, 0, sniff.HEAD_BYTES, file)
            file.seek(0)
            return sniff.recognise(file.read()).kind == "timed"

    @contextmanager
    def _local(self, folder: Path | None, *, whole: bool) -> Iterator[Path]:
        with NamedTemporaryFile(prefix="reelmill-", dir=folder) as file:
            if whole:
                self._fetch(file, 0, self.size)
            else:
                self._fetch(file, 0, END_BYTES)
                self._fetch(file, self.size - END_BYTES, END_BYTES)
            file.flush()
            yield Path(file.name)

    def _fetch(self, file: IO[bytes], start: int, length: int) -> None:
        if length:
            file.seek(start)
            self.store.copy(self.key, start, length, file)


def listed(store: S3Store, prefix: str) -> Iterator[Remote]:
    """What lies under a prefix of a bucket, without the empty objects that stand for folders."""
    for key, etag, size in store.marks(prefix):
        if not (key.endswith("/") and size == 0):
            yield Remote(store, key, size, etag)
