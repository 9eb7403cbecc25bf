"""Telling what is owed: a real deliverer over a bucket in memory, and a server that answers as it is told."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from pipeline import keys
from pipeline.collecting.record import Collection, Ended, Tally
from pipeline.errors import TransientError
from pipeline.job import Job, Media, Provenance, Result, ResultMedia, Status
from pipeline.ledger import MemoryLedger
from pipeline.settings import Webhooks
from pipeline.webhooks import delivering
from pipeline.webhooks.addresses import Target
from pipeline.webhooks.debts import Debt, Debts, server_of
from pipeline.webhooks.delivering import Deliverer, note_name
from pipeline.webhooks.posting import Reply, new_secret
from pipeline.webhooks.turns import LISTED, MAX_WINDOW
from tests.doubles import MemoryStore
from tests.watching import until

NOW = datetime.now(UTC)
HERE = "http://127.0.0.1:9/a"
OTHER = "http://127.0.0.1:10/b"
SECRET = new_secret()


def result(job: str, status: Status = "done", error: str | None = None) -> Result:
    media = Media(name="talk.wav", key="media/x")
    return Result(
        job=job,
        status=status,
        error=error,
        task="transcribe",
        media=ResultMedia(name="talk.wav", sha256=None, size=1, duration=3.5, info=None),
        language="en",
        text="words that only who may read the bucket should see",
        segments=(),
        outputs={"text": keys.transcript(job, "txt")},
        asked=Job(id=job, media=media, engine="e"),
        provenance=Provenance(reelmill="1", engine_asked="e", origins=(), input_sha256=None, attempts=1),
    )


class SharedStore(MemoryStore):
    """One that several threads may use at once."""

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in tuple(self.objects) if key.startswith(prefix)))


class World:
    """A bucket, a clock, a server and whoever delivers to it."""

    def __init__(self) -> None:
        self.store = SharedStore()
        self.debts = Debts(self.store)
        self.ledger = MemoryLedger()
        self.now = 0.0
        self.leads = True
        self.sent: list[tuple[str, Mapping[str, str], str]] = []
        self.answer: Callable[[str, str], Reply] = lambda url, body: Reply(204)
        self.settings = Webhooks(secrets=SecretStr(SECRET), private=True)
        self.restart()

    def restart(self) -> None:
        self.deliverer = Deliverer(
            self.store,
            self.ledger,
            self.settings,
            leads=lambda: self.leads,
            send=self.send,
            clock=lambda: self.now,
            chance=random.Random(1),
        )

    def round(self) -> int:
        """Look, and wait until nothing can be told any more; how many messages were taken meanwhile."""
        before = self.ledger.counts().get(delivering.DELIVERED, 0)
        self.deliverer.look()
        deadline = time.monotonic() + 30
        while self.deliverer.num_under_way:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return self.ledger.counts().get(delivering.DELIVERED, 0) - before

    def send(self, target: Target, headers: Mapping[str, str], body: bytes, seconds: float) -> Reply:
        url = f"http://{target.authority}{target.path}"
        self.sent.append((url, headers, body.decode()))
        return self.answer(url, body.decode())

    def owe(self, job: str, url: str = HERE, since: datetime = NOW, collection: str | None = None) -> None:
        self.debts.owe(Debt(url=url, job=job, since=since, collection=collection))

    def end(self, job: str, status: Status = "done", error: str | None = None) -> None:
        self.store.create(keys.result(job), result(job, status, error).to_bytes())
        self.store.delete([keys.open_job(job)])

    def open(self, job: str) -> None:
        self.store.create(keys.open_job(job), b"{}")

    def told(self, number: int = -1) -> dict[str, object]:
        return dict(json.loads(self.sent[number][2]))

    def note(self, url: str) -> str | None:
        """What is told of a server."""
        return self.ledger.noted(note_name(server_of(Debt(url=url, job="any", since=NOW).key)))

    @property
    def owed(self) -> int:
        return len(list(self.store.list(keys.WEBHOOKS_OWED)))

    @property
    def given_up(self) -> list[Debt]:
        return [debt for _, debt in self.debts.given_up()]


@pytest.fixture
def world() -> World:
    return World()


def test_a_job_is_told_of_when_it_has_ended_and_once(world: World) -> None:
    world.open("j1")
    world.owe("j1")
    assert world.round() == 0
    world.end("j1")
    assert world.round() == 1
    assert world.round() == 0
    assert (len(world.sent), world.owed) == (1, 0)
    assert world.ledger.counts()[delivering.DELIVERED] == 1


def test_a_result_that_is_taken_back_while_its_job_is_open_again_is_not_told(world: World) -> None:
    world.end("j1", "failed", "bad")
    world.open("j1")
    world.owe("j1")
    assert world.round() == 0
    assert world.owed == 1


def test_a_message_is_signed_names_what_to_fetch_and_holds_no_text(world: World) -> None:
    world.owe("j1", collection="c1")
    world.end("j1", "partial", "minute 3 is missing")
    world.round()
    url, headers, body = world.sent[0]
    assert url == HERE
    event = Webhook(SECRET).verify(body, dict(headers))
    assert event["type"] == "job.partial"
    assert event["data"] == {
        "job": "j1",
        "collection": "c1",
        "custom_id": None,
        "name": "talk.wav",
        "task": "transcribe",
        "status": "partial",
        "error": "minute 3 is missing",
        "seconds": 3.5,
        "language": "en",
        "result": world.store.address("jobs/j1/result.json"),
        "outputs": {"text": world.store.address("jobs/j1/transcript.txt")},
    }
    assert "only who may read" not in body
    assert datetime.fromisoformat(event["timestamp"]) == world.store.written(keys.result("j1"))


def test_both_secrets_sign_while_receivers_change_over(world: World) -> None:
    old, new = new_secret(), new_secret()
    world.settings = Webhooks(secrets=SecretStr(f"{new}, {old}"), private=True)
    world.restart()
    world.owe("j1")
    world.end("j1")
    world.round()
    for secret in (old, new):
        assert Webhook(secret).verify(world.sent[0][2], dict(world.sent[0][1]))


def test_a_repetition_has_the_same_id_and_the_same_bytes_whoever_sends_it(world: World) -> None:
    world.owe("j1")
    world.end("j1")
    world.answer = lambda url, body: Reply(None, "hung up")
    world.round()
    world.restart()
    world.answer = lambda url, body: Reply(200)
    assert world.round() == 1
    (_, first, one), (_, second, other) = world.sent
    assert (first["webhook-id"], one) == (second["webhook-id"], other)


def test_another_end_of_the_same_job_is_another_message(world: World) -> None:
    world.owe("j1", since=NOW)
    world.end("j1", "failed", "bad")
    world.round()
    world.store.delete([keys.result("j1")])
    world.owe("j1", since=NOW + timedelta(hours=1))
    world.end("j1")
    world.round()
    assert [json.loads(body)["type"] for _, _, body in world.sent] == ["job.failed", "job.done"]
    assert len({headers["webhook-id"] for _, headers, _ in world.sent}) == 2


def test_lines_of_two_names_with_the_same_bytes_are_told_each(world: World) -> None:
    for custom_id in ("a", "b", "b"):
        world.debts.owe(Debt(url=HERE, job="j1", collection="c1", custom_id=custom_id, since=datetime.now(UTC)))
    world.end("j1")
    assert world.round() == 2
    assert sorted(json.loads(body)["data"]["custom_id"] for _, _, body in world.sent) == ["a", "b"]


def test_a_collection_is_told_of_when_all_of_it_has_ended(world: World) -> None:
    collection = Collection(id="c1", name="archive", engine="e", submitted_at=NOW)
    world.store.create(keys.collection("c1"), collection.to_bytes())
    world.store.create(keys.open_collection("c1"), b"")
    world.debts.owe(Debt(url=HERE, collection="c1", since=NOW))
    assert world.round() == 0
    tally = Tally(lines=3, statuses={"done": 2, "failed": 1}, seconds=9.0)
    world.store.create(keys.ended_collection("c1"), Ended(tally=tally, ended_at=NOW).to_bytes())
    assert world.round() == 0
    world.store.delete([keys.open_collection("c1")])
    assert world.round() == 1
    assert world.told() == {
        "type": "collection.ended",
        "timestamp": world.store.written(keys.ended_collection("c1")).isoformat(),
        "data": {
            "collection": "c1",
            "name": "archive",
            "lines": 3,
            "statuses": {"done": 2, "failed": 1},
            "seconds": 9.0,
        },
    }


def test_a_server_that_is_away_is_left_alone_for_a_while_and_loses_nothing(world: World) -> None:
    for number in range(50):
        world.owe(f"j{number}")
        world.end(f"j{number}")
    world.answer = lambda url, body: Reply(503, "busy")
    assert world.round() == 0
    assert len(world.sent) == 1
    assert world.round() == 0
    assert len(world.sent) == 1
    world.now = 7.0
    world.answer = lambda url, body: Reply(200)
    assert world.round() == 50
    assert world.owed == 0


def test_a_server_that_is_away_holds_up_no_other(world: World) -> None:
    for number in range(20):
        world.owe(f"a{number}", HERE)
        world.owe(f"b{number}", OTHER)
        world.end(f"a{number}")
        world.end(f"b{number}")
    world.answer = lambda url, body: Reply(None, "down") if url == HERE else Reply(200)
    assert world.round() == 20
    assert world.note(HERE) is not None
    assert world.note(OTHER) is None


def test_a_message_that_its_server_does_not_take_holds_up_no_other(world: World) -> None:
    for number in range(5):
        world.owe(f"j{number}")
        world.end(f"j{number}")
    world.answer = lambda url, body: Reply(500, "cannot") if '"j2"' in body else Reply(200)
    assert world.round() == 4
    sent = len(world.sent)
    assert world.round() == 0
    assert len(world.sent) == sent
    world.now = 7.0
    world.answer = lambda url, body: Reply(200)
    assert world.round() == 1


def days_ago(world: World, job: str, days: float) -> None:
    """Its result is as old as that."""
    world.store.times[keys.result(job)] = datetime.now(UTC) - timedelta(days=days)


def test_what_nobody_takes_for_days_is_put_aside_with_the_reason_and_can_be_sent_again(world: World) -> None:
    world.owe("j1", since=datetime.now(UTC) - timedelta(days=4))
    world.end("j1")
    days_ago(world, "j1", 3.5)
    world.answer = lambda url, body: Reply(404, "no such page")
    world.round()
    assert [debt.error for debt in world.given_up] == ["no such page"]
    assert (world.owed, world.ledger.counts()[delivering.GIVEN_UP]) == (0, 1)
    ((key, debt),) = world.debts.given_up()
    world.debts.redrive(key, debt, datetime.now(UTC))
    world.restart()
    world.round()
    assert (world.owed, world.given_up) == (1, []), "it has another three days"
    world.answer = lambda url, body: Reply(200)
    world.restart()
    assert world.round() == 1
    assert world.given_up == []
    ids = {headers["webhook-id"] for _, headers, _ in world.sent}
    assert len(ids) == 1, "a receiver who had it after all can tell"


def test_a_job_that_took_longer_than_that_is_tried_from_its_end_on(world: World) -> None:
    world.owe("j1", since=datetime.now(UTC) - timedelta(days=30))
    world.open("j1")
    world.round()
    world.end("j1")
    world.answer = lambda url, body: Reply(404, "no such page")
    world.round()
    assert (world.owed, world.given_up) == (1, [])


def test_what_never_came_in_is_put_aside_after_days_and_what_is_open_never(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=4)
    world.owe("never", since=long_ago)
    world.owe("late", since=long_ago)
    monkeypatch.setattr(world.deliverer, "_still_open", frozenset)  # it is opened just after the listing
    world.open("late")
    world.round()
    assert [(debt.job, debt.error) for debt in world.given_up] == [("never", "never has no result")]
    assert world.owed == 1


@pytest.mark.parametrize("status", [200, 410])
def test_an_end_that_is_owed_again_while_the_earlier_one_is_sent_is_told_as_well(world: World, status: int) -> None:
    world.owe("j1", collection="c1")
    world.end("j1", "failed", "bad")

    def reopened(url: str, body: str) -> Reply:
        world.open("j1")
        world.store.delete([keys.result("j1")])
        world.owe("j1", collection="c1")
        return Reply(status)

    world.answer = reopened
    world.round()
    world.end("j1")
    world.now = 7.0
    world.answer = lambda url, body: Reply(200)
    assert world.round() == 1
    assert [json.loads(body)["type"] for _, _, body in world.sent] == ["job.failed", "job.done"]
    assert world.owed == 0


@pytest.mark.parametrize("asked_at", range(7))
@pytest.mark.parametrize("dies_at", [None, *range(7)])
def test_no_end_is_lost_whenever_it_is_asked_for_anew_and_whenever_a_request_fails(
    asked_at: int, dies_at: int | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is opened again before one request of a message, and the process dies at the same one or another."""
    at = datetime.now(UTC).replace(microsecond=0)
    world.owe("j1", collection="c1")
    world.end("j1", "failed", "bad")
    world.store.times[keys.result("j1")] = at
    requests = 0

    def told(name: str) -> Callable[..., object]:
        real = getattr(world.store, name)

        def request(*arguments: object) -> object:
            nonlocal requests
            requests += 1
            if requests == asked_at + 1:
                open_again()
            if dies_at is not None and requests == dies_at + 1:
                raise TransientError("the store hiccups")
            return real(*arguments)

        return request

    def open_again() -> None:
        with monkeypatch.context() as own:
            for name, method in real.items():
                own.setattr(world.store, name, method)
            world.open("j1")
            world.store.delete([keys.result("j1")])
            world.owe("j1", since=NOW + timedelta(hours=1), collection="c1")

    names = ("get", "create", "delete", "written")
    real = {name: getattr(world.store, name) for name in names}
    with monkeypatch.context() as patched:
        for name in names:
            patched.setattr(world.store, name, told(name))
        world.answer = lambda url, body: Reply(200)
        world.round()
    if keys.open_job("j1") not in world.store.objects:
        open_again()
    world.end("j1")
    world.store.times[keys.result("j1")] = at  # within the same second, as far as the store tells
    for number in range(1, 6):
        world.now = 20.0 * number
        world.round()
    assert world.told()["type"] == "job.done"
    assert world.owed == 0


