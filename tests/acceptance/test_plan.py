"""`reelmill plan`, as a person and as a program use it."""

import json
import os
from pathlib import Path

import pytest

from pipeline.settings import S3
from pipeline.store import S3Store
from tests.command import ECHO, documents, reelmill
from tests.media_samples import noise_bursts, write_wav


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """One file that will do, one that will not, and a pipe nobody writes to."""
    folder = tmp_path / "archive"
    folder.mkdir()
    write_wav(folder / "a.wav", noise_bursts(4))
    (folder / "b.mp3").write_text("These are words, not sound.\n")
    os.mkfifo(folder / "c.mp3")
    return folder


def test_each_file_has_a_line_and_the_totals_come_last(archive: Path) -> None:
    done = reelmill("plan", "--json", archive, archive / "a.wav", seconds=60)
    assert done.returncode == 1, "something would be refused"
    good, bad, pipe, total = documents(done)
    assert (good["kind"], good["seconds"], good["segments"], good["tokens"], good["refused"]) == (
        *("sound", 4.0, 1, 188),
        None,
    )
    assert "no sound" in bad["refused"]
    assert pipe["refused"] == "it is a pipe, not a file"
    sums = total["total"]
    assert (sums["files"], sums["refused"], sums["named_again"]) == (3, 2, 1)
    assert (sums["seconds"], sums["segments"], sums["kinds"]) == (4.0, 1, {"sound": 1, "text": 1})
    assert sorted(group["reason"] for group in sums["refusals"]) == sorted([bad["refused"], pipe["refused"]])


def test_a_person_sees_what_is_refused_and_why(archive: Path) -> None:
    done = reelmill("plan", archive, REELMILL_LIMITS__DURATION_SECONDS="3", COLUMNS="200")
    assert done.returncode == 1
    assert f"refused             {archive}/a.wav: the file is beyond a limit: duration 4 s, allowed 3 s" in done.stdout
    assert "3 files: 1 text; 3 refused" in done.stdout
    assert "REELMILL_LIMITS__DURATION_SECONDS is 3" in done.stdout


def test_nothing_refused_is_success(archive: Path) -> None:
    done = reelmill("plan", "--totals", "--json", archive / "a.wav")
    assert (done.returncode, len(documents(done))) == (0, 1)


def test_wrong_usage_has_its_own_exit_status(archive: Path) -> None:
    for arguments, words in (
        ((), "name files, folders or a bucket"),
        (("none.mp3",), "no such file or folder: none.mp3"),
        ((archive, "--task", "caption"), "cannot caption"),
        (("s3://bucket/films",), "no object store is configured"),
    ):
        done = reelmill("plan", *arguments)
        assert (done.returncode, words in done.stderr) == (2, True), (arguments, done.stderr)


def test_a_manifest_has_a_task_for_each_line(archive: Path) -> None:
    manifest = archive.parent / "list.jsonl"
    lines = [
        {"path": "archive/a.wav"},
        {"path": "archive/a.wav"},
        {"path": "archive/a.wav", "task": "ask", "question": "Who speaks?"},
        {"path": "archive/b.mp3", "task": "summarize"},
        {"path": "archive/a.wav", "task": "translate"},
        {"path": "archive/none.wav"},
        {"nothing": 1},
    ]
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done = reelmill("plan", "--json", "--manifest", manifest, **ECHO)
    assert done.returncode == 1
    *rows, total = documents(done)
    assert [(Path(row["name"]).name, row["task"], row["refused"] is None) for row in rows] == [
        ("a.wav", "transcribe", True),
        ("a.wav", "ask", True),
        ("b.mp3", "summarize", True),
        ("list.jsonl:5", "translate", False),
        ("none.wav", "transcribe", False),
        ("list.jsonl:7", "transcribe", False),
    ]
    assert "--to" in rows[3]["refused"]
    assert total["total"]["tasks"]["ask"]["segments"] == 1
    assert total["total"]["named_again"] == 1


def test_a_bucket_is_looked_at_without_a_file_of_it_left_behind(archive: Path, s3_settings: S3) -> None:
    store = S3Store(s3_settings)
    for name in ("a.wav", "b.mp3"):
        store.upload(f"films/{name}", archive / name)
    (scratch := archive.parent / "scratch").mkdir()
    environment = {
        "REELMILL_S3__ENDPOINT": s3_settings.endpoint,
        "REELMILL_S3__ACCESS_KEY": s3_settings.access_key,
        "REELMILL_S3__SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "REELMILL_S3__BUCKET": s3_settings.bucket,
        "REELMILL_S3__SECURE": str(s3_settings.secure).lower(),
        "REELMILL_WORKERS__CACHE_DIR": str(scratch),
    }
    found = []
    for place in (f"s3://{s3_settings.bucket}/films/", "s3:///films/"):
        done = reelmill("plan", "--json", place, **environment)
        assert done.returncode == 1, done.stderr
        found.append(documents(done))
    assert found[0] == found[1]
    good, bad, total = found[0]
    assert (good["name"], good["seconds"]) == (f"s3://{s3_settings.bucket}/films/a.wav", 4.0)
    assert "no sound" in bad["refused"]
    assert total["total"]["files"] == 2
    assert list(scratch.iterdir()) == []
