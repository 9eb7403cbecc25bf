"""The contract of the object store over both of its keepers, and what only S3 can do wrong."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio.deleteobjects import DeleteError
from pydantic import SecretStr

from pipeline import objects
from pipeline.errors import MissingObjectError, TransientError, UsageError, WorldError
from pipeline.objects import DirectoryStore, ObjectStore
from pipeline.settings import S3
from pipeline.store import S3Store, open_store
from tests.conftest import sdk_client
from tests.s3_proxy import S3Proxy

MEBIBYTE = 1024 * 1024


def big_file(path: Path, size: int) -> str:
    """Write random bytes. Their sha256."""
    content = os.urandom(size)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


class TestContract:
    def test_a_second_create_is_refused_and_changes_nothing(self, store: ObjectStore) -> None:
        assert store.create("jobs/1/result.json", b"first") is True
        assert store.create("jobs/1/result.json", b"second") is False
        assert store.get("jobs/1/result.json") == b"first"

    def test_a_second_create_of_the_same_bytes_counts_as_ours(self, store: ObjectStore) -> None:
        assert store.create("open/1", b"") is True
        assert store.create("open/1", b"") is True

    def test_replacing_an_object_writes_it_whether_it_is_there_or_not(self, store: ObjectStore) -> None:
        store.replace("jobs/1/transcript.txt", b"first", "text/plain; charset=utf-8")
        store.replace("jobs/1/transcript.txt", b"second", "text/plain; charset=utf-8")
        assert store.get("jobs/1/transcript.txt") == b"second"
        assert store.create("jobs/1/transcript.txt", b"third") is False
        assert list(store.list("jobs/1/")) == ["jobs/1/transcript.txt"]

    def test_of_sixteen_racing_creates_one_wins(self, store: ObjectStore) -> None:
        # All rounds at once: SeaweedFS lets the losers of one key wait in steps of a second.
        rounds, racers = 5, 16
        gate = threading.Barrier(rounds * racers)

        def write(number: int) -> bool:
            gate.wait()
            return store.create(f"race/{number // racers}", b"racer %d" % number)

        with ThreadPoolExecutor(rounds * racers) as pool:
            won = list(pool.map(write, range(rounds * racers)))
        for first in range(0, rounds * racers, racers):
            (winner,) = (number for number in range(first, first + racers) if won[number])
            assert store.get(f"race/{first // racers}") == b"racer %d" % winner

    @pytest.mark.parametrize("size", [0, 1, 6 * MEBIBYTE])
    def test_an_object_comes_back_as_it_was(self, store: ObjectStore, size: int) -> None:
        data = os.urandom(size)
        assert store.create("some/object", data)
        assert store.get("some/object") == data
        assert store.exists("some/object")

    def test_a_missing_object_is_named(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(MissingObjectError, match="jobs/none"):
            store.get("jobs/none")
        with pytest.raises(MissingObjectError, match="jobs/none"):
            store.download("jobs/none", tmp_path / "none")
        assert not (tmp_path / "none").exists()
        assert not store.exists("jobs/none")

    def test_list_gives_all_keys_of_a_prefix_in_order(self, store: ObjectStore) -> None:
        # More than the 1,000 that S3 gives at once; "a-1" sorts before "a/..." though a folder walk meets it later.
        keys = [f"many/a/{number:05d}" for number in range(1_100)] + ["many/a-1", "many/b", "other/1", "many2"]
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda key: store.create(key, key.encode()), keys))
        assert list(store.list("many/")) == sorted(key for key in keys if key.startswith("many/"))
        assert list(store.list("many/a/0109")) == [f"many/a/0109{digit}" for digit in range(10)]
        assert list(store.list("")) == sorted(keys)
        assert list(store.list("nothing/")) == []

        store.delete(keys[:1_050])
        assert list(store.list("many/a/")) == keys[1_050:1_100]

    def test_what_is_reread_is_what_was_listed(self, store: ObjectStore) -> None:
        store.create("plans/1", b"first")
        store.create("plans/2", b"other")
        listed = store.etags("plans/")
        assert list(listed) == ["plans/1", "plans/2"]
        for _ in range(2):
            assert store.reread("plans/1", listed["plans/1"]) == b"first"
        store.replace("plans/1", b"second")
        assert store.reread("plans/1", store.etags("plans/")["plans/1"]) == b"second"

    def test_bytes_that_came_after_the_listing_are_not_remembered_as_those_before(self, store: ObjectStore) -> None:
        store.create("plans/1", b"first")
        etag = store.etags("plans/")["plans/1"]
        store.replace("plans/1", b"second")
        assert store.reread("plans/1", etag) == b"second"
        store.replace("plans/1", b"first")
        assert store.etags("plans/")["plans/1"] == etag
        assert store.reread("plans/1", etag) == b"first"

    def test_a_missing_object_cannot_be_reread(self, store: ObjectStore) -> None:
        with pytest.raises(MissingObjectError):
            store.reread("plans/1", "etag")

    def test_a_folder_is_read_page_by_page(self, store: ObjectStore) -> None:
        for number in range(7):
            store.create(f"folder/{number}", b"")
        store.create("folder2/0", b"")
        first = list(store.first("folder/", 3))
        assert first == ["folder/0", "folder/1", "folder/2"]
        assert list(store.first("folder/", 3, first[-1])) == ["folder/3", "folder/4", "folder/5"]
        assert list(store.first("folder/", 3, "folder/5")) == ["folder/6"]
        assert list(store.first("folder/", 3, "folder/6")) == []
        assert list(store.first("nothing/", 3)) == []

    def test_folders_are_named_and_what_lies_in_them_is_not_read(self, store: ObjectStore) -> None:
        for key in ("top/b/1", "top/a/1", "top/a/deep/2", "top/file", "topmost/c/1"):
            store.create(key, b"")
        assert list(store.folders("top/")) == ["a", "b"]
        assert list(store.folders("nothing/")) == []

    def test_it_tells_when_an_object_was_written_and_always_the_same(self, store: ObjectStore) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        store.create("written", b"1")
        at = store.written("written")
        assert before <= at <= datetime.now(UTC) + timedelta(seconds=2)
        assert store.written("written") == at
        with pytest.raises(MissingObjectError):
            store.written("not written")

    def test_delete_of_a_missing_key_is_harmless(self, store: ObjectStore) -> None:
        store.create("open/1", b"x")
        store.create("open/2", b"x")
        store.delete(["open/1", "open/none"])
        store.delete(iter(["open/1"]))
        store.delete([])
        assert list(store.list("open/")) == ["open/2"]
        assert store.create("open/1", b"again")

    def test_a_file_goes_up_and_comes_down_unchanged(self, store: ObjectStore, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "cache" / "target"
        digest = big_file(source, 20 * MEBIBYTE)
        store.upload(f"media/{digest}", source)
        store.download(f"media/{digest}", target)
        assert hashlib.sha256(target.read_bytes()).hexdigest() == digest
        assert list(target.parent.iterdir()) == [target]
        assert list(store.list("")) == [f"media/{digest}"]

    def test_an_empty_file_goes_up_and_comes_down(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        store.upload("media/empty", tmp_path / "empty")
        store.download("media/empty", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == b""

    def test_a_second_upload_is_skipped_unless_the_first_was_cut_short(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"cut")
        store.upload("media/x", source)
        source.write_bytes(b"full length")
        store.upload("media/x", source)
        assert store.get("media/x") == b"full length"
        source.write_bytes(b"same length")  # never happens to a key made of the content; shows that nothing is sent
        store.upload("media/x", source)
        assert store.get("media/x") == b"full length"

    def test_a_missing_source_is_the_callers_error(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.upload("media/x", tmp_path / "none")

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./x",
            "a//x",
            "a/",
            "a\\x",
            "a\0x",
            "a\nx",
            ".partial/x",
            "x" * 1025,
        ],
    )
    def test_a_key_that_could_escape_is_refused(self, store: ObjectStore, key: str, tmp_path: Path) -> None:
        operations: list[Callable[[], object]] = [
            lambda: store.create(key, b"x"),
            lambda: store.get(key),
            lambda: store.exists(key),
            lambda: store.delete([key]),
            lambda: store.upload(key, Path(__file__)),
            lambda: store.download(key, tmp_path / "x"),
            lambda: store.address(key),
        ]
        for operation in operations:
            with pytest.raises(ValueError, match="bad object key"):
                operation()

    @pytest.mark.parametrize("prefix", ["../", "a/../b", "/", ".partial", "a\\b"])
    def test_a_prefix_that_could_escape_is_refused(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="bad object key"):
            store.list(prefix)

    def test_the_self_test_passes_and_leaves_nothing(self, store: ObjectStore) -> None:
        store.self_test()
        assert list(store.list("")) == []


class TestDirectory:
    def test_an_address_is_a_path_to_the_bytes(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path)
        store.create("jobs/1/job.json", b"{}")
        assert Path(store.address("jobs/1/job.json")).read_bytes() == b"{}"

    def test_half_written_files_are_never_listed_or_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store, seen = DirectoryStore(tmp_path), []
        sync = objects._sync

        def look(path: Path) -> None:
            sync(path)
            seen.append((path.is_file(), list(store.list("")), store.exists("jobs/1")))

        monkeypatch.setattr(objects, "_sync", look)
        store.create("jobs/1", b"x")
        assert seen[0] == (True, [], False)  # on the disk before it has a name
        assert list(store.list("")) == ["jobs/1"]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "jobs" / "1"]

    def test_what_a_killed_upload_left_is_dropped_when_it_is_old(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path)
        store.create("open/1", b"")
        (tmp_path / ".partial" / ".left.partial").write_bytes(b"half")
        past, future = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
        assert store.drop_uploads("media/", past) == 0
        assert store.drop_uploads("media/", future) == 1
        assert list((tmp_path / ".partial").iterdir()) == []

    def test_a_file_system_without_hard_links_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
        with pytest.raises(WorldError, match="hard links"):
            DirectoryStore(tmp_path).self_test()

    def test_a_full_disk_is_transient(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def write_bytes(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(TransientError, match="disk of this machine is full"):
            DirectoryStore(tmp_path).create("jobs/1", b"x")


class TestS3:
    def test_parts_of_an_upload_that_never_ended_are_dropped_when_they_are_old(
        self, s3_store: S3Store, s3_settings: S3
    ) -> None:
        client = s3_store._client
        bucket, key = s3_settings.bucket, "media/default/cut-off"
        upload = client._create_multipart_upload(bucket, key, {})
        client._upload_part(bucket, key, b"a part" * MEBIBYTE, None, upload, 1)
        past, future = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
        assert s3_store.drop_uploads("media/", past) == 0
        assert s3_store.drop_uploads("other/", future) == 0
        assert s3_store.drop_uploads("media/", future) == 1
        assert client._list_multipart_uploads(bucket).uploads == []

    def test_an_address_names_the_bucket(self, s3_store: S3Store, s3_settings: S3) -> None:
        assert s3_store.address("jobs/1") == f"s3://{s3_settings.bucket}/jobs/1"

    def test_a_missing_bucket_is_made_once(self, s3: S3) -> None:
        settings = s3.model_copy(update={"bucket": "made-by-open-store"})
        with pytest.raises(WorldError, match="no such bucket"):
            S3Store(settings).create("x", b"x")
        open_store(settings)
        assert open_store(settings).create("x", b"x")
        sdk_client(s3).remove_bucket("made-by-open-store")

    def test_a_bucket_that_somebody_else_has_just_made_is_fine(self, s3_proxy: S3Proxy) -> None:
        s3_proxy.answers = [(409, "BucketAlreadyOwnedByYou")]
        open_store(s3_proxy.settings.model_copy(update={"bucket": "not-there-yet"}))
        assert s3_proxy.answers == []

    def test_a_refused_delete_is_reported(self, s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(code: str) -> Callable[..., list[DeleteError]]:
            return lambda *_: [DeleteError(code, "on request", "jobs/1", None)]

        for code, kind in (("AccessDenied", WorldError), ("InternalError", TransientError)):
            monkeypatch.setattr(s3_store._client, "remove_objects", refused(code))
            with pytest.raises(kind):
                s3_store.delete(["jobs/1"])
        monkeypatch.setattr(s3_store._client, "remove_objects", refused("NoSuchKey"))
        s3_store.delete(["jobs/1"])

    @pytest.mark.parametrize("wrong", [{"secret_key": SecretStr("wrong")}, {"access_key": "nobody"}])
    def test_wrong_credentials_are_a_world_error_without_the_secret(
        self, s3_settings: S3, wrong: dict[str, str]
    ) -> None:
        store = S3Store(s3_settings.model_copy(update=wrong))
        for operation in (store.make_bucket, store.self_test, lambda: store.get("x"), lambda: store.exists("x")):
            with pytest.raises(WorldError, match=s3_settings.endpoint) as caught:
                operation()
            assert "wrong" not in str(caught.value)
        with pytest.raises(WorldError):
            store.list("")
        with pytest.raises(WorldError):
            store.delete(["x"])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"endpoint": ""}, "REELMILL_S3__ENDPOINT"),
            ({"endpoint": "http://127.0.0.1:1/x"}, "endpoint"),
            ({"bucket": "A"}, "bucket name"),
        ],
    )
    def test_bad_settings_are_a_usage_error(self, s3: S3, change: dict[str, str], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            open_store(s3.model_copy(update=change))

    def test_a_server_that_is_down_is_transient_within_seconds(self) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
            endpoint = f"127.0.0.1:{reserved.getsockname()[1]}"
            store = S3Store(S3(endpoint=endpoint, access_key="a", secret_key=SecretStr("b"), secure=False))
            started = time.monotonic()
            with pytest.raises(TransientError, match="does not answer"):
                store.get("x")
            with pytest.raises(TransientError):
                store.create("x", b"x")
            assert time.monotonic() - started < 5

    def test_a_tls_client_of_a_plain_server_is_told_so(self, s3_settings: S3) -> None:
        with pytest.raises(WorldError, match="TLS"):
            S3Store(s3_settings.model_copy(update={"secure": True})).exists("x")

    def test_create_sends_the_condition_as_a_signed_header(self, s3_proxy: S3Proxy) -> None:
        S3Store(s3_proxy.settings).create("x", b"x", content_type="text/plain")
        (headers,) = s3_proxy.sent("PUT")
        assert headers["if-none-match"] == "*"
        assert headers["content-type"] == "text/plain"
        assert "if-none-match" in headers["authorization"]

    def test_what_has_not_changed_is_reread_without_a_request(self, s3_proxy: S3Proxy) -> None:
        store = S3Store(s3_proxy.settings)
        store.create("plans/1", b"first")
        etag = store.etags("plans/")["plans/1"]
        asked = len(s3_proxy.requests)
        assert [store.reread("plans/1", etag) for _ in range(3)] == [b"first"] * 3
        assert len(s3_proxy.requests) == asked + 1

    def test_a_store_that_ignores_the_condition_is_refused(self, s3_proxy: S3Proxy, s3_store: S3Store) -> None:
        s3_proxy.strip_conditions = True
        with pytest.raises(WorldError, match="ignores conditional writes"):
            S3Store(s3_proxy.settings).self_test()
        assert list(s3_store.list("")) == []

    def test_a_create_whose_answer_was_lost_is_still_ours(self, s3_proxy: S3Proxy) -> None:
        store = S3Store(s3_proxy.settings)
        s3_proxy.lose_answers = 1
        assert store.create("x", b"ours") is True
        assert len(s3_proxy.sent("PUT")) == 2  # sent again, and refused as a second write of our own

        assert store.create("y", b"theirs") is True
        s3_proxy.lose_answers = 1
        assert store.create("y", b"ours") is False

    def test_a_conflict_is_tried_again(self, s3_proxy: S3Proxy) -> None:
        s3_proxy.answers = [(409, "ConditionalRequestConflict")] * 2
        assert S3Store(s3_proxy.settings).create("x", b"x") is True
        assert len(s3_proxy.sent("PUT")) == 3

    def test_an_endless_conflict_is_transient(self, s3_proxy: S3Proxy) -> None:
        s3_proxy.answers = [(409, "ConditionalRequestConflict")] * 9
        with pytest.raises(TransientError, match="in flight"):
            S3Store(s3_proxy.settings).create("x", b"x")

    def test_an_overloaded_server_is_tried_again_a_few_times(self, s3_proxy: S3Proxy) -> None:
        store = S3Store(s3_proxy.settings)
        s3_proxy.answers = [(503, "SlowDown")]
        assert store.create("x", b"x") is True
        s3_proxy.answers = [(503, "SlowDown")] * 50
        with pytest.raises(TransientError):
            store.create("y", b"y")
        assert len(s3_proxy.answers) > 40

    def test_an_unknown_server_error_is_transient(self, s3_proxy: S3Proxy) -> None:
        s3_proxy.answers = [(400, "SomethingNew")]
        with pytest.raises(TransientError):
            S3Store(s3_proxy.settings).create("x", b"x")

    def test_a_truncated_body_is_transient_and_leaves_no_file(
        self, s3_proxy: S3Proxy, s3_store: S3Store, tmp_path: Path
    ) -> None:
        s3_store.create("x", os.urandom(3 * MEBIBYTE))
        s3_proxy.cut_bodies = True
        store = S3Store(s3_proxy.settings)
        with pytest.raises(TransientError):
            store.get("x")
        with pytest.raises(TransientError):
            store.download("x", tmp_path / "x")
        assert list(tmp_path.iterdir()) == []

    def test_a_hundred_gigabytes_fit_into_the_parts_of_one_upload(self) -> None:
        from pipeline.store import MIN_PART_BYTES, _part_bytes

        assert _part_bytes(1) == MIN_PART_BYTES
        for size in (100_000_000_000, 5 * 1024**4):
            assert size / _part_bytes(size) <= 10_000
            assert _part_bytes(size) % MEBIBYTE == 0
