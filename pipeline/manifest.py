"""Manifests: a list of media with what is to be done with each. JSON Lines or CSV, read line by line.

A line has `path` (or `media`): a file, seen from the folder of the manifest, or `s3://bucket/key`. It may have `task`,
`custom_id` (what its submitter calls it, told again with its result), and any option of a job under its own name
(`language`, `speech`, `frames` ...). A CSV names its columns in the first line; an empty cell is one that is not there,
and a `json_schema` is written as JSON.

Which tasks there are and which options they take is for whoever reads the manifest to check.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError
from pipeline.job import REMOTE, Options

MAX_LINE = 1 << 20  # bytes of one line of JSON
_PATH = ("path", "media")
_OWN = frozenset({*_PATH, "task", "custom_id"})
_COLUMNS = frozenset({*_OWN, *Options.model_fields})


class Entry(BaseModel):
    """One line of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: int
    path: str = Field(validation_alias=AliasChoices(*_PATH), min_length=1)
    task: str | None = None  #: None: the one that the command line names
    options: Options = Options()
    custom_id: str | None = None

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
            with manifest.open(encoding="utf-8-sig", newline="") as text:
                yield from _csv(manifest, text)
        else:
            with manifest.open("rb") as file:
                yield from _json_lines(file)
    except OSError as error:
        raise UsageError(f"the manifest {manifest} cannot be read: {error.strerror}") from error


def read_stream(file: IO[bytes]) -> Iterator[Entry | WrongLine]:
    """The same from a stream (standard input): JSON Lines, or, if the first line is no object, one path a line."""
    blank, first = 0, file.readline(MAX_LINE)
    while first and not first.strip():
        blank, first = blank + 1, file.readline(MAX_LINE)
    is_json = first.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
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
    rows = csv.DictReader(text, strict=True, restval="")
    try:
        columns = rows.fieldnames or ()
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"the manifest {manifest} is no CSV: {error}") from error
    _check_columns(manifest, [column.strip() for column in columns])
    try:
        for row in rows:
            yield _csv_row(rows.line_num, {(name or "").strip(): cell for name, cell in row.items()})
    except UnicodeDecodeError:
        yield WrongLine(line=rows.line_num + 1, reason="from about here on it is not UTF-8; the rest is not read")
    except csv.Error as error:
        yield WrongLine(line=rows.line_num + 1, reason=f"it is no CSV: {error}; the rest is not read")


def _check_columns(manifest: Path, columns: list[str]) -> None:
    """Raise UsageError for a first line that is not the names of columns: else every line would be wrong."""
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown or set(_PATH).isdisjoint(columns):
        wrong = f"unknown column {', '.join(map(repr, unknown))}" if unknown else "no column named path or media"
        raise UsageError(f"{manifest}:1: {wrong}; the columns are: {', '.join(sorted(_COLUMNS))}")


def _csv_row(line: int, cells: dict[str, Any]) -> Entry | WrongLine:
    if cells.pop("", None):
        return WrongLine(line=line, reason="it has more cells than there are columns")
    fields = {name: cell.strip() for name, cell in cells.items() if cell.strip()}
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
