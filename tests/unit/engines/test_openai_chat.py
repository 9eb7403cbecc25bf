"""Requests as chat completions, answers as outcomes, and the pace after a failure: pure decisions."""

import base64
import io
import json
import wave
from datetime import UTC, datetime

import numpy as np
import pytest

from pipeline.engines import Image, Reply, Request, Sound, Turn
from pipeline.engines.openai import create, refusal
from pipeline.engines.openai.chat import completion, wav
from pipeline.engines.openai.exchange import Address, Received
from pipeline.engines.openai.outcomes import outcome, retry_after, server_words
from pipeline.engines.openai.pace import FIRST_PAUSE, LONGEST_PAUSE, Pace
from pipeline.errors import PermanentError, ResourceError, TransientError, WorldError
from pipeline.settings import Engine

CLIP = (np.arange(-32768, 32768, 7) / 32768).astype(np.float32)


def received(status: int, body: object = None) -> Received:
    data = body if isinstance(body, bytes) else json.dumps(body or {"error": {"message": "some words"}}).encode()
    return Received(status, {}, data)


def completed(text: object, finish: object = "stop") -> Received:
    return received(200, {"choices": [{"message": {"content": text}, "finish_reason": finish}]})


def test_capabilities_are_known_without_a_server() -> None:
    known = create(Engine(name="openai")).capabilities
    assert known.kinds == {"sound", "image", "text"}
    assert (known.limits.clip_seconds, known.limits.images, known.limits.image_pixels) == (30.0, 8, 768)
    assert (known.max_batch, known.tasks) == (64, None)
    assert create(Engine(name="openai", max_batch=3)).capabilities.max_batch == 3


def test_a_conversation_keeps_its_roles_and_the_order_of_its_parts() -> None:
    turns = (
        Turn("system", ("Be brief.",)),
        Turn("user", (Image(b"one"), Image(b"two"), Sound(CLIP), "What is it?")),
        Turn("model", ("A cat.",)),
        Turn("user", ("Are you sure?",)),
    )
    body = json.loads(completion(Request(id="1", turns=turns, max_tokens=77), "some/model"))
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("some/model", 77, 0)
    system, user, model, last = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert (model, last["content"]) == ({"role": "assistant", "content": "A cat."}, "Are you sure?")
    assert [part["type"] for part in user["content"]] == ["image_url", "image_url", "input_audio", "text"]
    assert user["content"][1]["image_url"]["url"] == "data:image/jpeg;base64," + base64.b64encode(b"two").decode()
    assert user["content"][2]["input_audio"]["format"] == "wav"
    assert base64.b64decode(user["content"][2]["input_audio"]["data"]) == wav(CLIP)


def test_a_clip_goes_out_as_the_very_samples_that_were_cut() -> None:
    with wave.open(io.BytesIO(wav(CLIP))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert np.array_equal(np.frombuffer(file.readframes(-1), "<i2"), np.arange(-32768, 32768, 7))


def test_samples_beyond_full_scale_are_clipped_and_do_not_wrap_around() -> None:
    with wave.open(io.BytesIO(wav(np.array([1.0, 1.5, -1.5], np.float32)))) as file:
        assert np.frombuffer(file.readframes(-1), "<i2").tolist() == [32767, 32767, -32768]


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (np.full(16_000, np.nan, dtype=np.float32), "not numbers"),
        (np.zeros(16_000, dtype=np.float64), "float64"),
        (np.zeros((16_000, 2), dtype=np.float32), "shape (16000, 2)"),
        (np.zeros(31 * 16_000, dtype=np.float32), "31.0 s long"),
    ],
)
def test_what_is_no_clip_is_refused_before_it_is_sent(clip: np.ndarray, reason: str) -> None:
    request = Request(id="1", turns=(Turn("user", (Sound(clip), "Transcribe.")),))
    assert reason in str(refusal(request))
    with pytest.raises(PermanentError):
        create(Engine(name="openai")).prepare(request)


@pytest.mark.parametrize(
    ("answer", "text", "flags"),
    [
        (completed(" Two words.\n"), "Two words.", ()),
        (completed("One", "length"), "One", ("cut_short",)),
        (completed("la la la", "repetition"), "la la la", ("suspect",)),
        (completed("no reason", None), "no reason", ()),
    ],
)
def test_an_answer_is_one_span_without_times(answer: Received, text: str, flags: tuple[str, ...]) -> None:
    verdict = outcome(answer)
    assert isinstance(verdict, Reply)
    assert (verdict.text, verdict.flags) == (text, flags)
    assert [(span.start, span.end) for span in verdict.spans] == [(0.0, 0.0)]