def test_who_says_that_it_is_gone_is_not_asked_again(world: World) -> None:
    world.owe("j1")
    world.end("j1")
    world.answer = lambda url, body: Reply(410, "gone")
    world.round()
    assert [debt.error for debt in world.given_up] == ["gone"]


def test_a_redirection_is_not_taken_for_an_answer(world: World) -> None:
    world.owe("j1")
    world.end("j1")
    world.answer = lambda url, body: Reply(302, "elsewhere")
    assert world.round() == 0
    assert world.owed == 1


def test_an_address_that_must_not_be_reached_is_never_sent_to(world: World) -> None:
    world.settings = Webhooks(secrets=SecretStr(SECRET), private=False)
    world.restart()
    world.owe("j1", "https://127.0.0.1/")
    world.end("j1")
    world.round()
    assert (world.sent, world.owed) == ([], 1)
    note = world.note("https://127.0.0.1/")
    assert note is not None
    assert "network" in note


def test_without_a_secret_nothing_is_sent_and_nothing_is_lost(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.settings = Webhooks(private=True)
    world.restart()
    world.owe("j1")
    world.end("j1")
    assert world.round() == 0
    assert (world.sent, world.owed) == ([], 1)
    assert world.round() == 0
    assert caplog.text.count("REELMILL_WEBHOOKS__SECRETS") == 1
    assert world.note(HERE) == delivering.UNSIGNED


def test_where_nothing_is_owed_a_round_is_one_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.owe("j1")
    world.end("j1")
    world.round()
    asked: list[str] = []
    for name in ("list", "get", "exists", "create", "delete", "first"):
        monkeypatch.setattr(world.store, name, lambda *_, name=name: asked.append(name))
    monkeypatch.setattr(world.store, "folders", lambda *_: asked.append("folders") or [])  # type: ignore[func-returns-value]
    assert world.round() == 0
    assert asked == ["folders"]


def test_a_page_that_is_all_of_open_jobs_does_not_hide_those_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "PAGE", 10)
    for number in range(35):
        world.owe(f"j{number:02d}")
        if number == 34:
            world.end("j34")
        else:
            world.open(f"j{number:02d}")
    assert sum(world.round() for _ in range(4)) == 1
    world.end("j00")
    assert sum(world.round() for _ in range(4)) == 1


