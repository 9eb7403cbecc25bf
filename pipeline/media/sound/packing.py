"""Where a clip of speech begins and ends: as much speech as fits, and no cut inside a word. Pure.

Levels tell where a pause surely is. Where they tell of none near the place at which a cut is due, a voice activity
detector is asked about the sound around that place, if there is one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.media.sound.levels import FRAMES_PER_SECOND, Active, Levels, quietest, silences

# All in frames of 20 ms.
_MARGIN = 10  # kept around speech...
WIDEST_MARGIN = 25  # ...that stands out, and around any other: it may begin or end with a sound too weak to be told
_GAP = 10  # shortest silence to cut in; a shorter one is part of a word
#: A silence that ends a clip, though more would fit. Shorter ones inside a clip do whisper no harm: over pauses of 0.3
#: to 6 s it makes fewer errors in packed clips. Over pauses of 2 to 12 s it makes more.
_BREAK = 8 * FRAMES_PER_SECOND
_SHORTEST = 6  # a clip is never shorter, unless the sound is
_PIECE = 4 * FRAMES_PER_SECOND  # the detector listens to so much at once, from the latest possible cut backwards
_AROUND = 7  # on each side of a cut nobody may be heard by the detector...
_VOICE = 0.2  # ...at this probability. So measured on talk over babble, music and noise at 10 dB: no cut in speech.

Gap = tuple[int, int]  # first frame, one past the last
#: From the frames [first, end) to the probability that somebody speaks in each of them.
Voice = Callable[[int, int], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a stretch of sound, frame by frame; all arrays of shape (frames,)."""

    active: Active
    level: Levels
    needed: NDArray[np.int16]  #: frames that a silence there must last to be a pause beyond doubt

    def margin(self, frame: int) -> int:
        """Frames kept before or after speech that begins or ends there."""
        return _MARGIN if self.needed[frame] <= _GAP else WIDEST_MARGIN

    def end_in(self, gap: Gap, end: int) -> int:
        """Where a clip ends, at `end` at the latest, if a gap follows its last word: each side keeps its share."""
        first, stop = gap
        return min(first + min((stop - first) // 2, self.margin(first - 1)), end)

    def pauses(self) -> list[Gap]:
        """The silences that are pauses beyond doubt."""
        return [gap for gap in silences(self.active) if gap[1] - gap[0] >= self.needed[max(0, gap[0] - 1)]]


def next_clip(heard: Heard, limit: int, voice: Voice | None, *, is_last: bool) -> Gap | None:
    """First and one-past-last frame of the first clip, at most `limit` frames long; None without one.

    None also means that more must be known to decide, unless `is_last`: then the sound ends where the arrays end.
    """
    known = len(heard.active)
    speech = np.flatnonzero(heard.active)
    if not len(speech):
        return None
    begin, last = int(speech[0]), int(speech[-1])
    start = max(0, begin - heard.margin(begin))
    end = start + limit
    for gap in heard.pauses():
        if begin < gap[0] <= end and gap[1] - gap[0] >= _BREAK:
            return start, heard.end_in(gap, end)
    if is_last and last < end:
        return start, min(last + 1 + heard.margin(last), known, end)
    if not is_last and known < end + limit + 2 * _MARGIN:
        return None
    return start, _end(heard, start, end, voice, is_last=is_last)


def _end(heard: Heard, start: int, end: int, voice: Voice | None, *, is_last: bool) -> int:
    """Where a clip that begins at `start` is cut, at `end` at the latest; there is speech behind."""
    pauses = [gap for gap in heard.pauses() if start + _MARGIN < gap[0]]
    fitting = [gap for gap in pauses if gap[0] + heard.margin(gap[0]) // 2 <= end]
    late = start + 2 * (end - start) // 3
    if fitting and fitting[-1][1] >= late:
        return heard.end_in(_best(fitting, pauses, heard, end - start, is_last=is_last), end)
    latest = min(end, len(heard.active) - _SHORTEST) if is_last else end
    if voice is None:
        gaps = [gap for gap in silences(heard.active) if start < gap[0] <= end and gap[1] - gap[0] >= _GAP]
        return heard.end_in(gaps[-1], end) if gaps else quietest(heard.level, late, latest + 1)
    place, loudest = unvoiced(voice, late, latest + 1, len(heard.active))
    if loudest < _VOICE:
        return place
    if fitting:
        return heard.end_in(fitting[-1], end)
    other, other_loudest = unvoiced(voice, start + (end - start) // 3, late, len(heard.active))
    return other if other_loudest < loudest else place


def _best(fitting: list[Gap], pauses: list[Gap], heard: Heard, limit: int, *, is_last: bool) -> Gap:
    """The longest pause of those with which the clip after this one ends as late as with the last of them.

    So looking ahead costs no clip, but one ends between sentences rather than between words, and a long silence lies
    between clips rather than in one.
    """
    speech = np.flatnonzero(heard.active)

    def reach(gap: Gap) -> int:
        """The last pause that the next clip could end in, or the end of all."""
        following = speech[np.searchsorted(speech, gap[1]) :]
        if not len(following):
            return len(heard.active)
        end = int(following[0]) - heard.margin(following[0]) + limit
        if is_last and int(following[-1]) < end:
            return len(heard.active)
        return max((first for first, _ in pauses if gap[1] < first <= end), default=gap[1])

    furthest = reach(fitting[-1])
    equal = [gap for gap in fitting if reach(gap) >= furthest]
    return max(equal, key=lambda gap: (gap[1] - gap[0], gap[0]))


def unvoiced(voice: Voice, first: int, end: int, known: int) -> tuple[int, float]:
    """The last frame in [first, end) around which nobody speaks, else the one where it is least likely that one does.

    Also gives the highest probability of speech around it. The detector listens no further than it must.
    """
    best, least = end - 1, np.inf
    for stop in range(end, first, -_PIECE):
        begin = max(first, stop - _PIECE)
        before, behind = max(0, begin - _AROUND), min(known, stop + _AROUND)
        around = _highest(voice(before, behind))[begin - before : stop - before]
        quiet = np.flatnonzero(around < _VOICE)
        if len(quiet):
            place = _in_run(quiet)
            return begin + place, float(around[place])
        if around.min(initial=np.inf) < least:
            best, least = begin + int(np.argmin(around)), float(around.min())
    return best, float(least)


def _in_run(quiet: NDArray[np.intp]) -> int:
    """The middle of the last run of frames, or later in a long one: what is quiet may still be music."""
    breaks = np.flatnonzero(np.diff(quiet) > 1)
    first, last = int(quiet[breaks[-1] + 1] if len(breaks) else quiet[0]), int(quiet[-1])
    return max((first + last) // 2, last - _MARGIN)


def _highest(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each frame the highest probability around it."""
    padded = np.pad(probabilities, _AROUND, mode="edge")
    found: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1).max(axis=1)
    return found
