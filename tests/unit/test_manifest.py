"""Manifests as people write them, and as they get them wrong."""

import json
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.job import Options
from pipeline.manifest import MAX_ID, MAX_LINE, Entry, WrongLine, read, read_stream


def entries(folder: Path, name: str, content: str | bytes) -> list[Entry | WrongLine]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read(path))


def test_json_lines_name_media_task_and_options(tmp_path: Path) -> None:
    lines = '{"path": "a.mp4", "task": "caption", "speech": true}\n\n{"media": "b.mp3"}\n'
    assert entries(tmp_path, "list.jsonl", lines) == [
        Entry(line=1, path="a.mp4", task="caption", options=Options(speech=True)),
        Entry(line=3, path="b.mp3"),
    ]


def test_a_csv_says_the_same(tmp_path: Path) -> None:
    table = (
        "path,task,speech,language,json_schema\r\n"
        "a.mp4,caption,true,,\r\n"
        '"b, c.mp3",,,de,\r\n'
        'd.png,ask,,,"{""type"": ""object""}"\r\n'
    )
    assert [(entry.path, entry.task, entry.options) for entry in entries(tmp_path, "list.csv", table)] == [
        ("a.mp4", "caption", Options(speech=True)),
        ("b, c.mp3", None, Options(language="de")),
        ("d.png", "ask", Options(json_schema={"type": "object"})),
    ]


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    for name, content in (("a.csv", "path\nx\n"), ("a.jsonl", '{"path": "x"}\n')):
        (entry,) = entries(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
        assert entry.path == "x"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        ('{"task": "ask"}', "it has neither path nor media"),
        ('{"path": ""}', "path: String should have at least 1 character"),
        ('{"path": "a", "media": "b"}', "there is no field or option named 'media'"),
        ('{"path": "a", "langauge": "de"}', "there is no field or option named 'langauge'"),
        ('{"path": "a", "options": {"speech": true}}', "there is no field or option named 'options'"),
        ('{"path": "a", "speech": "perhaps"}', "speech: Input should be a valid boolean"),
        ('{"path": 7}', "path: Input should be a valid string"),
        ("[" * 100_000, "it is no JSON"),
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_stops_no_other(tmp_path: Path, line: str, reason: str) -> None:
    first, wrong, last = entries(tmp_path, "list.jsonl", f'{{"path": "a"}}\n{line}\n{{"path": "b"}}\n')
    assert (first.line, last.line) == (1, 3)
    assert isinstance(wrong, WrongLine)
    assert wrong.line == 2
    assert reason in wrong.reason


def test_bytes_that_are_no_text_are_told_by_their_line(tmp_path: Path) -> None:
    _, wrong, last = entries(tmp_path, "list.jsonl", b'{"path": "a"}\n{"path": "\xff"}\n{"path": "b"}\n')
    assert wrong == WrongLine(line=2, reason="it is not UTF-8")
    assert last.line == 3


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    endless = json.dumps({"path": "x" * (3 * MAX_LINE)})
    wrong, last = entries(tmp_path, "list.jsonl", f'{endless}\n{{"path": "b"}}\n')
    assert isinstance(wrong, WrongLine)
    assert "longer than" in wrong.reason
    assert (last.line, last.path) == (2, "b")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,ask,more\n", "more cells than there are columns"),
        (",ask\n", "neither path nor media"),
        ('"a,ask\nb,ask\n', "it is no CSV"),
    ],
)
def test_a_wrong_row_is_told_by_its_line(tmp_path: Path, row: str, reason: str) -> None:
    wrong = entries(tmp_path, "list.csv", f"path,task\ngood,ask\n{row}")[1]
    assert isinstance(wrong, WrongLine)
    assert wrong.line == 3
    assert reason in wrong.reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"caf\xe9.wav,\n", "it is not UTF-8"),
        (b'"a.wav,\n', "it is no CSV"),
        (b'a.wav,"\n', "it is no CSV"),
        (b'a"b.wav,"x"y\n', "it is no CSV"),
        (b"a.wav," + b"x" * 140_000 + b"\n", "field larger than field limit"),
        (b"a.wav," + b"x" * (3 * MAX_LINE) + b"\n", "longer than"),
        (b"a.wav," + b"x" * (MAX_ID + 1) + b"\n", "custom_id: String should have at most 1000 characters"),
    ],
)
def test_a_wrong_row_takes_no_other_with_it(tmp_path: Path, row: bytes, reason: str) -> None:
    good = [f"{number}.wav" for number in range(900)]
    rows = [f"{name},\n".encode() for name in good]
    found = entries(tmp_path, "list.csv", b"path,custom_id\n" + b"".join([*rows[:400], row, *rows[400:]]))
    wrong = [(one.line, one.reason) for one in found if isinstance(one, WrongLine)]
    assert [line for line, _ in wrong] == [402]
    assert reason in wrong[0][1]
    assert [(one.line, one.path) for one in found if isinstance(one, Entry)] == [
        (number + 2 + (number >= 400), name) for number, name in enumerate(good)
    ]


