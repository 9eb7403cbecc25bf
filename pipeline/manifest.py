"""Manifests: a list of media with what is to be done with each. JSON Lines or CSV, read line by line.

A line has `path` (or `media`): a file, seen from the folder of the manifest, or `s3://bucket/key`. It may have `task`,
`custom_id` (what its submitter calls it, told again with its result), and any option of a job under its own name
(`language`, `speech`, `frames` ...). A CSV names its columns in the first line; an empty cell is one that is not there,
a `json_schema` is written as JSON, and only that and a `question` may have several lines.

Which tasks there are and which options they take is for whoever reads the manifest to check.
"""

import csv
import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError
from pipeline.job import REMOTE, Options

MAX_LINE = 1 << 20  # bytes of one line of JSON
_PATH = ("path", "media")
_BOM = b"\xef\xbb\xbf"
_OWN = frozenset({*_PATH, "task", "custom_id"})
_COLUMNS = frozenset({*_OWN, *Options.model_fields})
_LONG = frozenset({"json_schema", "question"})  # cells that may have several lines
_NO_TEXT = re.compile(r"[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are no UTF-8
_BREAK = re.compile(r"[\r\n]")
MAX_ID = 1_000  # characters of a custom_id


class Entry(BaseModel):
    """One line of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: int
    path: str = Field(validation_alias=AliasChoices(*_PATH), min_length=1)
    task: str | None = None  #: None: the one that the command line names
    options: Options = Options()
    custom_id: str | None = Field(None, max_length=MAX_ID, coerce_numbers_to_str=True)

    @classmethod
    def of(cls, line: int, fields: Mapping[str, Any]) -> "Self | WrongLine":
        """What a line says: a field that is no other is an option."""
        own = {name: value for name, value in fields.items() if name in _OWN}
        options = {name: value for name, value in fields.items() if name not in _OWN}
        try:
            return cls.model_validate({**own, "line": line, "options": options})
        except ValidationError as error:
            return WrongLine(line=line, reason="; ".join(_told(problem) for problem in error.errors()))

    def place(self, manifest: Path) -> str:
        """Where the media lies, as a command line would name it."""
        return self.path if self.path.startswith(REMOTE) else str(manifest.parent / self.path)


class WrongLine(BaseModel):
    """A line that is none, and why, in plain words."""

    model_config = ConfigDict(frozen=True)

    line: int
    reason: str


def read(manifest: Path) -> Iterator[Entry | WrongLine]:
    """The lines of a manifest, whatever its length; blank ones are passed over. `.csv` is CSV, all else JSON Lines.

    Raises UsageError, before the first line, when the file cannot be read or is no such list.
    """
    try:
        if manifest.suffix.lower() == ".csv":
            with manifest.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
                yield from _csv(manifest, text)
        else:
            with manifest.open("rb") as file:
                yield from _json_lines(file)
    except OSError as error:
        raise UsageError(f"the manifest {manifest} cannot be read: {error.strerror}") from error


def read_stream(file: IO[bytes]) -> Iterator[Entry | WrongLine]:
    """The same from a stream (standard input): JSON Lines, or, if the first line is no object, one path a line."""
    blank, first = 0, file.readline(MAX_LINE).removeprefix(_BOM)
    while first and not first.strip():
        blank, first = blank + 1, file.readline(MAX_LINE)
    is_json = first.lstrip().startswith(b"{")
    yield from (_json_lines if is_json else _paths)(_Peeked(first, file), blank)


class _Peeked:
    """A stream of which the first line was read already."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first = first
        self._rest = rest

    def readline(self, limit: int) -> bytes:
        line, self._first = self._first, b""
        return line or self._rest.readline(limit)


def _paths(file: _Peeked, line: int) -> Iterator[Entry | WrongLine]:
    while data := file.readline(MAX_LINE):
        line += 1
        if len(data) == MAX_LINE:
            yield WrongLine(line=line, reason="it is too long for a path; the rest is not read")
            return
        if data.strip():  # names of files need not be text, which a record would insist on
            yield Entry.model_construct(line=line, path=os.fsdecode(data.rstrip(b"\r\n")))


def _json_lines(file: IO[bytes] | _Peeked, line: int = 0) -> Iterator[Entry | WrongLine]:
    while data := file.readline(MAX_LINE):
        line += 1
        if len(data) == MAX_LINE and not data.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield WrongLine(line=line, reason=f"it is longer than {MAX_LINE:,} bytes")
        elif data.strip():
            yield _json_line(line, data)


def _json_line(line: int, data: bytes) -> Entry | WrongLine:
    try:
        fields = json.loads(data.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError:
        return WrongLine(line=line, reason="it is not UTF-8")
    except (ValueError, RecursionError) as error:
        return WrongLine(line=line, reason=f"it is no JSON: {error}")
    if not isinstance(fields, dict):
        return WrongLine(line=line, reason="it is no JSON object")
    return Entry.of(line, fields)


def _csv(manifest: Path, text: IO[str]) -> Iterator[Entry | WrongLine]:
    records = _Records(text)
    columns = next(records, (1, []))[1]
    if isinstance(columns, str):
        raise UsageError(f"the manifest {manifest} is no CSV: {columns}")
    columns = [column.strip() for column in columns]
    _check_columns(manifest, columns)
    for line, cells in records:
        one = WrongLine(line=line, reason=cells) if isinstance(cells, str) else _csv_row(line, columns, cells)
        if isinstance(one, WrongLine):
            records.back()
        yield one


class _Records:
    """The records of a CSV, each with its first line's number: their cells, or why there are none.

    A quote that nobody closes takes in the lines that follow. So of a record that is wrong only the first line counts
    as read (`back`), and the next one is looked for behind it.
    """

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []  #: the lines of this record
        self._size = 0  #: of those
        self._number = 0  #: of lines before them

    def __iter__(self) -> "_Records":
        return self

    def __next__(self) -> tuple[int, list[str] | str]:
        while True:
            self._number += len(self._taken)
            self._taken, self._size = [], 0
            first = self._number + 1
            try:
                cells = next(csv.reader(iter(self._line, ""), strict=True))
            except csv.Error as error:
                return first, f"it is no CSV: {error}"
            if any(map(_NO_TEXT.search, self._taken)):
                return first, "it is not UTF-8"
            if cells:
                return first, cells

    def back(self) -> None:
        """Read all but the first line of this record again."""
        self._waiting.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]

    def _line(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._text.readline(MAX_LINE)
        if not line:
            return line
        self._taken.append(line)
        self._size += len(line)
        while len(line) == MAX_LINE and not line.endswith(("\r", "\n")):
            line = self._text.readline(MAX_LINE)
        if self._size >= MAX_LINE:
            raise csv.Error(f"it is longer than {MAX_LINE:,} characters: perhaps a quote is missing")
        return line


def _check_columns(manifest: Path, columns: list[str]) -> None:
    """Raise UsageError for a first line that is not the names of columns: else every line would be wrong."""
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown or set(_PATH).isdisjoint(columns):
        wrong = f"unknown column {', '.join(map(repr, unknown))}" if unknown else "no column named path or media"
        raise UsageError(f"{manifest}:1: {wrong}; the columns are: {', '.join(sorted(_COLUMNS))}")


def _csv_row(line: int, columns: list[str], cells: list[str]) -> Entry | WrongLine:
    if len(cells) > len(columns):
        return WrongLine(line=line, reason="it has more cells than there are columns")
    fields: dict[str, Any] = {name: text for name, cell in zip(columns, cells, strict=False) if (text := cell.strip())}
    broken = next((name for name, cell in fields.items() if name not in _LONG and _BREAK.search(cell)), None)
    if broken is not None:
        return WrongLine(line=line, reason=f"{broken}: it goes on in the next line: a quote is missing or too many")
    if "json_schema" in fields:
        try:
            fields["json_schema"] = json.loads(fields["json_schema"])
        except ValueError as error:
            return WrongLine(line=line, reason=f"json_schema: it is no JSON: {error}")
    return Entry.of(line, fields)


def _told(problem: Any) -> str:
    parts = problem["loc"][1:] if problem["loc"][0] == "options" else problem["loc"]
    where = ".".join(str(part) for part in parts)
    if problem["type"] == "extra_forbidden":
        return f"there is no field or option named {where!r}"
    if problem["type"] == "missing":
        return "it has neither path nor media"
    return f"{where}: {problem['msg']}"
