"""Reading ffprobe's description of a file: which streams to decode, how long they are, what is refused. Pure."""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import LimitError, PermanentError
from pipeline.job import AudioStream, MediaInfo, PictureInfo, VideoStream
from pipeline.limits import holds_more, within
from pipeline.media import subtitles
from pipeline.media.video import showing
from pipeline.media.video.showing import number
from pipeline.settings import Limits

#: Demuxers that read the length of the sound from a header. The others look for the last time stamp in the file,
#: which says where a file ends but not whether it was longer once.
_DECLARING = frozenset({"mov", "matroska", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "flv", "mxf", "asf"})
_LONGEST_TAG = 35  # characters, of the longest registered language tag
_ESTIMATED = "Estimating duration from bitrate"


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a stream ends, in seconds from the start of the file.

    `length` is ffprobe's best guess, `promise` the part of it that can be relied on.
    """

    length: float | None = None
    promise: float | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What ffprobe said."""

    streams: tuple[dict[str, Any], ...]
    audio: tuple[dict[str, Any], ...]
    chosen: int  #: position among the audio streams
    videos: tuple[dict[str, Any], ...]  #: that are no cover art
    chosen_video: int  #: position among these
    origin: float  #: the time, as written in the file, that counts as its start; seconds
    sound_extent: Extent
    video_extent: Extent

    @property
    def video(self) -> dict[str, Any] | None:
        """The video stream that frames are taken from."""
        return self.videos[self.chosen_video] if self.videos else None

    @property
    def extent(self) -> Extent:
        """Of the sound, where there is any: its windows are what a file is divided into."""
        is_heard = self.audio and (_is_known(self.audio[self.chosen]) or not self.videos)
        return self.sound_extent if is_heard else self.video_extent

    @property
    def frame_rate(self) -> float | None:
        """Of the video; None without a video or where the header does not say."""
        return showing.frame_rate(self.video or {})


def read(output: bytes, notes: str, *, audio_stream: int | None = None, video_stream: int | None = None) -> Description:
    """Read ffprobe's JSON and the notes it made. `audio_stream`: the one to take; `video_stream`, too, among those that
    are no cover art.

    Raises PermanentError when there is nothing to decode, or no stream of that number.
    """
    try:
        said: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise PermanentError("the file is broken: its header cannot be read", notes) from error
    streams = tuple(said.get("streams", ()))
    audio = tuple(stream for stream in streams if stream.get("codec_type") == "audio")
    videos = tuple(stream for stream in streams if stream.get("codec_type") == "video" and not _is_picture(stream))
    if not audio and not videos:
        raise PermanentError("the file has no audio stream and no video stream", notes)
    chosen = _choose(audio) if audio_stream is None else _asked(audio_stream, len(audio), "audio")
    chosen_video = _choose(videos) if video_stream is None else _asked(video_stream, len(videos), "video")
    container: dict[str, Any] = said.get("format", {})
    is_alone = sum(not _is_picture(stream) for stream in streams) == 1
    is_exact = _ESTIMATED not in notes
    return Description(
        streams=streams,
        audio=audio,
        chosen=chosen,
        videos=videos,
        chosen_video=chosen_video,
        origin=number(container.get("start_time")) or 0.0,
        sound_extent=_extent(audio[chosen], container, is_alone, is_exact) if audio else Extent(),
        video_extent=_extent(videos[chosen_video], container, is_alone, is_exact) if videos else Extent(),
    )


def as_counted(description: Description) -> Description:
    """The description of a file that is cut off, of which ffprobe tells the length that is left: as it was before, by
    the number of frames that its header tells."""
    sound, video = description.sound_extent, description.video_extent
    if description.audio:
        sound = replace(sound, promise=_counted(description.audio[description.chosen]))
    if description.video is not None:
        video = replace(video, promise=_counted(description.video))
    return replace(description, sound_extent=sound, video_extent=video)


