"""What a media process may take, and what becomes of one that takes more."""

import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.errors import PermanentError, ResourceError, WorldError
from pipeline.job import Window
from pipeline.media.ffmpeg import Ending, Ffmpeg
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from pipeline.media.windows import choose_windows
from pipeline.settings import Limits, Settings
from tests.integration.media.conftest import cut
from tests.media_samples import beeps, encode, write_wav


def script(folder: Path, body: str) -> Path:
    """A program that stands in for a misbehaving ffmpeg."""
    path = folder / "program"
    path.write_text(f"#!{sys.executable} -I\nimport os, sys, time, signal\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def with_limits(folder: Path, body: str, **limits: float) -> Ffmpeg:
    program = script(folder, body)
    return Ffmpeg(program, program, Limits(**limits))  # type: ignore[arg-type]


def run(program: Ffmpeg, max_bytes: int = 1000) -> tuple[bytes, Ending]:
    return program.run([str(program.ffmpeg)], max_bytes)


def test_a_process_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    body = "pid = os.fork()\nopen('/dev/stderr', 'w').write(str(pid or ''))\ntime.sleep(60)"
    program = with_limits(tmp_path, body, process_seconds=1.5)
    started = time.monotonic()
    with pytest.raises(ResourceError, match="longer than the limit") as caught:
        run(program)
    assert time.monotonic() - started < 10
    child = int(caught.value.detail)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_slowly(program: Ffmpeg, seconds: float, stalls: int = 10**9) -> int:
    """How many bytes come, if who reads them is busy for so long after each of the first chunks."""
    count = 0
    for number, chunk in enumerate(program.stream([str(program.ffmpeg)], 10**9, Ending())):
        count += len(chunk)
        time.sleep(seconds if number < stalls else 0)
    return count


def test_time_that_its_reader_takes_does_not_count_against_a_process(tmp_path: Path) -> None:
    program = with_limits(tmp_path, "for _ in range(4): os.write(1, bytes(1 << 16))", process_seconds=1)
    assert read_slowly(program, 1.5, stalls=1) == 4 << 16


def test_a_process_whose_reader_is_slow_is_ended_nevertheless(tmp_path: Path) -> None:
    program = with_limits(
        tmp_path, "while True:\n    os.write(1, bytes(4096))\n    time.sleep(0.01)", process_seconds=0.5
    )
    started = time.monotonic()
    with pytest.raises(ResourceError, match="longer than the limit"):
        read_slowly(program, 0.05)
    assert time.monotonic() - started < 10


def test_a_process_that_takes_too_much_memory_is_a_resource_error(tmp_path: Path) -> None:
    body = (
        "time.sleep(0.5)\ntry:\n    x = bytearray(10**9)\nexcept MemoryError:\n    sys.exit('Cannot allocate memory')"
    )
    with pytest.raises(ResourceError, match="memory"):
        run(with_limits(tmp_path, body, process_bytes=500_000_000))


def test_a_process_that_is_killed_is_a_resource_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError):
        run(with_limits(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"))


def test_a_crash_is_the_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="SIGSEGV"):
        run(with_limits(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)"))


def test_more_output_than_expected_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="more than it was asked for"):
        run(with_limits(tmp_path, "while True: os.write(1, bytes(500))"))


def test_only_the_tail_of_the_errors_is_kept(tmp_path: Path) -> None:
    body = "sys.stderr.write('x' * 10**6 + 'the end')\nos.write(1, b'ok')\nsys.exit(3)"
    output, ending = run(with_limits(tmp_path, body))
    assert (output, ending.code) == (b"ok", 3)
    assert ending.stderr.endswith("the end")
    assert len(ending.stderr) == 1 << 16


def test_a_process_may_write_no_file_and_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    target = tmp_path / "target"
    body = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\ntime.sleep(0.5)\n"
        f"try:\n    open({str(target)!r}, 'wb', 0).write(b'x')\nexcept OSError as error:\n    print(error.errno)\n"
        "print(sorted(os.environ), os.getcwd(), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"
    )
    output, _ = run(with_limits(tmp_path, body))
    assert output.decode() == "27\n['LC_ALL', 'PATH'] / True ''\n"
    assert target.read_bytes() == b""


def test_an_abandoned_stream_leaves_no_process(tmp_path: Path) -> None:
    program = with_limits(tmp_path, "os.write(1, str(os.getpid()).encode())\ntime.sleep(60)")
    stream = program.stream([str(program.ffmpeg)], 1000, Ending())
    pid = int(next(iter(stream)))
    assert psutil.pid_exists(pid)
    stream.close()  # type: ignore[attr-defined]
    assert not psutil.pid_exists(pid)


def test_a_missing_program_is_an_error_of_the_world(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="install"):
        Ffmpeg(tmp_path / "no", tmp_path / "no", Limits()).run([str(tmp_path / "no")], 10)
    with pytest.raises(WorldError, match="not a program"):
        Ffmpeg.locate(Settings(ffmpeg=tmp_path / "no"))


