import json
import re
from typing import Any

import pytest

from pipeline.errors import LimitError, PermanentError
from pipeline.job import AudioStream, MediaInfo, VideoStream
from pipeline.media import description
from pipeline.settings import Limits

ESTIMATE = "[mp3 @ 0x1] Estimating duration from bitrate, this may be inaccurate"


def audio(**fields: Any) -> dict[str, Any]:
    return {"codec_type": "audio", "codec_name": "aac", "sample_rate": "44100", "channels": 2, **fields}


def video(**fields: Any) -> dict[str, Any]:
    return {"codec_type": "video", "codec_name": "h264", "width": 640, "height": 360, **fields}


def read(*streams: dict[str, Any], notes: str = "", **container: Any) -> description.Description:
    return description.read(json.dumps({"streams": streams, "format": container}).encode(), notes)


def media(**fields: Any) -> MediaInfo:
    stream = AudioStream(index=0, codec="aac", sample_rate=44_100, channels=2)
    return MediaInfo(**{"demuxer": "mov", "duration": 60.0, "audio": stream, **fields})


def test_the_length_of_the_sound_is_that_of_its_stream_not_of_the_file() -> None:
    assert read(video(duration="65.0"), audio(duration="60.0"), duration="65.0").extent.promise == 60.0


def test_sound_that_starts_late_ends_late() -> None:
    found = read(video(), audio(start_time="4.9", duration="60.0"), start_time="1.4", duration="65.0")
    assert found.extent.promise == pytest.approx(63.5)


def test_matroska_tells_the_end_in_a_tag() -> None:
    stream = audio(start_time="3.477", tags={"DURATION": "00:01:03.523000000"})
    assert read(video(), stream, start_time="0.0", duration="65.0").extent.promise == pytest.approx(63.523)


def test_a_length_that_another_program_left_behind_is_not_believed() -> None:
    both = audio(tags={"DURATION-eng": "00:50:00.000000000", "DURATION": "00:01:00.000000000"})
    assert read(video(), both, duration="65.0").extent.promise == 60.0
    stale = audio(tags={"DURATION-eng": "00:50:00.000000000"})
    assert read(video(), stale, duration="65.0").extent.promise == 65.0, "nothing is longer than the file"


def test_the_length_of_the_file_is_no_promise_of_one_stream_beside_subtitles() -> None:
    found = read(video(), {"codec_type": "subtitle", "codec_name": "subrip"}, duration="40.0")
    assert (found.extent.length, found.extent.promise) == (40.0, None)


def test_the_length_of_the_file_counts_when_the_sound_is_alone_in_it() -> None:
    cover = video(disposition={"attached_pic": 1})
    assert read(audio(), duration="60.0").extent.promise == 60.0
    assert read(cover, audio(), duration="60.0").extent.promise == 60.0
    assert not read(cover, audio(), duration="60.0").video
    assert read(video(), audio(), duration="60.0").extent.promise is None
    assert read(video(), audio(), duration="60.0").extent.length == 60.0


def test_an_estimate_is_no_promise() -> None:
    found = read(audio(duration="58.6"), duration="58.6", notes=ESTIMATE)
    assert (found.extent.length, found.extent.promise) == (58.6, None)


def test_what_is_not_a_number_is_no_length() -> None:
    for value in ("N/A", "nan", "inf", None):
        assert read(audio(duration=value), duration=value).extent.length is None


def test_the_default_stream_is_decoded() -> None:
    streams = (audio(), video(), audio(codec_name="opus", disposition={"default": 1}))
    found = description.info(read(*streams), "matroska", None)
    assert (found.audio.index, found.audio.codec, found.audio_streams, found.video is not None) == (1, "opus", 2, True)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"{}", "no audio stream"),
        (b"", "header cannot be read"),
    ],
)
def test_a_file_without_sound_and_picture_is_refused(output: bytes, reason: str) -> None:
    with pytest.raises(PermanentError, match=reason):
        description.read(output, "")


