"""Frames and sound of a window out of one process: the same as out of two, and no more of it in memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PermanentError
from pipeline.job import Window
from pipeline.media.arguments import ASIDE, Sound
from pipeline.media.ffmpeg import Ending, Ffmpeg
from pipeline.media.pieces import FramePieces, MediaCut, ScenePieces, SoundPieces
from pipeline.media.sound.along import Along, Spool, Wanted
from pipeline.media.sound.audio import WindowCut, WindowSound
from pipeline.media.told import Pieces
from pipeline.media.video.frames import FrameCut
from pipeline.media.video.sampling import Film
from pipeline.payload import Frame, Piece
from tests.integration.media.films import WHOLE, film
from tests.media_samples import beeps, encode, write_wav

KINDS: dict[str, tuple[str, ...]] = {
    "a.mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-c:a", "aac"),
    "late.mkv": ("-c:v", "mpeg4", "-c:a", "libopus", "-output_ts_offset", "0.7"),
    "behind.mkv": ("-c:v", "mpeg4", "-c:a", "flac"),
    "a.avi": ("-c:v", "mpeg4", "-c:a", "mp3"),
    "a.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libvorbis"),
}

BEEPS = (0.5, 2.0, 4.5, 7.0, 11.0)  # seconds


@pytest.fixture(scope="module")
def talkies(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> dict[str, Path]:
    """Twelve seconds of beeps and pictures; in one of them the sound begins later than the pictures."""
    folder = tmp_path_factory.mktemp("talkies")
    sound = write_wav(folder / "sound", beeps(12, BEEPS))
    return {
        name: encode(ffmpeg, sound, folder / name, *coded, video_seconds=12, late=1.3 if name == "behind.mkv" else 0.0)
        for name, coded in KINDS.items()
    }


def scenes(wanted: Film, window: Window, along: Along | None) -> Pieces:
    sound = WindowSound(wanted.path, wanted.info, window, wanted.ffmpeg, along=along)
    return ScenePieces(FrameCut(wanted, window, along), sound, window.start, most=4, clip_seconds=3.0)


def speech(wanted: Film, window: Window, along: Along | None) -> Pieces:
    clips = WindowCut(wanted.path, wanted.info, window, 5.0, wanted.ffmpeg, along=along)
    return MediaCut([FramePieces(FrameCut(wanted, window, along), counts=True), SoundPieces(clips, counts=False)])


def outline(piece: Piece) -> tuple[object, ...]:
    return piece.start, piece.end, piece.payload.kind, piece.payload.frames, len(piece.payload.pcm)


def loudest_difference(one: bytes, other: bytes) -> int:
    first, second = (np.frombuffer(pcm, "<i2").astype(int) for pcm in (one, other))
    return int(np.abs(first - second).max(initial=0))


@pytest.mark.parametrize("made", [scenes, speech])
def test_one_process_gives_what_two_give(made: object, talkies: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    assert callable(made)
    for choice, window in (
        ("fps=2", WHOLE),
        ("scene=3", Window(index=1, start=3.2, end=8.9)),
        ("keyframes=1", Window(index=2, start=8.9, end=None)),
    ):
        wanted = film(talkies["a.mp4"], ffmpeg, choice)
        two, one = made(wanted, window, None), made(wanted, window, Along())
        apart, together = list(two), list(one)
        assert [outline(piece) for piece in together] == [outline(piece) for piece in apart]
        assert (one.end, one.flags, one.missing) == (two.end, two.flags, two.missing)
        # Decoding that begins earlier has settled earlier, too: the first sound of a window may be a rounding apart.
        pairs = zip(together, apart, strict=True)
        differences = [loudest_difference(pair[0].payload.pcm, pair[1].payload.pcm) for pair in pairs]
        assert max(differences) <= (0 if window.start == 0 else 2)


@pytest.mark.parametrize("name", KINDS)
def test_sound_and_frames_share_one_clock(name: str, talkies: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    """Some ms apart at the most: Matroska's clock ticks in ms, and codecs have a lead-in that is dropped."""
    wanted = film(talkies[name], ffmpeg)
    late = 1.3 if name == "behind.mkv" else 0.0
    for window in (WHOLE, Window(index=1, start=3.2, end=8.9)):
        begins = next(late + beep for beep in BEEPS if late + beep >= window.start)
        along = Along()
        sound = WindowSound(wanted.path, wanted.info, window, ffmpeg, along=along)
        assert list(FrameCut(wanted, window, along).frames())[0].time < window.start + 1  # noqa: RUF015 - all are read
        level = np.abs(np.frombuffer(b"".join(sound), "<i2").astype(int))
        assert window.start + np.flatnonzero(level > 3000)[0] / 16_000 == pytest.approx(begins, abs=0.03)


