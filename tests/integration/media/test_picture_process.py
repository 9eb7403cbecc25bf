"""Pictures read in a process of their own: the same pictures, and no harm from a reader that one has taken over."""

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import LimitError, PermanentError, ResourceError
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import animations, in_process, reader, still
from pipeline.settings import Limits

FORMATS = ("jpeg", "png", "webp", "avif", "gif", "tiff", "bmp")
SIDE = 32


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same small picture in every format, and an animation."""
    folder = tmp_path_factory.mktemp("drawn")
    picture = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    made = {name: folder / name for name in FORMATS}
    for name, path in made.items():
        picture.save(path, name.upper())
    frames = [Image.new("RGB", (20, 20), (shade, 0, 255 - shade)) for shade in range(0, 250, 25)]
    made["moving"] = folder / "moving"
    frames[0].save(made["moving"], "GIF", save_all=True, append_images=frames[1:], duration=200)
    return made


@pytest.fixture(params=["in the sandbox", "under limits alone"])
def anywhere(request: pytest.FixtureRequest, ffmpeg: Ffmpeg) -> Iterator[Ffmpeg]:
    chosen = ffmpeg if request.param == "in the sandbox" else replace(ffmpeg, sandbox=None)
    yield chosen
    in_process.close(chosen)


def test_pictures_are_the_same_as_when_they_are_read_here(drawn: dict[str, Path], anywhere: Ffmpeg) -> None:
    for name in FORMATS:
        path = drawn[name]
        assert in_process.describe(path, name, anywhere) == still.describe(path, name, Limits())
        for fit in ("inside", "stretch"):
            here = still.read(path, name, SIDE, Limits(), fit)  # type: ignore[arg-type]
            assert in_process.read(path, name, SIDE, anywhere, fit) == here  # type: ignore[arg-type]
    moving = list(in_process.animation(drawn["moving"], "gif", 2.5, SIDE, anywhere))
    assert moving == list(animations.read(drawn["moving"], "gif", 2.5, SIDE, Limits()))
    assert len(moving) == 5


def test_so_are_errors(drawn: dict[str, Path], tmp_path: Path, anywhere: Ffmpeg) -> None:
    strict = replace(anywhere, limits=Limits(pixels=100))
    broken = tmp_path / "broken"
    broken.write_bytes(drawn["png"].read_bytes()[:60])
    for path, programs, kind in ((drawn["png"], strict, LimitError), (broken, anywhere, PermanentError)):
        with pytest.raises(kind) as there:
            in_process.read(path, "png", SIDE, programs)
        with pytest.raises(kind) as here:
            still.read(path, "png", SIDE, programs.limits)
        assert vars(there.value) == vars(here.value)
    in_process.close(strict)


def test_the_process_stays_for_the_next_picture(drawn: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    in_process.close(ffmpeg)
    for _ in range(3):
        in_process.describe(drawn["png"], "png", ffmpeg)
    (reader,) = in_process._idle(os.getpid(), ffmpeg.sandbox, ffmpeg.limits)
    os.kill(reader._process.pid, signal.SIGKILL)
    reader._process._popen.wait()
    assert in_process.describe(drawn["png"], "png", ffmpeg).width == 60


def test_two_files_are_read_side_by_side(drawn: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    moving = in_process.animation(drawn["moving"], "gif", 2.5, SIDE, ffmpeg)
    first = next(moving)
    assert in_process.read(drawn["png"], "png", SIDE, ffmpeg) == still.read(drawn["png"], "png", SIDE, Limits())
    assert [first, *moving] == list(animations.read(drawn["moving"], "gif", 2.5, SIDE, Limits()))


def test_an_animation_that_is_not_read_to_its_end_leaves_nothing_behind(drawn: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    in_process.close(ffmpeg)
    moving = in_process.animation(drawn["moving"], "gif", 2.5, SIDE, ffmpeg)
    next(moving)
    moving.close()  # type: ignore[attr-defined]
    assert in_process._idle(os.getpid(), ffmpeg.sandbox, ffmpeg.limits) == []
    assert in_process.describe(drawn["bmp"], "bmp", ffmpeg).format == "bmp"


def test_a_picture_on_another_disk_is_read_and_the_file_is_not_touched(drawn: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no other disk")
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(drawn["png"].read_bytes())
        file.flush()
        assert in_process.describe(Path(file.name), "png", ffmpeg).width == 60
    for path in drawn.values():
        assert path.stat().st_nlink == 1


ATTACK = """
import ctypes, json, os, time
import fcntl, stat
from contextlib import suppress
from pipeline.media.pictures import server
from pipeline.media.sandbox.breakout import breaches
from pipeline.media.pictures.still import Picture
def answers(data):
    for number in range(3, 20):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_WRONLY:
                os.write(number, data)