def test_two_quotes_too_many_do_not_hide_the_rows_between_them(tmp_path: Path) -> None:
    found = entries(tmp_path, "list.csv", 'path,custom_id\na.wav,"\nb.wav,7\nc.wav,"\nd.wav,8\n')
    assert [(one.line, isinstance(one, Entry)) for one in found] == [(2, False), (3, True), (4, False), (5, True)]


def test_a_cell_with_a_schema_or_a_question_may_have_several_lines(tmp_path: Path) -> None:
    table = 'path,question,json_schema\r\na.wav,"Who?\r\nAnd why?","{\n""type"": ""object""}"\r\nb.wav,,\r\n'
    assert entries(tmp_path, "list.csv", table) == [
        Entry(line=2, path="a.wav", options=Options(question="Who?\r\nAnd why?", json_schema={"type": "object"})),
        Entry(line=5, path="b.wav"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("list.csv", "file,task\na,ask\n", "list.csv:1: unknown column 'file'"),
        ("list.csv", "task\nask\n", "no column named path or media"),
        ("list.csv", "", "no column named path or media"),
        ("list.csv", b"\xff\xff\n", "is no CSV"),
    ],
)
def test_a_file_that_is_no_manifest_is_wrong_usage(tmp_path: Path, name: str, content: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        entries(tmp_path, name, content)


def test_a_manifest_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        list(read(tmp_path / "none.jsonl"))


def test_paths_are_seen_from_the_folder_of_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "list.jsonl"
    for path, place in (
        ("a/b.mp3", str(tmp_path / "a/b.mp3")),
        ("/abs/b.mp3", "/abs/b.mp3"),
        ("s3://bucket/key", "s3://bucket/key"),
    ):
        assert Entry(line=1, path=path).place(manifest) == place


def test_a_line_may_have_an_id_of_its_submitter(tmp_path: Path) -> None:
    (entry,) = entries(tmp_path, "list.csv", "path,custom_id\na.wav,7\n")
    assert entry == Entry(line=2, path="a.wav", custom_id="7")
    assert entries(tmp_path, "list.jsonl", '{"path": "a", "custom_id": 7}\n') == [
        Entry(line=1, path="a", custom_id="7")
    ]
    (wrong,) = entries(tmp_path, "list.jsonl", json.dumps({"path": "a", "custom_id": "x" * (MAX_ID + 1)}))
    assert isinstance(wrong, WrongLine)
    assert "at most 1000 characters" in wrong.reason


def test_a_stream_is_a_manifest_or_one_path_a_line() -> None:
    (entry,) = read_stream(BytesIO(b'\n{"path": "a.wav"}\n'))
    assert entry == Entry(line=2, path="a.wav")
    found = list(read_stream(BytesIO(b"\na b.wav\r\n\n{odd}.wav\ns3://b/k\n\xff.wav")))
    assert [(one.line, one.path) for one in found if isinstance(one, Entry)] == [
        (2, "a b.wav"),
        (4, "{odd}.wav"),
        (5, "s3://b/k"),
        (6, "\udcff.wav"),
    ]
    assert list(read_stream(BytesIO(b""))) == []
    for content in (b"\xef\xbb\xbfx\n", b'\xef\xbb\xbf{"path": "x"}\n'):
        assert list(read_stream(BytesIO(content))) == [Entry(line=1, path="x")]


def test_a_path_without_end_is_not_held_in_memory() -> None:
    (wrong,) = read_stream(BytesIO(b"x" * (3 * MAX_LINE)))
    assert isinstance(wrong, WrongLine)
