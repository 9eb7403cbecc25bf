"""What is told: small enough for every receiver, whatever it is about."""

import json
from datetime import UTC, datetime

import pytest

from pipeline.collecting.record import Collection, Ended, Tally
from pipeline.webhooks.debts import Debt
from pipeline.webhooks.events import ToldResult, collection_event, job_event
from tests.unit.webhooks.test_delivering import result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: What a receiver takes by Standard Webhooks.
MOST_BYTES = 20_000


def told(**changed: object) -> ToldResult:
    return ToldResult.model_validate_json(result("j1").to_bytes()).model_copy(update=changed)


@pytest.mark.parametrize("letter", ["x", '"', "é", "\U0001f3ac", "\udc80"], ids=["x", "quote", "é", "film", "no text"])
def test_a_message_is_no_longer_than_a_receiver_takes(letter: str) -> None:
    words = letter * 100_000
    media = told().media.model_copy(update={"name": words})
    outputs = {f"subtitles-{number}": f"jobs/j1/{number}.vtt" for number in range(1_000)}
    job = told(error=words, media=media, language=words, outputs=outputs)
    debt = Debt(url="https://example.com/", job="j1", collection="c1", custom_id=words, since=NOW)
    event = job_event(debt, job, NOW, lambda key: f"s3://{'b' * 63}/{key}")
    assert len(event.body) <= MOST_BYTES
    data = json.loads(event.body)["data"]
    for name in ("custom_id", "name", "error"):
        assert len(data[name]) > 100
        assert words.startswith(data[name])
    assert data["outputs"].items() <= {name: f"s3://{'b' * 63}/{key}" for name, key in outputs.items()}.items()
    assert len(data["outputs"]) > 50
    collection = Collection(id="c1", name=words, engine="e", submitted_at=NOW)
    ended = Ended(tally=Tally(), ended_at=NOW)
    assert len(collection_event(debt, collection, ended, NOW).body) <= MOST_BYTES


def test_what_is_short_is_told_whole() -> None:
    words = "naïve \U0001f3ac " * 20
    debt = Debt(url="https://example.com/", job="j1", custom_id=words, since=NOW)
    assert json.loads(job_event(debt, told(error=words), NOW, str).body)["data"]["custom_id"] == words


def test_another_content_is_another_message_within_the_same_second() -> None:
    debt = Debt(url="https://example.com/", job="j1", collection="c1", since=NOW)
    one, other = (job_event(debt, told(status="failed", error=error), NOW, str) for error in ("bad", "worse"))
    assert one.id != other.id
    later = debt.model_copy(update={"since": datetime.now(UTC)})
    assert job_event(later, told(status="failed", error="bad"), NOW, str) == one
