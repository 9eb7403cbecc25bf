"""How long the jobs are that are let in: guessed by their size, then as whoever looked at them told the ledger."""

from collections.abc import Set

from pipeline.admission import CHARACTER_SECONDS, Admission
from pipeline.job import Media
from pipeline.ledger import Ledger

#: Bytes of a second of media: more than speech as mp3 has, less than a video. It is corrected as soon as more is known.
BYTES_PER_SECOND = 64_000
#: No medium has a second in less. What seems to have is text, whose length is told in characters.
LEAST_BYTES_PER_SECOND = 4


def guess(media: Media) -> float | None:
    """Media-seconds of a file, by its size; None where that is not known."""
    return media.size / BYTES_PER_SECOND if media.size else None


def measured(length: float, size: int) -> float:
    """Media-seconds by the length that the ledger was told: seconds, or the characters of a text."""
    return length * CHARACTER_SECONDS if length * LEAST_BYTES_PER_SECOND > size > 0 else length


class Lengths:
    """Tells the admission how long jobs in flight are as soon as that is known. Memory: those of which it is not."""

    def __init__(self, ledger: Ledger, admission: Admission) -> None:
        self._ledger = ledger
        self._admission = admission
        self._sizes: dict[str, int] = {}

    def expect(self, job: str, size: int) -> None:
        """This one is in flight; the size of its media in bytes."""
        self._sizes[job] = size

    def look(self, in_flight: Set[str]) -> None:
        for job, size in list(self._sizes.items()):
            length = self._ledger.figures(job).get("seconds") if job in in_flight else None
            if length is not None:
                self._admission.known(job, measured(length, size))
            if length is not None or job not in in_flight:
                del self._sizes[job]
