"""One look at a file: what it is, what is in it, is it within the limits."""

from pathlib import Path

from pipeline.errors import PermanentError
from pipeline.job import MediaInfo
from pipeline.limits import holds_more, within
from pipeline.media import arguments, clocks, description, documents, riff, sniff
from pipeline.media.description import Description
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import in_process
from pipeline.media.sandbox.process import TooMuchError
from pipeline.media.sound import wav

_MAX_TAGS = 8  # ID3 tags in a row


def probe(path: Path, ffmpeg: Ffmpeg, *, audio_stream: int | None = None, video_stream: int | None = None) -> MediaInfo:
    """What is in a file: sound, a video, a picture or a text. The streams are those to take, by their numbers.

    Raises PermanentError, in plain words, when it is none of these, broken, or beyond a limit.
    """
    within(ffmpeg.limits, "file_bytes", path.stat().st_size, "size", " bytes")
    head = _head(path)
    recognised = sniff.recognise(head)
    match recognised.kind:
        case "picture":
            return description.of_picture(in_process.describe(path, recognised.name, ffmpeg))
        case "text":
            text = documents.read(path, recognised.name, ffmpeg.limits)
            return MediaInfo(kind="text", encoding=recognised.name, characters=len(text))
        case "timed":
            described = describe(path, recognised.name, ffmpeg, audio_stream=audio_stream, video_stream=video_stream)
            return _probed(described, recognised.name, head, ffmpeg)


def _probed(described: Description, demuxer: str, head: bytes, ffmpeg: Ffmpeg) -> MediaInfo:
    duration = described.extent.promise
    if demuxer == "wav" and duration is None:
        duration = wav.declared_seconds(head)
    info = description.info(described, demuxer, duration)
    description.refuse(info, len(described.streams), ffmpeg.limits, described.frame_rate)
    return info


def estimated_length(path: Path, info: MediaInfo, ffmpeg: Ffmpeg) -> float | None:
    """About how long a file is that promises nothing, in seconds; None when there is no telling."""
    number = None if info.audio is None else info.audio.index
    return describe(path, info.demuxer, ffmpeg, audio_stream=number).extent.length


def describe(
    path: Path, demuxer: str, ffmpeg: Ffmpeg, *, audio_stream: int | None = None, video_stream: int | None = None
) -> Description:
    """What ffprobe says about sound or video. Raises PermanentError when the header cannot be read."""
    limits = ffmpeg.limits
    try:
        output, ending = ffmpeg.run(arguments.describe(ffmpeg.ffprobe, path, demuxer), limits.header_bytes)
    except TooMuchError as error:
        raise holds_more(limits, "header_bytes", "bytes of streams and their tags") from error
    if ending.code:
        raise PermanentError(_broken(ending.stderr), ending.stderr)
    described = description.read(output, ending.stderr, audio_stream=audio_stream, video_stream=video_stream)
    if demuxer == "avi" and riff.is_cut_off(path):
        described = description.as_counted(described)
    return description.continued(described, clocks.share_of_first(path, demuxer))


def _broken(stderr: str) -> str:
    if "moov atom not found" in stderr:
        return "the file is cut off or broken: its index (the moov atom) is missing"
    return "the file is broken: its header cannot be read"


def _head(path: Path) -> bytes:
    """The bytes that tell the format. A long ID3 tag (cover art) is stepped over, but its header is kept in front."""
    with path.open("rb") as file:
        head = file.read(sniff.HEAD_BYTES)
        length, tag = 0, head[:10]
        for _ in range(_MAX_TAGS):
            step = sniff.id3_bytes(head)
            if not step:
                break
            length += step
            file.seek(length)
            head = file.read(sniff.HEAD_BYTES)
    # An empty tag in front tells the sniffer that there was one.
    return tag[:6] + bytes(4) + head if length else head
