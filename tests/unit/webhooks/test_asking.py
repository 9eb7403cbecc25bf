"""Who asks to be told, and when what is owed to them is written down."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from pipeline import keys
from pipeline.errors import TransientError, UsageError
from pipeline.identity import NORMAL
from pipeline.job import Options
from pipeline.local import webhooks_of
from pipeline.objects import ObjectStore
from pipeline.operating.mending import retry
from pipeline.producer import Producer
from pipeline.settings import Settings, Webhooks
from pipeline.webhooks.debts import Debt, Debts
from pipeline.webhooks.posting import new_secret
from tests.unit.test_collections import ARCHIVE, Mill, line, results, submit
from tests.unit.test_producer import Shop
from tests.unit.test_submitting import ARCHIVE as DESK_ARCHIVE
from tests.unit.test_submitting import Desk

URL = "https://example.com/hook"
GOOD = "whsec_" + "A" * 32
TOLD = ARCHIVE.model_copy(update={"webhook": URL})


def owed(store: ObjectStore) -> list[Debt]:
    return [Debt.from_bytes(store.get(key)) for key in store.list(keys.WEBHOOKS_OWED)]


def test_each_submission_of_a_file_is_told_to_who_asked(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    asked = replace(NORMAL, webhook=URL)
    job = shop.producer.submit(shop.path, "talk.wav", Options()).id
    assert owed(shop.store) == []
    shop.producer.submit(shop.path, "talk.wav", Options(), asked=asked)
    assert [(debt.job, debt.url) for debt in owed(shop.store)] == [(job, URL)]
    shop.work()
    again = shop.producer.submit(shop.path, "talk.wav", Options(), asked=asked).id
    assert again == job
    assert len(owed(shop.store)) == 2


def test_whoever_is_told_is_no_part_of_what_a_job_is(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    job = shop.producer.submit(shop.path, "talk.wav", Options(), asked=replace(NORMAL, webhook=URL)).id
    assert URL not in shop.store.get(keys.open_job(job)).decode()
    shop.work()
    assert URL not in shop.store.get(keys.result(job)).decode()


def test_each_line_of_a_collection_is_owed_as_it_is_let_in_and_named_as_its_submitter_does() -> None:
    mill = Mill(places=4)
    submit(mill, [line(number, custom_id=f"id-{number}") for number in range(10)], TOLD)
    mill.steward.look()
    assert len(owed(mill.store)) == 4
    mill.run()
    assert {debt.custom_id for debt in owed(mill.store)} == {f"id-{number}" for number in range(10)}
    assert {debt.collection for debt in owed(mill.store)} == {"c1"}
    assert len({debt.job for debt in owed(mill.store)}) == 10


def test_two_lines_of_the_same_bytes_are_owed_each() -> None:
    mill = Mill()
    submit(mill, [line(1, custom_id="a"), line(1, custom_id="b")], TOLD)
    mill.run()
    assert {debt.custom_id for debt in owed(mill.store)} == {"a", "b"}
    assert len({debt.job for debt in owed(mill.store)}) == 1


def test_a_line_that_is_answered_from_an_earlier_result_is_owed_as_well() -> None:
    mill = Mill()
    submit(mill, [line(1)])
    mill.run()
    other = TOLD.model_copy(update={"id": "c2"})
    submit(mill, [line(1).model_copy(update={"is_new": False})], other)
    mill.run()
    assert [debt.collection for debt in owed(mill.store)] == ["c2"]


def test_who_wants_the_end_alone_is_owed_nothing_for_a_job() -> None:
    mill = Mill()
    submit(mill, [line(1)], TOLD.model_copy(update={"webhook_each": False}))
    mill.run()
    assert owed(mill.store) == []


@pytest.mark.parametrize("stop", range(6))
def test_a_store_that_fails_while_lines_are_let_in_forgets_nobody(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mill = Mill(places=4)
    submit(mill, [line(number) for number in range(9)], TOLD)
    real, writes = mill.store.create, 0

    def failing(key: str, data: bytes, content_type: str = "application/json") -> bool:
        nonlocal writes
        if key.startswith("webhooks/"):
            writes += 1
            if writes == stop + 1:
                raise TransientError("the store is away")
        return real(key, data, content_type)

    monkeypatch.setattr(mill.store, "create", failing)
    with pytest.raises(TransientError):
        mill.run()
    mill.run()
    assert writes > stop
    assert len({debt.job for debt in owed(mill.store)}) == 9


def test_a_steward_that_dies_forgets_nobody() -> None:
    for looks in range(1, 6):
        mill = Mill(places=4)
        submit(mill, [line(number) for number in range(9)], TOLD)
        for _ in range(looks):
            mill.steward.look()
            mill.work(3)
            mill.restart()
        mill.run()
        assert len({debt.job for debt in owed(mill.store)}) == 9


def test_lines_let_in_by_a_steward_that_died_are_told_of_although_the_collection_is_cancelled_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mill = Mill(places=4)
    submit(mill, [line(number) for number in range(9)], TOLD)
    monkeypatch.setattr(mill.steward._admitter, "ended", lambda endings: None)  # it dies before it hears of any
    mill.steward.look()
    mill.restart()
    mill.store.create(keys.cancelled_collection("c1"), b"{}")
    mill.run()
    ended = {key.split("/")[1] for key in results(mill)}
    assert ended
    assert {debt.job for debt in owed(mill.store)} == ended


@pytest.mark.parametrize("stop", range(12))
def test_a_ledger_that_fails_while_lines_are_let_in_forgets_nobody(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mill = Mill(places=4)
    submit(mill, [line(number) for number in range(9)], TOLD)
    calls = 0

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == stop + 1:
                raise TransientError("Redis is away")
            return real(*arguments, **named)

        return call

    for name in ("admit", "announce"):
        monkeypatch.setattr(mill.ports.ledger, name, failing(getattr(mill.ports.ledger, name)))
    with suppress(TransientError):
        mill.run()
    mill.run()
    assert calls > stop
    assert len({debt.job for debt in owed(mill.store)}) == 9


def test_an_address_that_is_none_ends_no_steward(caplog: pytest.LogCaptureFixture) -> None:
    mill = Mill()
    submit(mill, [line(1)], TOLD.model_copy(update={"webhook": "https://[x"}))
    mill.run()
    assert mill.ended().tally.statuses == {"done": 1}
    assert "nobody can be told" in caplog.text


def test_the_end_of_a_collection_is_owed_once_it_is_in_and_again_when_it_is_submitted_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    told = DESK_ARCHIVE.model_copy(update={"webhook": URL})
    desk.submit([desk.asked("a"), desk.asked("b")], collection=told)
    (debt,) = owed(desk.store)
    assert (debt.collection, debt.job) == ("c1", None)
    desk.submit([desk.asked("a"), desk.asked("b")], collection=told)
    assert len(owed(desk.store)) == 1
    desk.store.delete(list(desk.store.list(keys.WEBHOOKS_OWED)))  # it was told
    desk.submit([desk.asked("a"), desk.asked("b")], collection=told)
    assert len(owed(desk.store)) == 1


def test_another_address_for_the_same_collection_is_refused_rather_than_forgotten(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.submit([desk.asked("a")], collection=DESK_ARCHIVE.model_copy(update={"webhook": URL}))
    with pytest.raises(UsageError, match=r"webhook https://example.com/hook, not None"):
        desk.submit([desk.asked("a")])


def test_a_collection_that_is_tried_again_is_told_of_again() -> None:
    mill = Mill()
    submit(mill, [line(1), line(2)], TOLD)
    mill.run()
    mill.store.delete(list(mill.store.list(keys.WEBHOOKS_OWED)))  # all was told
    list(retry(mill.store, Producer(mill.ports, Settings()), "c1"))
    assert [(debt.collection, debt.job) for debt in owed(mill.store)] == [("c1", None)]


def test_redriving_owes_again_with_a_new_age(tmp_path: Path) -> None:
    store = Desk(tmp_path).store
    debts = Debts(store)
    old = Debt(url=URL, job="j1", since=datetime(2026, 1, 1, tzinfo=UTC))
    debts.owe(old)
    (key,) = store.list(keys.WEBHOOKS_OWED)
    debts.give_up(key, old, "no such page")
    ((key, lost),) = debts.given_up()
    now = datetime(2026, 2, 1, tzinfo=UTC)
    debts.redrive(key, lost, now)
    assert owed(store) == [old.redriven(now)]
    assert list(debts.given_up()) == []


@pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", f"{GOOD},x"])
def test_a_secret_that_nobody_could_verify_with_is_refused_at_once(secret: str) -> None:
    with pytest.raises(ValidationError, match="reelmill webhooks secret"):
        Webhooks(secrets=SecretStr(secret))


def test_a_data_directory_keeps_one_secret_that_others_cannot_read(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "mill")
    first = webhooks_of(settings).keys
    assert first == webhooks_of(settings).keys
    assert len(first) == 1
    (path,) = (tmp_path / "mill").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    own = Webhooks(secrets=SecretStr(new_secret()))
    assert webhooks_of(settings.model_copy(update={"webhooks": own})) == own


def test_a_secret_is_never_shown() -> None:
    secret = new_secret()
    shown = repr(Webhooks(secrets=SecretStr(secret))) + json.dumps(
        Webhooks(secrets=SecretStr(secret)).model_dump(mode="json")
    )
    assert secret not in shown
