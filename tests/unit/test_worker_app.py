"""What the mill adds to Celery's workers."""

from types import SimpleNamespace
from typing import Any

from pipeline.settings import Settings
from workers.app import DeadConnections, worker_app


def test_an_acknowledgement_that_fails_leaves_the_others_and_the_loop_alone() -> None:
    ready: list[Any] = []
    consumer = SimpleNamespace(
        call_soon_ack=lambda call, *args: ready.append((call, args)), on_connection_error_after_connected=None
    )
    DeadConnections(consumer)
    done: list[str] = []

    def on_a_dead_channel(name: str) -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    consumer.call_soon_ack(on_a_dead_channel, "a")
    consumer.call_soon_ack(done.append, "b")
    for call, args in ready:
        call(*args)
    assert done == ["b"]


def test_a_connection_that_cannot_be_closed_is_left_for_a_new_one() -> None:
    def close(error: Exception) -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    consumer = SimpleNamespace(call_soon_ack=None, on_connection_error_after_connected=close)
    DeadConnections(consumer)
    consumer.on_connection_error_after_connected(ConnectionError("refused"))


def test_every_worker_has_it() -> None:
    assert DeadConnections in worker_app(Settings()).steps["consumer"]
