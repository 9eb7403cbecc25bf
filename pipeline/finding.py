"""From what a user named to files, one by one: files, folders (taken whole) and globs. What is no file is told.

Nothing is opened, so that no pipe or device can hold it up. Of a folder, the names in it are held in memory, and of
those above it the ones that are still to come; of a glob, what it matches.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Found:
    """A file, by the name it goes by."""

    name: str

    @property
    def path(self) -> Path:
        return Path(self.name)


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something of that name that cannot be media, and why, in plain words."""

    name: str
    reason: str


def find(named: str) -> Iterator[Found | Unusable]:
    """The files behind one name. Nothing at all when there is nothing of that name."""
    if not named:
        return
    if not os.path.lexists(named):
        yield from (one for match in sorted(glob(named, recursive=True)) if (one := judged(match)) is not None)
    elif os.path.isdir(named):
        yield from _inside(named)
    else:
        yield judged(named) or Unusable(named, "it is a folder")


def find_all(names: Sequence[str]) -> list[Found | Unusable]:
    """The files behind several names. Raises as `refuse_missing`."""
    refuse_missing(names)
    return [one for name in names for one in find(name)]


def refuse_missing(names: Iterable[str]) -> None:
    """Raise UsageError that tells the names behind which there is nothing."""
    missing = [name for name in names if not os.path.lexists(name) and next(find(name), None) is None]
    if missing:
        missing = [name or "(an empty name)" for name in missing]
        raise UsageError(f"no such file or folder: {', '.join(missing)}")


def judged(name: str) -> Found | Unusable | None:
    """A name by what it is; None for a folder. What is hidden in a folder is passed over by who walks it."""
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        gone = "it is a link to something that is not there" if os.path.islink(name) else "there is no such file"
        return Unusable(name, gone)
    except (OSError, ValueError) as error:
        return Unusable(name, f"it cannot be looked at: {getattr(error, 'strerror', None) or error}")
    if stat.S_ISREG(mode):
        return Found(name)
    if stat.S_ISDIR(mode):
        return None
    return Unusable(name, f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file")


def _inside(folder: str) -> Iterator[Found | Unusable]:
    """What is in a folder and the ones in it, in order of names; hidden names and what lies in them are left out."""
    waiting = [folder]
    while waiting:
        name = waiting.pop()
        one = None if name == folder else judged(name)
        if one is not None:
            yield one
            continue
        if name != folder and os.path.islink(name):
            yield Unusable(name, "it is a link to a folder, which is not followed")
            continue
        try:
            names = [entry.name for entry in os.scandir(name) if not entry.name.startswith(".")]
        except OSError as error:
            yield Unusable(name, f"the folder cannot be read: {error.strerror}")
            continue
        waiting += [os.path.join(name, inner) for inner in sorted(names, reverse=True)]


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
