"""One engine thread, many callers: each request is answered by itself, whatever its batch mates do."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import pytest

from pipeline.engines import Engine, Request
from pipeline.errors import LeavingError, PermanentError, ResourceError, TransientError
from pipeline.serving import Serving
from pipeline.settings import Engine as EngineSettings
from tests.engines import (
    ContinuousEcho,
    FullEcho,
    GatedEcho,
    LostContinuousEcho,
    LostEcho,
    RaisingEcho,
    RecordingEcho,
    RefusingEcho,
    SmallEcho,
    a_request,
)

SETTINGS = EngineSettings(name="echo", max_batch=8, batch_wait=0.05)


@contextmanager
def serving_of(engine: Engine, **options: object) -> Iterator[Serving]:
    serving = Serving(engine, **options)  # type: ignore[arg-type]
    serving.start()
    try:
        yield serving
    finally:
        serving.stop()


def submit_all(serving: Serving, names: Sequence[str]) -> dict[str, object]:
    futures = {name: serving.submit(a_request(name, deadline=serving.deadline())) for name in names}
    return {name: future.exception(timeout=10) or future.result() for name, future in futures.items()}


def test_requests_of_many_callers_reach_the_engine_as_full_batches() -> None:
    engine = RecordingEcho(SETTINGS)
    with serving_of(engine) as serving:
        submit_all(serving, [str(number) for number in range(24)])
    assert [len(batch) for batch in engine.batches] == [8, 8, 8]


def test_one_bad_request_fails_alone() -> None:
    with serving_of(RefusingEcho(SETTINGS)) as serving:
        outcomes = submit_all(serving, ["a", "bad", "c"])
    assert isinstance(outcomes["bad"], PermanentError)
    assert not isinstance(outcomes["a"], Exception)
    assert not isinstance(outcomes["c"], Exception)


def test_a_batch_that_fails_as_a_whole_is_taken_apart_and_only_the_culprit_fails() -> None:
    engine = RaisingEcho(SETTINGS)
    with serving_of(engine) as serving:
        outcomes = submit_all(serving, ["a", "bad", "c", "d"])
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, Exception)} == {"bad"}
    assert ["bad"] in engine.batches


def test_out_of_memory_halves_the_batch_until_it_fits() -> None:
    engine = SmallEcho(SETTINGS)
    with serving_of(engine) as serving:
        outcomes = submit_all(serving, [str(number) for number in range(8)])
    assert not any(isinstance(outcome, Exception) for outcome in outcomes.values())
    assert [len(batch) for batch in engine.batches] == [8, 4, 2, 2, 4, 2, 2]


def test_what_is_too_large_even_alone_fails_with_a_resource_error() -> None:
    engine = SmallEcho(SETTINGS)
    engine.most = 0
    with serving_of(engine) as serving:
        outcomes = submit_all(serving, ["a", "b"])
    assert all(isinstance(outcome, ResourceError) for outcome in outcomes.values())


def test_tries_are_counted_right_before_the_engine_gets_the_requests() -> None:
    engine = GatedEcho(EngineSettings(name="echo", max_batch=2, batch_wait=0.0))
    counted: list[str] = []
    with serving_of(engine, before=lambda requests: counted.extend(request.id for request in requests)) as serving:
        futures = [serving.submit(a_request(name, deadline=serving.deadline())) for name in ("a", "b", "c")]
        wait_until(lambda: len(engine.batches) == 1)
        assert counted == engine.batches[0], "what waits for the next batch is not counted yet"
        engine.gate.set()
        for future in futures:
            future.result(timeout=10)
    assert sorted(counted) == ["a", "b", "c"]


def test_when_tries_cannot_be_counted_nothing_runs() -> None:
    engine = RecordingEcho(SETTINGS)

    def away(requests: Sequence[Request]) -> None:
        raise TransientError("Redis is away")

    with serving_of(engine, before=away) as serving:
        outcomes = submit_all(serving, ["a"])
    assert isinstance(outcomes["a"], TransientError)
    assert engine.batches == []


def test_the_watchdog_tells_of_an_engine_that_hangs_and_names_its_requests() -> None:
    engine = GatedEcho(EngineSettings(name="echo", max_batch=1, batch_wait=0.0, stall_seconds=0.2))
    stalled = threading.Event()
    told: list[tuple[str, list[str]]] = []

    def on_lost(reason: str, names: Sequence[str]) -> None:
        told.append((reason, list(names)))
        stalled.set()

    with serving_of(engine, on_lost=on_lost) as serving:
        future = serving.submit(a_request("hanging"))
        assert stalled.wait(10)
        assert told == [("it made no progress for 0.2 s", ["hanging"])]
        engine.gate.set()
        future.result(timeout=10)


def test_the_watchdog_is_silent_while_an_engine_is_idle() -> None:
    engine = RecordingEcho(EngineSettings(name="echo", max_batch=1, batch_wait=0.0, stall_seconds=0.05))
    told: list[str] = []
    with serving_of(engine, on_lost=lambda reason, names: told.append(reason)) as serving:
        submit_all(serving, ["a"])
        threading.Event().wait(0.3)
    assert told == []


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (LostEcho, "the device failed"),
        (LostContinuousEcho, "the device failed"),
        (FullEcho, "it has 0 free slots with nothing in it, and nothing fits"),
    ],
)
def test_an_engine_that_is_lost_is_told_of_and_blames_nobody(engine: type[Engine], reason: str) -> None:
    told: list[tuple[str, list[str]]] = []
    with serving_of(
        engine(EngineSettings(name="echo", max_batch=2, batch_wait=0.0)),
        on_lost=lambda reason, names: told.append((reason, list(names))),
    ) as serving:
        with serving._changed:  # nothing is handed out before everything is there
            futures = [serving.submit(a_request(name)) for name in ("a", "bad", "c")]
        for future in futures:
            assert isinstance(future.exception(timeout=10), TransientError)
        assert isinstance(serving.submit(a_request("later")).exception(timeout=1), TransientError)
    assert told == [(reason, [] if engine is FullEcho else ["a", "bad"])]


def test_a_thread_of_the_engine_that_fails_leaves_nobody_waiting() -> None:
    class Forgetful(ContinuousEcho):
        def look_ahead(self, requests: Sequence[Request], elsewhere: int) -> None:
            raise ValueError("what was I told?")

    told: list[str] = []
    with serving_of(Forgetful(SETTINGS), on_lost=lambda reason, names: told.append(reason)) as serving:
        outcomes = submit_all(serving, ["a"])
    assert isinstance(outcomes["a"], TransientError)
    assert told == ["the thread of the engine failed: ValueError('what was I told?')"]


def test_a_stop_fails_what_waits_as_an_outage_and_finishes_what_runs() -> None:
    engine = GatedEcho(EngineSettings(name="echo", max_batch=1, batch_wait=0.0))
    serving = Serving(engine)
    serving.start()
    running = serving.submit(a_request("running"))
    wait_until(lambda: engine.batches == [["running"]])
    waiting = serving.submit(a_request("waiting"))
    stopper = threading.Thread(target=serving.stop)
    stopper.start()
    assert isinstance(waiting.exception(timeout=10), TransientError)
    engine.gate.set()
    stopper.join(10)
    assert running.result(timeout=10).spans
    assert isinstance(serving.submit(a_request("too late")).exception(timeout=1), TransientError)


def test_a_drained_engine_gives_back_what_waits_for_somebody_else_to_do() -> None:
    engine = GatedEcho(EngineSettings(name="echo", max_batch=1, batch_wait=0.0))
    with serving_of(engine) as serving:
        running = serving.submit(a_request("running"))
        wait_until(lambda: engine.batches == [["running"]])
        waiting = serving.submit(a_request("waiting"))
        serving.drain()
        assert isinstance(waiting.exception(timeout=1), LeavingError)
        assert isinstance(serving.submit(a_request("too late")).exception(timeout=1), LeavingError)
        assert not running.done()
        engine.gate.set()
        assert running.result(timeout=10).spans
    assert engine.batches == [["running"]]


def test_what_does_not_end_in_time_is_given_back_and_its_late_answer_is_nobodys() -> None:
    engine = GatedEcho(EngineSettings(name="echo", max_batch=2, batch_wait=0.0))
    serving = Serving(engine)
    serving.start()
    running = serving.submit(a_request("running"))
    wait_until(lambda: engine.batches == [["running"]])
    serving.abandon()
    assert isinstance(running.exception(timeout=1), LeavingError)
    assert not serving.stop(0.1), "the engine is in the middle of it"
    engine.gate.set()
    assert serving.stop(10)


def test_an_engine_is_busy_while_something_is_in_it() -> None:
    now = [100.0]
    engine = GatedEcho(EngineSettings(name="echo", max_batch=1, batch_wait=0.0))
    with serving_of(engine, clock=lambda: now[0]) as serving:
        now[0] += 7
        assert serving.busy_seconds == 0
        future = serving.submit(a_request("a"))
        wait_until(lambda: engine.batches == [["a"]])
        now[0] += 3
        assert serving.busy_seconds == 3
        engine.gate.set()
        future.result(timeout=10)
        wait_until(lambda: serving._busy_since is None)
        now[0] += 11
        assert serving.busy_seconds == 3


def test_a_continuous_engine_refills_slots_as_they_free_up() -> None:
    engine = ContinuousEcho(EngineSettings(name="echo", max_batch=4))
    names = [f"{'bad' if number == 5 else 'ok'}{number}" for number in range(40)]
    with serving_of(engine) as serving:
        with serving._changed:  # nothing is handed out before everything is there
            futures = [
                serving.submit(a_request(name, seconds=0.1 * (1 + number % 4))) for number, name in enumerate(names)
            ]
        failed = [number for number, future in enumerate(futures) if future.exception(timeout=10)]
    assert failed == [5]
    full = sum(occupied == 4 for occupied in engine.occupancy)
    assert full / len(engine.occupancy) > 0.8, "slots are refilled while others still run"


def test_nothing_joins_a_suspect_in_the_slots_of_a_continuous_engine() -> None:
    engine = ContinuousEcho(EngineSettings(name="echo", max_batch=4))
    with serving_of(engine) as serving:
        with serving._changed:
            futures = [serving.submit(a_request("suspect", seconds=2, alone=True))]
            futures += [serving.submit(a_request(f"ok{number}")) for number in range(8)]
        for future in futures:
            future.result(timeout=10)
    assert engine.occupancy == [*[1] * 20, 4, 4]


def test_nothing_is_begun_ahead_beside_a_suspect_nor_what_must_not_be() -> None:
    class Looking(ContinuousEcho):
        seen: ClassVar[list[tuple[bool, set[str]]]] = []

        def look_ahead(self, requests: Sequence[Request], elsewhere: int) -> None:
            self.seen.append(("suspect" in self._running, {request.id for request in requests}))

    engine = Looking(EngineSettings(name="echo", max_batch=2))
    with serving_of(engine, clock=lambda: 100.0) as serving:
        with serving._changed:
            futures = [serving.submit(a_request("suspect", seconds=0.5, alone=True))]
            futures += [serving.submit(a_request(f"ok{number}", deadline=1)) for number in range(8)]
            futures += [serving.submit(replace(a_request("careful", deadline=2), ahead=False))]
        futures[-1].result(timeout=10)
        futures[0].result(timeout=10)
    assert any(requests for _, requests in engine.seen), "others are begun ahead"
    assert engine.seen[0] == (False, set()), "it goes in now"
    assert [requests for beside, requests in engine.seen if beside] == [set()] * 4
    assert not any("careful" in requests for _, requests in engine.seen)


def test_a_suspect_is_not_kept_waiting_by_a_queue_that_stays_full() -> None:
    now = [0.0]
    engine = ContinuousEcho(EngineSettings(name="echo", max_batch=4))
    with serving_of(engine, clock=lambda: now[0]) as serving:
        with serving._changed:
            suspect = serving.submit(a_request("suspect", alone=True))
            flow = [serving.submit(a_request(f"ok{number}", seconds=0.5)) for number in range(40)]
        for number in range(40, 300):
            flow.append(serving.submit(a_request(f"ok{number}", seconds=0.5)))
            flow[number - 40].result(timeout=10)
            now[0] += 0.1
            if suspect.done():
                break
        assert suspect.done(), "while others still come"
        for future in flow:
            future.result(timeout=10)


def wait_until(condition: object) -> None:
    for _ in range(1000):
        if condition():  # type: ignore[operator]
            return
        threading.Event().wait(0.005)
    pytest.fail("it never came true")
