"""What makes two jobs one: whose they are, the bytes, the task, the options and the engine. Pure."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.job import Job, Media, Options, Priority


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for jobs, and how soon they want them."""

    tenant: str = "default"
    priority: Priority = "normal"
    deadline: datetime | None = None
    collection: str | None = None
    webhook: str | None = None  #: who is to be told when a job has ended; asked for by each who submits it


NORMAL = Asked()


def new_job(media: Media, task: str, options: Options, engine: str, asked: Asked) -> Job:
    return Job(
        id=job_id(media, task, options, engine, asked.tenant),
        tenant=asked.tenant,
        priority=asked.priority,
        deadline=asked.deadline,
        collection=asked.collection,
        task=task,
        media=media,
        options=options,
        engine=engine,
        submitted_at=datetime.now(UTC),
    )


def job_id(media: Media, task: str, options: Options, engine: str, tenant: str = "default") -> str:
    """The same tenant, bytes, task, options and engine are the same job, whatever the file is called."""
    identity = {
        "tenant": tenant,
        "media": media.identity,
        "task": task,
        "options": options.model_dump(exclude_defaults=True),
        "engine": engine,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()
    return "j" + base64.b32encode(digest[:15]).decode().lower()
