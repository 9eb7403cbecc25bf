"""The speech gate with its real network: silence, noise and music hold no speech; a voice-like sound does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from pipeline.media.sound import speech
from pipeline.media.sound.cutting import Segmenter, SpeechClip
from pipeline.media.sound.speech import assess
from pipeline.media.sound.vad import speech_probabilities
from pipeline.sample import speech_sample
from tests import spoken

RATE = 16_000
SECONDS = 30
Clip = NDArray[np.float32]


def tone(hz: float, seconds: float, vibrato: float = 5.5) -> NDArray[np.float64]:
    """A plucked note with overtones and vibrato."""
    times = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * hz * times + 0.006 * hz / vibrato * np.sin(2 * np.pi * vibrato * times)
    shape = np.minimum(times / 0.03, 1) * np.exp(-1.2 * times / seconds)
    return shape * sum(np.sin(number * phase) / number**1.3 for number in range(1, 9))


def music(seed: int, intervals: tuple[int, ...]) -> NDArray[np.float64]:
    """Notes, or chords of several `intervals` in semitones."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(SECONDS * RATE)
    at = 0
    while at < len(sound) - RATE:
        seconds = rng.choice([0.25, 0.5, 1.0])
        root = 220 * 2 ** (rng.integers(0, 24) / 12)
        for interval in intervals:
            note = tone(root * 2 ** (interval / 12), seconds)
            sound[at : at + len(note)] += note
        at += round(seconds * RATE)
    return sound / np.abs(sound).max() * 0.5


def drums() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    sound = np.zeros(SECONDS * RATE)
    times = np.arange(RATE // 2) / RATE
    bass = np.sin(2 * np.pi * (50 + 100 * np.exp(-30 * times)) * times) * np.exp(-8 * times)
    for number, at in enumerate(range(0, len(sound), RATE // 2)):
        snare = rng.normal(0, 0.5, len(times)) * np.exp(-15 * times)
        sound[at : at + len(times)] += bass if number % 2 == 0 else snare
    return sound * 0.4


def noise(level_db: float, colour: float = 0.0) -> NDArray[np.float64]:
    """White noise, or with a spectrum that falls with frequency to the power of `colour`."""
    rng = np.random.default_rng(1)
    spectrum = np.fft.rfft(rng.normal(0, 1, SECONDS * RATE))
    sound = np.fft.irfft(spectrum / (np.arange(len(spectrum)) + 1) ** colour)
    return sound / sound.std() * 10 ** (level_db / 20)


@pytest.fixture(scope="module")
def voice() -> Clip:
    """Ten seconds of a person reading."""
    sound: Clip = decode_audio(str(speech_sample()))
    return sound[: 10 * RATE]


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0),
        np.zeros(300),
        np.zeros(SECONDS * RATE),
        noise(-75),
        noise(-20),
        noise(-20, colour=0.5),
        noise(-30, colour=1.0),
        0.3 * np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE) / RATE),
        music(0, (0, 4, 7)),
        music(1, (0, 3, 7, 10)),
        music(2, (0,)),
        music(3, (0,)),
        drums(),
        drums() * 0.5 + music(4, (0, 4, 7)) * 0.5,
    ],
    ids=lambda _: "",
)
def test_what_is_no_speech_is_told(sound: NDArray[np.float64]) -> None:
    activity = assess(sound.astype(np.float32))
    assert activity.spans == ()
    assert "no_speech" in activity.flags


def test_a_voice_is_found_and_has_no_remarks(voice: Clip) -> None:
    activity = assess(voice)
    assert activity.flags == ()
    assert sum(end - start for start, end in activity.spans) > 6
    assert all(0 <= start < end <= 10 for start, end in activity.spans)


def test_a_voice_in_silence_is_found_where_it_is(voice: Clip) -> None:
    clip = np.zeros(30 * RATE, np.float32)
    clip[12 * RATE : 22 * RATE] = voice
    activity = assess(clip)
    assert activity.spans[0][0] > 11.5
    assert activity.spans[-1][1] < 22.5


@pytest.mark.parametrize(("gain_db", "flags"), [(-5, ()), (-15, ("quiet",)), (-22, ("quiet",))])
def test_a_quiet_voice_is_found_and_remarked(voice: Clip, gain_db: float, flags: tuple[str, ...]) -> None:
    activity = assess(voice * np.float32(10 ** (gain_db / 20)))
    assert activity.flags == flags
    assert sum(end - start for start, end in activity.spans) > 6


def test_silence_and_noise_are_told_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "_voiced", lambda clip: pytest.fail("the network was asked"))
    for sound in (np.zeros(SECONDS * RATE), noise(-75), noise(-20)):
        assert assess(sound.astype(np.float32)).flags == ("no_speech",)


def test_the_network_hears_a_quiet_voice_at_full_level(voice: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Clip] = []
    monkeypatch.setattr(speech, "_voiced", lambda clip: heard.append(clip) or ((0.0, 1.0),))
    for gain_db in (-10, -20):
        assess(voice * np.float32(10 ** (gain_db / 20)))
    assert heard[0] == pytest.approx(heard[1], abs=1e-3)


def test_a_clipped_voice_is_found_and_remarked(voice: Clip) -> None:
    assert assess(np.clip(voice * 20, -1, 1)).flags == ("clipped",)


def test_a_voice_over_music_is_found(voice: Clip) -> None:
    background = (music(0, (0, 4, 7))[: len(voice)] * 0.1).astype(np.float32)
    assert "no_speech" not in assess(voice + background).flags


def test_several_threads_get_the_same_answers(voice: Clip) -> None:
    clips = [voice, voice[: 3 * RATE], music(0, (0, 4, 7)).astype(np.float32)] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(assess, clips)) == [assess(clip) for clip in clips]


def clips_of(sound: spoken.Sound) -> list[SpeechClip]:
    segmenter = Segmenter(0, 30, speech_probabilities)
    return [*segmenter.feed(spoken.pcm(sound)), *segmenter.finish()]


def is_speech(clip: SpeechClip) -> bool:
    samples = np.frombuffer(clip.pcm, "<i2").astype(np.float32) / np.float32(32768)
    return "no_speech" not in assess(samples).flags


@pytest.mark.parametrize("seed", range(2))
def test_clips_of_files_without_speech_are_no_speech(seed: int) -> None:
    for sound in (spoken.music(60, seed=seed), spoken.noise(60, seed=seed), spoken.noise(60, colour=0.5, seed=seed)):
        for gain in (0.05, 1.0):
            assert not any(is_speech(clip) for clip in clips_of(sound * np.float32(gain)))
    assert clips_of(np.zeros(60 * RATE, np.float32)) == []


@pytest.mark.parametrize("number", range(3))
def test_clips_of_talk_over_babble_music_and_noise_are_speech(number: int) -> None:
    said = spoken.talk(60, seed=number, voice=spoken.VOICES[number])
    for under in (spoken.babble(60), spoken.music(60), spoken.noise(60), spoken.noise(60, colour=0.5)):
        for clip in clips_of(spoken.over(said, under, snr=10).sound):
            holds_phrase = any(first < clip.end * RATE and end > clip.start * RATE for first, end in said.spans)
            assert is_speech(clip) or not holds_phrase
