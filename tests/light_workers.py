"""`python -m tests.light_workers ROLE`: the real workers on a machine that has the extra `prepare` and nothing else.

Every package that this extra does not bring cannot be imported, as if it were not installed.
"""

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT, EXTRA = "reelmill", "prepare"


def brought(name: str, *extras: str) -> frozenset[str]:
    """Distributions that installing `name[extras]` brings to this machine, itself included."""
    found: set[tuple[str, str]] = set()
    _follow(canonicalize_name(name), ["", *extras], found)
    return frozenset(distribution for distribution, _ in found)


def _follow(name: str, extras: Sequence[str], found: set[tuple[str, str]]) -> None:
    for extra in extras:
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for needed in _required(name):
            # What belongs to an extra is marked with it, and is not needed without.
            unconditional = needed.marker is None or needed.marker.evaluate({"extra": ""})
            if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
                continue
            if not (extra and unconditional):
                _follow(canonicalize_name(needed.name), ["", *needed.extras], found)


@cache
def _required(name: str) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, importlib.metadata.requires(name) or ()))


def absent() -> Iterator[str]:
    """Top-level modules that are installed here and would not be there."""
    present = brought(PROJECT, EXTRA)
    for module, distributions in importlib.metadata.packages_distributions().items():
        if present.isdisjoint(map(canonicalize_name, distributions)) and module not in sys.modules:
            yield module


class Absent(MetaPathFinder):
    """Says of some modules that they are not there, before anybody finds them."""

    def __init__(self, modules: frozenset[str]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        del path, target
        if name.partition(".")[0] in self._modules:
            raise ModuleNotFoundError(f"No module named {name!r} with the extra {EXTRA}", name=name)
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent(frozenset(absent())))

    from workers.__main__ import main

    sys.exit(main())
