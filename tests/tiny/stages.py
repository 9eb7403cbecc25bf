"""Results of stages on disk, named by what they were made from, so that a broken training run goes on where it was."""

import hashlib
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


class Stages:
    """A folder of stage results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, make: Callable[[], T], made_of: Sequence[object]) -> T:
        """The stored result of the stage, or a new one; `made_of` is what decides it: modules, numbers, other keys."""
        path = self.folder / f"{name}-{key(made_of)}.pickle"
        if not path.exists():
            result = make()
            unfinished = path.with_suffix(".part")
            unfinished.write_bytes(pickle.dumps(result))
            unfinished.rename(path)
        with path.open("rb") as file:
            stored: T = pickle.load(file)
        return stored


def key(made_of: Sequence[object]) -> str:
    """A short digest; a module stands for its source."""
    digest = hashlib.sha256()
    for thing in made_of:
        source = Path(str(thing.__file__)).read_bytes() if isinstance(thing, ModuleType) else repr(thing).encode()
        digest.update(source + b"\0")
    return digest.hexdigest()[:12]
