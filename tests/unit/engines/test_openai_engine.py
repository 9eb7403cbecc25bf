"""The engine against a real HTTP server that misbehaves in every way there is."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.engines import Reply, Request, Turn, create
from pipeline.engines.openai import OpenAIEngine
from pipeline.errors import PermanentError, PipelineError, ResourceError, TransientError, WorldError
from pipeline.serving import Serving
from pipeline.settings import Engine
from tests.openai_server import MODEL, Answer, OpenAIServer, failing, listing, openai_server, said, saying

KEY = "sk-very-secret"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


def engine_of(server: OpenAIServer, **more: Any) -> OpenAIEngine:
    settings = {"name": "openai", "url": server.url, "model": MODEL, "api_key": KEY, **more}
    engine = create(Engine.model_validate(settings))
    assert isinstance(engine, OpenAIEngine)
    return engine


def ask(engine: OpenAIEngine, *names: str) -> dict[str, Reply | PipelineError]:
    """The outcomes, in the order in which they came."""
    serving = Serving(engine)
    serving.start()
    outcomes: dict[str, Reply | PipelineError] = {}
    came = threading.Condition()

    def keep(name: str, future: Any) -> None:
        with came:
            outcomes[name] = future.exception() or future.result()
            came.notify_all()

    for name in names:
        request = Request(id=name, turns=(Turn("user", (name,)),))
        serving.submit(request).add_done_callback(lambda future, name=name: keep(name, future))
    with came:
        assert came.wait_for(lambda: len(outcomes) == len(names), timeout=20)
    serving.stop()
    return outcomes


def test_loading_tells_which_weights_and_which_server(server: OpenAIServer) -> None:
    origin = engine_of(server).load()
    assert (origin.engine, origin.model, origin.revision) == ("openai", MODEL, "weights/of-it")
    assert origin.versions == {"server": "1.2.3"}
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


def test_a_server_that_tells_nothing_of_itself_will_do(server: OpenAIServer) -> None:
    server.models, server.version = listing({"id": MODEL}), Answer(404)
    origin = engine_of(server).load()
    assert (origin.revision, origin.versions) == (MODEL, {})


def test_a_model_that_is_served_but_not_listed_is_proved_with_one_token(server: OpenAIServer) -> None:
    server.models = Answer(500, b"no cache")
    assert engine_of(server, model="/a/directory").load().revision == "/a/directory"
    assert (server.bodies[0]["model"], server.bodies[0]["max_tokens"]) == ("/a/directory", 1)


def test_a_model_that_is_not_served_is_a_world_error_that_lists_what_is(server: OpenAIServer) -> None:
    server.models = listing({"id": "b/two"}, {"id": "a/one"})
    server.answer = lambda body: failing(404, "no such model")
    with pytest.raises(WorldError, match=r"does not serve 'a/model'.*REELMILL_ENGINE__MODEL.*a/one, b/two"):
        engine_of(server).load()


def test_an_address_without_an_openai_api_is_a_world_error(server: OpenAIServer) -> None:
    server.models, server.answer = Answer(404), lambda body: Answer(404, b"<html>not here</html>")
    with pytest.raises(WorldError, match=r"no OpenAI-compatible server.*REELMILL_ENGINE__URL.*ends in /v1"):
        engine_of(server).load()


def test_a_key_that_is_refused_is_a_world_error_that_does_not_repeat_it(server: OpenAIServer) -> None:
    server.models = failing(401, f"bad key {KEY}")
    with pytest.raises(WorldError, match="REELMILL_ENGINE__API_KEY") as caught:
        engine_of(server).load()
    assert KEY not in str(caught.value)


def test_nothing_at_the_address_is_a_world_error_that_says_what_to_do() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        with pytest.raises(WorldError, match=f"nothing answers at {url}.*start the server.*REELMILL_ENGINE__URL"):
            create(Engine(name="openai", url=url, model=MODEL)).load()


def test_https_to_a_server_without_tls_is_a_world_error(server: OpenAIServer) -> None:
    with pytest.raises(WorldError, match=r"nothing answers at https.*SSL"):
        engine_of(server, url=server.url.replace("http:", "https:")).load()


def test_a_key_that_would_break_the_header_is_refused_without_repeating_it(server: OpenAIServer) -> None:
    with pytest.raises(WorldError, match="REELMILL_ENGINE__API_KEY") as caught:
        engine_of(server, api_key=f"{KEY}\r\nX: y").load()
    assert KEY not in str(caught.value)


def test_requests_beyond_the_slots_wait_and_all_slots_are_used(server: OpenAIServer) -> None:
    together = threading.Barrier(5, timeout=10)

    def answer(body: dict[str, Any]) -> Answer:
        together.wait()
        return saying(said(body))

    server.answer = answer
    names = [str(number) for number in range(20)]
    outcomes = ask(engine_of(server, max_batch=5), *names)
    assert {name: reply.text for name, reply in outcomes.items() if isinstance(reply, Reply)} == {n: n for n in names}
    assert server.most_inside == 5


def test_replies_come_in_the_order_in_which_they_end(server: OpenAIServer) -> None:
    turns = {"slow": threading.Event(), "middle": threading.Event(), "fast": threading.Event()}
    turns["fast"].set()
    following = {"fast": "middle", "middle": "slow"}
    engine = engine_of(server)

    def answer(body: dict[str, Any]) -> Answer:
        assert turns[said(body)].wait(10)
        return saying(said(body))

    server.answer = answer
    engine.load()
    requests = [Request(id=name, turns=(Turn("user", (name,)),)) for name in turns]
    engine.admit([engine.prepare(request) for request in requests])
    order: list[str] = []
    while len(order) < 3:
        for name in engine.step():
            order.append(name)
            if name in following:
                turns[following[name]].set()
    assert order == ["fast", "middle", "slow"]
    assert engine.free_slots == 64


def test_a_request_that_is_refused_fails_alone_with_the_servers_words(server: OpenAIServer) -> None:
    server.answer = lambda body: failing(400, "context too long") if said(body) == "bad" else saying("fine")
    outcomes = ask(engine_of(server), "good", "bad", "fine")
    assert isinstance(outcomes["bad"], PermanentError)
    assert "context too long" in str(outcomes["bad"])
    assert [type(outcomes[name]) for name in ("good", "fine")] == [Reply, Reply]


def test_a_request_that_a_healthy_server_fails_on_counts_as_a_try(server: OpenAIServer) -> None:
    engine = engine_of(server)
    server.answer = lambda body: failing(500)
    assert isinstance(ask(engine, "a")["a"], ResourceError)


@pytest.mark.parametrize("ailing", ["health", "models"])
def test_a_failure_of_an_ailing_server_is_an_outage(server: OpenAIServer, ailing: str) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        server.health = failing(503) if ailing == "health" else Answer(404)
        server.models = listing() if ailing == "models" else server.models
        return failing(500)

    server.answer = answer
    assert isinstance(ask(engine_of(server), "a")["a"], TransientError)


def test_a_server_that_comes_back_with_another_model_fails_no_work(server: OpenAIServer) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        server.models = listing({"id": "another"})
        return failing(404, "no such model")

    server.answer = answer
    outcome = ask(engine_of(server), "a")["a"]
    assert isinstance(outcome, TransientError)
    assert "REELMILL_ENGINE__MODEL" in outcome.reason


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(is_cut=True), ResourceError),
        (Answer(body=b'{"choi', declared=500), ResourceError),
        (Answer(body=b'{"choi', declared=-1), TransientError),
        (Answer(body=b"<html>"), TransientError),
        (Answer(body=b"{}"), ResourceError),
        (Answer(body=b" " * (17 * 1024 * 1024)), ResourceError),
    ],
)
def test_an_answer_that_is_none_is_told_from_an_outage(server: OpenAIServer, answer: Answer, kind: type) -> None:
    server.answer = lambda body: answer
    assert type(ask(engine_of(server), "a")["a"]) is kind


def test_a_server_that_says_nothing_is_left_after_the_time_that_is_set(server: OpenAIServer) -> None:
    never = threading.Event()

    def answer(body: dict[str, Any]) -> Answer:
        never.wait(10)
        return saying("too late")

    server.answer = answer
    begun = time.monotonic()
    outcome = ask(engine_of(server, request_seconds=0.3), "a")["a"]
    never.set()
    assert isinstance(outcome, TransientError)
    assert "REELMILL_ENGINE__REQUEST_SECONDS=0.3" in outcome.reason
    assert time.monotonic() - begun < 3


def test_an_answer_may_take_longer_than_a_connection(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engines.openai.exchange.CONNECT_SECONDS", 0.2)

    def answer(body: dict[str, Any]) -> Answer:
        time.sleep(0.5)
        return saying("at last")

    server.answer = answer
    assert isinstance(ask(engine_of(server), "a")["a"], Reply)


def test_a_server_that_drips_is_left_too(server: OpenAIServer) -> None:
    server.answer = lambda body: Answer(body=b" " * 1000, drip_seconds=0.05)
    begun = time.monotonic()
    outcome = ask(engine_of(server, request_seconds=0.4), "a")["a"]
    assert isinstance(outcome, TransientError)
    assert time.monotonic() - begun < 3


def test_a_server_that_is_gone_is_an_outage() -> None:
    with openai_server() as server:
        engine = engine_of(server)
        engine.load()
    engine.admit([engine.prepare(Request(id="a", turns=(Turn("user", ("a",)),)))])
    ended: dict[str, Any] = {}
    while not ended:
        ended |= engine.step()
    assert isinstance(ended["a"], TransientError)
    assert "nothing answers" in ended["a"].reason
    assert "REELMILL_ENGINE__URL" in ended["a"].reason


def test_an_overloaded_server_is_left_alone_for_as_long_as_it_asks(server: OpenAIServer) -> None:
    server.answer = lambda body: failing(429, Retry_After="1") if len(server.bodies) == 1 else saying("now")
    outcomes = ask(engine_of(server, max_batch=1), "first", "second")
    assert isinstance(outcomes["first"], TransientError)
    assert isinstance(outcomes["second"], Reply)
    assert server.arrivals[1] - server.arrivals[0] > 0.9


def test_the_key_reaches_no_error_and_no_log(server: OpenAIServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer = lambda body: failing(401, f"Incorrect API key provided: {KEY}")
    outcome = ask(engine_of(server), "a")["a"]
    assert isinstance(outcome, TransientError)
    assert "Incorrect API key provided: [key]" in outcome.reason
    assert KEY not in outcome.reason + outcome.detail + repr(outcome) + caplog.text


def test_closing_breaks_off_what_is_under_way(server: OpenAIServer) -> None:
    asked, never = threading.Event(), threading.Event()

    def answer(body: dict[str, Any]) -> Answer:
        asked.set()
        never.wait(10)
        return saying("x" * 10_000_000)

    server.answer = answer
    engine = engine_of(server)
    engine.load()
    engine.admit([engine.prepare(Request(id="a", turns=(Turn("user", ("a",)),)))])
    assert asked.wait(10)
    begun = time.monotonic()
    engine.close()
    assert time.monotonic() - begun < 1
    assert not [thread.name for thread in threading.enumerate() if thread.name == "openai a"]
    never.set()
    assert server.gone.wait(10), "the server sees that nobody waits for it"
