"""fold: put the answers about the parts of a job together, as text that can be asked about again.

A fold is a window whose media is the answers so far. Its number follows the last one's, so it is planned, answered and
completed like any other, and any stage may die in it.
"""

from collections.abc import Iterator, Sequence

from pipeline import keys
from pipeline.errors import PermanentError
from pipeline.formats.cues import clock
from pipeline.job import PLANNED, Answer, Failure, Plan, Segment, Windows
from pipeline.payload import Payload, Piece
from pipeline.stages import Ports
from pipeline.stages.outcomes import read_answers

MAX_FOLDS = 8

_WAYS = {"frames": "seen", "picture": "seen", "sound": "said"}


def folded(job: str, windows: Windows, window: int, ports: Ports) -> list[Piece]:
    """The pieces of text that the fold with number `window` asks about; none when there is no text at all.

    The answers it reads are final, so that it gives the same pieces whenever it runs. Raises PermanentError when
    folding leads nowhere.
    """
    previous = _previous(window, len(windows.windows))
    plans = [PLANNED.validate_json(ports.store.get(keys.plan(job, number))) for number in previous]
    segments = [segment for plan in plans if isinstance(plan, Plan) for segment in plan.segments]
    mixed = len({segment.kind for segment in segments}) > 1
    answers = {
        place: outcome
        for plan in plans
        if isinstance(plan, Plan)
        for place, outcome in read_answers(ports.store, job, plan).items()
    }
    lines: list[tuple[Segment, str]] = []
    for segment in sorted(segments, key=lambda segment: (segment.window, segment.start, segment.index)):
        text = _told(answers[segment.window, segment.index])
        if text:
            lines.append((segment, _line(segment, text, timed=windows.media.is_timed, mixed=mixed)))
    pieces = list(packed(lines, windows.limits.text_characters))
    is_first = window == len(windows.windows)
    if window - len(windows.windows) >= MAX_FOLDS or (not is_first and len(pieces) >= len(segments) > 1):
        raise PermanentError("the answers about the parts do not become fewer when they are put together")
    return pieces


def _previous(window: int, num_windows: int) -> Sequence[int]:
    """The windows that a fold reads: those of the media, or the fold before it."""
    return range(num_windows) if window == num_windows else [window - 1]


def _told(answer: Answer | Failure) -> str:
    if isinstance(answer, Failure):
        return f"[missing: {answer.reason}]"
    return answer.text


def _line(segment: Segment, text: str, *, timed: bool, mixed: bool) -> str:
    way = f"{_WAYS[segment.kind]}: " if mixed and segment.kind in _WAYS else ""
    place = f"[{clock(int(segment.start))}] " if timed else ""
    who = f"{segment.speaker}: " if segment.speaker else ""
    return f"{place}{way}{who}{text}"


def packed(lines: Sequence[tuple[Segment, str]], longest: int) -> Iterator[Piece]:
    """Lines in pieces of at most `longest` characters; a line that is longer by itself is divided."""
    held: list[str] = []
    start = end = 0.0
    for segment, line in lines:
        for part in _parts(line, longest):
            if held and sum(map(len, held)) + len(held) + len(part) > longest:
                yield _piece(start, end, held)
                held = []
            if not held:
                start = segment.start
            held.append(part)
            end = segment.end
    if held:
        yield _piece(start, end, held)


def _parts(line: str, longest: int) -> Iterator[str]:
    """A line in parts of at most `longest` characters, between words where there are any."""
    while len(line) > longest:
        space = line.rfind(" ", 0, longest + 1)
        end = space if space > 0 else longest
        yield line[:end]
        line = line[end:].lstrip()
    yield line


def _piece(start: float, end: float, lines: Sequence[str]) -> Piece:
    return Piece(start, end, Payload(kind="fold", text="\n".join(lines)))
