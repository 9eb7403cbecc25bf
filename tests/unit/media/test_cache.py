import fcntl
import hashlib
import os
import threading
from pathlib import Path

import pytest

from pipeline.errors import PermanentError, TransientError
from pipeline.media.cache import MediaCache


class Remote:
    """An object store that counts how often it is asked, and damages the first `damaged` answers."""

    def __init__(self, data: bytes, damaged: int = 0) -> None:
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.fetches = 0
        self.damaged = damaged

    def __call__(self, target: Path) -> None:
        self.fetches += 1
        target.write_bytes(self.data[:-1] + b"?" if self.fetches <= self.damaged else self.data)


def hold(cache: MediaCache, remote: Remote) -> bytes:
    with cache.hold(remote.sha256, len(remote.data), remote) as path:
        return path.read_bytes()


def media_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.suffix != ".lock"}


def test_media_is_fetched_once_and_named_by_its_hash(tmp_path: Path) -> None:
    remote, cache = Remote(b"sound"), MediaCache(tmp_path, 1000)
    assert hold(cache, remote) == hold(cache, remote) == b"sound"
    assert remote.fetches == 1
    assert media_in(tmp_path) == {remote.sha256}


def test_a_damaged_transfer_is_tried_once_more(tmp_path: Path) -> None:
    remote = Remote(b"sound", damaged=1)
    assert hold(MediaCache(tmp_path, 1000), remote) == b"sound"
    assert remote.fetches == 2


def test_media_that_stays_damaged_is_an_error_of_the_world_and_is_not_kept(tmp_path: Path) -> None:
    remote = Remote(b"sound", damaged=99)
    with pytest.raises(PermanentError, match="damaged"):
        hold(MediaCache(tmp_path, 1000), remote)
    assert remote.fetches == 2
    assert media_in(tmp_path) == set()


def test_a_local_copy_of_the_wrong_size_is_fetched_anew(tmp_path: Path) -> None:
    remote = Remote(b"sound")
    (tmp_path / remote.sha256).write_bytes(b"so")
    assert hold(MediaCache(tmp_path, 1000), remote) == b"sound"


def test_an_error_of_the_fetch_reaches_the_caller_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        target.write_bytes(b"half")
        raise TransientError("the object store is away")

    with pytest.raises(TransientError, match="away"), MediaCache(tmp_path, 1000).hold("0" * 64, 5, fail):
        pass
    assert media_in(tmp_path) == set()


def test_a_full_disk_is_an_error_of_the_world(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(TransientError, match="disk"), MediaCache(tmp_path, 1000).hold("0" * 64, 5, fail):
        pass


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    remotes = [Remote(bytes([number]) * 40) for number in range(3)]
    cache = MediaCache(tmp_path, 100)
    hold(cache, remotes[0])
    hold(cache, remotes[1])
    os.utime(tmp_path / remotes[0].sha256, (1, 1))
    os.utime(tmp_path / remotes[1].sha256, (2, 2))
    hold(cache, remotes[0])  # used again: now the other one is older
    hold(cache, remotes[2])
    assert media_in(tmp_path) == {remotes[0].sha256, remotes[2].sha256}
    assert not (tmp_path / f"{remotes[1].sha256}.lock").exists()


def test_what_is_in_use_is_never_removed(tmp_path: Path) -> None:
    used, other = Remote(b"u" * 80), Remote(b"o" * 80)
    cache = MediaCache(tmp_path, 100)
    with cache.hold(used.sha256, 80, used) as path:
        assert hold(cache, other) == other.data
        assert path.read_bytes() == used.data
    hold(cache, Remote(b"x" * 80))
    assert not path.exists()


def test_several_may_use_the_same_media_at_once(tmp_path: Path) -> None:
    remote = Remote(b"sound")
    cache = MediaCache(tmp_path, 1000)
    with cache.hold(remote.sha256, 5, remote), cache.hold(remote.sha256, 5, remote) as path:
        assert path.read_bytes() == b"sound"
    assert remote.fetches == 1


def test_many_at_once_fetch_once(tmp_path: Path) -> None:
    remote = Remote(b"sound" * 1000)
    barrier = threading.Barrier(8)
    read: list[bytes] = []

    def work() -> None:
        barrier.wait()
        read.append(hold(MediaCache(tmp_path, 10_000), remote))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [remote.data] * 8
    assert remote.fetches == 1


def test_the_lock_is_let_go_when_the_user_fails(tmp_path: Path) -> None:
    remote = Remote(b"sound")
    cache = MediaCache(tmp_path, 1000)
    with pytest.raises(ZeroDivisionError), cache.hold(remote.sha256, 5, remote):
        raise ZeroDivisionError
    descriptor = os.open(tmp_path / f"{remote.sha256}.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_of_what_nobody_has_read_yet_the_size_alone_is_checked(tmp_path: Path) -> None:
    cache, name = MediaCache(tmp_path, 1000), "e" * 64

    def fetch(target: Path) -> None:
        target.write_bytes(b"x" * 5)

    with cache.hold(name, 5, fetch, is_content=False) as path:
        assert path.read_bytes() == b"xxxxx"
    for other, size, is_content in ((name, 6, False), ("f" * 64, 5, True)):
        with pytest.raises(PermanentError, match="damaged"), cache.hold(other, size, fetch, is_content=is_content):
            pass


def test_very_many_small_files_are_too_many_and_looked_through_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    real = MediaCache._clear
    monkeypatch.setattr(MediaCache, "_clear", lambda *asked: (looks.append(1), real(*asked)))
    cache = MediaCache(tmp_path, 10**9, max_files=200)
    for number in range(600):
        remote = Remote(str(number).encode())
        hold(cache, remote)
        os.utime(tmp_path / remote.sha256, (number, number))
        assert len(media_in(tmp_path)) <= 200
    assert len(media_in(tmp_path)) >= 196
    assert hashlib.sha256(b"599").hexdigest() in media_in(tmp_path)
    assert len(looks) == 200