@pytest.mark.parametrize("text", ["", " \n", None])
def test_an_empty_answer_has_no_spans(text: str | None) -> None:
    assert outcome(completed(text)) == Reply(spans=())


@pytest.mark.parametrize(
    ("answer", "is_well", "kind"),
    [
        *[(received(status), True, PermanentError) for status in (400, 404, 413, 415, 422)],
        *[(received(status), True, TransientError) for status in (301, 401, 403, 408, 409, 425, 429)],
        *[(received(status), True, TransientError) for status in (502, 503, 504, 529)],
        (received(500), True, ResourceError),
        (received(500), False, TransientError),
        (received(404), False, TransientError),
        (received(200, b"<html>sign in</html>"), True, TransientError),
        (received(200, b'{"choices": [{"mess'), True, TransientError),
        (received(200, {"error": "no"}), True, ResourceError),
        (received(200, {"choices": []}), True, ResourceError),
        (received(200, {"choices": [{"message": {"content": ["list"]}}]}), True, ResourceError),
        (received(200, {"choices": [{"message": None}]}), True, ResourceError),
        (received(200, [1]), True, ResourceError),
        (completed("x", "content_filter"), True, PermanentError),
        (completed("x", "abort"), True, TransientError),
    ],
)
def test_each_kind_of_answer_leads_to_its_kind_of_error(answer: Received, is_well: bool, kind: type) -> None:
    assert type(outcome(answer, is_well=is_well)) is kind


def test_a_refusal_repeats_the_servers_words_and_a_bad_key_names_the_setting() -> None:
    assert "(HTTP 400: some words)" in str(outcome(received(400)))
    assert "REELMILL_ENGINE__API_KEY" in str(outcome(received(401)))
    assert "REELMILL_ENGINE__MODEL" in str(outcome(received(404), is_well=False))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "too  long"}}', "too long"),
        (b'{"error": "plain"}', "plain"),
        (b'{"object": "error", "message": "older vLLM"}', "older vLLM"),
        (b'{"detail": "FastAPI"}', "FastAPI"),
        (b'{"detail": [{"msg": "field required"}]}', '[{"msg": "field required"}]'),
        (b"Internal Server Error", "Internal Server Error"),
        (b"", "no reason given"),
        (b"x" * 1000, "x" * 300),
    ],
)
def test_the_servers_words_are_found_in_every_usual_shape(body: bytes, words: str) -> None:
    assert server_words(body) == words


def test_both_forms_of_retry_after_are_read() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": "17"}) == 17
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 12:00:09 GMT"}, now) == 9
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, now) == 0
    assert retry_after({"retry-after": "soon"}) == retry_after({}) == 0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_failed_round_doubles_the_pause_up_to_a_limit_and_success_ends_it() -> None:
    clock = Clock()
    pace = Pace(clock)
    pauses = []
    for _ in range(9):
        pace.failed(sent_at=clock.now)
        pauses.append(pace.pause())
        clock.now += pauses[-1]
        assert pace.pause() == 0
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    pace.succeeded(sent_at=clock.now)
    pace.failed(sent_at=clock.now)
    assert pace.pause() == FIRST_PAUSE


def test_requests_that_were_under_way_together_count_as_one_failure() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now = 101.0
    for _ in range(64):
        pace.failed(sent_at=100.5)
    assert pace.pause() == FIRST_PAUSE
    pace.succeeded(sent_at=100.5)
    assert pace.pause() == FIRST_PAUSE, "an answer from before the outage does not end the pause"


def test_a_server_that_asks_for_time_gets_it_within_reason() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.failed(sent_at=clock.now, asked=7)
    assert pace.pause() == 7
    pace.failed(sent_at=clock.now, asked=3600)
    assert pace.pause() == LONGEST_PAUSE


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "set REELMILL_ENGINE__URL to where the server is"),
        ("gpu-host:8000/v1", "must look like http://gpu-host:8000/v1"),
        ("http://gpu-host:port/v1", "no address of a server"),
        ("http://user:pass@gpu-host/v1", "belongs in REELMILL_ENGINE__API_KEY"),
        ("http://gpu-host/v1?key=1", "belongs in REELMILL_ENGINE__API_KEY"),
    ],
)
def test_an_address_that_is_none_says_what_to_set(url: str, words: str) -> None:
    with pytest.raises(WorldError, match=words):
        Address.parse(url)


def test_an_address_knows_its_port_and_the_root_of_its_server() -> None:
    plain, tls = Address.parse("http://gpu:8000/v1/"), Address.parse("https://api.example/openai/v1")
    assert (plain.host, plain.port, plain.path, plain.root, plain.secure) == ("gpu", 8000, "/v1", "", False)
    assert (tls.port, tls.path, tls.root, tls.secure) == (443, "/openai/v1", "/openai", True)
