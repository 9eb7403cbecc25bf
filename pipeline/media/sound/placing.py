"""Sound put where it belongs in time: silence for what is missing, and nothing twice. Pure.

What ffmpeg writes are samples in a row, without their times. A row breaks off where the sound of a file changes its
rate or its channels: ffmpeg sets up its filters anew and throws away what was in them. It is asked to tell on standard
error where each row begins.
"""

import math
import re
from collections import deque
from collections.abc import Iterator

from pipeline.errors import WorldError
from pipeline.job import SAMPLE_RATE

#: Tell both numbers of a note from each other, and from all that ffmpeg says otherwise.
_WRITTEN, _PLACE = 0.140625, 0.859375
_NOTE = re.compile(rb"(?:\[Eval @ \w+\] )?(-?\d+\.(?:140625|859375))$")
_BROKEN_SAMPLES = 16  # by which the times of sound that follows on may be off: clocks may tick in milliseconds
#: The level of what ffmpeg is told to say, and above.
ERROR = 16
_SILENCE = bytes(1 << 16)


def row_notes(sample_bytes: int, *, is_one: bool = False) -> str:
    """An expression, evaluated for each packet of sound and always 0, that prints a note where a row of them begins.

    The note is how much was written before, and where the row belongs, both in bytes. `is_one`: all follows on.
    """
    # Numbers are doubles: beyond that, which is a year, they would lose what tells them apart.
    place = f"clip(round(pts*tb*{SAMPLE_RATE})*{sample_bytes},-1e12,1e12)"
    written, expected, is_told = "ld(0)", "ld(1)", "ld(2)"
    follows = is_told if is_one else f"{is_told}*lt(abs({place}-{expected}),{_BROKEN_SAMPLES * sample_bytes})"
    note = f"print({written}+{_WRITTEN},{ERROR});print({place}+{_PLACE},{ERROR});st(1,{place})"
    return f"if({follows},0,{note});st(2,1);st(0,{written}+size);st(1,{expected}+size);0"


class Placing:
    """Feed it what ffmpeg says and writes, in that order; take sound that begins at the start of the output's clock.

    All is counted in bytes. Where rows overlap, what came first stays.
    """

    def __init__(self) -> None:
        self._rows: deque[tuple[int, int]] = deque()  # how much was written before a row, and where it belongs
        self._written = 0  # of the next row that is told of
        self._taken = 0
        self._end = 0  # of what was given
        self._surplus = 0  # of what comes, lies before that end
        self._is_told = False

    def heed(self, line: bytes) -> bytes:
        """Read a line of ffmpeg's errors; returns what of it is no note."""
        found = _NOTE.search(line)
        if found is None:
            return line
        number = float(found[1])
        whole = math.floor(number)
        if number - whole == _WRITTEN:
            self._written = whole
        else:
            self._rows.append((self._written, whole))
            self._is_told = True
        return line[: found.start()]

    def put(self, data: bytes) -> Iterator[bytes]:
        """Sound as it was written; yields it with silence in front where some is missing.

        Raises WorldError when ffmpeg has not told where it belongs.
        """
        if not self._is_told:
            raise WorldError("this ffmpeg does not tell the times of sound: reelmill cannot use it")
        while data:
            if self._rows and self._rows[0][0] <= self._taken:
                yield from self._begin(self._rows.popleft()[1])
                continue
            row = data[: self._rows[0][0] - self._taken] if self._rows else data
            data = data[len(row) :]
            self._taken += len(row)
            kept = row[self._surplus :]
            self._surplus -= len(row) - len(kept)
            self._end += len(kept)
            if kept:
                yield kept

    def _begin(self, place: int) -> Iterator[bytes]:
        self._surplus = max(0, self._end - place)
        while (missing := place - self._end) > 0:
            silence = _SILENCE[:missing]
            self._end += len(silence)
            yield silence
