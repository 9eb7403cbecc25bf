"""Fetched media on local disk, shared by all worker processes of a machine.

A file is named by its hash only. Whoever uses one holds a shared lock on it; whoever fetches or removes one holds
the lock alone. Locks are the kernel's, so that a killed worker holds none.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import PermanentError, TransientError

_LOCK = ".lock"
_PART = ".part"
MAX_FILES = 10_000
_LOOKS = 100  # for each time that all of the cache is fetched anew
_FETCHES = 2  # a damaged transfer is tried once more


class MediaCache:
    """Keeps what was fetched until more than `max_bytes`, or than so many files, lie in `directory`.

    The longest unused goes first. Looking through all of it takes time, so a process does so once for each hundredth of
    that which it fetches; this much is kept free for it.
    """

    def __init__(self, directory: Path, max_bytes: int, max_files: int = MAX_FILES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._bytes_until_look = 0
        self._files_until_look = 0

    @contextmanager
    def hold(self, sha256: str, size: int, fetch: Callable[[Path], None], *, is_content: bool = True) -> Iterator[Path]:
        """The local copy of some media, which stays while the context is open. `fetch` writes it where it is told.

        `is_content`: the hash is that of its bytes, by which they are checked. Of what nobody has read yet, it is that
        of what it goes by, and the size alone is checked.

        Raises PermanentError when what is fetched is, twice, not what was asked for; TransientError when the disk
        is full.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / sha256
        while True:
            with self._locked(sha256, fcntl.LOCK_SH):
                if _size(path) == size:
                    with suppress(OSError):
                        os.utime(path)
                    yield path
                    return
            # A lock cannot be turned from shared to exclusive in one step: another process may come in between.
            with self._locked(sha256, fcntl.LOCK_EX):
                if _size(path) != size:
                    self._make_room(size)
                    self._fetch(sha256, size, fetch, is_content=is_content)

    def _fetch(self, sha256: str, size: int, fetch: Callable[[Path], None], *, is_content: bool) -> None:
        part = self._directory / f"{sha256}{_PART}"
        found = ""
        try:
            for _ in range(_FETCHES):
                part.unlink(missing_ok=True)
                fetch(part)
                found = _sha256(part) if is_content else sha256
                if found == sha256 and _size(part) == size:
                    part.replace(self._directory / sha256)
                    return
        except OSError as error:
            raise TransientError("the media could not be kept on this worker's disk", str(error)) from error
        finally:
            part.unlink(missing_ok=True)
        raise PermanentError("its copy in the object store is damaged", f"sha256 {found} instead of {sha256}")

    def _make_room(self, size: int) -> None:
        """Remove what was unused for longest until `size` more bytes fit; what is in use stays."""
        self._bytes_until_look -= size
        self._files_until_look -= 1
        if min(self._bytes_until_look, self._files_until_look) < 0:
            self._bytes_until_look, self._files_until_look = self._max_bytes // _LOOKS, self._max_files // _LOOKS
            self._clear(size + self._bytes_until_look, 1 + self._files_until_look)

    def _clear(self, num_bytes: int, num_files: int) -> None:
        files = sorted((stat.st_mtime, stat.st_size, path) for path, stat in self._files())
        num_bytes += sum(size for _, size, _ in files)
        num_files += len(files)
        for _, size, path in files:
            if num_bytes <= self._max_bytes and num_files <= self._max_files:
                return
            if self._remove(path):
                num_bytes -= size
                num_files -= 1

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._directory.iterdir():
            if path.suffix != _LOCK:
                with suppress(FileNotFoundError):
                    yield path, path.stat()

    def _remove(self, path: Path) -> bool:
        """Remove a file and its lock, unless someone uses it."""
        try:
            with self._locked(path.stem, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink(missing_ok=True)
                self._lock_path(path.stem).unlink(missing_ok=True)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _locked(self, sha256: str, how: int) -> Iterator[None]:
        """Hold the lock of one file. Raises BlockingIOError when it is taken and `how` does not wait."""
        while True:
            descriptor = os.open(self._lock_path(sha256), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, how)
                # The lock's file may have been removed while we waited; a new one would not know of us.
                if _is_at(descriptor, self._lock_path(sha256)):
                    yield
                    return
            finally:
                os.close(descriptor)

    def _lock_path(self, sha256: str) -> Path:
        return self._directory / f"{sha256}{_LOCK}"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