def attack(path, limits, **asked):
{body}
    return Picture(b"x", ())
server._CALLS = {{**server._CALLS, "read": attack}}
server.serve()
"""
Attack = Callable[..., Ffmpeg]


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch, anywhere: Ffmpeg) -> Iterator[Attack]:
    """`attack(code)` gives programs with a reader of pictures that does that instead, with any limits."""
    made: list[Ffmpeg] = []

    def take_over(body: str, **limits: float) -> Ffmpeg:
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        monkeypatch.setattr(reader, "_CODE", ATTACK.format(body=indented))
        made.append(replace(anywhere, limits=Limits(process_seconds=59.5, **limits)))  # type: ignore[arg-type]
        return made[-1]

    yield take_over
    for programs in made:
        in_process.close(programs)


def test_a_reader_that_is_taken_over_gets_nowhere(
    attack: Attack, drawn: dict[str, Path], tmp_path: Path, anywhere: Ffmpeg
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        call = f"return Picture(json.dumps(breaches({str(canary)!r}, {server.getsockname()[1]})).encode(), ())"
        found = json.loads(in_process.read(drawn["png"], "png", SIDE, attack(call)).image)
    # It is not process 1 of the sandbox, and holds the pipe that it answers through.
    expected = ["sees processes of the host", "holds files open that it was not given"]
    outside = {"reads files of the host", "writes files", "reaches the network", "starts processes"}
    assert found == expected if anywhere.sandbox else outside <= set(found)


@pytest.mark.parametrize("anywhere", ["in the sandbox"], indirect=True)
@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ("ctypes.string_at(0)", PermanentError, "crash .SIGSEGV"),
        ("os.abort()", PermanentError, "crash .SIGABRT"),
        ("os.kill(os.getpid(), 9)", ResourceError, "more memory or time"),
        ("raise ValueError('a bug')", RuntimeError, "a bug"),
        ("os._exit(3)", RuntimeError, "status 3"),
        ("return Picture('no bytes', 7)", RuntimeError, "failed"),
        ("return server.still.Picture(b'x', (7,))", PermanentError, "no sense"),
        ("return iter((Picture(b'x', ()), Picture(b'y', ())))", PermanentError, "no sense"),
        ("answers(b'{}\\n')", PermanentError, "no sense"),
        ("while True: answers(bytes(999))", PermanentError, "no sense"),
    ],
)
def test_what_a_reader_that_is_taken_over_says_does_no_harm(
    body: str,
    error: type[Exception],
    reason: str,
    attack: Attack,
    drawn: dict[str, Path],
) -> None:
    programs = attack(body)
    for _ in range(2):
        with pytest.raises(error, match=reason):
            in_process.read(drawn["png"], "png", SIDE, programs)
        assert in_process.describe(drawn["png"], "png", programs).width == 60


def test_a_reader_that_takes_too_long_is_ended(attack: Attack, drawn: dict[str, Path]) -> None:
    patient = attack("while True: time.sleep(9)")
    hasty = replace(patient, limits=Limits(process_seconds=1))
    started = time.monotonic()
    with pytest.raises(ResourceError, match="longer than the limit"):
        in_process.read(drawn["png"], "png", SIDE, hasty)
    assert time.monotonic() - started < 10
    assert in_process._idle(os.getpid(), hasty.sandbox, hasty.limits) == []
    assert in_process.describe(drawn["png"], "png", patient).width == 60


@pytest.mark.parametrize("anywhere", ["in the sandbox"], indirect=True)
def test_it_cannot_end_the_server(attack: Attack, drawn: dict[str, Path]) -> None:
    programs = attack("os.kill(os.getppid(), 9)\nos.kill(os.getppid(), 15)")
    assert in_process.read(drawn["png"], "png", SIDE, programs).image == b"x"
    (reader,) = in_process._idle(os.getpid(), programs.sandbox, programs.limits)
    assert reader.is_alive
