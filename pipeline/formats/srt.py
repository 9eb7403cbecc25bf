"""SubRip captions. The format has no escapes and no comments: text stands as it is, provenance is in `result.json`."""

from pipeline.formats.cues import Cue, cues, timestamp, with_speaker
from pipeline.job import Result

SUFFIX = "srt"
CONTENT_TYPE = "application/x-subrip"
TIMED = True


def render(result: Result) -> str:
    """Numbered cues; nothing at all for a transcript without text."""
    return "\n".join(_block(number, cue) for number, cue in enumerate(cues(result.segments), start=1))


def _block(number: int, cue: Cue) -> str:
    times = f"{timestamp(cue.start, ',')} --> {timestamp(cue.end, ',')}"
    return "".join(f"{line}\n" for line in (str(number), times, *with_speaker(cue)))
