"""Collections as an archive's keeper meets them: the real command line, a real mill, its real bucket."""

import json
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import keys, local
from pipeline.settings import Settings
from pipeline.store import S3Store, open_store
from pipeline.submitting.naming import named_id
from tests.command import ECHO, documents, reelmill, started
from tests.media_samples import noise_bursts, write_wav
from tests.watching import until


class Keeper:
    """Gives commands to one mill."""

    def __init__(self, data: Path) -> None:
        self.data = data
        reached = local.reach(Settings(data_dir=data))
        assert reached is not None
        self.store: S3Store = open_store(reached.s3)
        self.bucket = reached.s3.bucket

    def says(self, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = reelmill(*arguments, "--data-dir", self.data, **ECHO)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done

    def tells(self, *arguments: object, status: int = 0) -> list[dict[str, Any]]:
        """The documents of a command."""
        return documents(self.says(*arguments, "--json", status=status))

    def stream(self, *arguments: object) -> "subprocess.Popen[str]":
        """A command that reads its standard input."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, arguments), "--data-dir", str(self.data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            # Whoever runs the tests in the background of a shell ignores it, and so would this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - the tests hold no locks
        )


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    folder = tmp_path_factory.mktemp("mill")
    data = folder / "data"
    with started("up", "--data-dir", data, log=folder / "up.log", **ECHO) as process:
        until((data / "connection.json").exists)
        yield Keeper(data)
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture
def media(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Recordings that no other test has, two of them the same, and a file without sound."""
    folder = tmp_path / "media"
    folder.mkdir()
    first = sum(request.node.name.encode())
    for number in range(3):
        write_wav(folder / f"{number}.wav", noise_bursts(1 + number, seed=first + number))
    shutil.copy(folder / "0.wav", folder / "same.wav")
    (folder / "words.mp3").write_text(f"words, not sound, of {first}\n")
    return folder


def by_name(outcomes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {Path(one["name"]).name: one for one in outcomes}


def test_a_folder_from_its_submission_to_what_became_of_each_file(keeper: Keeper, media: Path, tmp_path: Path) -> None:
    (accepted,) = keeper.tells("submit", media)
    assert (accepted["lines"], accepted["new"], accepted["refused"]) == (5, 5, 0)
    collection = accepted["collection"]
    (ended,) = keeper.tells("wait", collection, status=1)
    assert (ended["status"], ended["done"], ended["failed"], ended["ended"]) == ("partial", 4, 1, 5)

    assert keeper.tells("report", collection)[0]["lines_per_hour"] > 0

    (again,) = keeper.tells("submit", media)
    assert (again["collection"], again["new"], again["known"]) == (collection, 0, 5)
    write_wav(media / "1b.wav", noise_bursts(2, seed=12345))
    (more,) = keeper.tells("submit", media)
    assert (more["collection"], more["lines"], more["new"], more["known"]) == (collection, 6, 1, 5)
    keeper.says("wait", collection, status=1)

    found = by_name(keeper.tells("results", collection, "-o", tmp_path / "out", status=1))
    assert list(found) == ["0.wav", "1.wav", "2.wav", "same.wav", "words.mp3", "1b.wav"]
    assert found["0.wav"]["job"] == found["same.wav"]["job"]
    texts = {name: one["outputs"].get("txt") for name, one in found.items()}
    assert texts.pop("words.mp3") is None
    assert len({Path(path).name for path in texts.values()}) == 5, "each file has its own"
    stored = json.loads(Path(found["same.wav"]["outputs"]["json"]).read_text())
    assert Path(stored["media"]["name"]).name == "same.wav"

    (told,) = keeper.tells("report", collection)
    assert (told["done"], told["failed"]) == (5, 1)
    assert told["lines_per_hour"] is None, "nobody knows how long it rested before it was added to"
    (reason,) = told["failures"]
    assert (reason["lines"], Path(reason["examples"][0]["name"]).name) == (1, "words.mp3")
    assert "no sound" in keeper.says("report", collection).stdout

    (opened,) = keeper.tells("retry", collection, "--failed")
    assert opened["job"] == found["words.mp3"]["job"]
    (counted,) = keeper.tells("wait", collection, status=1)
    assert (counted["done"], counted["failed"], counted["lines"]) == (5, 1, 6)


def test_a_manifest_says_of_each_line_what_is_to_be_done(keeper: Keeper, media: Path, tmp_path: Path) -> None:
    keeper.store.upload("given/manifest.wav", media / "2.wav")
    manifest = tmp_path / "list.jsonl"
    lines = [
        {"path": "media/0.wav", "custom_id": "first"},
        {"path": "media/0.wav", "custom_id": "in german", "language": "de"},
        {"path": f"s3://{keeper.bucket}/given/manifest.wav", "custom_id": "elsewhere"},
        {"path": "media/none.wav"},
        {"path": "media/1.wav", "task": "translate"},
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines) + "nonsense\n")
    done = keeper.says("submit", "--manifest", manifest, "--wait", "--json", status=1)
    accepted, ended = documents(done)
    assert (accepted["lines"], accepted["refused"]) == (3, 3)
    assert (ended["status"], ended["done"], ended["refused"]) == ("done", 3, 3)
    for told in ("list.jsonl:4 media/none.wav: there is no such file", "list.jsonl:5", "list.jsonl:6: it is no JSON"):
        assert told in done.stderr
    found = {one["custom_id"]: one for one in keeper.tells("results", accepted["collection"])}
    assert list(found) == ["first", "in german", "elsewhere"]
    assert len({one["job"] for one in found.values()}) == 3
    assert found["elsewhere"]["outputs"]["txt"].startswith("s3://")


def test_what_lies_in_a_bucket_is_named_by_a_prefix_or_a_glob(keeper: Keeper, media: Path) -> None:
    for number in range(3):
        keeper.store.upload(f"shelf/{number}.wav", media / f"{number}.wav")
    keeper.store.upload("shelf/notes.txt", media / "words.mp3")
    where = f"s3://{keeper.bucket}/shelf"
    (some,) = keeper.tells("submit", f"{where}/*.wav", "--collection", "shelf", "--priority", "bulk", "--wait")[:1]
    assert some["lines"] == 3
    (every,) = keeper.tells("submit", f"{where}/", "--collection", "shelf")
    assert (every["collection"], every["new"], every["known"]) == (some["collection"], 1, 3)
    (ended,) = keeper.tells("wait", "shelf", status=1)
    assert (ended["done"], ended["failed"], ended["priority"]) == (3, 1, "bulk")
    media_keys = [key for key in keeper.store.list("media/") if keeper.store.get(key) == (media / "0.wav").read_bytes()]
    assert media_keys == [], "what lies in a bucket is not copied"


def test_a_submitter_that_is_killed_goes_on_where_it_was(keeper: Keeper, media: Path, tmp_path: Path) -> None:
    collection = named_id("killed", "default")
    paths = [write_wav(tmp_path / f"{number}.wav", noise_bursts(1, seed=7000 + number)) for number in range(60)]
    first = keeper.stream("submit", "-", "--collection", "killed")
    assert first.stdin is not None
    num_given = 0
    while not keeper.store.exists(keys.shard(collection, 0)):  # written a few seconds after its first line
        print(paths[num_given], file=first.stdin)
        num_given += 1
        time.sleep(1)
    first.kill()
    first.communicate()
    (seen,) = keeper.tells("status", "killed")
    assert (seen["collection"], seen["status"], seen["lines"]) == (collection, "submitting", None)
    paths = paths[: num_given + 2]

    again = keeper.stream("submit", "-", "--collection", "killed", "--json")
    said, _ = again.communicate("".join(f"{path}\n" for path in paths))
    accepted = json.loads(said)
    assert (accepted["collection"], accepted["lines"]) == (collection, len(paths))
    assert 1 <= accepted["known"] < len(paths), "what was accepted is known, the rest is not lost"
    (ended,) = keeper.tells("wait", "killed")
    assert (ended["status"], ended["done"]) == ("done", len(paths))
    assert [one["name"] for one in keeper.tells("results", "killed")] == [str(path) for path in paths]


def test_a_list_on_standard_input_that_was_stopped_goes_on_by_the_id_that_is_told(keeper: Keeper, media: Path) -> None:
    """The same command alone would begin another collection: nobody knows what standard input will bring."""
    first = keeper.stream("submit", "-", "-v")
    assert first.stdin is not None
    assert first.stderr is not None
    given: list[Path] = []
    while not select.select([first.stderr], [], [], 1)[0]:  # one is told as accepted when the next one comes
        given.append(media / f"{len(given) % 3}.wav")
        print(given[-1], file=first.stdin)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate()
    told = re.search(r"to go on where it was, add --collection (c\w+) to the same command", said)
    assert (first.returncode, told is not None) == (130, True), said
    assert told is not None
    collection = told[1]
    assert keeper.tells("status", collection)[0]["status"] == "submitting"
    again = keeper.stream("submit", "-", "--collection", collection, "--json")
    out, _ = again.communicate("".join(f"{path}\n" for path in given))
    accepted = json.loads(out)
    assert (accepted["collection"], accepted["lines"]) == (collection, len(given))
    assert accepted["known"] >= 1
    keeper.says("wait", collection)


def test_a_file_that_was_edited_is_done_again_by_the_same_command(keeper: Keeper, media: Path) -> None:
    (accepted,) = keeper.tells("submit", media / "0.wav", media / "1.wav")
    data = bytearray((media / "0.wav").read_bytes())
    data[2000:2100] = bytes(100)
    (media / "0.wav").write_bytes(data)
    (media / "1.wav").touch()
    (again,) = keeper.tells("submit", media / "0.wav", media / "1.wav")
    assert (again["collection"], again["new"], again["known"]) == (accepted["collection"], 1, 1)
    keeper.says("wait", accepted["collection"])


def test_an_object_that_was_overwritten_is_done_again_by_the_same_command(keeper: Keeper, media: Path) -> None:
    where = f"s3://{keeper.bucket}/changing/"
    keeper.store.upload("changing/a.wav", media / "0.wav")
    (accepted,) = keeper.tells("submit", where)
    assert keeper.tells("submit", where)[0]["new"] == 0
    keeper.says("wait", accepted["collection"])
    keeper.store.delete(["changing/a.wav"])
    keeper.store.upload("changing/a.wav", media / "1.wav")
    (again,) = keeper.tells("submit", where)
    assert (again["collection"], again["new"]) == (accepted["collection"], 1)
    keeper.says("wait", accepted["collection"])
    old, new = keeper.tells("results", accepted["collection"])
    assert (old["name"], old["status"], new["status"]) == (new["name"], "done", "done")
    assert old["job"] != new["job"]


def test_an_object_that_comes_late_is_done_when_it_is_tried_again(keeper: Keeper, media: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "late.jsonl"
    manifest.write_text(json.dumps({"path": f"s3://{keeper.bucket}/late/a.wav"}) + "\n")
    (accepted,) = keeper.tells("submit", "--manifest", manifest)
    keeper.says("wait", accepted["collection"], status=1)
    keeper.store.upload("late/a.wav", media / "0.wav")
    keeper.says("retry", accepted["collection"])
    keeper.says("wait", accepted["collection"])
    (found,) = keeper.tells("results", accepted["collection"])
    assert found["status"] == "done"


def test_a_cancelled_collection_lets_nothing_more_in_until_it_is_taken_back(keeper: Keeper, media: Path) -> None:
    stream = keeper.stream("submit", "-", "--collection", "stopped")
    out, _ = stream.communicate(f"{media}/0.wav\n{media}/1.wav\n{media}/2.wav\n")
    collection = out.strip()
    keeper.says("wait", "stopped")
    keeper.says("cancel", "stopped", status=2)  # it has ended
    refused = keeper.says("cancel", "no such", status=2)
    assert "there is no job or collection no such" in refused.stderr
    assert collection == keeper.tells("status", "stopped")[0]["collection"]


def test_only_what_would_come_out_differently_is_done_again(keeper: Keeper, media: Path) -> None:
    keeper.says("submit", media / "0.wav", media / "words.mp3", "--collection", "again", "--wait", status=1)
    (dry,) = keeper.tells("redo", "again", "--where", "engine=echo and status=done", "--dry-run")
    assert dry == {"dry_run": True, "again": 1, "as_new_jobs": 0, "known": 0, "left": 0, "media_gone": 0}
    assert keeper.tells("redo", "again", "--where", "reelmill<0.0.1")[-1]["again"] == 0
    opened, counts = keeper.tells("redo", "again", "--where", "status=done")
    assert counts["again"] == 1
    keeper.says("wait", opened["job"])
    wrong = keeper.says("redo", "--where", "modle=x", status=2)
    assert "there is no field 'modle'" in wrong.stderr


def test_a_mill_is_looked_at_as_a_whole_and_recovered(keeper: Keeper, media: Path) -> None:
    (job,) = keeper.tells("submit", media / "2.wav", "--priority", "interactive", "--deadline", "+1h")
    keeper.says("wait", job["job"])
    (accepted,) = keeper.tells("submit", media / "0.wav", media / "1.wav")
    keeper.says("wait", accepted["collection"])
    every = keeper.tells("status")
    assert job["job"] in {one.get("job") for one in every}
    assert accepted["collection"] in {one.get("collection") for one in every}
    assert keeper.tells("recover") == [{"jobs": 0, "collections": 0, "tries": 0, "webhooks": 0}]
    text = keeper.says("status").stdout
    assert job["job"] in text


def test_the_same_bytes_under_two_names_give_two_transcripts(media: Path, tmp_path: Path) -> None:
    done = reelmill(
        *("run", "--in-process", "--json", "--data-dir", tmp_path / "data", "-o", tmp_path / "out"),
        *(media / "0.wav", media / "same.wav", media / "1.wav"),
        **ECHO,
    )
    assert done.returncode == 0, done.stderr
    told = documents(done)
    assert [Path(one["name"]).name for one in told] == ["0.wav", "same.wav", "1.wav"]
    assert told[0]["job"] == told[1]["job"]
    assert len({Path(one["outputs"]["txt"]).name for one in told}) == 3
    assert all(Path(one["outputs"]["txt"]).read_text() for one in told)
