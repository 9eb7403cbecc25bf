"""What of a submission is new, which collection it is, and what becomes of the rest."""

import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pipeline import keys
from pipeline.collecting.record import SHARD_LINES, Closed, Collection, Line
from pipeline.collecting.shards import all_lines
from pipeline.errors import PermanentError, UsageError
from pipeline.job import Media, Options
from pipeline.planning.look import Asked
from pipeline.planning.remote import Remote
from pipeline.submitting.intake import Accepted, Intake, Refused
from pipeline.submitting.naming import check_tenant, derived_id, is_id, moment, named_id, title
from tests.doubles import MemoryStore

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone(timedelta(hours=2)))
ARCHIVE = Collection(id="c1", name="archive", engine="fake:fake", submitted_at=NOW)


class Desk:
    """Where files are handed in; counts what was read."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.folder = folder
        self.read: list[str] = []
        self._lock = threading.Lock()

    def upload(self, path: Path, name: str, tenant: str) -> tuple[Media, bool]:
        with self._lock:
            self.read.append(name)
        if not path.exists():
            raise PermanentError("it is not there")
        data = path.read_bytes()
        sha256 = f"{int.from_bytes(data):064x}"
        is_new = self.store.create(keys.media(tenant, sha256), data)
        return Media(name=name, key=keys.media(tenant, sha256), sha256=sha256, size=len(data)), is_new

    def asked(self, name: str, content: str = "", **more: object) -> Asked:
        path = self.folder / name
        path.write_text(content or name)
        return Asked(name=name, task="transcribe", options=Options(), place=path, **more)  # type: ignore[arg-type]

    def submit(
        self,
        items: Iterable[Asked],
        *,
        force: bool = False,
        named: bool = False,
        collection: Collection = ARCHIVE,
        **more: bool,
    ) -> tuple[Accepted, list[Line | Refused]]:
        told: list[Line | Refused] = []
        intake = Intake(self.store, self.upload, collection, force=force, has_own_name=named, **more)
        return intake.accept(lambda: iter(items), told.append), told

    def names(self) -> list[str]:
        return [line.media.name for line in all_lines(self.store, "c1")]


def rewrite(path: Path, content: str) -> None:
    """A second later: clocks of file systems may be coarse."""
    written = path.stat().st_mtime
    path.write_text(content)
    os.utime(path, (written + 1, written + 1))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_lines_are_in_the_order_of_what_was_named_and_say_what_was_asked(desk: Desk) -> None:
    items = [desk.asked(f"{number:02d}.wav", custom_id=f"id{number}") for number in range(40)]
    accepted, _ = desk.submit(items)
    assert desk.names() == [item.name for item in items]
    assert [line.custom_id for line in all_lines(desk.store, "c1")][:2] == ["id0", "id1"]
    assert (accepted.lines, accepted.new, accepted.known, accepted.refused) == (40, 40, 0, 0)
    assert Closed.from_bytes(desk.store.get(keys.closed_collection("c1"))).lines == 40


def test_what_is_known_is_not_read_again_and_nothing_is_written(desk: Desk) -> None:
    items = [desk.asked(name) for name in ("a", "b", "b")]
    desk.submit(items)
    before = dict(desk.store.objects)
    desk.read.clear()
    accepted, told = desk.submit(items)
    assert (accepted.new, accepted.known, desk.read, told) == (0, 3, [], [])
    assert desk.store.objects == before


def test_a_submission_that_was_stopped_goes_on_and_reads_only_the_rest(desk: Desk) -> None:
    items = [desk.asked(name) for name in ("a", "b", "c", "d")]

    def stopped() -> Iterable[Asked]:
        yield from items[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.submit(stopped())
    assert not desk.store.exists(keys.closed_collection("c1"))
    known = len(desk.names())
    desk.read.clear()
    accepted, _ = desk.submit(items)
    assert len(desk.read) == 4 - known
    assert sorted(desk.names()) == ["a", "b", "c", "d"]
    assert accepted.lines == 4


def test_what_was_told_before_it_was_stopped_is_in_the_collection(desk: Desk) -> None:
    told: list[Line | Refused] = []
    items = [desk.asked(f"{number:03d}") for number in range(100)]

    def stop(made: Line | Refused) -> None:
        told.append(made)
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Intake(desk.store, desk.upload, ARCHIVE).accept(lambda: iter(items), stop)
    assert desk.names() == [f"{number:03d}" for number in range(5)]


def test_new_lines_are_added_wherever_they_stand_and_those_gone_stay(desk: Desk) -> None:
    desk.submit([desk.asked("b"), desk.asked("d")])
    accepted, _ = desk.submit([desk.asked("a"), desk.asked("b"), desk.asked("c")])
    assert desk.names() == ["b", "d", "a", "c"]
    assert (accepted.lines, accepted.new, accepted.known, accepted.gone) == (4, 2, 1, 1)


def test_a_file_that_has_another_size_is_another_line(desk: Desk) -> None:
    desk.submit([desk.asked("a"), desk.asked("b")])
    accepted, _ = desk.submit([desk.asked("a", "longer than before"), desk.asked("b")])
    assert (desk.names(), accepted.new) == (["a", "b", "a"], 1)


def test_a_file_that_was_written_since_is_read_again_and_is_another_line_if_its_bytes_are_others(desk: Desk) -> None:
    items = [desk.asked("a", "good"), desk.asked("b", "same")]
    desk.submit(items)
    rewrite(desk.folder / "a", "evil")
    rewrite(desk.folder / "b", "same")
    desk.read.clear()
    accepted, _ = desk.submit(items)
    assert (desk.names(), accepted.new, accepted.known) == (["a", "b", "a"], 1, 1)
    assert desk.store.get(list(all_lines(desk.store, "c1"))[2].media.key) == b"evil"
    assert sorted(desk.read) == ["a", "b"]


def test_a_file_is_known_as_it_was_before_it_was_read(desk: Desk) -> None:
    """What is written into it while it is read is not taken for what was read."""
    item, upload = desk.asked("a", "good"), desk.upload

    def written_meanwhile(path: Path, name: str, tenant: str) -> tuple[Media, bool]:
        made = upload(path, name, tenant)
        rewrite(path, "evil")
        return made

    desk.upload = written_meanwhile  # type: ignore[method-assign]
    desk.submit([item])
    desk.upload = upload  # type: ignore[method-assign]
    assert desk.submit([item])[0].new == 1


def test_an_object_whose_store_tells_another_mark_is_another_line(desk: Desk) -> None:
    def stored(etag: str) -> Asked:
        place = Remote(None, "k", 5, etag)  # type: ignore[arg-type]
        return Asked(name="s3://b/k", task="transcribe", options=Options(), place=place)

    assert desk.submit([stored("one")])[0].new == 1
    assert desk.submit([stored("one")])[0].new == 0
    assert desk.submit([stored("")])[0].new == 0, "nobody asked for it"
    assert desk.submit([stored("two")])[0].new == 1
    assert desk.submit([stored("two")])[0].new == 0


def test_so_many_new_files_may_stand_before_those_that_are_known(desk: Desk) -> None:
    known = desk.asked("z")
    desk.submit([known])
    new = [
        Asked(name=f"a{number}", task="transcribe", options=Options(), place=desk.folder / "z")
        for number in range(SHARD_LINES + 1)
    ]
    accepted, _ = desk.submit([*new, known])
    assert (accepted.new, accepted.known) == (SHARD_LINES + 1, 1)


@pytest.mark.parametrize("more", [1, SHARD_LINES + 1])
def test_something_else_altogether_is_refused_before_it_is_read_unless_it_has_the_name(desk: Desk, more: int) -> None:
    desk.submit([desk.asked("a")])
    desk.read.clear()
    other = [
        Asked(name=f"x{number}", task="transcribe", options=Options(), place=desk.folder / "a")
        for number in range(more)
    ]
    with pytest.raises(UsageError, match="--collection"):
        desk.submit(other)
    assert (desk.names(), desk.read) == (["a"], [])
    desk.submit(other[:2], named=True)
    assert len(desk.names()) == 1 + min(more, 2)


def test_other_options_are_another_line_and_another_engine_is_refused(desk: Desk) -> None:
    desk.submit([desk.asked("a")])
    german = Asked(name="a", task="transcribe", options=Options(language="de"), place=desk.folder / "a")
    assert desk.submit([desk.asked("a"), german])[0].new == 1
    with pytest.raises(UsageError, match="engine fake:fake, not other"):
        desk.submit([german], named=True, collection=ARCHIVE.model_copy(update={"engine": "other"}))


def test_force_does_known_lines_anew_and_is_known_again_itself(desk: Desk) -> None:
    desk.submit([desk.asked("a")])
    assert desk.submit([desk.asked("a")], force=True, named=True)[0].new == 1
    accepted, _ = desk.submit([desk.asked("a")], force=True, named=True)
    assert (accepted.new, accepted.not_anew) == (0, 1)
    assert [line.force for line in all_lines(desk.store, "c1")] == [False, True]


def test_force_that_was_stopped_goes_on_and_nothing_is_left_undone(desk: Desk) -> None:
    items = [desk.asked("a"), desk.asked("b")]
    desk.submit(items)

    def stopped() -> Iterable[Asked]:
        yield items[0]
        yield items[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.submit(stopped(), force=True, named=True)
    accepted, _ = desk.submit(items, force=True, named=True)
    assert accepted.not_anew == 0
    assert [line.force for line in all_lines(desk.store, "c1")] == [False, False, True, True]


def test_another_priority_is_refused_if_it_was_asked_for(desk: Desk) -> None:
    bulk = ARCHIVE.model_copy(update={"priority": "bulk"})
    desk.submit([desk.asked("a")], collection=bulk, has_priority=True)
    assert desk.submit([desk.asked("a")])[0].collection.priority == "bulk"
    with pytest.raises(UsageError, match="priority bulk, not normal"):
        desk.submit([desk.asked("a")], has_priority=True)


def test_another_deadline_is_told_that_it_does_not_count(desk: Desk) -> None:
    due = ARCHIVE.model_copy(update={"deadline": NOW})
    assert not desk.submit([desk.asked("a")], collection=due)[0].keeps_deadline
    assert not desk.submit([desk.asked("a")])[0].keeps_deadline
    later = ARCHIVE.model_copy(update={"deadline": NOW + timedelta(hours=1)})
    accepted, _ = desk.submit([desk.asked("a")], collection=later)
    assert (accepted.keeps_deadline, accepted.collection.deadline) == (True, NOW)


def test_to_a_cancelled_collection_nothing_is_submitted_though_it_is_all_known(desk: Desk) -> None:
    desk.submit([desk.asked("a")])
    desk.store.create(keys.cancelled_collection("c1"), b"{}")
    with pytest.raises(UsageError, match="was cancelled: `reelmill retry c1`"):
        desk.submit([desk.asked("a")])


def test_lines_that_share_a_custom_id_are_counted(desk: Desk) -> None:
    items = [desk.asked("a", custom_id="1"), desk.asked("b", custom_id="1"), desk.asked("c", custom_id="2")]
    assert desk.submit([*items, desk.asked("d"), desk.asked("e")])[0].same_ids == 1


def test_of_two_submitters_at_once_the_second_leaves_the_collection_closed(desk: Desk) -> None:
    desk.submit([desk.asked("a")])
    exists = desk.store.exists

    def first_one_is_faster(key: str) -> bool:
        found = exists(key)
        if key == keys.shard("c1", 1) and not found:
            desk.store.exists = exists  # type: ignore[method-assign]
            desk.submit([desk.asked("b")], named=True)
        return found

    desk.store.exists = first_one_is_faster  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="other lines"):
        desk.submit([desk.asked("c")], named=True)
    assert Closed.from_bytes(desk.store.get(keys.closed_collection("c1"))).lines == 2


def test_a_collection_that_was_closed_with_fewer_lines_is_put_right(desk: Desk) -> None:
    """Whoever added the second shard died before it opened the collection again."""
    items = [desk.asked("a"), desk.asked("b")]
    desk.submit(items[:1])
    desk.submit(items, named=True)
    desk.store.delete([keys.closed_collection("c1"), keys.open_collection("c1")])
    desk.store.create(keys.closed_collection("c1"), Closed(lines=1, closed_at=NOW).to_bytes())
    desk.submit(items)
    assert Closed.from_bytes(desk.store.get(keys.closed_collection("c1"))).lines == 2
    assert desk.store.exists(keys.open_collection("c1"))


def test_what_is_refused_stops_no_other_and_is_counted(desk: Desk) -> None:
    wrong = Asked(name="list:2", task="transcribe", options=Options(), refused="it is no JSON")
    gone = Asked(name="gone", task="transcribe", options=Options(), place=desk.folder / "gone")
    accepted, told = desk.submit([wrong, desk.asked("a"), gone])
    assert [one for one in told if isinstance(one, Refused)] == [
        Refused("list:2", "it is no JSON"),
        Refused("gone", "it is not there"),
    ]
    assert (accepted.lines, accepted.refused) == (1, 2)
    assert Closed.from_bytes(desk.store.get(keys.closed_collection("c1"))).refused == 2


def test_nothing_but_refusals_leaves_no_collection_and_nothing_at_all_is_wrong_usage(desk: Desk) -> None:
    accepted, _ = desk.submit([Asked(name="a", task="transcribe", options=Options(), refused="no")])
    assert (accepted.lines, accepted.refused, desk.store.objects) == (0, 1, {})
    with pytest.raises(UsageError, match="no files"):
        desk.submit([])


def test_the_same_names_are_the_same_collection_and_anything_else_is_another() -> None:
    def made(named: list[str] | None = None, **more: object) -> str:
        what = {"task": "ask", "options": Options(question="?"), "engine": "e", "tenant": "default"} | more
        return derived_id(named or ["/a", "s3://b/c"], **what)  # type: ignore[arg-type]

    others = [
        made(["/a"]),
        made(task="caption"),
        made(options=Options(question="!")),
        made(engine="f"),
        made(tenant="other"),
        named_id("/a", "default"),
        named_id("/a", "other"),
    ]
    assert made() == made()
    assert len({made(), *others}) == 8
    assert is_id(made())
    assert not is_id("archive")
    assert title(["a", "b", "c"]) == "a and 2 more"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("+6h", NOW + timedelta(hours=6)),
        ("+1.5d", NOW + timedelta(hours=36)),
        ("+90s", NOW + timedelta(seconds=90)),
        ("2026-11-30T18:00", datetime(2026, 11, 30, 16, tzinfo=UTC)),
        ("2026-11-30T18:00+00:00", datetime(2026, 11, 30, 18, tzinfo=UTC)),
        ("2026-11-30", datetime(2026, 11, 29, 22, tzinfo=UTC)),
    ],
)
def test_a_deadline_is_a_time_or_so_long_from_now(text: str, at: datetime) -> None:
    assert moment(text, NOW) == at


def test_a_deadline_beyond_all_calendars_is_told() -> None:
    for text in ("+99999999999d", "+9999999d"):
        with pytest.raises(UsageError, match="too far away"):
            moment(text, NOW)


@pytest.mark.parametrize("text", ["6h", "+6", "tomorrow", "+-1h", ""])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment(text, NOW)


def test_a_tenant_is_small_letters_digits_and_hyphens() -> None:
    check_tenant("news-desk-2")
    for wrong in ("", "News", "a b", "-a", "a" * 64):
        with pytest.raises(UsageError, match="cannot be a tenant"):
            check_tenant(wrong)
