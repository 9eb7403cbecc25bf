"""WebVTT captions, with a note at the top that says which model made them."""

from collections.abc import Iterator

from pipeline.formats.cues import Cue, cues, timestamp, without_arrows
from pipeline.formats.phrases import DOUBT, clean
from pipeline.job import Result

SUFFIX = "vtt"
CONTENT_TYPE = "text/vtt; charset=utf-8"
TIMED = True


def render(result: Result) -> str:
    """Header, note and cues; a transcript without text is header and note alone."""
    note = "".join(f"{without_arrows(clean(line))}\n" for line in _note(result))
    return "\n".join(["WEBVTT\n", f"NOTE\n{note}", *(_block(cue) for cue in cues(result.segments))])


def _note(result: Result) -> Iterator[str]:
    """Lines of plain text; none is empty, as an empty line would end the note."""
    yield f"model output, made with reelmill {result.provenance.reelmill}"
    yield f"job: {result.job}"
    yield f"status: {result.status}" + (f" ({result.error})" if result.error else "")
    # Some origins differ only by their prompt, which is told in the JSON.
    yield from dict.fromkeys(
        f"engine: {origin.engine}, model: {origin.model}, revision: {origin.revision}"
        for origin in result.provenance.origins
    )
    if any("suspect" in segment.flags for segment in result.segments):
        yield f"{DOUBT} marks text that may not be what was said"


def _block(cue: Cue) -> str:
    times = f"{timestamp(cue.start, '.')} --> {timestamp(cue.end, '.')}"
    first, *others = map(_escaped, cue.lines)
    voice = "" if cue.speaker is None else f"<v {_escaped(cue.speaker)}>"
    return "".join(f"{line}\n" for line in (times, f"{voice}{first}", *others))


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
