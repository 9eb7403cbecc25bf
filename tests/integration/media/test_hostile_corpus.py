"""Everything hostile there is, through the real probe and cut: nothing else is opened, and each ends with a reason."""

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import in_process
from pipeline.settings import Limits
from tests.acceptance.test_archive import flac_bomb
from tests.hostile import bombs, pointing
from tests.hostile.outcome import Mill, Outcome
from tests.media_samples import beeps, encode, write_wav
from tests.watching import PeakOfChildren

#: Names that files are given by those who submit them.
NAMES = ("concat:x", "-i", "../../x", "a%03d.wav", "http:x", "- y;$(touch x)", "/etc/passwd", "x.m3u8\n")
MAX_SECONDS = 40  # for one file, on a busy machine; any but the largest pictures take a tenth of a second
MAX_GROWTH = 300_000_000  # bytes of this process
MAX_CHILD = 800_000  # kB of a media process; the largest picture that the limits allow takes 414 MB
FLIPS, CUTS = 200, 20


class Port:
    """Listens on this machine, and counts who comes."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.number: int = self._server.getsockname()[1]
        self.num_accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            self.num_accepted += 1
            connection.close()


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    """Checked at the end, too: nobody came at all."""
    listening = Port()
    yield listening
    time.sleep(0.2)
    assert listening.num_accepted == 0


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy file that nobody may read."""
    return write_wav(tmp_path_factory.mktemp("canary") / "canary.wav", beeps(2, [0, 1]))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg, canary: Path) -> Path:
    """A QuickTime file with its index behind its media."""
    return encode(ffmpeg, canary, tmp_path_factory.mktemp("film") / "film.mov", "-c:a", "pcm_s16le")


Corpus = dict[str, bytes]


@pytest.fixture(scope="module")
def pointers(canary: Path, port: Port) -> Corpus:
    """What has nothing of its own, only the address of the canary."""
    urls = {"file": f"file://{canary}", "path": str(canary), "http": f"http://127.0.0.1:{port.number}/canary.wav"}
    made = {name: pointing.filled(name, canary, port.number) for name in pointing.PLAYLISTS}
    made |= pointing.disguised(canary, port.number)
    return made | {f"film elsewhere, {kind}": pointing.reference_movie(url) for kind, url in urls.items()}


@pytest.fixture(scope="module")
def referring(film: Path, canary: Path) -> bytes:
    """A good film of silence, but for its `dref`, which says that its sound is that of the canary."""
    return pointing.referring(film.read_bytes(), canary)


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Iterator[Mill]:
    yield Mill(tmp_path_factory.mktemp("mill"), ffmpeg)
    in_process.close(ffmpeg)


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Iterator[Mill]:
    """Without a sandbox: sniffing and the fences of ffmpeg's options are all there is."""
    bare = replace(ffmpeg, sandbox=None)
    yield Mill(tmp_path_factory.mktemp("unguarded"), bare)
    in_process.close(bare)


Judge = Callable[[str, Outcome], object]


def either(name: str, outcome: Outcome) -> None:
    """Whether there is a result or a reason, `run_all` has looked at all that can be asked of it."""


def run_all(corpus: Corpus, mill: Mill, folder: Path, judge: Judge) -> int:
    """Each file ends in time, in plain words or with a result; neither this process nor a media process grows.

    Returns the peak of the media processes, in kB.
    """
    before = psutil.Process().memory_info().rss
    with PeakOfChildren() as peak:
        for number, (name, data) in enumerate(corpus.items()):
            path = folder / str(number)
            path.write_bytes(data)
            started = time.monotonic()
            outcome = mill.run(path, NAMES[number % len(NAMES)])
            path.unlink()
            assert time.monotonic() - started < MAX_SECONDS, name
            for reason in filter(None, (outcome.refused, outcome.missing)):
                assert len(reason.split()) > 3, (name, reason)
                assert "Traceback" not in reason, (name, reason)
                assert str(folder) not in reason, (name, reason)
            judge(name, outcome)
    assert psutil.Process().memory_info().rss - before < MAX_GROWTH
    assert peak.kilobytes < MAX_CHILD
    return peak.kilobytes


def is_refused(name: str, outcome: Outcome) -> None:
    assert outcome.refused, name
    assert not outcome, name


def test_what_points_elsewhere_is_refused_and_opens_nothing(
    pointers: Corpus, mill: Mill, tmp_path: Path, port: Port
) -> None:
    assert len(pointers) > 40
    run_all(pointers, mill, tmp_path, is_refused)
    assert port.num_accepted == 0


def test_without_the_sandbox_too(pointers: Corpus, unguarded: Mill, tmp_path: Path, port: Port) -> None:
    run_all(pointers, unguarded, tmp_path, is_refused)
    assert port.num_accepted == 0


def is_silent(name: str, outcome: Outcome) -> None:
    assert not outcome, name


def test_a_film_whose_sound_lies_elsewhere_is_silent(
    referring: bytes, mill: Mill, unguarded: Mill, tmp_path: Path
) -> None:
    for one in (mill, unguarded):
        run_all({"referring": referring}, one, tmp_path, is_silent)