def continued(description: Description, share: float) -> Description:
    """The description of a file of which it is only that `share`: more of the same follows, which ffmpeg cannot read.

    So that this is missed, it counts as promised. Raises PermanentError where nothing tells how long that would be.
    """
    if share == 1.0:
        return description
    if description.extent.length is None:
        raise PermanentError("the file is several files, one written behind the other: join them with an editor")
    extents = (description.sound_extent, description.video_extent)
    sound, video = (Extent(*(end and end / share for end in (one.length, one.length))) for one in extents)
    return replace(description, sound_extent=sound, video_extent=video)


def info(description: Description, demuxer: str, duration: float | None) -> MediaInfo:
    """The record of a described file. Raises PermanentError when ffmpeg does not know how to decode what is in it."""
    seen = _video(description)
    return MediaInfo(
        kind="sound" if seen is None else "video",
        demuxer=demuxer,
        duration=None if duration is None else round(duration, 3),
        audio=_audio(description, seen),
        audio_streams=len(description.audio),
        video=seen,
        video_streams=len(description.videos),
        origin=description.origin,
        subtitles=subtitles.streams(description.streams),
    )


def of_picture(picture: PictureInfo) -> MediaInfo:
    """The record of a picture file. What moves is a video, though its length is known only once it has been read."""
    if not picture.moves:
        return MediaInfo(kind="picture", picture=picture)
    stream = VideoStream(index=0, codec=picture.format, width=picture.width, height=picture.height)
    return MediaInfo(kind="video", picture=picture, video=stream, video_streams=1)


def refuse(info: MediaInfo, num_streams: int, limits: Limits, frame_rate: float | None = None) -> None:
    """Raise LimitError, naming the limit and both figures, when a file is beyond one.

    `frame_rate`: of the video on average, by its header; None when that does not say.
    """
    within(limits, "streams", num_streams, "streams")
    within(limits, "duration_seconds", info.duration or 0.0, "duration", " s")
    if info.audio is not None:
        rate, channels = info.audio.sample_rate, info.audio.channels
        within(limits, "channels", channels, "channels")
        within(limits, "sample_rate", rate, "sample rate", " Hz")
        samples = (info.duration or 0.0) * rate * channels
        within(limits, "channel_samples", samples, "samples in all channels")
    if info.video is not None:
        within(limits, "pixels", info.video.width * info.video.height, "pixels of a frame")
        within(limits, "frame_rate", frame_rate or 0.0, "frames a second")


def refuse_frames(info: MediaInfo, rate: float, limits: Limits) -> None:
    """Raise LimitError when a job would look at more of a video than it may: at `rate` frames of each second."""
    length = (info.video.promised if info.video is not None else None) or info.duration or 0.0
    within(limits, "duration_seconds", length, "duration", " s")
    within(limits, "frames", math.ceil(length * rate), "frames of a job")


def longest(info: MediaInfo, limits: Limits) -> float:
    """Seconds of this media that may be decoded, whatever the header says."""
    if info.audio is None:
        return limits.duration_seconds
    return min(limits.duration_seconds, limits.channel_samples / (info.audio.sample_rate * info.audio.channels))


def too_long(info: MediaInfo, limits: Limits) -> LimitError:
    """That more sound came than may be decoded of this media."""
    longest_seconds = longest(info, limits)
    setting = "duration_seconds" if longest_seconds == limits.duration_seconds else "channel_samples"
    return holds_more(limits, setting, "s of sound", longest_seconds)


def is_declaring(info: MediaInfo) -> bool:
    """Whether the lengths of a file are what was written into its header, or are more than there seems to be."""
    video = info.video
    is_short = video is not None and (video.promised or 0.0) > (video.length or 0.0)
    return is_short or info.demuxer in _DECLARING


def promised_end(info: MediaInfo) -> float | None:
    """Where the sound ends by what its header declares, in seconds; None when it declares nothing."""
    return info.duration if is_declaring(info) else None


def _audio(description: Description, video: VideoStream | None) -> AudioStream | None:
    """The sound to decode; None without any, and where it is unknown but there is a `video` to go on with."""
    if not description.audio:
        return None
    stream = description.audio[description.chosen]
    rate, channels = number(stream.get("sample_rate")), stream.get("channels", 0)
    if video is not None and not (_is_known(stream) and rate and channels):
        return None
    if not _is_known(stream):
        raise PermanentError("the sound is in a codec that is not known here", str(stream.get("codec_tag_string", "")))
    if not rate or not channels:
        raise PermanentError("the file is broken: its header tells no sample rate or no channels")
    return AudioStream(
        index=description.chosen,
        codec=str(stream["codec_name"]),
        sample_rate=int(rate),
        channels=channels,
        layout=_layout(stream),
        language=_language(stream),
    )