@pytest.mark.parametrize(
    ("stream", "reason"),
    [(audio(codec_name=None), "codec"), (audio(sample_rate="0"), "sample rate"), (audio(channels=0), "channels")],
)
def test_sound_that_cannot_be_decoded_is_refused(stream: dict[str, Any], reason: str) -> None:
    with pytest.raises(PermanentError, match=reason):
        description.info(read(stream), "mov", None)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(streams=2), "streams 3, allowed 2 (REELMILL_LIMITS__STREAMS)"),
        (Limits(channels=1), "channels 2, allowed 1 (REELMILL_LIMITS__CHANNELS)"),
        (Limits(sample_rate=44_000), "sample rate 44,100 Hz, allowed 44,000 Hz (REELMILL_LIMITS__SAMPLE_RATE)"),
        (Limits(duration_seconds=59), "duration 60 s, allowed 59 s (REELMILL_LIMITS__DURATION_SECONDS)"),
        (
            Limits(channel_samples=5e6),
            "samples in all channels 5,292,000, allowed 5,000,000 (REELMILL_LIMITS__CHANNEL_SAMPLES)",
        ),
    ],
)
def test_a_limit_is_named_with_both_figures_and_the_setting_that_raises_it(limits: Limits, reason: str) -> None:
    with pytest.raises(LimitError, match=re.escape(reason)) as caught:
        description.refuse(media(), 3, limits)
    assert f"LIMITS__{caught.value.setting.upper()})" in reason


def test_a_file_within_the_limits_passes() -> None:
    description.refuse(media(), 3, Limits())
    description.refuse(media(duration=None), 3, Limits())


def test_the_longest_sound_follows_from_both_limits() -> None:
    assert description.longest(media(), Limits(duration_seconds=100, channel_samples=1e12)) == 100
    assert description.longest(media(), Limits(duration_seconds=100, channel_samples=88_200 * 7)) == pytest.approx(7)


def test_only_a_declared_length_is_a_promise() -> None:
    assert description.promised_end(media()) == 60.0
    assert description.promised_end(media(demuxer="mpegts")) is None
    assert description.promised_end(media(duration=None)) is None


def test_a_video_without_sound_is_media() -> None:
    found = description.info(read(video()), "mov", None)
    assert (found.kind, found.audio) == ("video", None)
    assert found.video is not None
    assert (found.video.width, found.video.height) == (640, 360)


def test_a_video_is_as_wide_as_it_is_shown() -> None:
    turned = video(side_data_list=[{"rotation": -90}])
    wide = video(sample_aspect_ratio="2:1")
    shown = [description.info(read(stream), "mov", None).video for stream in (turned, wide)]
    assert [(one.width, one.height) for one in shown if one] == [(360, 640), (1280, 360)]


@pytest.mark.parametrize("shape", ["0:1", "1:0", "N/A", "1:1000"])
def test_a_shape_of_pixels_that_makes_no_sense_is_not_believed(shape: str) -> None:
    found = description.info(read(video(sample_aspect_ratio=shape)), "mov", None).video
    assert found is not None
    assert (found.width, found.height) == (640, 360)


def test_video_without_sound_has_a_start_and_a_length_of_its_own() -> None:
    found = read(video(duration="6.0", start_time="1.9"), start_time="1.4", duration="6.5")
    silent = description.info(found, "mov", found.extent.promise)
    assert silent.duration == 6.5
    assert silent.video is not None
    assert silent.video.start == 0.5


def test_each_stream_has_an_end_of_its_own() -> None:
    found = read(video(duration="6.0"), audio(duration="8.0"), duration="8.0", start_time="0.0")
    assert (found.sound_extent.promise, found.video_extent.promise) == (8.0, 6.0)


def test_video_in_an_unknown_codec_is_refused_unless_there_is_sound() -> None:
    unknown = video(codec_name="unknown")
    assert description.info(read(unknown, audio()), "mov", None).kind == "sound"
    with pytest.raises(PermanentError, match="the video is in a codec"):
        description.info(read(unknown), "mov", None)


