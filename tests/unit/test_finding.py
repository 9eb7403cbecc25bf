"""From names to files, on a real disk with everything on it that is no file."""

import os
import socket
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.finding import Found, Unusable, find, find_all


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    for name in ("b/2.mp3", "b/1.mp3", "a.mp3", "c/deep/3.mp3", ".hidden/4.mp3", "b/.5.mp3"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def told(folder: Path, named: str | Path) -> dict[str, str | None]:
    """Names below the folder, in order, each with why it is no file."""
    return {
        os.path.relpath(one.name, folder): one.reason if isinstance(one, Unusable) else None for one in find(str(named))
    }


def test_a_folder_is_taken_whole_in_order_of_names_without_what_is_hidden(archive: Path) -> None:
    assert list(told(archive, archive)) == ["a.mp3", "b/1.mp3", "b/2.mp3", "c/deep/3.mp3"]
    assert list(find(str(archive / "b/1.mp3"))) == [Found(str(archive / "b/1.mp3"))]


def test_a_glob_gives_files_and_no_folders(archive: Path) -> None:
    assert list(told(archive, archive / "*")) == ["a.mp3"]
    assert list(told(archive, archive / "**/*.mp3")) == ["a.mp3", "b/1.mp3", "b/2.mp3", "c/deep/3.mp3"]


def test_several_names_are_found_in_their_order_or_refused_with_all_that_is_missing(archive: Path) -> None:
    (archive / "empty").mkdir()
    named = [str(archive / name) for name in ("c", "a.mp3", "empty")]
    assert [os.path.relpath(one.name, archive) for one in find_all(named)] == ["c/deep/3.mp3", "a.mp3"]
    with pytest.raises(UsageError, match=r"no such file or folder: gone\.wav, \(an empty name\), \*\.none"):
        find_all([*named, "gone.wav", "", "*.none"])


def test_what_is_not_there_gives_nothing(archive: Path) -> None:
    for named in ("", str(archive / "none.mp3"), str(archive / "*.wav")):
        assert list(find(named)) == []


def test_what_is_no_file_is_told_and_never_opened(archive: Path) -> None:
    os.mkfifo(archive / "pipe")
    (archive / "device").symlink_to("/dev/zero")
    (archive / "gone").symlink_to("nowhere")
    (archive / "loop").symlink_to("loop")
    (archive / "folder").symlink_to(archive / "b")
    (archive / "link").symlink_to("a.mp3")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(archive / "socket"))
    found = told(archive, archive)
    assert found.pop("link") is None, "a link to a file is a file"
    assert {name: reason for name, reason in found.items() if reason} == {
        "pipe": "it is a pipe, not a file",
        "device": "it is a device, not a file",
        "gone": "it is a link to something that is not there",
        "loop": "it cannot be looked at: Too many levels of symbolic links",
        "folder": "it is a link to a folder, which is not followed",
        "socket": "it is a socket, not a file",
    }
    for name in ("pipe", "device", "gone"):
        assert told(archive, archive / name) == {name: found[name]}, "named alone, the same is said"


def test_a_folder_that_cannot_be_read_is_told_and_stops_no_other(archive: Path) -> None:
    """Its path is longer than the system takes, which holds even for root."""
    here = os.open(archive, os.O_RDONLY)
    place = here
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=place)
        place = os.open("d" * 250, os.O_RDONLY, dir_fd=place)
    unreadable = [(name, reason) for name, reason in told(archive, archive).items() if reason]
    assert len(unreadable) == 1
    assert "File name too long" in unreadable[0][1]
    assert "c/deep/3.mp3" in told(archive, archive)


def test_a_name_that_is_no_text_is_found(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.mp3")).write_bytes(b"x")
    (one,) = find(str(tmp_path))
    assert os.fsencode(one.name).endswith(b"\xff.mp3")
    assert list(find("nul\0")) == []
