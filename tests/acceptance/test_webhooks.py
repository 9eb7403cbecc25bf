"""Being told how jobs ended, with the real command line, a real mill and a receiver as a user would write one."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.test_collections import Keeper
from tests.command import ECHO, reelmill, started
from tests.media_samples import noise_bursts, write_wav
from tests.watching import until
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.acceptance


@contextmanager
def mill(folder: Path) -> Iterator[Keeper]:
    data = folder / "data"
    log = folder / "up.log"
    with started("up", "--data-dir", data, log=log, **ECHO, REELMILL_WEBHOOKS__PRIVATE="true") as process:
        until((data / "connection.json").exists)
        yield Keeper(data)
        process.send_signal(signal.SIGINT)
        process.wait(60)


def submits(keeper: Keeper, *arguments: object) -> dict[str, str]:
    done = reelmill(
        "submit", *arguments, "--json", "--data-dir", keeper.data, **ECHO, REELMILL_WEBHOOKS__PRIVATE="true"
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_whoever_asks_is_told_even_when_the_receiver_or_the_mill_was_away(tmp_path: Path) -> None:
    for name, seconds in (("a.wav", 1), ("b.wav", 2), ("c.wav", 3)):
        write_wav(tmp_path / name, noise_bursts(seconds))
    (tmp_path / "words.mp3").write_text("words, not sound\n")
    manifest = tmp_path / "list.jsonl"
    lines = [{"path": name, "custom_id": f"our {name}"} for name in ("a.wav", "b.wav", "words.mp3")]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    secret = reelmill("webhooks", "secret", "--data-dir", tmp_path / "data", **ECHO).stdout.strip()

    with Receiver(secret).serving() as receiver:
        with mill(tmp_path) as keeper:
            job = submits(keeper, tmp_path / "a.wav", "--webhook", receiver.url)["job"]
            until(lambda: len(receiver.deliveries) == 1)
            (first,) = receiver.deliveries
            assert first.is_signed
            assert first.event["type"] == "job.done"
            assert (first.event["data"]["job"], first.event["data"]["custom_id"]) == (job, None)
            stored = json.loads(keeper.store.get(first.event["data"]["result"].split("/", 3)[3]))
            assert stored["job"] == job

            collection = submits(keeper, "--manifest", manifest, "--webhook", receiver.url)["collection"]
            until(lambda: len(receiver.deliveries) == 5)
            told = {one.event["data"].get("custom_id"): one.event for one in receiver.deliveries[1:]}
            assert {name: event["type"] for name, event in told.items()} == {
                "our a.wav": "job.done",
                "our b.wav": "job.done",
                "our words.mp3": "job.failed",
                None: "collection.ended",
            }
            assert "no sound" in told["our words.mp3"]["data"]["error"]
            assert told[None]["data"]["statuses"] == {"done": 2, "failed": 1}
            assert told[None]["data"]["collection"] == collection

            receiver.answer = lambda body: 503
            submits(keeper, tmp_path / "c.wav", "--webhook", receiver.url)
            until(lambda: len(receiver.deliveries) == 6)
            (server,) = keeper.tells("webhooks", "list")
            assert (server["server"], server["owed"], server["given_up"]) == (receiver.url.split("/hook")[0], 1, 0)
            assert "503" in server["last_error"]

        receiver.answer = lambda body: 204
        assert not receiver.deliveries[-1].is_taken
        with mill(tmp_path) as keeper:
            until(lambda: receiver.deliveries[-1].is_taken)
            until(lambda: keeper.says("webhooks", "list", "--json").stdout == "")
    again = [one for one in receiver.deliveries if one.id == receiver.deliveries[5].id]
    assert len({one.body for one in again}) == 1
    assert all(one.is_signed for one in receiver.deliveries)


@pytest.mark.parametrize("url", ["ftp://example.com/", "http://127.0.0.1/", "https://user:secret@example.com/"])
def test_an_address_that_nothing_can_be_sent_to_is_refused_before_anything_is_submitted(
    url: str, tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "a.wav", noise_bursts(1))
    done = reelmill("submit", path, "--webhook", url, "--data-dir", tmp_path / "data", **ECHO)
    assert done.returncode == 2
    assert "webhook" in done.stderr


def test_where_no_mill_is_set_up_a_new_secret_is_made_and_what_to_do_with_it_said(tmp_path: Path) -> None:
    settings = {"REELMILL_S3__ENDPOINT": "127.0.0.1:1", **ECHO}
    one = reelmill("webhooks", "secret", "--data-dir", tmp_path, **settings)
    other = reelmill("webhooks", "secret", "--data-dir", tmp_path, **settings)
    assert one.stdout.startswith("whsec_")
    assert one.stdout != other.stdout
    assert "REELMILL_WEBHOOKS__SECRETS" in one.stderr
