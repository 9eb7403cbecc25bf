"""Subtitles that a file brings along: which there are, and those that are text as WebVTT documents of their own."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PermanentError, ResourceError
from pipeline.job import MediaInfo, SubtitleStream
from pipeline.media import arguments
from pipeline.media.blocks import Block, blocks
from pipeline.media.ffmpeg import Ffmpeg

#: Codecs that ffmpeg makes text of. Any others are pictures of text.
_TEXTS = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text", "eia_608"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")  # of BCP 47, in small letters
_MARKUP = re.compile(r"(</?[biu]>)")
_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|nbsp|lrm|rlm|#[0-9]+|#x[0-9a-fA-F]+);)")
_WITH_HARD_SPACES = frozenset({"ass", "ssa"})
_STROKES = frozenset("mnlbspc")  # what ASS draws shapes with
_NUMBER = re.compile(r"-?[0-9.]+")
_UNKNOWN = frozenset({"und", "mis", "mul", "zxx"})
_LONGEST_TITLE = 200  # characters
CONTENT_TYPE = "text/vtt; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A stream of a file, and its text as WebVTT, None without any. `stream.output` is the name of that document."""

    stream: SubtitleStream
    document: bytes | None = None


def streams(described: Iterable[dict[str, Any]]) -> tuple[SubtitleStream, ...]:
    """The subtitles among the streams that ffprobe describes."""
    found = [stream for stream in described if stream.get("codec_type") == "subtitle"]
    return tuple(_stream(stream, index) for index, stream in enumerate(found))


def _stream(described: dict[str, Any], index: int) -> SubtitleStream:
    tags = described.get("tags", {})
    codec = str(described.get("codec_name") or "unknown")
    language = str(tags.get("language", "")).lower()
    is_named = _LANGUAGE.fullmatch(language) is not None and language not in _UNKNOWN
    title = str(tags.get("title", ""))[:_LONGEST_TITLE]
    return SubtitleStream(
        index=index,
        codec=codec,
        is_text=codec in _TEXTS,
        language=language if is_named else None,
        title=title or None,
    )


def read(path: Path, info: MediaInfo, ffmpeg: Ffmpeg) -> tuple[Subtitles, ...]:
    """All subtitles of a file, read in one pass over it.

    What is wrong with them is told by flags: they are never worth a failure. `decode_errors`: some of them may be
    missing; `unreadable`: all of them are, because reading them broke off or took more than it may.
    """
    texts = [stream for stream in info.subtitles if stream.is_text]
    if not texts:
        return tuple(Subtitles(stream) for stream in info.subtitles)
    argv = arguments.subtitles(ffmpeg.ffmpeg, path, info.demuxer, [stream.index for stream in texts])
    try:
        output, ending = ffmpeg.run(argv, ffmpeg.limits.subtitle_bytes)
        flags: tuple[str, ...] = ("decode_errors",) if ending.code or ending.stderr else ()
    except (PermanentError, ResourceError):
        output, flags = b"", ("unreadable",)
    tracks: dict[int, list[Block]] = {stream.index: [] for stream in texts}
    for block in blocks(output):
        if 0 < block.track <= len(texts):
            tracks[texts[block.track - 1].index].append(block)
    return tuple(
        _read(stream, tracks[stream.index], flags) if stream.is_text else Subtitles(stream) for stream in info.subtitles
    )


def _read(stream: SubtitleStream, track: Sequence[Block], flags: tuple[str, ...]) -> Subtitles:
    said = document(track, has_hard_spaces=stream.codec in _WITH_HARD_SPACES)
    name = None if said is None else _name(stream)
    return Subtitles(stream.model_copy(update={"output": name, "flags": flags}), said)


def _name(stream: SubtitleStream) -> str:
    """`subtitles.0.eng.vtt`: the number counts all subtitles of the file, those that are no text, too."""
    return ".".join(part for part in ("subtitles", str(stream.index), stream.language, "vtt") if part)


def document(track: Sequence[Block], *, has_hard_spaces: bool = False) -> bytes | None:
    """Blocks as ffmpeg writes WebVTT into Matroska, as a WebVTT file; None when nothing is said in them.

    `has_hard_spaces`: whether `\\h` stands for a space that no line breaks at.
    """
    ordered = sorted(track, key=lambda block: block.start)
    cues = [cue for block in ordered if (cue := _cue(block, has_hard_spaces=has_hard_spaces))]
    return "\n".join(["WEBVTT\n", *cues]).encode() if cues else None


def _cue(block: Block, *, has_hard_spaces: bool) -> str:
    """A cue behind its times; empty without words. In a block, the name of the cue and its settings come first."""
    text = "".join(block.data.decode("utf-8", "replace").split("\n", 2)[2:])
    stripped = (line.strip() for line in (text.replace("\\h", "\u00a0") if has_hard_spaces else text).splitlines())
    lines = [_escaped(line) for line in stripped if line and not _is_drawing(line)]
    if not lines or block.start < 0 or block.length <= 0:
        return ""
    times = f"{_timestamp(block.start)} --> {_timestamp(block.start + block.length)}"
    return "".join(f"{line}\n" for line in (times, *lines))


def _escaped(line: str) -> str:
    """Words as WebVTT wants them. ffmpeg leaves them as they are; what is bold, in italics or underlined, it marks."""
    parts = _MARKUP.split(_AMPERSAND.sub("&amp;", line))
    words = [part.replace("<", "&lt;").replace(">", "&gt;") for part in parts[::2]]
    return "".join(part for pair in zip(words, [*parts[1::2], ""], strict=True) for part in pair)


def _is_drawing(line: str) -> bool:
    """Whether a line is a shape that ASS draws, which ffmpeg takes for words: `m 0 0 l 100 0 100 100`."""
    words = line.split()
    strokes = {word for word in words if not _NUMBER.fullmatch(word)}
    return words[0] == "m" and len(strokes) > 1 and strokes <= _STROKES


def _timestamp(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"