def test_its_sound_would_be_found_without_the_fences(
    referring: bytes, canary: Path, tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    """Proof that it bites, and that what it finds can be told from what it holds."""
    path = tmp_path / "film"
    path.write_bytes(referring)
    bold = ("-enable_drefs", "1", "-use_absolute_path", "1")
    found = [
        subprocess.run(
            [str(ffmpeg.ffmpeg), "-v", "error", *options, "-i", str(path), "-f", "s16le", "-"],
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for options in ((), bold)
    ]
    assert [any(sound) for sound in found] == [False, True]


def test_the_port_would_notice(port: Port) -> None:
    listening = Port()
    socket.create_connection(("127.0.0.1", listening.number)).close()
    deadline = time.monotonic() + 5
    while not listening.num_accepted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pictures_that_point_elsewhere_are_just_pictures(
    canary: Path, port: Port, mill: Mill, unguarded: Mill, tmp_path: Path
) -> None:
    for one in (mill, unguarded):
        run_all(pointing.pictures_that_point(canary, port.number), one, tmp_path, is_whole)
    assert port.num_accepted == 0


def is_whole(name: str, outcome: Outcome) -> None:
    assert (outcome.refused, outcome.missing) == (None, None), name
    assert outcome, name


#: What becomes of those bombs of which it matters how they are refused, or that they are not.
BEYOND = {
    "flac of two hours of silence": "samples in all channels",
    "png of 30,000 x 30,000": "pixels 900,000,000",
    "gif of 65,535 x 65,535": "pixels",
    "avi of 10^9 frames, one a second": "duration",
    "wav of 65,535 channels": "channels|broken|header",
    "zip": "not a media format",
    "a billion laughs": "markup",
}


def test_what_blows_up_is_refused_or_read_within_bounds(mill: Mill, tmp_path: Path) -> None:
    corpus = bombs.bombs() | {"flac of two hours of silence": flac_bomb(hours=2)}
    assert max(len(data) for data in corpus.values()) < 5_000_000
    refused: dict[str, str] = {}

    def judge(name: str, outcome: Outcome) -> None:
        refused[name] = outcome.refused or ""

    assert run_all(corpus, mill, tmp_path, judge) > 100_000, "the largest picture within the limits takes more"
    for name, words in BEYOND.items():
        assert any(word in refused[name] for word in words.split("|")), (name, refused[name])


def test_what_is_no_media_is_refused(mill: Mill, tmp_path: Path) -> None:
    run_all(bombs.rubbish(), mill, tmp_path, is_refused)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Corpus:
    """Tiny files of several formats."""
    folder = tmp_path_factory.mktemp("good")
    sound = write_wav(folder / "sound.wav", beeps(0.6, [0.1])[::4], rate=11_025)
    made = {"wav": sound}
    for name, options in {"mp3": (), "flac": (), "ogg": ("-c:a", "libopus"), "m4a": ()}.items():
        made[name] = encode(ffmpeg, sound, folder / f"a.{name}", *options)
    for name, codec in {"mp4": "mpeg4", "mkv": "libx264"}.items():
        made[name] = encode(ffmpeg, sound, folder / f"v.{name}", "-c:v", codec, "-c:a", "aac", video_seconds=0.6)
    picture = Image.effect_noise((48, 32), 40).convert("RGB")
    for name in ("png", "jpeg", "gif", "webp", "tiff", "bmp"):
        made[name] = folder / f"p.{name}"
        picture.save(made[name], name)
    return {name: path.read_bytes() for name, path in made.items()}


def test_good_files_are_read(good: Corpus, mill: Mill, tmp_path: Path) -> None:
    run_all(good, mill, tmp_path, is_whole)


def test_truncated_files_end_with_a_reason_or_what_could_be_read(good: Corpus, mill: Mill, tmp_path: Path) -> None:
    chosen = ("m4a", "mkv", "png", "jpeg", "gif", "tiff")
    corpus = {
        f"{name} {part}/{CUTS}": good[name][: len(good[name]) * part // CUTS] for name in chosen for part in range(CUTS)
    }
    run_all(corpus, mill, tmp_path, either)


def test_files_with_flipped_bits_end_with_a_reason_or_a_result(good: Corpus, mill: Mill, tmp_path: Path) -> None:
    dice = random.Random(20_261_124)
    corpus = {
        f"{name} {number}": flipped(good[name], dice) for number, name in zip(range(FLIPS), cycle(good), strict=False)
    }
    run_all(corpus, mill, tmp_path, either)


def flipped(data: bytes, dice: random.Random) -> bytes:
    """With up to 16 bits turned over, more of them near the start, where the headers are."""
    damaged = bytearray(data)
    for _ in range(dice.randint(1, 16)):
        place = int(len(data) * dice.random() ** 3)
        damaged[place] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def test_what_a_process_is_allowed_to_take_bounds_it(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """The largest picture within the limits, where there is no memory for it."""
    poor = replace(ffmpeg, limits=Limits(process_bytes=500_000_000))
    poor_mill = Mill(tmp_path / "poor", poor)
    path = tmp_path / "large"
    path.write_bytes(bombs.png(14_000, 14_000))
    outcome = poor_mill.run(path)
    assert outcome.refused
    assert "memory" in outcome.refused
    in_process.close(poor)