def _layout(stream: dict[str, Any]) -> str | None:
    """Which of its channels is which; None when the file does not declare that."""
    layout = stream.get("channel_layout")
    return None if layout in (None, "unknown") else str(layout)


def _is_known(stream: dict[str, Any]) -> bool:
    """Whether ffmpeg has a name for what the stream is written in."""
    return stream.get("codec_name", "unknown") not in (None, "", "unknown")


def _language(stream: dict[str, Any]) -> str | None:
    """The language that a stream is marked with; `und` means that it is not."""
    tags = {name.lower(): value for name, value in stream.get("tags", {}).items()}
    language = str(tags.get("language", "und")).strip()[:_LONGEST_TAG]
    return None if language in ("", "und") else language


def _video(description: Description) -> VideoStream | None:
    """The video to take frames from; None without one, and where it is unknown but there is sound to go on with."""
    if description.video is None:
        return None
    stream, extent = description.video, description.video_extent
    found = showing.read(stream, description.chosen_video, description.origin)
    if found is None and not description.audio:
        raise PermanentError("the video is in a codec that is not known here", str(stream.get("codec_tag_string", "")))
    return found and found.model_copy(update={"length": extent.length, "promised": extent.promise})


def _extent(stream: dict[str, Any], container: dict[str, Any], is_alone: bool, is_exact: bool) -> Extent:
    """`is_alone`: nothing else in the file has a length. `is_exact`: no length was estimated."""
    end, whole = _stream_end(stream, container), number(container.get("duration"))
    ends = [one for one in (end, whole) if one is not None]
    # A stream may be marked with a length that it had in another file.
    length = min(ends, default=None)
    return Extent(length=length, promise=length if is_exact and (end is not None or is_alone) else None)


def _choose(streams: tuple[dict[str, Any], ...]) -> int:
    """The stream that the file marks as its default, else the first."""
    for position, stream in enumerate(streams):
        if stream.get("disposition", {}).get("default"):
            return position
    return 0


def _asked(position: int, count: int, what: str) -> int:
    """The position of a stream that was asked for. `what` streams there are: audio, video."""
    if position >= count:
        has = f"has {count} {what} stream{'' if count == 1 else 's'}, counted from 0"
        raise PermanentError(f"there is no {what} stream number {position}: the file {has}")
    return position


def _is_picture(stream: dict[str, Any]) -> bool:
    """Cover art poses as a video stream."""
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _stream_end(stream: dict[str, Any], container: dict[str, Any]) -> float | None:
    """End of one stream on the clock of the file, in seconds."""
    tags = {name.upper(): value for name, value in stream.get("tags", {}).items()}
    # Some programs name a language behind it, and others leave that where it was. The shortest name is the true one.
    for name in sorted(tags, key=len):
        if name.startswith("DURATION") and (end := _clock(tags[name])) is not None:
            return end  # Matroska writes the end here, not the length
    duration = number(stream.get("duration"))
    if duration is None:
        return None
    start, origin = number(stream.get("start_time")), number(container.get("start_time"))
    return duration + (max(0.0, start - origin) if start is not None and origin is not None else 0.0)


def _counted(stream: dict[str, Any]) -> float | None:
    """Seconds of as many frames as a header tells."""
    frames = number(stream.get("nb_frames"))
    ticks, _, rate = str(stream.get("time_base", "")).partition("/")
    return frames * (number(ticks) or 0.0) / (number(rate) or 1.0) if frames else None


def _clock(text: str) -> float | None:
    """Seconds of `00:01:00.023000000`."""
    parts = [number(part) for part in text.split(":")]
    if len(parts) != 3 or None in parts:
        return None
    hours, minutes, seconds = (part or 0.0 for part in parts)
    return hours * 3600 + minutes * 60 + seconds
