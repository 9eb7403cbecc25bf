"""Attempts to get out of a sandbox. Run inside one, by its text alone: nothing but the standard library is used.

None of them does harm where it succeeds.
"""

import ctypes
import os
import socket
from collections.abc import Callable
from contextlib import suppress

_PTRACE_TRACEME = 0
_CLONE_NEWUSER = 0x1000_0000
_DESCRIPTORS = 4096  # that are looked at; a process that holds many files open hands on high numbers


def breaches(path: str, port: int, allowed: frozenset[str] = frozenset({"PATH", "LC_ALL", "PWD"})) -> list[str]:
    """What this process can do and must not: open the file at `path`, reach `port` of 127.0.0.1, and so on."""
    attempts: dict[str, Callable[[], bool]] = {
        "reads files of the host": lambda: _opens(path),
        "writes files": _writes,
        "reaches the network": lambda: _connects(port),
        "sees the environment": lambda: bool(set(os.environ) - allowed),  # noqa: TID251 - not to use it
        "sees processes of the host": lambda: os.getpid() != 1,
        "holds files open that it was not given": _inherits,
        "starts processes": _forks,
        "traces": lambda: ctypes.CDLL(None).ptrace(_PTRACE_TRACEME, 0, 0, 0) == 0,
        "changes files of the host": lambda: _marks("/dev/null") or _marks(0),
        "makes namespaces": lambda: ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0,
    }
    found = []
    for name, attempt in attempts.items():
        with suppress(OSError):
            if attempt():
                found.append(name)
    return found


def _opens(path: str) -> bool:
    with open(path, "rb"):
        return True


def _writes() -> bool:
    for folder in ("/tmp", "/", "/in", "/dev", "/usr/lib"):
        target = f"{folder}/reelmill-{os.urandom(8).hex()}"
        with suppress(OSError):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(target)
            return True
    return False


def _marks(file: str | int) -> bool:
    """Whether the times or the mode of a file can be set, to what they are. `file`: its path, or as it is open here."""
    with suppress(OSError):
        told = os.stat(file)
        with suppress(OSError):
            os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
            return True
        os.chmod(file, told.st_mode & 0o7777)
        return True
    return False


def _connects(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def _inherits() -> bool:
    for descriptor in range(3, _DESCRIPTORS):
        with suppress(OSError):
            os.fstat(descriptor)
            return True
    return False


def _forks() -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True
