"""Many channels become one: nothing gets louder or clips, no channel is lost, and damage is remarked on."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.job import Window
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from pipeline.media.sound.speech import assess
from tests.integration.media.conftest import cut
from tests.media_samples import write_wav
from tests.spoken import PHRASES, RATE, Sound, pcm, phrase

LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}
CENTRE = {"mono": 0, "stereo": 0, "5.1": 2, "7.1": 2}


@pytest.fixture(scope="module")
def speech() -> Sound:
    """Ten seconds of speech at -26 dBFS."""
    said = np.concatenate([phrase(text) for text in PHRASES])
    return said[: 10 * RATE]


def mixed(
    sound: NDArray[np.float32], layout: str, channels: list[int], folder: Path, ffmpeg: Ffmpeg, codec: str = "flac"
) -> NDArray[np.float32]:
    """What is decoded of a file with that sound in some of its channels."""
    every = np.zeros((len(sound), LAYOUTS[layout]), np.float32)
    every[:, channels] = sound[:, None]
    path = folder / f"{layout}.mka"
    raw = ["-f", "f32le", "-ar", str(RATE), "-ch_layout", layout, "-i", "-"]
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-y", *raw, "-c:a", codec, str(path)]
    subprocess.run(argv, input=every.tobytes(), check=True)
    pcm = b"".join(Pcm(path, probe(path, ffmpeg), 0, None, ffmpeg))
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def tone(level: float) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize("codec", ["flac", "pcm_f32le", "aac"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_in_all_channels_keeps_its_level(layout: str, codec: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    found = mixed(tone(0.3), layout, list(range(LAYOUTS[layout])), tmp_path, ffmpeg, codec)
    middle = found[RATE // 2 : RATE * 3 // 2]
    assert middle.std() / (0.3 / np.sqrt(2)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loudest_sound_in_all_channels_does_not_clip(layout: str, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    found = mixed(tone(0.99), layout, list(range(LAYOUTS[layout])), tmp_path, ffmpeg)
    middle = found[RATE // 2 : RATE * 3 // 2]
    assert np.abs(middle).max() == pytest.approx(0.99, abs=0.005)
    assert np.mean(np.abs(middle) > 0.985) == pytest.approx(np.mean(np.abs(tone(0.99)) > 0.985), abs=0.01)


@pytest.mark.parametrize(("layout", "loss"), [("mono", 0), ("stereo", 6.0), ("5.1", 10.7), ("7.1", 12.9)])
def test_a_dialogue_in_one_channel_is_quieter_and_not_lost(
    layout: str, loss: float, speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    found = mixed(speech, layout, [CENTRE[layout]], tmp_path, ffmpeg)
    assert 20 * np.log10(speech.std() / found.std()) == pytest.approx(loss, abs=0.1)
    activity = assess(found)
    assert activity.flags == ()
    assert sum(end - start for start, end in activity.spans) > 8


@pytest.mark.parametrize(("gain_db", "flags"), [(-5, ()), (-22, ("quiet",))])
def test_a_dialogue_that_is_too_quiet_in_the_mix_is_remarked_on(
    gain_db: float, flags: tuple[str, ...], speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    assert assess(mixed(speech * np.float32(10 ** (gain_db / 20)), "5.1", [2], tmp_path, ffmpeg)).flags == flags


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("is_alone", [False, True])
def test_speech_that_was_clipped_before_the_mix_is_remarked_on(
    layout: str, is_alone: bool, speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    channels = [CENTRE[layout]] if is_alone else list(range(LAYOUTS[layout]))
    clipped = np.clip(speech * 12, -1, 1)
    assert np.mean(np.abs(clipped) == 1) > 0.02
    assert assess(mixed(clipped, layout, channels, tmp_path, ffmpeg)).flags == ("clipped",)
    assert assess(mixed(speech * 2, layout, channels, tmp_path, ffmpeg)).flags == ()


def tones(channels: int) -> NDArray[np.float32]:
    """A second in which each channel has a tone of its own, at full scale; shape (samples, channels)."""
    hz = 200 + 100 * np.arange(channels)
    return np.sin(2 * np.pi * hz * np.arange(RATE)[:, None] / RATE).astype(np.float32)


def gains(found: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """How much of the tone of each channel is in a sound."""
    whole: NDArray[np.float32] = np.abs(2 * found[:RATE] @ tones(channels) / RATE)
    return whole


def decoded(path: Path, ffmpeg: Ffmpeg, channels: int = 1) -> NDArray[np.float32]:
    """Of shape (samples, channels)."""
    sound = b"".join(Pcm(path, probe(path, ffmpeg), 0, None, ffmpeg, channels))
    return np.frombuffer(sound, "<i2").reshape(-1, channels).astype(np.float32) / np.float32(32768)


def recording(channels: int, folder: Path) -> Path:
    """A recording that does not say which channel is which."""
    return write_wav(folder / "recording", np.round(tones(channels) * 8192).astype("<i2"), RATE)


@pytest.mark.parametrize("channels", range(1, 33))
def test_where_nobody_says_which_channel_is_which_all_count_alike(
    channels: int, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = recording(channels, tmp_path)
    shares = gains(decoded(path, ffmpeg)[:, 0], channels) * 4 * channels
    assert shares == pytest.approx(np.ones(channels), abs=0.02)


def laid_out(layout: str, sound: NDArray[np.float32], folder: Path, ffmpeg: Ffmpeg) -> Path:
    """A file that declares a layout."""
    path = folder / "declared.mov"
    raw = ["-f", "f32le", "-ar", str(RATE), "-ch_layout", layout, "-i", "-"]
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-y", *raw, "-c:a", "pcm_s24le", str(path)]
    subprocess.run(argv, input=sound.tobytes(), check=True)
    return path


@pytest.mark.parametrize(
    ("layout", "channels"),
    [("cube", 8), ("5.1.4", 10), ("7.1.4", 12), ("hexadecagonal", 16), ("22.2", 24), ("FL+FR+TC", 3), ("binaural", 2)],
)
def test_no_channel_is_lost_of_layouts_that_ffmpeg_cannot_mix(
    layout: str, channels: int, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = laid_out(layout, tones(channels) / np.float32(4), tmp_path, ffmpeg)
    shares = gains(decoded(path, ffmpeg)[:, 0], channels) * 4 * channels
    assert shares == pytest.approx(np.ones(channels), abs=0.02)


def test_of_sound_from_all_around_the_channel_that_hears_all_is_taken(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "around.opus"
    sound = np.zeros((48_000, 4), np.float32)
    sound[:, 0] = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    raw = ["-f", "f32le", "-ar", "48000", "-ch_layout", "ambisonic 1", "-i", "-"]
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-y", *raw, "-c:a", "libopus", "-mapping_family", "2", str(path)]
    subprocess.run(argv, input=sound.tobytes(), check=True)
    assert decoded(path, ffmpeg)[RATE // 4 : RATE // 2].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
    apart = decoded(path, ffmpeg, 4)[RATE // 4 : RATE // 2].std(axis=0)
    assert apart == pytest.approx([0.3 / np.sqrt(2), 0, 0, 0], abs=0.03)


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        ("2.1", 3),
        ("3.0", 3),
        ("quad", 4),
        ("4.1", 5),
        ("6.0", 6),
        ("7.1(wide)", 8),
        ("hexadecagonal", 16),
        ("22.2", 24),
    ],
)
def test_channels_that_are_kept_apart_are_those_of_the_file(
    layout: str, channels: int, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    apart = decoded(laid_out(layout, tones(channels) / np.float32(4), tmp_path, ffmpeg), ffmpeg, channels)
    for number in range(channels):
        expected = np.eye(channels)[number] / 4
        assert gains(apart[:, number], channels) == pytest.approx(expected, abs=0.005)
    assert decoded(recording(9, tmp_path), ffmpeg, 9).std(axis=0) == pytest.approx(
        np.full(9, 0.25 / np.sqrt(2)), abs=0.01
    )


def stereo(sound: Sound, gain: float, folder: Path) -> Path:
    """A recording with that sound on the left, and so much of it on the right."""
    both = np.stack([sound, sound * np.float32(gain)], axis=1)
    return write_wav(folder / "stereo", np.frombuffer(pcm(both.reshape(-1)), "<i2").reshape(-1, 2), RATE)


@pytest.mark.parametrize(("gain", "flags"), [(-1, ("out_of_phase",)), (-0.9, ("out_of_phase",)), (0, ()), (1, ())])
@pytest.mark.parametrize("level", [1.0, 0.2])
def test_channels_that_cancel_each_other_out_are_remarked_on(
    gain: float, flags: tuple[str, ...], level: float, speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = stereo(speech * np.float32(level), gain, tmp_path)
    whole, _ = cut(path, probe(path, ffmpeg), Window(index=0, start=0, end=None), ffmpeg)
    assert tuple(flag for flag in whole.flags if flag != "quiet") == flags


@pytest.mark.parametrize(("gain_db", "flags"), [(0, ()), (-32, ("quiet",)), (-50, ("quiet",)), (-120, ())])
def test_a_window_that_is_too_weak_is_remarked_on_and_silence_is_not(
    gain_db: float, flags: tuple[str, ...], speech: Sound, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    path = stereo(speech * np.float32(10 ** (gain_db / 20)), 1, tmp_path)
    whole, clips = cut(path, probe(path, ffmpeg), Window(index=0, start=0, end=None), ffmpeg)
    assert whole.flags == flags
    assert bool(clips) == (gain_db > -40)
