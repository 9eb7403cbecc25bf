"""The contract of an object store, and its simplest keeper: a plain directory.

Knows nothing of jobs: keys are opaque paths of at most 1024 bytes, and no key may be the folder of another.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Protocol

from pipeline.errors import MissingObjectError, ReelmillError, TransientError, WorldError
from pipeline.job import REMOTE

CHECKS = "checks/"
MAX_KEY_BYTES = 1024
ABSENT = frozenset({errno.ENOENT, errno.EISDIR, errno.ENOTDIR})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV, errno.ENOTSUP, errno.EMLINK})


class ObjectStore(Protocol):
    """Raises TransientError when the store is away, MissingObjectError when a key is not there, WorldError when the
    store refuses us, ValueError for a key that no store may hold.
    """

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        """Write a new object. False: somebody was first; the object is theirs and was left as it is.

        True when the object now holds exactly `data`, whoever wrote it: a write whose answer got lost looks like
        somebody else's, and between equal bytes the question is moot.
        """

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        """Write an object, whatever was there. Only for what is made of something that was created."""

    def get(self, key: str) -> bytes: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`, in order. They are held in memory."""

    def etags(self, prefix: str) -> Mapping[str, str]:
        """The keys that `list` gives, each with an ETag that it has only with these bytes; "" where there is none."""

    def reread(self, key: str, etag: str) -> bytes:
        """`get`, or the bytes that the key had with that ETag when they were reread before."""

    def first(self, prefix: str, most: int, after: str = "") -> Sequence[str]:
        """The first keys that begin with `prefix` and come behind `after`; `prefix` is a folder without folders."""

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders right under `prefix`, which ends with a slash. One may be empty by now."""

    def written(self, key: str) -> datetime:
        """When an object was written."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; keys that are not there do not matter."""

    def upload(self, key: str, source: Path) -> bool:
        """Store a file of any size under a key derived from its content (writing it twice is harmless).

        False: it was there before.
        """

    def drop_uploads(self, prefix: str, before: datetime) -> int:
        """Remove what is left of uploads to keys with that prefix, begun before that time and never ended.

        Returns how many they were.
        """

    def mark(self, bucket: str, key: str) -> tuple[str, int]:
        """The ETag and the size in bytes of an object that somebody else keeps, in a bucket of the same store."""

    def download(self, key: str, target: Path) -> None:
        """Write an object, ours or that of an s3:// address, to a file that appears whole or not at all."""

    def address(self, key: str) -> str:
        """Where a person finds the object: an s3:// address or a path."""

    def self_test(self) -> None:
        """Prove that `create` refuses a second write. Raises WorldError when it does not."""


