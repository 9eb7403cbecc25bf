"""Looking at many files ahead of the work, several at once, just as `prepare` will look at each of them."""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pipeline import tasks
from pipeline.errors import LimitError, PipelineError
from pipeline.job import MediaInfo, Options
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.planning.estimate import Sizes, Work, work
from pipeline.planning.remote import Remote
from pipeline.planning.tally import Row
from pipeline.stages.source import admitted, look

_AHEAD = 8  # files in the hands of each thread, or waiting for an earlier one to be told

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One file and what is to be done with it, or why that is out of the question."""

    name: str
    task: str
    options: Options
    place: Path | Remote | None = None  #: of what lies in a bucket, the name is its address
    refused: str | None = None
    custom_id: str | None = None  #: what its submitter calls it

    @property
    def identity(self) -> str:
        """The same for the same work on the same file, by whatever name it goes."""
        place = os.path.realpath(self.place) if isinstance(self.place, Path) else self.name
        return f"{place}\0{self.task}\0{self.options.model_dump_json(exclude_defaults=True)}"


class Looker:
    """Says of each file what it holds and how much work that is."""

    def __init__(self, ffmpeg: Ffmpeg, sizes: Sizes, folder: Path | None) -> None:
        """`folder`: where objects of a bucket are fetched to; None: the system's own."""
        self._ffmpeg = ffmpeg
        self._sizes = sizes
        self._folder = folder

    def rows(self, asked: Iterable[Asked], threads: int) -> Iterator[Row]:
        """A row for each file, in order. Raises WorldError when files cannot be looked at here at all."""
        return in_order(asked, self.row, threads)

    def row(self, asked: Asked) -> Row:
        row = Row(name=asked.name, task=asked.task, refused=asked.refused)
        if asked.place is None:
            return row
        try:
            info = self._info(asked, asked.place)
            row = replace(row, info=info)
            return replace(row, work=self._work(asked, info))
        except LimitError as error:
            return replace(row, refused=error.reason, setting=error.setting)
        except PipelineError as error:
            return replace(row, refused=error.reason)
        except OSError as error:
            return replace(row, refused=f"the file cannot be read: {error.strerror}")

    def _info(self, asked: Asked, place: Path | Remote) -> MediaInfo:
        def at(path: Path) -> MediaInfo:
            return look(path, asked.options, self._ffmpeg)

        return at(place) if isinstance(place, Path) else place.look(at, self._ffmpeg.limits, self._folder)

    def _work(self, asked: Asked, info: MediaInfo) -> Work:
        task, video = tasks.named(asked.task), self._sizes.video
        kinds = admitted(info, task, asked.options, self._ffmpeg.limits, video)
        return work(info, kinds, asked.options, self._sizes)


class Seen:
    """Which of any number of names came before; they are kept on disk, in a file that goes when this does."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction, never ended: nothing has to survive

    def is_new(self, name: str) -> bool:
        held = name.encode("utf-8", "surrogatepass")  # names of files need not be text
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (held,)).rowcount == 1


def in_order(items: Iterable[Item], make: Callable[[Item], Made], threads: int) -> Iterator[Made]:
    """What `make` makes of each item, in their order, made by threads that are a few items ahead."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                while waiting and (waiting[0].done() or len(waiting) >= _AHEAD * threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
