"""Sound that comes out of the process that samples the frames of the same window, kept until somebody reads it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import PermanentError
from pipeline.media.arguments import Sound
from pipeline.media.ffmpeg import Ending
from pipeline.media.sound.placing import Placing

_IN_MEMORY = 32_000_000  # bytes, a quarter of an hour of sound; what is more lies on disk
_CHUNK = 1 << 16  # bytes read at once


class Spool:
    """Bytes that are taken in the order they were put: in memory as long as they are few, else in a temporary file."""

    def __init__(self) -> None:
        self._first = bytearray()
        self._rest = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        self._read = self._written = 0  # bytes of that file

    def __len__(self) -> int:
        return len(self._first) + self._written - self._read

    def put(self, data: bytes) -> None:
        if self._written == 0 and len(self._first) + len(data) <= _IN_MEMORY:
            self._first += data
            return
        self._rest.seek(self._written)
        self._rest.write(data)
        self._written += len(data)

    def take(self, most: int) -> bytes:
        """So many bytes, or all that there are."""
        found = bytes(self._first[:most])
        del self._first[:most]
        if len(found) < most and self._written:
            self._rest.seek(self._read)
            rest = self._rest.read(most - len(found))
            found += rest
            self._read += len(rest)
            if self._read == self._written:
                self._rest.truncate(0)
                self._read = self._written = 0
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
        self._placing = Placing()
        self._spool = Spool()
        self._received = 0
        self._ending: Ending | None = None

    def heed(self, line: bytes) -> bytes:
        """Read what the process says about the sound; returns what it says otherwise."""
        return self._placing.heed(line)

    def put(self, data: bytes) -> None:
        """Keep what the process wrote. Raises PermanentError when that is more than it was asked for."""
        for placed in self._placing.put(data):
            self._received += len(placed)
            if self.wanted is None or self._received > self.wanted.most:
                raise PermanentError(
                    "its decoder writes more than it was asked for", f"{self._received} bytes of sound"
                )
            self._spool.put(placed)

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
