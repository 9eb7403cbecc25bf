"""Which jobs other collections wait for, too: from the bucket, without a steward."""

from contextlib import suppress

from pipeline import keys
from pipeline.collecting.shards import lines_of, read_collection
from pipeline.errors import UsageError
from pipeline.job import Job
from pipeline.objects import ObjectStore


class Others:
    """What the lines of other open collections ask for, in the shards that are being worked on.

    A line behind those may find a cancelled job when it is let in, and has it tried again. Memory is a few shards.
    """

    def __init__(self, store: ObjectStore, collection: str) -> None:
        self._store = store
        self._asked: set[tuple[str, ...]] = set()
        names = {key.removeprefix(keys.OPEN_COLLECTIONS) for key in store.list(keys.OPEN_COLLECTIONS)}
        for name in sorted(names - {collection}):
            if not store.exists(keys.cancelled_collection(name)):
                with suppress(UsageError, ValueError):  # one that cannot be read
                    self._add(name)

    def want(self, job: Job) -> bool:
        """Whether one of them waits for it."""
        return _asked(job) in self._asked

    def _add(self, name: str) -> None:
        found = read_collection(self._store, name)
        ended = {keys.numbers(key)[0] for key in self._store.list(keys.ended_shards(name))}
        begun = {keys.numbers(key)[0] for key in self._store.list(keys.begun_shard(name, 0).rsplit("/", 1)[0])}
        for number in begun - ended:
            self._asked |= {_asked(line.job(found)) for line in lines_of(self._store, name, number)}


def _asked(job: Job) -> tuple[str, ...]:
    """Equal for equal jobs. Of media elsewhere a line does not tell which bytes it will be, but where they are."""
    return job.tenant, job.media.sha256 or job.media.key, job.task, job.options.model_dump_json(), job.engine