def test_there_is_one_process_for_both(
    talkies: dict[str, Path], ffmpeg: Ffmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, started = film(talkies["a.mp4"], ffmpeg), list[list[str]]()
    stream = Ffmpeg.stream

    def counted(self: Ffmpeg, argv: list[str], *arguments: object, **named: object) -> Iterator[bytes]:
        started.append(argv)
        return stream(self, argv, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Ffmpeg, "stream", counted)
    assert {piece.payload.kind for piece in speech(wanted, WHOLE, Along())} == {"frames", "sound"}
    assert [ASIDE in argv for argv in started if "-i" in argv] == [True]


def test_two_processes_stay_where_one_cannot_do(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    assert not film(films["a.ts"], ffmpeg).can_be_heard, "decoding begins between two key frames"
    assert not film(films["even.mp4"], ffmpeg).can_be_heard, "it is silent"
    assert film(films["a.avi"], ffmpeg).can_be_heard


class LateSound(FrameCut):
    """All sound comes behind the last frame, as in a file that was put together badly."""

    def __init__(self, wanted: Film, window: Window, along: Along) -> None:
        super().__init__(wanted, window, along)
        self._late = along

    def frames(self) -> Iterator[Frame]:
        held = bytearray()
        put = self._late.put
        self._late.put = held.extend  # type: ignore[method-assign]
        holds, self._late.holds = self._late.holds, lambda _num_bytes: False  # type: ignore[method-assign]
        yield from super().frames()
        self._late.holds = holds  # type: ignore[method-assign]
        put(bytes(held))


def test_sound_that_comes_late_is_waited_for(talkies: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    wanted, along = film(talkies["a.mp4"], ffmpeg, "fps=2"), Along()
    sound = WindowSound(wanted.path, wanted.info, WHOLE, ffmpeg, along=along)
    late = ScenePieces(LateSound(wanted, WHOLE, along), sound, 0.0, most=4, clip_seconds=3.0)
    assert list(late) == list(scenes(wanted, WHOLE, None))


def test_what_is_kept_lies_on_disk_when_it_is_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    for number in range(40):
        spool.put(bytes([number]) * 1_000_000)
    assert len(spool._first) == 32_000_000
    assert spool._written == 8_000_000
    assert len(spool) == 40_000_000
    for number in range(40):
        assert spool.take(1_000_000) == bytes([number]) * 1_000_000
    assert (len(spool), spool.take(9)) == (0, b"")
    spool.put(b"again")
    assert spool.take(3) + spool.take(3) == b"again"
    monkeypatch.setattr("pipeline.media.sound.along._IN_MEMORY", 4)
    spool.put(b"abc")
    spool.put(b"defg")
    assert spool.take(2) == b"ab"
    spool.put(b"h")
    assert (spool.take(4), len(spool), spool.take(9)) == (b"cdef", 2, b"gh")
    spool.put(b"in")
    assert (spool._written, spool.take(2)) == (0, b"in")


def test_more_sound_than_was_asked_for_is_an_error_and_reading_too_early_is_a_bug() -> None:
    along = Along()
    along.wanted = Wanted(0.0, Sound(resampler="soxr"), 10)
    assert [along.heed(line) for line in (b"0.140625", b"0.859375", b"words")] == [b"", b"", b"words"]
    along.put(b"12345")
    assert not along.holds(6)
    with pytest.raises(RuntimeError, match="before the process has written it"):
        list(along.chunks(Ending()))
    along.close(Ending(code=0, stderr="told"))
    ending = Ending()
    assert list(along.chunks(ending)) == []
    assert ending == Ending(code=0, stderr="told")
    assert along.holds(999), "no more will come"
    with pytest.raises(PermanentError, match="more than it was asked for"):
        along.put(b"123456")