def test_a_debt_that_cannot_be_read_holds_up_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.owe("j1")
    world.end("j1")
    (key,) = world.store.list(keys.WEBHOOKS_OWED)
    world.store.create(f"{key}x", b"{")
    assert world.round() == 1
    assert "cannot make out" in caplog.text


def test_a_store_that_is_away_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.owe("j1")
    world.end("j1")
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "folders", away)
        with pytest.raises(TransientError):
            world.round()
    assert world.round() == 1


def away(key: str) -> bytes:
    raise TransientError("the store is away")


def unreadable(world: World, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get = world.store.get
    monkeypatch.setattr(world.store, "written", world.store.times.__getitem__)
    monkeypatch.setattr(world.store, "get", lambda key: away(key) if key == keys.result(job) else get(key))


def test_a_result_that_the_store_does_not_give_holds_up_no_other_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        world.owe(f"j{number:02d}")
        world.end(f"j{number:02d}")
    with monkeypatch.context() as patched:
        unreadable(world, "j00", patched)
        assert world.round() == 19
        assert world.round() == 0
    assert world.round() == 0
    world.now = 7.0
    assert world.round() == 1


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_a_result_that_nobody_can_read_for_days_is_put_aside(
    is_cut_off: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.owe("j1", since=datetime.now(UTC) - timedelta(days=4))
    world.end("j1")
    if is_cut_off:
        world.store.objects[keys.result("j1")] = b"{"
    else:
        unreadable(world, "j1", monkeypatch)
    world.round()
    assert (world.owed, world.given_up) == (1, []), "counted from its end on"
    days_ago(world, "j1", 3.5)
    world.now = 7.0
    world.round()
    assert [debt.error for debt in world.given_up] == ["the result of j1 cannot be read"]
    assert world.owed == 0


@contextmanager
def held_up(world: World, url: str) -> Iterator[threading.Event]:
    """A server that answers when it is let."""
    let = threading.Event()

    def answer(at: str, body: str) -> Reply:
        if at == url:
            let.wait(30)
        return Reply(200)

    world.answer = answer
    yield let
    let.set()
    until(lambda: not world.deliverer.num_under_way)


def num_sent(world: World, url: str) -> int:
    return sum(at == url for at, _, _ in world.sent)


def test_nobody_waits_for_a_server_that_takes_its_time(world: World) -> None:
    for number in range(30):
        world.owe(f"a{number}", HERE)
        world.owe(f"b{number}", OTHER)
        world.end(f"a{number}")
        world.end(f"b{number}")
    with held_up(world, HERE):
        world.deliverer.look()
        until(lambda: num_sent(world, OTHER) == 30)
        world.owe("b30", OTHER)
        world.end("b30")
        world.deliverer.look()
        until(lambda: num_sent(world, OTHER) == 31)
        assert num_sent(world, HERE) == 1


def test_what_is_on_its_way_is_not_sent_a_second_time_meanwhile(world: World) -> None:
    world.owe("j1", collection="c1")
    world.end("j1")
    with held_up(world, HERE):
        world.deliverer.look()
        until(lambda: num_sent(world, HERE) == 1)
        for _ in range(3):
            world.deliverer.look()
    assert (len(world.sent), world.owed) == (1, 0)


def test_one_large_result_is_in_hand_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        world.owe(f"j{number}", f"http://127.0.0.1:{number + 9}/")
        world.end(f"j{number}")
    get, held, most = world.store.get, 0, 0

    def slow(key: str) -> bytes:
        nonlocal held, most
        if not key.endswith("result.json"):
            return get(key)
        held += 1
        most = max(most, held)
        time.sleep(0.01)
        held -= 1
        return get(key)

    monkeypatch.setattr(world.store, "written", world.store.times.__getitem__)
    monkeypatch.setattr(world.store, "get", slow)
    assert world.round() == 20
    assert most == 1


def test_folders_that_a_store_still_lists_after_they_were_emptied_are_no_debts(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.settings = Webhooks(private=True)
    world.restart()
    monkeypatch.setattr(world.store, "folders", lambda prefix: [f"{number:016x}" for number in range(1_000)])
    asked: list[str] = []
    monkeypatch.setattr(world.store, "first", lambda prefix, *_: asked.append(prefix) or [])  # type: ignore[func-returns-value]
    for number in range(1, 11):
        world.now = number * 2.0
        assert world.round() == 0
        assert len(asked) == number * LISTED
    assert len(set(asked)) == 1_000
    assert caplog.text == ""


def test_who_is_no_longer_in_office_sends_no_further_message(world: World) -> None:
    for number in range(30):
        world.owe(f"j{number}")
        world.end(f"j{number}")

    def told_once(url: str, body: str) -> Reply:
        world.leads = False
        return Reply(200)

    world.answer = told_once
    assert 0 < world.round() <= MAX_WINDOW
    sent = len(world.sent)
    assert world.round() == 0
    assert len(world.sent) == sent
    world.leads = True
    world.answer = lambda url, body: Reply(200)
    assert world.round() == 30 - sent
