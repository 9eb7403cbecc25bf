"""Captions: the segments of a transcript as cues that fit on a screen and follow one another in time.

Within a segment nothing is known of when each word is said, so its time is divided by the room the text takes up.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from re import Pattern

from pipeline.formats.phrases import DOUBT, PHRASE_END, SENTENCE_END, clean, width, words
from pipeline.job import Seconds, TextSegment

MAX_LINES = 2
LINE_WIDTH = 42  # columns
MAX_CUE = 7_000  # ms that one cue of what was said stays on the screen
MIN_CUE = 1  # ms, for text that has no time of its own: no cue may be empty

Words = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One caption. Its lines hold neither line breaks nor `-->`; markup is not yet escaped."""

    start: int  #: ms
    end: int  #: ms, after `start`
    lines: tuple[str, ...]
    speaker: str | None = None


def milliseconds(time: Seconds) -> int:
    return max(0, round(time * 1000))


def timestamp(time: int, mark: str) -> str:
    """`hh:mm:ss`, the decimal mark, and ms. Takes whole ms, so that rounding was carried before."""
    seconds, ms = divmod(time, 1000)
    return f"{clock(seconds)}{mark}{ms:03d}"


def clock(seconds: int) -> str:
    """`hh:mm:ss`; hours may have more digits."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def is_missing(segment: TextSegment) -> bool:
    return "missing" in segment.flags


def shown(segments: Iterable[TextSegment]) -> list[TextSegment]:
    """What a reader is shown, in time order: text and missing stretches, not the stretches without speech."""
    visible = [s for s in segments if is_missing(s) or ("no_speech" not in s.flags and clean(s.text))]
    return sorted(visible, key=lambda segment: milliseconds(segment.start))


def spoken(segment: TextSegment) -> str:
    """Its text, clean, with a mark behind it when it is in doubt."""
    return clean(segment.text) + (DOUBT if "suspect" in segment.flags else "")


def without_arrows(text: str) -> str:
    """`-->` separates times and may stand nowhere else in a caption file."""
    return text.replace("-->", "-- >")


def cues(segments: Iterable[TextSegment]) -> list[Cue]:
    """All cues of a document, in order: what each speaker says, and what is seen, each on a track of its own.

    Beside what is said, what is seen stands in brackets. No cue overlaps another of its track.
    """
    every = told_apart(segments)
    tracks: dict[tuple[bool, str], list[TextSegment]] = {}
    for segment in every:
        tracks.setdefault((segment.kind != "sound", segment.speaker or ""), []).append(segment)
    made = [cue for key in sorted(tracks) for cue in _track(tracks[key])]
    return sorted(made, key=lambda cue: (cue.start, cue.end))


def with_speaker(cue: Cue) -> tuple[str, ...]:
    """The lines of a cue, with the name of the speaker in front, for formats that have no place of its own for it."""
    return cue.lines if cue.speaker is None else (f"{cue.speaker}: {cue.lines[0]}", *cue.lines[1:])


def told_apart(segments: Iterable[TextSegment]) -> list[TextSegment]:
    """Segments with brackets around what is seen, if something is said beside it."""
    every = list(segments)
    if not any(segment.kind == "sound" and not is_missing(segment) for segment in shown(every)):
        return every
    return [
        segment.model_copy(update={"text": f"[{clean(segment.text)}]"})
        if segment.text and segment.kind != "sound"
        else segment
        for segment in every
    ]


def _track(segments: Iterable[TextSegment]) -> list[Cue]:
    """Where segments overlap, the earlier one ends when the next starts; where that leaves no time, the next waits."""
    made: list[Cue] = []
    visible = shown(segments)
    for index, segment in enumerate(visible):
        start = max(milliseconds(segment.start), made[-1].end if made else 0)
        end = milliseconds(segment.end)
        if index + 1 < len(visible):
            end = min(end, milliseconds(visible[index + 1].start))
        make = _missing_cue if is_missing(segment) else _text_cues
        made += make(segment, start, max(end, start + MIN_CUE))
    return made


def _missing_cue(segment: TextSegment, start: int, end: int) -> list[Cue]:
    """One cue for as long as the stretch lasts, however long: a gap must be seen at any point of it."""
    reason = clean(segment.reason or "")
    note = without_arrows(f"[missing: {reason}]" if reason else "[missing]")
    return [Cue(start=start, end=end, lines=_lines(words(note)), speaker=segment.speaker)]


def _text_cues(segment: TextSegment, start: int, end: int) -> list[Cue]:
    # What was said is read and gone; what is seen stays for as long as it is seen.
    is_said = segment.kind == "sound"
    pieces = _pieces(words(without_arrows(spoken(segment))), end - start if is_said else 0)
    times = _divided(start, end, [_columns(piece) for piece in pieces])
    return [
        Cue(
            start=begin,
            end=min(finish, begin + MAX_CUE) if is_said else finish,
            lines=_lines(piece),
            speaker=segment.speaker,
        )
        for piece, (begin, finish) in zip(pieces, times, strict=True)
    ]


def _divided(start: int, end: int, weights: Sequence[int]) -> list[tuple[int, int]]:
    """A stretch of time cut in proportion to the weights; it grows if there is not even MIN_CUE for each."""
    total = sum(weights)
    bounds = [start]
    for weight in accumulate(weights):
        bounds.append(max(start + (end - start) * weight // total, bounds[-1] + MIN_CUE))
    return list(pairwise(bounds))


def _pieces(text: Words, time: float) -> list[Words]:
    """Words cut in halves until each piece fits on the screen and in MAX_CUE.

    A piece that fits on one line is cut only between sentences, however long its time (ms): such slow text is mostly
    silence, and half a phrase helps nobody.
    """
    if len(_lines(text)) <= MAX_LINES and time <= MAX_CUE:
        return [text]
    cuts = range(1, len(text))
    cut = _cut_at(text, cuts, SENTENCE_END) if _fits_line(text) else _best_cut(text, cuts)
    if cut is None:
        return [text]
    parts = text[:cut], text[cut:]
    total = sum(_columns(part) for part in parts)
    return [piece for part in parts for piece in _pieces(part, time * _columns(part) / total)]


def _lines(text: Words) -> tuple[str, ...]:
    """The words on one line, else on two that end well, else on as many as they need.

    A word wider than a line is kept whole and has a line for itself.
    """
    if _fits_line(text):
        return (_text(text),)
    filled = _filled(text)
    if len(filled) > 2:
        return filled
    cut = _best_cut(text, [i for i in range(1, len(text)) if _fits_line(text[:i]) and _fits_line(text[i:])])
    return filled if cut is None else (_text(text[:cut]), _text(text[cut:]))


def _filled(text: Words) -> tuple[str, ...]:
    """The words on as few lines as they need."""
    lines: list[list[str]] = []
    room = 0
    for word in text:
        if not lines or width(word.strip()) > room:
            lines.append([])
            room = LINE_WIDTH
        lines[-1].append(word)
        room -= width(word)
    return tuple(_text(line) for line in lines)


def _best_cut(text: Words, cuts: Sequence[int]) -> int | None:
    """Where words are best parted in two: behind a sentence, else a phrase, else the word nearest the middle."""
    for ending in (SENTENCE_END, PHRASE_END):
        if cut := _cut_at(text, cuts, ending):
            return cut
    return min(cuts, key=_distance(text), default=None)


def _cut_at(text: Words, cuts: Sequence[int], ending: Pattern[str]) -> int | None:
    """The cut behind such an ending nearest the middle. Neither part may be less than a quarter: it would flash by."""
    distance = _distance(text)
    limit = _columns(text) / 4
    central = (cut for cut in cuts if ending.search(text[cut - 1]) and distance(cut) <= limit)
    return min(central, key=distance, default=None)


def _distance(text: Words) -> Callable[[int], float]:
    """How far from the middle of the words a cut lies, in columns."""
    reached = [0, *accumulate(width(word) for word in text)]
    return lambda cut: abs(reached[cut] - reached[-1] / 2)


def _fits_line(text: Words) -> bool:
    return len(text) == 1 or _columns(text) <= LINE_WIDTH


def _columns(text: Words) -> int:
    return width(_text(text))


def _text(text: Words) -> str:
    return "".join(text).strip()
