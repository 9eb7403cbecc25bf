"""What is seen and what is said on one timeline; what is seen for long is said once. Pure.

Two captions say the same when they have the same words, whatever their case and the punctuation behind the words.
Nothing less is taken for the same: one other word is another colour, number or animal, and a measure of likeness that
would merge "a red circle" with "red circle" merges "two dogs" with "ten dogs", too.
"""

import heapq
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from pipeline.job import Seconds, TextSegment

#: Kinds that show how a video goes on. The places of the others are no stretches of time.
MERGED = frozenset({"frames", "scene"})
#: Marks a stretch in which what was seen before is still seen. It becomes a part of that caption.
STILL = "still"
_ENDS = ".,;:!?…。，、；：！？"


def timeline(segments: Iterable[TextSegment], step: Seconds) -> tuple[TextSegment, ...]:
    """Segments in order of time, each kind and speaker in its own order; of equal times, the kind that came first.

    Captions that say the same one after the other are one. `step`: between two frames that were looked at.
    """
    tracks: dict[tuple[str, str], list[TextSegment]] = {}
    for segment in segments:
        tracks.setdefault((segment.kind, segment.speaker or ""), []).append(segment)
    merged_tracks = [merged(track, step) if kind in MERGED else track for (kind, _), track in tracks.items()]
    return tuple(heapq.merge(*merged_tracks, key=lambda segment: segment.start))


def merged(captions: Sequence[TextSegment], step: Seconds) -> Iterator[TextSegment]:
    """Captions of one kind, those that say the same as the one before with the whole stretch; flags are united.

    They must follow each other without a hole: the first frame of a window may come up to one `step` after its border.
    What is missing stays what it is. A caption lasts for as long as what it tells of stands still.
    """
    held: TextSegment | None = None
    for caption in captions:
        if STILL in caption.flags:
            if held is not None and _follows(held, caption, step):
                held = held.model_copy(update={"end": max(held.end, caption.end)})
            continue
        if held is not None and _goes_on(held, caption, step):
            flags = tuple(dict.fromkeys((*held.flags, *caption.flags)))
            held = held.model_copy(update={"end": max(held.end, caption.end), "flags": flags})
            continue
        if held is not None:
            yield held
        held = caption
    if held is not None:
        yield held


def _goes_on(held: TextSegment, caption: TextSegment, step: Seconds) -> bool:
    return _follows(held, caption, step) and bool(held.text.strip()) and said(held.text) == said(caption.text)


def _follows(held: TextSegment, caption: TextSegment, step: Seconds) -> bool:
    is_there = "missing" not in held.flags and "missing" not in caption.flags
    return is_there and held.start <= caption.start <= held.end + step


def said(text: str) -> tuple[str, ...]:
    """The words of a caption as they are compared. A mark before or inside a word is part of it: -5, .5, 3:2, 1.5."""
    words = unicodedata.normalize("NFC", text).casefold().split()
    return tuple(word.rstrip(_ENDS) or word for word in words)
