"""Where each object lies in the bucket. Keys are made of ids and numbers only, never of a user's words."""

from pipeline.job import Work

JOBS = "jobs/"
MEDIA = "media/"
OPEN = "open/"
QUARANTINE = "quarantine/"
COLLECTIONS = "collections/"
KNOWN_COLLECTIONS = "known-collections/"
OPEN_COLLECTIONS = "open-collections/"
TRIES = "tries/"
WEBHOOKS_OWED = "webhooks/owed/"
WEBHOOKS_GIVEN_UP = "webhooks/given-up/"
#: A mark that a steward has been here: a ledger that knows nothing was then emptied, and is not the first one.
STARTED = "started"


def media(tenant: str, sha256: str) -> str:
    return f"{MEDIA}{tenant}/{sha256}"


def job_prefix(job: str) -> str:
    return f"{JOBS}{job}/"


def open_job(job: str, round: int = 0) -> str:
    """The job itself, until it has ended. One that was opened again lies elsewhere, so that who closes it as it was
    before closes nothing.
    """
    return f"{OPEN}{job}{f'.{round}' if round else ''}"


def job_opened(key: str) -> str:
    """The job that is open under such a key."""
    return key.removeprefix(OPEN).split(".", 1)[0]


def round_opened(key: str) -> int:
    """The round in which it is open."""
    return int(key.partition(".")[2] or 0)


def cancelled(job: str, round: int = 0) -> str:
    """That a round of a job is to end early."""
    return f"{job_prefix(job)}cancelled{f'.{round}' if round else ''}.json"


def windows(job: str) -> str:
    return f"{job_prefix(job)}windows.json"


def plan(job: str, window: int) -> str:
    return f"{job_prefix(job)}plans/{window:05d}.json"


def segments(job: str, *numbers: int) -> str:
    """What `pipeline/payload.py` packs: the media of one segment, or of those of a parcel."""
    return f"{segments_of(job)}{_joined(numbers)}.bin"


def segments_of(job: str) -> str:
    return f"{job_prefix(job)}segments/"


def whole(job: str) -> str:
    """A job that is one segment: its media, its windows and its plan in one object."""
    return f"{job_prefix(job)}whole.bin"


def answers(job: str, *numbers: int) -> str:
    """What became of one segment, or of those of a parcel."""
    return f"{answers_of(job)}{_joined(numbers)}.json"


def answers_of(job: str) -> str:
    return f"{job_prefix(job)}answers/"


def alone(job: str, *numbers: int) -> str:
    """A mark that a segment of a parcel is answered by itself."""
    return f"{alone_of(job)}{_joined(numbers)}"


def alone_of(job: str) -> str:
    return f"{job_prefix(job)}alone/"


def result(job: str) -> str:
    """The finished document, for whoever reads it."""
    return f"{job_prefix(job)}result.json"


def committed(job: str, round: int) -> str:
    """What a round of a job ended as: written once. Of the first one it is the document itself."""
    return f"{rounds_of(job)}{round:05d}.json" if round else result(job)


def round_begun(job: str, round: int) -> str:
    """That a job that had ended is tried again."""
    return f"{rounds_of(job)}{round:05d}"


def rounds_of(job: str) -> str:
    return f"{job_prefix(job)}rounds/"


def transcript(job: str, suffix: str) -> str:
    return f"{job_prefix(job)}transcript.{suffix}"


def subtitles(job: str, name: str) -> str:
    """What a file brought along; `name` is made of numbers and a language."""
    return f"{job_prefix(job)}{name}"


def quarantine(job: str) -> str:
    return f"{QUARANTINE}{job}.json"


def job_quarantined(key: str) -> str:
    """The job in such a key."""
    return key.removeprefix(QUARANTINE).removesuffix(".json")


def tried(work: Work, tries: int) -> str:
    """That a piece of work is begun once more, after so many tries that were not ended."""
    return f"{tries_of(work)}{tries:03d}.json"