def test_the_programs_prove_themselves(ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    found = ffmpeg.self_test()
    assert set(found) == {"ffmpeg", "ffprobe", "resampler"}
    assert all(found.values())
    with pytest.raises(WorldError):
        with_limits(tmp_path, "print('ffmpeg version 9 x')").self_test()


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> Path:
    """Two hours of silence, 192 kHz, 8 channels: 44 GB as float32, a few MB as a file."""
    folder = tmp_path_factory.mktemp("bomb")
    head = ("-f", "lavfi", "-i", "anullsrc=r=192000:cl=7.1", "-t", "20", "-c:a", "flac", "-compression_level", "0")
    short = folder / "short.flac"
    argv = [str(ffmpeg.ffmpeg), "-nostdin", "-v", "error", *head, str(short)]
    subprocess.run(argv, check=True, timeout=120)
    data = bytearray(short.read_bytes())
    # STREAMINFO tells the number of samples in 36 bits at byte 21: promise two hours.
    samples = 2 * 3600 * 192_000
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    path = folder / "bomb"
    path.write_bytes(data)
    return path


def test_a_small_file_that_blows_up_is_refused(bomb: Path, ffmpeg: Ffmpeg) -> None:
    assert bomb.stat().st_size < 5_000_000
    with pytest.raises(PermanentError, match="samples in all channels 11,059,200,000, allowed 8,294,400,000"):
        probe(bomb, ffmpeg)


def test_what_blows_up_is_streamed_where_the_limits_allow_it(bomb: Path, ffmpeg: Ffmpeg) -> None:
    generous = replace(ffmpeg, limits=Limits(channel_samples=1e12, process_bytes=600_000_000))
    pcm = Pcm(bomb, probe(bomb, generous), 5, 10, generous)
    assert sum(len(chunk) for chunk in pcm) == 320_000


def test_each_limit_is_named(beeping: Path, ffmpeg: Ffmpeg) -> None:
    for limits, reason in (
        (Limits(file_bytes=1000), "size 10,584,044 bytes, allowed 1,000 bytes"),
        (Limits(duration_seconds=59), "duration 60 s, allowed 59 s"),
        (Limits(channels=1), "channels 2, allowed 1"),
    ):
        with pytest.raises(PermanentError, match=reason):
            probe(beeping, replace(ffmpeg, limits=limits))


def test_a_file_that_hid_its_length_is_stopped_at_the_limit(beeping: Path, tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = encode(ffmpeg, beeping, tmp_path / "a.webm", "-c:a", "libopus", "-live", "1")
    strict = replace(ffmpeg, limits=Limits(duration_seconds=30))
    info = probe(path, strict)
    assert info.duration is None
    windows = choose_windows(path, info, 600, strict)
    with pytest.raises(PermanentError, match="more than 30 s of sound"):
        cut(path, info, windows[0], strict)
    assert cut(path, info, Window(index=0, start=0, end=None), ffmpeg)[0].end == pytest.approx(60, abs=0.1)


MEMORY = """
import re, resource, sys
from pathlib import Path
from pipeline.media.sound.audio import WindowCut
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.job import Window
from pipeline.settings import Settings
ffmpeg = Ffmpeg.locate(Settings())
path = Path(sys.argv[1])
for clip in WindowCut(path, probe(path, ffmpeg), Window(index=0, start=0, end=None), 30, ffmpeg): pass
# A process inherits the peak of getrusage from the one that started it; this one is its own.
own = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(clip.end, own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    source = write_wav(tmp_path / "source", beeps(60, [2 * number for number in range(30)]))
    minute = encode(ffmpeg, source, tmp_path / "a.mp3", "-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0")
    peaks: dict[int, float] = {}
    for minutes in (5, 60):
        path = tmp_path / "long"
        path.write_bytes(minute.read_bytes() * minutes)
        argv = [sys.executable, "-c", MEMORY, str(path)]
        output = subprocess.run(argv, check=True, capture_output=True, timeout=300, cwd=os.getcwd()).stdout
        end, own, child = map(float, output.split())
        assert end > minutes * 59
        assert child < 150
        peaks[minutes] = own
    assert peaks[60] <= 1.1 * peaks[5]


def test_what_is_said_is_heard_before_what_is_written_after_it(tmp_path: Path) -> None:
    body = "for n in range(3000):\n    os.write(2, b'line\\n')\n    os.write(1, b'x')"
    program = with_limits(tmp_path, body)
    heard: list[bytes] = []
    written = 0

    def heed(line: bytes) -> bytes:
        heard.append(line)
        return b"kept" if len(heard) == 3000 else b""

    ending = Ending()
    for chunk in program.stream([str(program.ffmpeg)], 3000, ending, heed=heed):
        written += len(chunk)
        assert len(heard) >= written
        time.sleep(0.0001)
    assert (written, set(heard), ending.stderr) == (3000, {b"line"}, "kept")
