"""Plain text for reading: paragraphs, no times.

Where answers were put together into one, that answer is the text. What is seen (captions) stands line by line with
its times, what is said beside it with the time it starts; then brackets tell what is seen. Text that may not be what
was said (a suspect segment) has `[?]` behind it. A stretch that could not be transcribed stands on a line of its own
with its times (or pages, or characters) and the reason. Where speakers are told apart, what each says in one go has
their name in front.
"""

from collections.abc import Iterator
from itertools import groupby

from pipeline.formats.cues import clock, is_missing, milliseconds, shown, spoken, told_apart
from pipeline.formats.phrases import SENTENCE_END, clean, join, sentences
from pipeline.job import MediaInfo, Result, TextSegment

SUFFIX = "txt"
CONTENT_TYPE = "text/plain; charset=utf-8"
TIMED = False

PAUSE = 2_000  # ms of silence that start a new paragraph
PARAGRAPH = 700  # characters after which the next sentence starts a new paragraph
LONGEST = 2 * PARAGRAPH  # characters after which the next segment does, if no sentence ever ends


def render(result: Result) -> str:
    """One paragraph per line, an empty line between them. A job without a transcript says why."""
    blocks = list(_paragraphs(result))
    if not blocks and result.error:
        blocks = [f"[no transcript: {clean(result.error)}]"]
    return "".join(f"{block}\n" for block in _spaced(blocks))


def _paragraphs(result: Result) -> Iterator[str]:
    segments, info = shown(result.segments), result.media.info
    if result.folded:
        yield from (clean(line) for line in result.text.splitlines() if clean(line))
        yield from (_missing(segment, info) for segment in segments if is_missing(segment))
    elif all(segment.kind == "sound" for segment in segments):
        for speaker, turn in groupby(segments, lambda segment: segment.speaker):
            blocks = _blocks(list(turn))
            yield from blocks if speaker is None else _named(speaker, blocks)
    else:
        timed = info is not None and info.is_timed
        for segment in told_apart(segments):
            yield _missing(segment, info) if is_missing(segment) else _line(segment, timed=timed)


def _named(speaker: str, blocks: Iterator[str]) -> Iterator[str]:
    for index, block in enumerate(blocks):
        yield block if index else f"{speaker}: {block}"


def _line(segment: TextSegment, *, timed: bool) -> str:
    """A caption, words beside it, or a part of a text as it was written."""
    if not timed:
        return segment.text.strip()
    start, end = milliseconds(segment.start) // 1000, -(-milliseconds(segment.end) // 1000)
    when = clock(start) if segment.kind == "sound" else f"{clock(start)} - {clock(end)}"
    who = "" if segment.speaker is None else f"{segment.speaker}: "
    return f"[{when}] {who}{spoken(segment)}"


def _spaced(blocks: list[str]) -> Iterator[str]:
    for index, block in enumerate(blocks):
        yield f"\n{block}" if index else block


def _blocks(segments: list[TextSegment]) -> Iterator[str]:
    """Paragraphs and missing stretches, in order."""
    paragraph, heard_until = "", 0
    for segment in segments:
        if paragraph and (is_missing(segment) or milliseconds(segment.start) - heard_until >= PAUSE):
            yield paragraph
            paragraph = ""
        if is_missing(segment):
            yield _missing(segment)
            continue
        for sentence in sentences(spoken(segment)):
            if _is_full(paragraph):
                yield paragraph
                paragraph = ""
            paragraph = join(paragraph, sentence)
        heard_until = milliseconds(segment.end)
    if paragraph:
        yield paragraph


def _is_full(paragraph: str) -> bool:
    ends_well = SENTENCE_END.search(paragraph) is not None
    return len(paragraph) >= (PARAGRAPH if ends_well else LONGEST)


def _missing(segment: TextSegment, info: MediaInfo | None = None) -> str:
    reason = clean(segment.reason or "")
    return f"[missing {_place(segment, info)}{f': {reason}' if reason else ''}]"


def _place(segment: TextSegment, info: MediaInfo | None) -> str:
    """Pages counted from 1, characters, or whole seconds that cover the stretch: from at or before its start to at or
    after its end."""
    if info is not None and info.kind == "picture":
        first, last = round(segment.start) + 1, round(segment.end) + 1
        return f"page {first}" if first == last else f"pages {first} - {last}"
    if info is not None and info.kind == "text":
        return f"characters {round(segment.start)} - {round(segment.end)}"
    start, end = milliseconds(segment.start) // 1000, -(-milliseconds(segment.end) // 1000)
    return f"{clock(start)} - {clock(end)}"
