"""When it pays to look for frames one by one instead of decoding all that lies between them. Pure."""

from pipeline.job import VideoStream

#: Formats without an index. Decoding begins somewhere between two key frames, and is good from the next one on.
WITHOUT_KEY_FRAMES = frozenset({"mpegts", "mpeg"})
LEAD = 12.0  # seconds; in these, key frames are at most ten apart, as viewers may come in late
# CPU seconds for each pixel that is decoded: 1080p in H.264 3.1e-9, 4K in HEVC 3.1e-9.
_PIXEL = 3e-9
_START = 0.15  # CPU seconds of one more process in its sandbox, with a header to read
_SURE = 0.8  # of the cost of decoding all: what a guess must stay below


def pays(video: VideoStream, demuxer: str, step: float, key_frame_seconds: float) -> bool:
    """Whether a frame each `step` seconds is cheaper to find by seeking, when key frames lie so far apart."""
    if video.length is None or video.frame_rate is None:
        return False
    second = video.frame_rate * video.width * video.height * _PIXEL
    decoded = LEAD if demuxer in WITHOUT_KEY_FRAMES else key_frame_seconds / 2
    return _START + decoded * second < _SURE * step * second


def is_worth_it(video: VideoStream, demuxer: str, step: float) -> bool:
    """Whether it pays in this video, as far as it was measured."""
    return video.key_frame_seconds is not None and pays(video, demuxer, step, video.key_frame_seconds)


def may_pay(video: VideoStream, demuxer: str, step: float) -> bool:
    """Whether it could pay, so that it is worth to find out how far key frames lie apart."""
    return pays(video, demuxer, step, 0.0)
