"""From the words of a command line to the collections and jobs that are meant."""

import re
from collections.abc import Sequence

from pipeline.cli.connect import Mill
from pipeline.errors import UsageError
from pipeline.operating.standing import find

_JOB = re.compile(r"j[a-z2-7]{24}")


def named(reached: Mill, words: Sequence[str], *, only_collections: bool = False) -> tuple[list[str], list[str]]:
    """Collections, by their ids or names, and jobs; each once. Raises UsageError for a word that is neither."""
    collections: dict[str, None] = {}
    jobs: dict[str, None] = {}
    for word in words:
        if _JOB.fullmatch(word) and not only_collections:
            jobs[reached.producer.job(word).id] = None
            continue
        found = find(reached.ports.store, word)
        if found is None:
            raise UsageError(f"there is no {'collection' if only_collections else 'job or collection'} {word}")
        collections[found] = None
    return list(collections), list(jobs)
