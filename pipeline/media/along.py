"""Sound that comes out of the process that samples the frames of the same window, kept until somebody reads it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import PermanentError
from pipeline.media.arguments import Sound
from pipeline.media.ffmpeg import Ending

_IN_MEMORY = 32_000_000  # bytes, a quarter of an hour of sound; what is more lies on disk
_CHUNK = 1 << 16  # bytes read at once


class Spool:
    """Bytes that are taken in the order they were put: in memory as long as they are few, else in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - lives as long as this
        self._taken = 0
        self._put = 0

    def __len__(self) -> int:
        return self._put - self._taken

    def put(self, data: bytes) -> None:
        self._file.seek(self._put)
        self._file.write(data)
        self._put += len(data)

    def take(self, most: int) -> bytes:
        """So many bytes, or all that there are."""
        self._file.seek(self._taken)
        found = self._file.read(min(most, len(self)))
        self._taken += len(found)
        if not len(self):
            self._file.seek(0)
            self._file.truncate()
            self._taken = self._put = 0
        return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sound that the process is to write, too: from `start`, in seconds of the media, at most so many bytes."""

    start: float
    sound: Sound
    most: int


class Along:
    """Between the two: who wants the sound says so before the process starts, and reads what it has written."""

    def __init__(self) -> None:
        self.wanted: Wanted | None = None
        self._spool = Spool()
        self._received = 0
        self._ending: Ending | None = None

    def put(self, data: bytes) -> None:
        """Keep what the process wrote. Raises PermanentError when that is more than it was asked for."""
        self._received += len(data)
        if self.wanted is None or self._received > self.wanted.most:
            raise PermanentError("the file holds more than it may", f"{self._received} bytes of sound came")
        self._spool.put(data)

    def close(self, ending: Ending) -> None:
        """Nothing more will come: the process has ended."""
        self._ending = ending

    def holds(self, num_bytes: int) -> bool:
        """Whether so many bytes have come in all, or no more will."""
        return self._ending is not None or self._received >= num_bytes

    def chunks(self, ending: Ending) -> Iterator[bytes]:
        """What has come; how the process ended is in `ending` once that is all.

        To be read behind the process, not beside it: it cannot wait for what has not come.
        """
        while chunk := self._spool.take(_CHUNK):
            yield chunk
        if self._ending is None:
            raise RuntimeError("the sound is read before the process has written it")
        ending.code, ending.stderr = self._ending.code, self._ending.stderr
