"""A folder through which one file at a time is shown to a process in a sandbox."""

import fcntl
import os
import shutil
import tempfile
import weakref
from itertools import count
from pathlib import Path

from pipeline.errors import WorldError
from pipeline.media.sandbox.enclosure import INPUT


class Shelf:
    """A folder of this process's own, of which the server sees what is put there: one picture at a time."""

    def __init__(self) -> None:
        home = Path(tempfile.gettempdir()) / f"reelmill-pictures-{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        if home.stat().st_uid != os.getuid():
            raise WorldError(f"{home} belongs to somebody else: remove it")
        # The lock goes with the process, however it ends, and the next one takes the folder over.
        for number in count():
            self.folder = home / str(number)
            self.folder.mkdir(exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                os.close(self._lock)
        weakref.finalize(self, os.close, self._lock)
        self.clear()

    def put(self, path: Path) -> Path:
        """Where the server sees it."""
        target = self.folder / INPUT.name
        try:
            os.link(path, target)
        except OSError:  # on another disk, or somebody else's
            shutil.copyfile(path, target)
        return INPUT

    def clear(self) -> None:
        (self.folder / INPUT.name).unlink(missing_ok=True)
