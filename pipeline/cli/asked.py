"""From a command line to the media it asks about, one by one: files, folders, globs, buckets and manifests."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path

from pipeline import finding, manifest, tasks
from pipeline.cli.connect import local_mode
from pipeline.cli.submitting import Order
from pipeline.errors import UsageError
from pipeline.finding import Unusable, refuse_missing
from pipeline.job import REMOTE, Options
from pipeline.media.video import choice
from pipeline.planning.look import Asked
from pipeline.planning.remote import Remote, listed
from pipeline.producer import refuse_task
from pipeline.settings import S3, Settings
from pipeline.store import S3Store

_GLOB = re.compile(r"[*?]")


class Asking:
    """What a user named, with the task and options of the command line unless a line of a manifest says otherwise."""

    def __init__(self, settings: Settings, order: Order) -> None:
        self._settings = settings
        self._order = order
        self._bucket = cache(self._open)
        self._wrong_order = lru_cache(maxsize=256)(self._check)

    def named(self, paths: Iterable[str]) -> Iterator[Asked]:
        """Raises UsageError, before the first one, that tells what was not found."""
        given = list(paths)
        refuse_missing(path for path in given if not path.startswith(REMOTE))
        for path in given:
            yield from self._behind(path, self._order.task, self._order.options)

    def listed(self, path: Path) -> Iterator[Asked]:
        """What the lines of a manifest name. A line that is wrong is refused, and stops no other."""
        return self.lines(manifest.read(path), path)

    def lines(self, entries: Iterable[manifest.Entry | manifest.WrongLine], path: Path) -> Iterator[Asked]:
        """The same of lines that were read elsewhere; files are seen from the folder of `path`."""
        for entry in entries:
            line = f"{path}:{entry.line}"
            if isinstance(entry, manifest.WrongLine):
                yield self._refused(line, self._order.task, entry.reason)
                continue
            task, options = self._of(entry)
            # The command line's own options are checked by whoever read them.
            reason = None if options is self._order.options else self._wrong_order(task, options.model_dump_json())
            if reason:
                yield self._refused(line, task, reason)
                continue
            is_empty = True
            for asked in self._entry(entry, path, task, options):
                is_empty = False
                yield asked
            if is_empty:
                yield self._refused(f"{line} {entry.path}", task, "there is no such file")

    def _entry(self, entry: manifest.Entry, path: Path, task: str, options: Options) -> Iterator[Asked]:
        return self._behind(entry.place(path), task, options)

    def _of(self, entry: manifest.Entry) -> tuple[str, Options]:
        """The command line's options belong to its task, except the size of the model, which is for any."""
        order = self._order
        if entry.task in (None, order.task) and not entry.options.model_fields_set:
            return order.task, order.options
        if entry.task is not None and entry.task != order.task:
            size = {} if "variant" in entry.options.model_fields_set else {"variant": order.options.variant}
            return entry.task, entry.options.model_copy(update=size)
        return order.task, order.options.model_copy(update=entry.options.model_dump(exclude_unset=True))

    def _check(self, task: str, written: str) -> str | None:
        """What is wrong with a task and options (as JSON), which many lines of a manifest share."""
        options = Options.model_validate_json(written)
        try:
            if options.frames is not None:
                choice.parse(options.frames)
            tasks.check(task, options)
            refuse_task(task, options, self._settings.engine)
        except UsageError as error:
            return str(error)
        return None

    def _behind(self, path: str, task: str, options: Options) -> Iterator[Asked]:
        if path.startswith(REMOTE):
            for name, remote in self._objects(path):
                yield Asked(name=name, task=task, options=options, place=remote)
            return
        for found in finding.find(path):
            if isinstance(found, Unusable):
                yield self._refused(found.name, task, found.reason)
            else:
                yield Asked(name=found.name, task=task, options=options, place=found.path)

    def _refused(self, name: str, task: str, reason: str) -> Asked:
        return Asked(name=name, task=task, options=Options(), refused=reason)

    def _objects(self, url: str) -> Iterator[tuple[str, Remote]]:
        """`s3://bucket/prefix`, or a glob of `*` and `?`; without a bucket (`s3:///prefix`), that of the settings."""
        bucket, wanted = self._split(url)
        prefix = _GLOB.split(wanted, maxsplit=1)[0]
        for remote in listed(self._bucket(bucket), prefix):
            if prefix == wanted or fnmatchcase(remote.key, wanted.replace("[", "[[]")):
                yield f"{REMOTE}{bucket}/{remote.key}", remote

    def _split(self, url: str) -> tuple[str, str]:
        bucket, _, key = url.removeprefix(REMOTE).partition("/")
        return bucket or self._s3().bucket, key

    def _open(self, bucket: str) -> S3Store:
        """It is never made."""
        return S3Store(self._s3().model_copy(update={"bucket": bucket}))

    def _s3(self) -> S3:
        if self._settings.s3.endpoint:
            return self._settings.s3
        reached: Settings | None = local_mode().reach(self._settings)
        if reached is None:
            raise UsageError("no object store is configured: set REELMILL_S3__ENDPOINT, or start a mill (reelmill up)")
        return reached.s3


class Gathering(Asking):
    """The same for a collection: nothing elsewhere is looked at, and names are those by which it is known again."""

    def named(self, paths: Iterable[str]) -> Iterator[Asked]:
        """By absolute names, whatever folder the command is given in."""
        for asked in super().named(paths):
            if isinstance(asked.place, Path):
                yield replace(asked, name=text_of(os.path.abspath(asked.name)))
            else:
                yield replace(asked, name=text_of(asked.name))

    def _entry(self, entry: manifest.Entry, path: Path, task: str, options: Options) -> Iterator[Asked]:
        """By the names that stand in the manifest. An object is taken as it is written: nobody asks for each of them
        whether it is there."""
        if entry.path.startswith(REMOTE):
            bucket, key = self._split(entry.path)
            if not key:
                yield self._refused(entry.path, task, "it names no object")
                return
            place = Remote(self._bucket(bucket), key, 0)
            yield Asked(
                name=f"{REMOTE}{bucket}/{key}", task=task, options=options, place=place, custom_id=entry.custom_id
            )
            return
        for asked in super()._entry(entry, path, task, options):
            name = asked.name if os.path.isabs(entry.path) else os.path.relpath(asked.name, path.parent)
            yield replace(asked, name=text_of(name), custom_id=entry.custom_id)


def text_of(name: str) -> str:
    """The name of a file, which may hold any bytes, as text that differs for other bytes."""
    return name.encode("utf-8", "backslashreplace").decode()