@pytest.mark.parametrize("stream", [audio(codec_name="unknown"), audio(codec_name=None), audio(sample_rate="0")])
def test_sound_that_nobody_can_decode_leaves_the_video(stream: dict[str, Any]) -> None:
    found = read(video(duration="6.0"), stream | {"duration": "8.0"}, duration="8.0")
    info = description.info(found, "mov", found.extent.promise)
    assert (info.kind, info.audio, info.audio_streams) == ("video", None, 1)
    if stream["codec_name"] != "aac":
        assert info.duration == 6.0
    with pytest.raises(PermanentError):
        description.info(read(video(codec_name="unknown"), stream), "mov", None)


def test_what_is_counted_in_the_header_of_a_cut_off_file_is_its_promise() -> None:
    seen = video(duration="3.0", nb_frames="250", time_base="1/25")
    heard = audio(duration="3.0", nb_frames="1000", time_base="1152/44100")
    found = description.as_counted(read(seen, heard, duration="3.0"))
    info = description.info(found, "avi", found.extent.promise)
    assert description.promised_end(info) == pytest.approx(26.122)
    assert info.video is not None
    assert (info.video.length, info.video.promised) == (3.0, 10.0)
    whole = read(seen, heard, duration="3.0")
    assert description.promised_end(description.info(whole, "avi", whole.extent.promise)) is None


def test_a_video_that_is_longer_than_its_sound_is_refused_by_its_own_length() -> None:
    stream = VideoStream(index=0, codec="h264", width=64, height=48, promised=100.0)
    with pytest.raises(LimitError, match="frames of a job 200, allowed 199"):
        description.refuse_frames(media(duration=3.0, video=stream), 2.0, Limits(frames=199))
    with pytest.raises(LimitError, match="duration 100 s, allowed 99 s"):
        description.refuse_frames(media(duration=3.0, video=stream), 2.0, Limits(duration_seconds=99))
    description.refuse_frames(media(duration=100.0), 2.0, Limits(frames=200))


def test_a_frame_has_a_limit_too() -> None:
    stream = VideoStream(index=0, codec="h264", width=640, height=360)
    with pytest.raises(PermanentError, match="pixels of a frame 230,400, allowed 230,399"):
        description.refuse(media(video=stream), 2, Limits(pixels=230_399))
    description.refuse(media(audio=None, video=stream), 1, Limits(pixels=230_400))


def test_the_audio_stream_that_was_asked_for_is_described_with_its_language() -> None:
    streams = (
        video(),
        audio(tags={"language": "deu"}, disposition={"default": 1}, duration="60.0"),
        audio(tags={"LANGUAGE": "eng"}, codec_name="opus", duration="50.0"),
        audio(tags={"language": "und"}),
    )
    found = [
        description.info(description.read(said(*streams), "", audio_stream=number), "matroska", None)
        for number in (None, 1, 2)
    ]
    assert [(info.audio.index, info.audio.codec, info.audio.language) for info in found if info.audio] == [
        (0, "aac", "deu"),
        (1, "opus", "eng"),
        (2, "aac", None),
    ]
    assert {info.audio_streams for info in found} == {3}
    assert description.read(said(*streams), "", audio_stream=1).extent.promise == 50.0


def test_an_audio_stream_that_is_not_there_is_refused_with_how_many_there_are() -> None:
    with pytest.raises(PermanentError, match="no audio stream number 2: the file has 2 audio streams, counted from 0"):
        description.read(said(audio(), audio()), "", audio_stream=2)
    with pytest.raises(PermanentError, match="no audio stream number 0: the file has 0 audio streams"):
        description.read(said(video()), "", audio_stream=0)


def said(*streams: dict[str, Any]) -> bytes:
    return json.dumps({"streams": streams, "format": {}}).encode()