def failed_try(work: Work, number: int) -> str:
    """What the try of this number failed with."""
    return f"{tries_of(work)}{number:03d}.failed.json"


def tries_of(work: Work) -> str:
    """Prefix of the tries of a piece of work."""
    return f"{tries_of_job(work.job)}{work.name}/"


def tries_of_job(job: str) -> str:
    return f"{TRIES}{job}/"


def work_tried(key: str) -> tuple[str, int]:
    """The name of the work and the number of tries in such a key."""
    _, name, _ = key.removeprefix(TRIES).split("/")
    return name, number_of_try(key)


def number_of_try(key: str) -> int:
    return int(key.rsplit("/", 1)[1].split(".", maxsplit=1)[0])


def collection(collection: str) -> str:
    return f"{collection_prefix(collection)}collection.json"


def collection_prefix(collection: str) -> str:
    return f"{COLLECTIONS}{collection}/"


def known_collection(collection: str) -> str:
    """A mark for ever, so that collections are found without a listing of all their shards."""
    return f"{KNOWN_COLLECTIONS}{collection}"


def open_collection(collection: str) -> str:
    """A mark, until all its lines have ended."""
    return f"{OPEN_COLLECTIONS}{collection}"


def shard(collection: str, number: int) -> str:
    return f"{collection_prefix(collection)}shards/{number:06d}.jsonl"


def begun_shard(collection: str, number: int) -> str:
    """That jobs of a shard may have been opened."""
    return f"{collection_prefix(collection)}begun/{number:06d}"


def ended_shards(collection: str) -> str:
    """Prefix of what became of the shards whose lines have all ended."""
    return f"{collection_prefix(collection)}ended/"


def ended_shard(collection: str, number: int) -> str:
    return f"{ended_shards(collection)}{number:06d}.json"


def jobs_of_shard(collection: str, number: int) -> str:
    """The ids of the jobs that a shard's lines became, where the lines alone do not tell."""
    return f"{collection_prefix(collection)}jobs/{number:06d}.txt"


def cancelled_collection(collection: str) -> str:
    """That no more of its lines are let in."""
    return f"{collection_prefix(collection)}cancelled.json"


def closed_collection(collection: str) -> str:
    return f"{collection_prefix(collection)}closed.json"


def ended_collection(collection: str) -> str:
    return f"{collection_prefix(collection)}ended.json"


def promise(collection: str) -> str:
    """When it was thought to be done, as told first."""
    return f"{collection_prefix(collection)}promise.json"


def webhooks_owed(origin: str) -> str:
    """Prefix of what a server is still to be told."""
    return f"{WEBHOOKS_OWED}{origin}/"


def webhook_owed(origin: str, name: str) -> str:
    return f"{webhooks_owed(origin)}{name}"


def webhook_given_up(owed: str) -> str:
    """Where a debt goes that is not tried any more."""
    return f"{WEBHOOKS_GIVEN_UP}{owed.removeprefix(WEBHOOKS_OWED)}"


def outcome(work: Work) -> str:
    """The one key that a piece of work writes last, with its output or its Failure."""
    match work.stage:
        case "prepare":
            return windows(work.job)
        case "cut" if work.window is not None:
            return plan(work.job, work.window)
        case "infer" if work.window is not None and work.index is not None:
            return answers(work.job, *work.numbers)
        case "infer" if work.window is None and work.index is None:
            return result(work.job)
        case "finish":
            return result(work.job)
    raise ValueError(f"incomplete work: {work!r}")


def numbers(key: str) -> tuple[int, ...]:
    """The window, segment and last segment at the end of a key: those that it has."""
    return tuple(int(part) for part in key.rsplit("/", 1)[1].split(".", 1)[0].split("-"))


def _joined(numbers: tuple[int, ...]) -> str:
    return "-".join(f"{number:05d}" for number in numbers)
