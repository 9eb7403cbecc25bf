"""A worker that starts before its services waits for them; one that they refuse does not."""

import pytest

from pipeline.errors import TransientError, WorldError
from pipeline.settings import Settings
from workers import __main__ as workers


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(workers.time, "sleep", taken.append)
    return taken


def test_it_waits_longer_each_time_and_then_begins(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    began: list[Settings] = []

    def away(settings: Settings) -> None:
        if len(pauses) < 7:
            raise TransientError("S3 is away")

    monkeypatch.setattr(workers, "test_services", away)
    workers.serve(began.append, Settings())
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert began == [Settings()]


def test_a_service_that_goes_while_a_role_starts_is_waited_for_too(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr(workers, "test_services", lambda settings: None)

    def starting(settings: Settings) -> None:
        if not pauses:
            raise TransientError("S3 is away")

    workers.serve(starting, Settings())
    assert pauses == [1]


def test_what_refuses_us_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    def refused(settings: Settings) -> None:
        raise WorldError("wrong secret key")

    monkeypatch.setattr(workers, "test_services", refused)
    with pytest.raises(WorldError):
        workers.serve(lambda settings: None, Settings())
    assert pauses == []
