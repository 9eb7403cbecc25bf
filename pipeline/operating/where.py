"""Which results are meant: `model!=e4b and reelmill<0.3`. Its own small language, parsed and applied. Pure.

    expression = term { "and" term }
    term       = field operator value
    operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
    value      = a word without spaces, or anything in double quotes

A result may have several values of a field: flags, or the models that made its parts. `=` is true when one of them is
the value; `!=` when one of the models is another, or when no flag is that one; orders when it holds for one of them.
Versions are compared number by number, so that 0.10 comes after 0.9.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.job import Result

_TERM = re.compile(r'\s*([a-z_]+)\s*(!=|<=|>=|=|<|>)\s*("[^"]*"|[^\s"=<>][^\s"]*)\s*')
_AND = re.compile(r"and(?=\s|$)")
_PART = re.compile(r"\d+|\D+")

Ordered = tuple[tuple[bool, int, str], ...]

_COMPARED: dict[str, Callable[[Ordered, Ordered], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Term:
    field: str
    operator: str
    value: str

    def holds(self, result: Result) -> bool:
        values = FIELDS[self.field](result)
        if self.operator == "=":
            return self.value in values
        if self.operator == "!=":
            return self.value not in values if self.field in _NONE_OF else any(one != self.value for one in values)
        compare = _COMPARED[self.operator]
        return any(compare(_ordered(one), _ordered(self.value)) for one in values)


@dataclass(frozen=True, slots=True)
class Where:
    """All terms must hold."""

    terms: tuple[Term, ...]

    def holds(self, result: Result) -> bool:
        return all(term.holds(result) for term in self.terms)


def parse(text: str) -> Where:
    """Raises UsageError that shows where it is wrong."""
    terms: list[Term] = []
    at = 0
    while True:
        found = _TERM.match(text, at)
        if found is None:
            raise _wrong(text, at, "here should be FIELD=VALUE (or !=, <, <=, >, >=)")
        name, sign, value = found.groups()
        if name not in FIELDS:
            raise _wrong(text, found.start(1), f"there is no field {name!r}; there are {', '.join(sorted(FIELDS))}")
        terms.append(Term(name, sign, value.strip('"')))
        at = found.end()
        if at == len(text):
            return Where(tuple(terms))
        joined = _AND.match(text, at)
        if joined is None:
            raise _wrong(text, at, "terms are joined by `and`")
        at = joined.end()


def _engines(result: Result) -> frozenset[str]:
    """As it was asked for, the whole of it and its name alone."""
    asked = result.provenance.engine_asked
    return frozenset((asked, asked.partition(":")[0]))


def _of_origins(name: str) -> Callable[[Result], frozenset[str]]:
    def values(result: Result) -> frozenset[str]:
        found = (getattr(origin, name) for origin in result.provenance.origins)
        return frozenset(one for one in found if one is not None)

    return values


def _flags(result: Result) -> frozenset[str]:
    return frozenset(flag for segment in result.segments for flag in segment.flags)


#: The values of each field that a result may be asked about.
FIELDS: dict[str, Callable[[Result], frozenset[str]]] = {
    "engine": _engines,
    "model": _of_origins("model"),
    "revision": _of_origins("revision"),
    "variant": _of_origins("variant"),
    "adapter": _of_origins("adapter"),
    "precision": _of_origins("precision"),
    "prompt": _of_origins("prompt"),
    "reelmill": lambda result: frozenset((result.provenance.reelmill,)),
    "status": lambda result: frozenset((result.status,)),
    "task": lambda result: frozenset((result.task,)),
    "tenant": lambda result: frozenset((result.asked.tenant,)),
    "language": lambda result: frozenset((result.language or "",)),
    "flag": _flags,
}
#: Of these, `!=` means that the value is not among them.
_NONE_OF = frozenset({"flag", "engine"})


def _ordered(text: str) -> Ordered:
    """So that numbers in it are compared as numbers."""
    parts = _PART.findall(text)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def _wrong(text: str, at: int, why: str) -> UsageError:
    return UsageError(f"--where is wrong: {why}\n  {text}\n  {' ' * at}^")
