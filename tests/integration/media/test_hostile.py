"""Files that try to make ffmpeg open something else: refused by their bytes, and refused again by ffmpeg's fences."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import PermanentError, WorldError
from pipeline.media import arguments, documents
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.pictures import in_process
from pipeline.media.probe import probe
from pipeline.media.sound.pcm import Pcm
from tests.hostile.pointing import PLAYLISTS, filled
from tests.media_samples import beeps, write_wav

#: One of each kind that ffmpeg has a demuxer for.
TRIED = (
    "m3u8",
    "m3u8-http",
    "m3u8-itself",
    "m3u8-subfile",
    "dash",
    "concat",
    "concat-protocol",
    "ffconcat",
    "sdp",
    "smooth",
)
NAMES = {"m3u8": "hostile.mp4", "sdp": "hostile.wav"}
FORCED = ("mov", "matroska", "wav", "mp3", "aac", "ogg", "flac", "mpegts", "avi", "asf")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A healthy file that nobody may read."""
    return write_wav(tmp_path / "canary.wav", beeps(2, [0, 1]))


@pytest.fixture
def web(canary: Path) -> Iterator[tuple[int, list[str]]]:
    """A port that would serve the canary, and the requests it got."""
    hits: list[str] = []

    class Canary(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(canary.read_bytes())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Canary)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, hits
    server.shutdown()
    thread.join()
    server.server_close()


def plant(kind: str, folder: Path, canary: Path, port: int) -> Path:
    path = folder / NAMES.get(kind, "hostile.mp4")
    path.write_bytes(filled(kind, canary, port))
    return path


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_hostile_file_is_refused_and_opens_nothing(
    kind: str, tmp_path: Path, canary: Path, web: tuple[int, list[str]], ffmpeg: Ffmpeg
) -> None:
    port, hits = web
    with pytest.raises(PermanentError, match=r"playlist|text"):
        probe(plant(kind, tmp_path, canary, port), ffmpeg)
    assert hits == []


def test_a_text_or_a_picture_that_names_a_file_opens_nothing(
    tmp_path: Path, canary: Path, web: tuple[int, list[str]], ffmpeg: Ffmpeg
) -> None:
    port, hits = web
    url = f"http://127.0.0.1:{port}/canary.wav"
    text, picture = tmp_path / "text", tmp_path / "picture"
    text.write_text(f"![]({url}) and {canary}\n")
    Image.new("RGB", (8, 8)).save(picture, "PNG", pnginfo=_linking(url))
    read = documents.read(text, "utf-8", ffmpeg.limits), in_process.read(picture, "png", 8, ffmpeg)
    assert [probe(path, ffmpeg).kind for path in (text, picture)] == ["text", "picture"]
    assert all(read)
    assert hits == []


def _linking(url: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'<!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]><x>&e;</x>')
    return info


@pytest.mark.parametrize("kind", TRIED)
def test_even_past_the_sniffer_ffmpeg_reads_nothing_else(
    kind: str, tmp_path: Path, canary: Path, web: tuple[int, list[str]], ffmpeg: Ffmpeg
) -> None:
    port, hits = web
    path = plant(kind, tmp_path, canary, port)
    for demuxer in FORCED:
        argv = arguments.decode(ffmpeg.ffmpeg, path, demuxer, 0, 2, asked=arguments.Sound(resampler="swr"))
        assert ffmpeg.run(argv, 1_000_000)[0] == b""
        described, _ = ffmpeg.run(arguments.describe(ffmpeg.ffprobe, path, demuxer), 1_000_000)
        assert b"pcm_s16le" not in described
    assert hits == []


def test_the_canary_would_be_found_without_the_fences(tmp_path: Path, canary: Path, ffmpeg: Ffmpeg) -> None:
    """Proof that the corpus bites: a playlist demuxer that is allowed does read the canary."""
    import subprocess

    path = tmp_path / "hostile"
    path.write_bytes(filled("ffconcat", canary, 0))
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-f", "concat", "-safe", "0", "-i", str(path), "-f", "s16le", "-"]
    assert len(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout) > 100_000


def test_a_forced_playlist_demuxer_is_not_started(tmp_path: Path, canary: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(filled("ffconcat", canary, 0))
    argv = [str(ffmpeg.ffmpeg), "-f", "concat", "-safe", "0", "-i", str(path), "-f", "s16le", "-"]
    with pytest.raises(WorldError):
        ffmpeg.run(argv, 1_000_000)


@pytest.mark.parametrize("name", ["concat:canary.wav|canary.wav", "-i", "a%03d.wav", "http:x", "- y;$(touch x)"])
def test_a_strange_name_is_just_a_name(name: str, tmp_path: Path, canary: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / name
    path.write_bytes(canary.read_bytes())
    info = probe(path, ffmpeg)
    assert info.duration == 2.0
    assert len(b"".join(Pcm(path, info, 0, None, ffmpeg))) == 64_000


def test_a_name_that_is_no_file_is_never_taken_for_a_protocol(tmp_path: Path, canary: Path, ffmpeg: Ffmpeg) -> None:
    argv = arguments.decode(
        ffmpeg.ffmpeg, tmp_path / f"concat:{canary}", "wav", 0, 2, asked=arguments.Sound(resampler="swr")
    )
    output, ending = ffmpeg.run(argv, 1_000_000)
    assert output == b""
    assert "No such file" in ending.stderr
