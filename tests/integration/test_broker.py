"""The queue on a real Valkey: what a message is, and looking into the queues."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from kombu import Consumer
from kombu.transport.redis import Channel

from pipeline.broker import INFER_QUEUES, PREPARE_QUEUES, STAGES, Queues, create_app
from pipeline.errors import TransientError
from pipeline.job import Work
from pipeline.settings import Redis, Settings

LONGEST_JOB = "j" + "z" * 24
WORKS = (
    Work(stage="prepare", job=LONGEST_JOB),
    Work(stage="cut", job=LONGEST_JOB, window=99_999),
    Work(stage="infer", job=LONGEST_JOB, window=99_999, index=99_999),
    Work(stage="finish", job=LONGEST_JOB),
)


def test_every_message_is_under_one_kilobyte_and_names_its_work(redis_settings: Redis) -> None:
    queues = Queues(Settings(redis=redis_settings))
    for work in WORKS:
        queues.send(work)
    assert queues.waiting() == {work.name for work in WORKS}
    with redis.Redis.from_url(redis_settings.url.get_secret_value()) as client:
        for work in WORKS:
            (raw,) = client.lrange(f"{redis_settings.namespace}:{work.stage}", 0, -1)  # type: ignore[misc]
            assert len(raw) < 1000
            assert json.loads(raw)["content-type"] == "application/json"
    queues.close()


def test_each_stage_has_a_queue_of_its_own(redis_settings: Redis) -> None:
    queues = Queues(Settings(redis=redis_settings))
    queues.send(WORKS[2])
    assert queues.waiting(["infer"]) == {WORKS[2].name}
    assert queues.waiting([stage for stage in STAGES if stage != "infer"]) == frozenset()
    queues.close()


def test_an_absent_broker_is_a_transient_error() -> None:
    queues = Queues(Settings(redis=Redis(url="redis://127.0.0.1:1/0")))  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        queues.waiting()
    with pytest.raises(TransientError):
        queues.send(WORKS[0])


def test_a_channel_without_its_connection_is_a_transient_error(
    redis_settings: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes about now and then when a connection is lost; any other error of this kind is a fault of the code."""
    closed: Any = None
    queues = Queues(Settings(redis=redis_settings))
    monkeypatch.setattr(Channel, "_put", lambda *arguments, **named: closed.client)
    with pytest.raises(TransientError):
        queues.send(WORKS[0])
    monkeypatch.setattr(Channel, "_put", lambda *arguments, **named: closed.server)
    with pytest.raises(AttributeError):
        queues.send(WORKS[0])
    queues.close()


def test_a_process_that_only_submits_loads_no_heavy_library() -> None:
    heavy = ("torch", "librosa", "faster_whisper", "ctranslate2", "onnxruntime", "numba", "scipy", "av")
    code = (
        "import sys; import pipeline.producer, pipeline.broker, pipeline.ledger, pipeline.store, pipeline.cli.jobs; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_urgent_work_has_a_queue_of_its_own_that_is_consumed_first(redis_settings: Redis) -> None:
    queues = Queues(Settings(redis=redis_settings))
    for index, urgent in ((0, False), (1, True)):
        queues.send(Work(stage="infer", job="jaaa", window=0, index=index, urgent=urgent))
    queues.send(Work(stage="infer", job="jbbb"))
    assert queues.depth("infer") == len(queues.waiting(["infer"])) == 3
    with redis.Redis.from_url(redis_settings.url.get_secret_value()) as client:
        lengths = [client.llen(f"{redis_settings.namespace}:{queue}") for queue in INFER_QUEUES]
    assert lengths == [1, 1, 1]
    assert INFER_QUEUES == ("infer-urgent", "infer-whole", "infer")
    assert PREPARE_QUEUES == ("finish-urgent", "cut-urgent", "prepare-urgent", "finish", "cut", "prepare")
    queues.close()


def served(settings: Settings, works: Sequence[Work], queue_names: Sequence[str] = PREPARE_QUEUES) -> list[str]:
    """The names of these works in the order in which one worker of these queues takes them."""
    queues = Queues(settings)
    for work in works:
        queues.send(work)
    queues.close()
    taken: list[str] = []

    def take(body: dict[str, Any], message: Any) -> None:
        taken.append(body["id"])
        message.ack()

    app = create_app(settings)
    with app.connection() as connection:
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        with Consumer(channel, [app.amqp.queues[name] for name in queue_names], callbacks=[take]):
            while len(taken) < len(works):
                connection.drain_events(timeout=10)
    app.close()
    return taken


@pytest.mark.parametrize("urgent", [False, True])
def test_a_short_job_waits_for_one_window_of_an_archive_and_not_for_all(redis_settings: Redis, urgent: bool) -> None:
    archive = [Work(stage="cut", job="jarchive", window=number, urgent=urgent) for number in range(4)]
    short = [Work(stage="prepare", job=f"jshort{number}", urgent=urgent) for number in range(3)]
    finish = Work(stage="finish", job="jdone", urgent=urgent)
    taken = served(Settings(redis=redis_settings), [*archive, *short, finish])
    in_turn = [archive[0], short[0], archive[1], short[1], archive[2], short[2], archive[3]]
    assert taken == [finish.name, *(work.name for work in in_turn)]


def test_a_job_of_one_segment_waits_for_one_parcel_of_an_archive_and_not_for_all(redis_settings: Redis) -> None:
    archive = [
        Work(stage="infer", job="jarchive", window=0, index=16 * number, last=16 * number + 15) for number in range(4)
    ]
    short = [Work(stage="infer", job=f"jshort{number}") for number in range(2)]
    urgent = Work(stage="infer", job="jurgent", urgent=True)
    taken = served(Settings(redis=redis_settings), [*archive, *short, urgent], INFER_QUEUES)
    in_turn = [short[0], archive[0], short[1], archive[1], archive[2], archive[3]]
    assert taken == [urgent.name, *(work.name for work in in_turn)]
