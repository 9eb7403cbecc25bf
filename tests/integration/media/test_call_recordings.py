"""Recordings with a speaker in each channel, through the real ffmpeg: cut by channel, in one pass, with true times."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import LimitError, PermanentError, UsageError
from pipeline.job import Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.audio import WindowCut
from pipeline.media.sound.cutting import SpeechClip
from pipeline.media.sound.pcm import Pcm
from pipeline.stages.source import MediaSource
from pipeline.tasks import check
from tests.integration.media.test_pieces import job_on, pieces_of, source  # noqa: F401 - a fixture
from tests.media_samples import RATE, beeps, encode, noise_bursts, write_wav
from tests.spoken import RATE as SPOKEN_RATE
from tests.spoken import pcm, talk

WHOLE = Window(index=0, start=0, end=None)
SECONDS = 40


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 s in two channels: beeps of 600 Hz at 2, 12, 22, 32 s in the first, of 1400 Hz at 5, 15 and 25 s."""
    channels = [beeps(SECONDS, at, hz=hz)[:, 0] for at, hz in (((2, 12, 22, 32), 600), ((5, 15, 25), 1400))]
    return write_wav(tmp_path_factory.mktemp("call") / "call.wav", np.stack(channels, axis=1))


def cut(path: Path, ffmpeg: Ffmpeg, clip_seconds: float = 5, window: Window = WHOLE) -> list[SpeechClip]:
    return list(WindowCut(path, probe(path, ffmpeg), window, clip_seconds, ffmpeg, split=True))


def pitch(clip: SpeechClip) -> int:
    sound = np.frombuffer(clip.pcm, "<i2").astype(float)
    return int(np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound) + 0.5)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.mp3", "a.opus", "a.flac"])
def test_each_channel_gives_its_own_sound_at_its_own_time(
    name: str, call: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    clips = cut(encode(ffmpeg, call, tmp_path / name), ffmpeg)
    for channel, hz, at in ((1, 600, (2, 12, 22, 32)), (2, 1400, (5, 15, 25))):
        mine = [clip for clip in clips if clip.channel == channel]
        assert [pitch(clip) for clip in mine] == pytest.approx([hz] * len(at), abs=3)
        for clip, time in zip(mine, at, strict=True):
            assert clip.start <= time < time + 0.5 <= clip.end
            assert clip.end - clip.start <= 1.6


def test_the_channels_of_a_window_are_those_of_the_whole(call: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = encode(ffmpeg, call, tmp_path / "a.flac")
    parts = [
        clip
        for window in (Window(index=0, start=0, end=17.25), Window(index=1, start=17.25, end=None))
        for clip in cut(path, ffmpeg, window=window)
    ]
    whole = cut(path, ffmpeg)
    for channel in (1, 2):
        parted, at_once = ([clip.start for clip in clips if clip.channel == channel] for clips in (parts, whole))
        assert parted == pytest.approx(at_once, abs=0.35)  # the margin around a clip depends on the sound around it


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.mp3", "a.opus", "a.ogg"])
def test_a_mono_recording_on_two_channels_is_given_once(name: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    said = np.frombuffer(pcm(talk(30).sound), "<i2")
    both = write_wav(tmp_path / "both.wav", np.stack((said, said), axis=1), SPOKEN_RATE)
    codec = ("-c:a", "libvorbis") if name == "a.ogg" else ()
    path = encode(ffmpeg, both, tmp_path / name, *codec)
    assert {clip.channel for clip in cut(path, ffmpeg)} == {1}


def test_a_mono_file_is_one_channel(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    clips = cut(write_wav(tmp_path / "a.wav", noise_bursts(10)[:, :1]), ffmpeg)
    assert {clip.channel for clip in clips} == {1}


def test_six_channels_stay_apart(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    sound: NDArray[np.int16] = np.stack(
        [beeps(14, (2 * number + 1,), hz=400 + 100 * number)[:, 0] for number in range(6)], axis=1
    )
    clips = cut(write_wav(tmp_path / "a.wav", sound, RATE), ffmpeg)
    assert {(clip.channel, pitch(clip)) for clip in clips} == {(number + 1, 400 + 100 * number) for number in range(6)}


def test_progress_adds_up_to_the_length_of_the_media(call: Path, source: MediaSource) -> None:  # noqa: F811
    pieces = pieces_of(call, source, "transcribe", channels="split")
    assert [piece.channel for piece in pieces].count(1) == 4
    assert sum(piece.payload.covers for piece in pieces) == pytest.approx(
        sum(piece.end - piece.start for piece in pieces) / 2
    )
    assert sum(piece.payload.covers for piece in pieces) <= SECONDS


def test_mixed_sound_has_no_channel(call: Path, source: MediaSource) -> None:  # noqa: F811
    assert {piece.channel for piece in pieces_of(call, source, "transcribe")} == {None}


def test_the_mix_is_what_the_channels_are_together(call: Path, ffmpeg: Ffmpeg) -> None:
    info = probe(call, ffmpeg)
    mixed = np.frombuffer(b"".join(Pcm(call, info, 3.5, 20, ffmpeg)), "<i2").astype(float)
    apart = np.frombuffer(b"".join(Pcm(call, info, 3.5, 20, ffmpeg, 2)), "<i2").astype(float).reshape(-1, 2)
    assert len(mixed) == len(apart) == 20 * 16_000
    whole = WindowCut(call, info, WHOLE, 30, ffmpeg, split=True)
    assert sorted(clip.channel or 0 for clip in whole) == [1, 1, 1, 1, 2, 2, 2]
    assert (whole.end, whole.missing) == (SECONDS, None)
    assert np.abs(mixed - apart.mean(axis=1)).max() <= 2


def test_only_tasks_about_what_is_said_take_channels(call: Path, source: MediaSource) -> None:  # noqa: F811
    for task, more in (("caption", {}), ("ask", {"question": "Who?"})):
        options = job_on(call, source, task, channels="split", **more).options
        with pytest.raises(UsageError, match=f"{task} does nothing with --channels"):
            check(task, options)
    for task, more in (("transcribe", {}), ("translate", {"to": "de"}), ("summarize", {})):
        check(task, job_on(call, source, task, channels="split", audio_stream=0, **more).options)


def test_another_audio_stream_is_cut_when_it_is_asked_for(
    call: Path,
    tmp_path: Path,
    source: MediaSource,  # noqa: F811
    ffmpeg: Ffmpeg,
) -> None:
    silent = write_wav(tmp_path / "silent.wav", beeps(SECONDS, ()))
    streams = ("-i", str(call), "-map", "0:a", "-map", "1:a", "-metadata:s:a:1", "language=eng")
    path = encode(ffmpeg, silent, tmp_path / "a.mka", *streams)
    assert pieces_of(path, source, "transcribe") == []
    assert len(pieces_of(path, source, "transcribe", audio_stream=1, channels="split")) == 7
    info = source.prepare(job_on(path, source, "transcribe", audio_stream=1)).media
    assert info.audio is not None
    assert (info.audio.index, info.audio.language, info.audio_streams) == (1, "eng", 2)
    with pytest.raises(PermanentError, match="no audio stream number 2: the file has 2 audio streams"):
        source.prepare(job_on(path, source, "transcribe", audio_stream=2))


def test_a_file_with_too_many_channels_is_refused(call: Path, ffmpeg: Ffmpeg) -> None:
    strict = Ffmpeg(ffmpeg.ffmpeg, ffmpeg.ffprobe, ffmpeg.limits.model_copy(update={"channels": 1}))
    with pytest.raises(LimitError, match="channels 2, allowed 1"):
        probe(call, strict)
