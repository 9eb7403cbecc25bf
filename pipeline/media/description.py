"""Reading ffprobe's description of a file: which sound to decode, how long it is, what is refused. Pure."""

import json
import math
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PermanentError
from pipeline.job import AudioStream, MediaInfo
from pipeline.settings import Limits

#: Demuxers that read the length of the sound from a header. The others look for the last time stamp in the file,
#: which says where a file ends but not whether it was longer once.
_DECLARING = frozenset({"mov", "matroska", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "flv", "mxf", "asf"})
_ESTIMATED = "Estimating duration from bitrate"


@dataclass(frozen=True, slots=True)
class Description:
    """What ffprobe said. `length` is its best guess in seconds, `promise` the part of it that can be relied on."""

    streams: tuple[dict[str, Any], ...]
    audio: tuple[dict[str, Any], ...]
    chosen: int  #: position among the audio streams
    has_video: bool
    length: float | None
    promise: float | None


def read(output: bytes, notes: str) -> Description:
    """Read ffprobe's JSON and the notes it made. Raises PermanentError when there is no sound to decode."""
    try:
        said: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise PermanentError("the file is broken: its header cannot be read", notes) from error
    streams = tuple(said.get("streams", ()))
    audio = tuple(stream for stream in streams if stream.get("codec_type") == "audio")
    if not audio:
        raise PermanentError("the file has no audio stream", notes)
    chosen = _choose(audio)
    others = [
        stream for stream in streams if stream.get("codec_type") in ("audio", "video") and not _is_picture(stream)
    ]
    container: dict[str, Any] = said.get("format", {})
    exact = _stream_end(audio[chosen], container)
    length = exact if exact is not None else _number(container.get("duration"))
    is_reliable = _ESTIMATED not in notes and (exact is not None or len(others) == 1)
    return Description(
        streams=streams,
        audio=audio,
        chosen=chosen,
        has_video=any(stream.get("codec_type") == "video" for stream in others),
        length=length,
        promise=length if is_reliable else None,
    )


def info(description: Description, demuxer: str, duration: float | None) -> MediaInfo:
    """The record of a described file. Raises PermanentError when ffmpeg does not know how to decode its sound."""
    stream = description.audio[description.chosen]
    codec, rate, channels = stream.get("codec_name"), _number(stream.get("sample_rate")), stream.get("channels", 0)
    if not codec or codec == "unknown":
        raise PermanentError("the sound is in a codec that is not known here", str(stream.get("codec_tag_string", "")))
    if not rate or not channels:
        raise PermanentError("the file is broken: its header tells no sample rate or no channels")
    return MediaInfo(
        demuxer=demuxer,
        duration=None if duration is None else round(duration, 3),
        audio=AudioStream(index=description.chosen, codec=codec, sample_rate=int(rate), channels=channels),
        audio_streams=len(description.audio),
        has_video=description.has_video,
    )


def refuse(info: MediaInfo, num_streams: int, limits: Limits) -> None:
    """Raise PermanentError, naming the limit and both figures, when a file is beyond one."""
    audio, duration = info.audio, info.duration or 0.0
    for name, unit, value, limit in (
        ("streams", "", num_streams, limits.streams),
        ("channels", "", audio.channels, limits.channels),
        ("sample rate", " Hz", audio.sample_rate, limits.sample_rate),
        ("duration", " s", duration, limits.duration_seconds),
        ("samples in all channels", "", duration * audio.sample_rate * audio.channels, limits.channel_samples),
    ):
        if value > limit:
            raise PermanentError(f"the file is beyond a limit: {name} {value:,.0f}{unit}, allowed {limit:,.0f}{unit}")


def longest(info: MediaInfo, limits: Limits) -> float:
    """Seconds of this sound that may be decoded, whatever the header says."""
    return min(limits.duration_seconds, limits.channel_samples / (info.audio.sample_rate * info.audio.channels))


def promised_end(info: MediaInfo) -> float | None:
    """Where the sound ends by what its header declares, in seconds; None when it declares nothing."""
    return info.duration if info.demuxer in _DECLARING else None


def _choose(audio: tuple[dict[str, Any], ...]) -> int:
    """The stream that the file marks as its default, else the first."""
    for position, stream in enumerate(audio):
        if stream.get("disposition", {}).get("default"):
            return position
    return 0


def _is_picture(stream: dict[str, Any]) -> bool:
    """Cover art poses as a video stream."""
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _stream_end(stream: dict[str, Any], container: dict[str, Any]) -> float | None:
    """End of one stream on the clock of the file, in seconds."""
    for name, value in stream.get("tags", {}).items():
        if name.upper().startswith("DURATION") and (end := _clock(value)) is not None:
            return end  # Matroska writes the end here, not the length
    duration = _number(stream.get("duration"))
    if duration is None:
        return None
    start, origin = _number(stream.get("start_time")), _number(container.get("start_time"))
    return duration + (max(0.0, start - origin) if start is not None and origin is not None else 0.0)


def _clock(text: str) -> float | None:
    """Seconds of `00:01:00.023000000`."""
    parts = [_number(part) for part in text.split(":")]
    if len(parts) != 3 or None in parts:
        return None
    hours, minutes, seconds = (part or 0.0 for part in parts)
    return hours * 3600 + minutes * 60 + seconds


def _number(value: Any) -> float | None:
    """A finite number; None for `N/A` and the like."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