class DirectoryStore:
    """A directory on one file system that has hard links. Safe for threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._growing = self._root / ".partial"  # no key begins with a dot

    def create(self, key: str, data: bytes, content_type: str = "application/json") -> bool:
        target = self._path(key)
        with _plain_errors(key), _partial_file(self._growing) as partial:
            partial.write_bytes(data)
            _sync(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(partial, target)  # unlike a rename it fails when the target is there
            except FileExistsError:
                return target.read_bytes() == data
            _sync(target.parent)
        return True

    def replace(self, key: str, data: bytes, content_type: str = "application/json") -> None:
        target = self._path(key)
        with _plain_errors(key), appearing(target, self._growing) as partial:
            partial.write_bytes(data)
            _sync(partial)
        _sync(target.parent)

    def get(self, key: str) -> bytes:
        with _plain_errors(key):
            return self._path(key).read_bytes()

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        folder = self._root / checked_prefix(prefix).rpartition("/")[0]
        paths = (Path(where, name).relative_to(self._root) for where, _, names in os.walk(folder) for name in names)
        keys = (path.as_posix() for path in paths)
        return iter(sorted(key for key in keys if key.startswith(prefix) and not key.startswith(".")))

    def etags(self, prefix: str) -> Mapping[str, str]:
        return dict.fromkeys(self.list(prefix), "")

    def reread(self, key: str, etag: str) -> bytes:
        del etag  # a file is as quickly read as looked up
        return self.get(key)

    def first(self, prefix: str, most: int, after: str = "") -> Sequence[str]:
        return list(islice((key for key in self.list(prefix) if key > after), most))

    def folders(self, prefix: str) -> Sequence[str]:
        folder = self._root / checked_prefix(prefix)
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def written(self, key: str) -> datetime:
        with _plain_errors(key):
            return datetime.fromtimestamp(self._path(key).stat().st_mtime, UTC)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with _plain_errors(key):
                self._path(key).unlink(missing_ok=True)

    def upload(self, key: str, source: Path) -> bool:
        target, size = self._path(key), source.stat().st_size
        with _plain_errors(key):
            if target.is_file() and target.stat().st_size == size:
                return False
            with appearing(target, self._growing) as partial:
                shutil.copyfile(source, partial)
                _sync(partial)
            _sync(target.parent)
        return True

    def drop_uploads(self, prefix: str, before: datetime) -> int:
        del prefix  # what grows here has no key yet
        num_dropped = 0
        for path in self._growing.glob("*"):
            with suppress(FileNotFoundError):  # it ended meanwhile
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    num_dropped += 1
        return num_dropped

    def mark(self, bucket: str, key: str) -> tuple[str, int]:
        raise WorldError(f"a directory has no s3://{bucket}/{key}: name the object store with REELMILL_S3__ENDPOINT")

    def download(self, key: str, target: Path) -> None:
        with _plain_errors(key), appearing(target, target.parent) as partial:
            shutil.copyfile(self._path(key), partial)

    def address(self, key: str) -> str:
        return str(self._path(key))

    def self_test(self) -> None:
        prove_create_only(self, f"the directory {self._root}")

    def _path(self, key: str) -> Path:
        return self._root / checked(key)


def checked(key: str) -> str:
    """The key itself. Raises ValueError when it could leave its store or would not be portable between stores."""
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"bad object key {key!r}")
    checked_prefix(key)
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself. Raises ValueError as `checked` does; unlike a key it may be empty or end with a slash."""
    parts = prefix.split("/")
    control = any(ord(letter) < 32 or letter in "\\\x7f" for letter in prefix)
    if control or prefix.startswith((".", "/")) or ".." in parts or len(prefix.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"bad object key {prefix!r}")
    return prefix


def split_address(key: str) -> tuple[str, str] | None:
    """Bucket and key of an s3:// address; None for a key of ours."""
    if not key.startswith(REMOTE):
        return None
    bucket, _, name = key.removeprefix(REMOTE).partition("/")
    return bucket, name


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prove_create_only(store: ObjectStore, name: str) -> None:
    """Two different writes to one new key: the first must stay. Raises WorldError that calls the store by `name`."""
    key = f"{CHECKS}{secrets.token_hex(16)}"
    try:
        outcome = (store.create(key, b"first"), store.create(key, b"second"), store.get(key))
    finally:
        store.delete([key])
    if outcome != (True, False, b"first"):
        raise WorldError(
            f"{name} ignores conditional writes (If-None-Match: *): a second write replaces the first, so results "
            "could be overwritten. reelmill needs a store that honours them."
        )


@contextmanager
def appearing(target: Path, beside: Path) -> Iterator[Path]:
    """A path in the directory `beside` to write to; what was written there becomes `target` if nothing raises."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _partial_file(beside) as partial:
        yield partial
        partial.replace(target)


@contextmanager
def _partial_file(beside: Path) -> Iterator[Path]:
    beside.mkdir(parents=True, exist_ok=True)
    partial = beside / f".{secrets.token_hex(8)}.partial"
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make a file, or the names in a directory, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _plain_errors(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in ABSENT:
            raise MissingObjectError(f"the directory store has no {key}", str(error)) from error
        raise disk_error(error) from error


def disk_error(error: OSError) -> ReelmillError:
    """What a failure of this machine's own disk means."""
    if error.errno in FULL:
        return TransientError("the disk of this machine is full", str(error))
    if error.errno in FORBIDDEN:
        return WorldError(f"this directory cannot be used (rights, or a file system without hard links): {error}")
    return TransientError("the disk of this machine failed", str(error))
