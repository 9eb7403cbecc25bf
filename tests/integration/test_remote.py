"""Media in a real bucket: both ends of a large file tell what the whole of it does."""

import struct
from io import BytesIO
from pathlib import Path
from typing import IO

import pytest

from pipeline.errors import LimitError, PermanentError
from pipeline.job import MediaInfo
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.planning.remote import END_BYTES, Remote, listed
from pipeline.settings import S3, Limits, Settings
from pipeline.store import S3Store
from tests.conftest import sdk_client
from tests.media_samples import beeps, encode, write_wav

LARGE = 2 * END_BYTES


class CountingStore(S3Store):
    """Counts what is fetched."""

    num_bytes = 0

    def copy(self, key: str, start: int, length: int, file: IO[bytes]) -> None:
        super().copy(key, start, length, file)
        self.num_bytes += length


@pytest.fixture(scope="session")
def ffmpeg() -> Ffmpeg:
    return Ffmpeg.locate(Settings())


@pytest.fixture
def store(s3_settings: S3) -> CountingStore:
    return CountingStore(s3_settings)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> dict[str, Path]:
    """Files of about 20 MB each."""
    folder = tmp_path_factory.mktemp("large")
    short = write_wav(folder / "short.wav", beeps(1, at=()))
    sound = write_wav(folder / "sound.wav", beeps(120, at=(1, 60)))
    raw = ("-c:v", "rawvideo", "-s", "640x360", "-pix_fmt", "yuv420p", "-c:a", "aac")
    rgb = ("-pix_fmt", "rgb24")
    mpeg = ("-vf", "scale=640:360,noise=alls=90:allf=t", "-c:v", "mpeg2video", "-q:v", "1", "-c:a", "mp2")
    made = {
        "sound.wav": sound,
        "index at the end.mov": encode(ffmpeg, short, folder / "end.mov", *raw, *rgb, video_seconds=1.5),
        "index in front.mov": encode(
            ffmpeg, short, folder / "front.mov", *raw, *rgb, "-movflags", "faststart", video_seconds=1.5
        ),
        "film.mkv": encode(ffmpeg, short, folder / "film.mkv", *raw, video_seconds=2.5),
        "film.avi": encode(ffmpeg, short, folder / "film.avi", *raw[:-1], "mp3", video_seconds=2.5),
        "film.ts": encode(ffmpeg, short, folder / "film.ts", *mpeg, video_seconds=4),
        "sound.mp3": encode(ffmpeg, short, folder / "one.mp3", "-b:a", "320k", "-write_xing", "0"),
    }
    one = made["sound.mp3"].read_bytes()
    made["sound.mp3"] = folder / "sound.mp3"
    made["sound.mp3"].write_bytes(one * (LARGE // len(one) + 100))
    return made


def put(store: S3Store, path: Path) -> Remote:
    store.upload("some/media", path)
    (remote,) = listed(store, "some/")
    return remote


def test_the_two_ends_of_a_file_tell_what_the_whole_of_it_does(
    large: dict[str, Path], store: CountingStore, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    for name, path in large.items():
        assert path.stat().st_size > LARGE, name
        remote = put(store, path)
        store.num_bytes = 0
        found = remote.look(lambda local: probe(local, ffmpeg), Limits(), tmp_path)
        assert found == probe(path, ffmpeg), name
        assert store.num_bytes < LARGE + 100_000, name
        store.delete(["some/media"])


def test_a_file_whose_index_lies_in_the_middle_is_fetched_whole(
    large: dict[str, Path], store: CountingStore, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    path = tmp_path / "middle.mov"
    path.write_bytes(large["index at the end.mov"].read_bytes() + struct.pack(">I4s", LARGE, b"free") + bytes(LARGE))
    remote = put(store, path)
    assert remote.look(lambda local: probe(local, ffmpeg), Limits(), tmp_path) == probe(path, ffmpeg)
    assert store.num_bytes > path.stat().st_size
    path.unlink()
    assert list(tmp_path.iterdir()) == [], "nothing of it stays"


def test_what_is_broken_is_refused_by_the_whole_of_it(store: CountingStore, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    path = tmp_path / "broken.mov"
    path.write_bytes(struct.pack(">I4s4s", 12, b"ftyp", b"qt  ") + bytes(LARGE + 1000))
    with pytest.raises(PermanentError) as here:
        probe(path, ffmpeg)
    with pytest.raises(PermanentError) as there:
        put(store, path).look(lambda local: probe(local, ffmpeg), Limits(), tmp_path)
    assert there.value.reason == here.value.reason


def test_a_large_text_is_read_whole(store: CountingStore, ffmpeg: Ffmpeg, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("Grüße\n".encode() * (LARGE // 8 + 1000))
    found = put(store, path).look(lambda local: probe(local, ffmpeg), Limits(), tmp_path)
    assert found == probe(path, ffmpeg)
    assert found.characters == path.stat().st_size // 8 * 6


def test_a_limit_refuses_without_fetching_more(
    large: dict[str, Path], store: CountingStore, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    def look(local: Path) -> MediaInfo:
        raise LimitError("it is too long (REELMILL_LIMITS__DURATION_SECONDS)", "duration_seconds")

    remote = put(store, large["sound.wav"])
    with pytest.raises(LimitError, match=r"size .* allowed 1,000 bytes"):
        remote.look(look, Limits(file_bytes=1000), tmp_path)
    assert store.num_bytes == 0
    with pytest.raises(LimitError, match="too long"):
        remote.look(look, Limits(), tmp_path)
    assert store.num_bytes < LARGE + 100_000


def test_a_bucket_is_listed_as_others_filled_it(s3_settings: S3, store: CountingStore) -> None:
    client = sdk_client(s3_settings)
    for key, data in (("films/", b""), ("films/empty.mp4", b""), ("films/a b/é.mp4", b"123"), ("filmstrip", b"1")):
        client.put_object(s3_settings.bucket, key, BytesIO(data), len(data))
    assert [(remote.key, remote.size) for remote in listed(store, "films/")] == [
        ("films/a b/é.mp4", 3),
        ("films/empty.mp4", 0),
    ]
    assert "filmstrip" in [remote.key for remote in listed(store, "films")], "a prefix is no folder"
