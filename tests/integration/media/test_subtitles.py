"""Subtitles that come with a file become documents of their own, and never cost a job anything."""

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import webvtt

from pipeline import keys
from pipeline.engines import Capabilities
from pipeline.job import MediaInfo, Window
from pipeline.media import arguments, subtitles
from pipeline.media.blocks import Block, blocks
from pipeline.media.cache import MediaCache
from pipeline.media.ffmpeg import Ffmpeg
from pipeline.media.probe import probe
from pipeline.settings import Cutting, Video
from pipeline.stages.assembling import outputs
from pipeline.stages.source import MediaSource
from pipeline.store import DirectoryStore
from tests.integration.media.test_pieces import job_on
from tests.unit.test_producer import Shop

ENGLISH = """1
00:00:00,500 --> 00:00:01,500
Salt & <i>pepper</i>

2
00:00:02,000 --> 00:00:03,250
An arrow --> and
a second line

"""
FRENCH = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.70,0:00:02.00,Default,,0,0,0,,{\\pos(10,10)}Bonjour\\Nle monde
Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,Oui
Dialogue: 0,0:00:01.50,0:00:02.50,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100.5 -3 b 1 2 3 4 5 6{\\p0}
"""
Cues = list[tuple[float, float, str]]
SAID_ENGLISH: Cues = [
    (0.5, 1.5, "Salt &amp; <i>pepper</i>"),
    (2.0, 3.25, "An arrow --&gt; and\na second line"),
]
SAID_FRENCH: Cues = [(0.7, 2.0, "Bonjour\nle monde"), (1.0, 3.0, "Oui")]
VIDEO = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=4", "-f", "lavfi", "-i", "sine=d=4")
TAGS = ("-metadata:s:s:0", "language=eng", "-metadata:s:s:0", "title=For all", "-metadata:s:s:1", "language=fre")
#: name: what is asked of the encoder, what the first stream is, cues of the streams
FILMS: dict[str, tuple[tuple[str, ...], str, tuple[Cues, ...]]] = {
    "srt.mkv": (("-c:s", "srt"), "subrip", (SAID_ENGLISH, SAID_FRENCH)),
    "ass.mkv": (("-c:s", "ass"), "ass", (SAID_ENGLISH, SAID_FRENCH)),
    "webvtt.mkv": (("-c:s", "webvtt"), "webvtt", (SAID_ENGLISH, SAID_FRENCH)),
    "late.mkv": (("-c:s", "srt", "-output_ts_offset", "7.3"), "subrip", (SAID_ENGLISH, SAID_FRENCH)),
    "a.mp4": (("-c:s", "mov_text"), "mov_text", (SAID_ENGLISH,)),  # mp4 has no room for what overlaps
    "a.webm": (("-c:s", "webvtt", "-c:v", "libvpx", "-c:a", "libopus"), "webvtt", (SAID_ENGLISH, SAID_FRENCH)),
}


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Ffmpeg) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("subtitled")
    (folder / "en.srt").write_text(ENGLISH)
    (folder / "fr.ass").write_text(FRENCH)
    made: dict[str, Path] = {}
    for name, (options, _, _) in FILMS.items():
        argv = [str(ffmpeg.ffmpeg), "-v", "error", *VIDEO, "-i", str(folder / "en.srt"), "-i", str(folder / "fr.ass")]
        argv += ["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:v", "mpeg4", *options, *TAGS]
        subprocess.run([*argv, str(folder / name)], check=True, timeout=60)
        made[name] = folder / name
    return made


def cues(document: bytes | None) -> Cues:
    assert document is not None
    read = webvtt.from_string(document.decode())
    return [(_seconds(cue.start), _seconds(cue.end), cue.raw_text) for cue in read]


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def read(path: Path, ffmpeg: Ffmpeg) -> tuple[subtitles.Subtitles, ...]:
    return subtitles.read(path, probe(path, ffmpeg), ffmpeg)


@pytest.mark.parametrize("name", FILMS)
def test_text_is_kept_with_its_times_and_its_language(name: str, films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    _, codec, expected = FILMS[name]
    first, second = read(films[name], ffmpeg)
    assert (first.stream.index, first.stream.codec, first.stream.is_text) == (0, codec, True)
    assert (first.stream.language, second.stream.language) == ("eng", "fre")
    assert name == "a.mp4" or first.stream.title == "For all"
    assert (first.stream.output, second.stream.output) == ("subtitles.0.eng.vtt", "subtitles.1.fre.vtt")
    for found, said in zip((first, second), expected, strict=False):
        assert found.stream.flags == ()
        assert cues(found.document) == said


def block(text: str, start: int = 0) -> Block:
    return Block(track=1, start=start, length=1000, data=f"\n\n{text}".encode())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("<b>a</b> <u>&</u> <i>b", "<b>a</b> <u>&amp;</u> <i>b"),
        ("<script>a</script> <v Anna>", "&lt;script&gt;a&lt;/script&gt; &lt;v Anna&gt;"),
        ("AT&amp;T &#38; R&D &nbsp;", "AT&amp;T &#38; R&amp;D &nbsp;"),
        ("a --> b", "a --&gt; b"),
    ],
)
def test_words_are_written_as_a_player_reads_them(text: str, written: str) -> None:
    document = subtitles.document([block(text)])
    assert document is not None
    (cue,) = webvtt.WebVTT.from_string(document.decode(), strict=True)
    assert cue.raw_text == written


def test_a_hard_space_is_a_space_where_it_is_one() -> None:
    for has_hard_spaces, written in ((True, "C:\u00a0ome"), (False, "C:\\home")):
        document = subtitles.document([block("C:\\home")], has_hard_spaces=has_hard_spaces)
        assert document is not None
        assert document.decode().endswith(f"{written}\n")


def test_the_same_file_gives_the_same_bytes(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    assert read(films["ass.mkv"], ffmpeg) == read(films["ass.mkv"], ffmpeg)


def test_pictures_of_text_are_told_and_not_read(films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    """A stream of Blu-ray subtitles beside one of text: no encoder makes them, so that one is written by hand."""
    segment = b"PG" + struct.pack(">IIBH", 90_000, 0, 0x80, 0)  # an empty display set: only its end
    (tmp_path / "a.sup").write_bytes(segment)
    path = tmp_path / "a.mkv"
    argv = [str(ffmpeg.ffmpeg), "-v", "error", "-f", "sup", "-i", str(tmp_path / "a.sup"), "-i", str(films["srt.mkv"])]
    subprocess.run([*argv, "-map", "1:V", "-map", "0", "-map", "1:s:0", "-c", "copy", str(path)], check=True)
    pictures, text = read(path, ffmpeg)
    assert (pictures.stream.codec, pictures.stream.is_text) == ("hdmv_pgs_subtitle", False)
    assert (pictures.document, pictures.stream.output) == (None, None)
    assert text.stream.output == "subtitles.1.eng.vtt"
    assert cues(text.document) == SAID_ENGLISH


def test_a_stream_in_which_nothing_is_said_becomes_nothing(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\n \n\n")
    argv = [str(ffmpeg.ffmpeg), "-v", "error", *VIDEO, "-f", "srt", "-i", str(tmp_path / "a.srt")]
    subprocess.run([*argv, "-map", "0", "-map", "2", "-c:v", "mpeg4", str(tmp_path / "a.mkv")], check=True)
    (found,) = read(tmp_path / "a.mkv", ffmpeg)
    assert (found.stream.is_text, found.stream.output, found.document) == (True, None, None)


def test_what_is_wrong_with_subtitles_is_a_flag(films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    path = tmp_path / "damaged.mkv"
    data = films["srt.mkv"].read_bytes()
    path.write_bytes(data.replace(b"a second line", b"a \xff\xfe\xc3\x28 line"))
    assert path.read_bytes() != data
    english, french = read(path, ffmpeg)
    assert "decode_errors" in english.stream.flags
    assert cues(english.document) == SAID_ENGLISH[:1]
    assert cues(french.document) == SAID_FRENCH


def test_subtitles_beyond_the_limit_are_a_flag(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    strict = replace(ffmpeg, limits=ffmpeg.limits.model_copy(update={"subtitle_bytes": 100}))
    for found in read(films["srt.mkv"], strict):
        assert found.stream.flags == ("unreadable",)
        assert (found.document, found.stream.output) == (None, None)


@pytest.mark.parametrize("language", ["../../etc", "und", "EN", "e", "x" * 9, "a/b"])
def test_a_language_becomes_part_of_a_name_only_if_it_looks_like_one(language: str) -> None:
    (stream,) = subtitles.streams([{"codec_type": "subtitle", "codec_name": "ass", "tags": {"language": language}}])
    assert stream.language == ("en" if language == "EN" else None)


def test_the_name_of_a_cue_and_its_settings_are_no_words() -> None:
    cue = Block(1, 3_723_004, 1_000, b"intro\nalign:start\nHello")
    assert cues(subtitles.document([cue])) == [(3723.004, 3724.004, "Hello")]
    assert subtitles.document([Block(1, -5, 1_000, b"\n\nToo early"), Block(1, 0, 0, b"\n\nToo short")]) is None


def test_blocks_that_are_cut_off_or_none_at_all_are_no_trouble(films: dict[str, Path], ffmpeg: Ffmpeg) -> None:
    argv = arguments.subtitles(ffmpeg.ffmpeg, films["srt.mkv"], "matroska", [0, 1])
    whole, _ = ffmpeg.run(argv, 1_000_000)
    every = list(blocks(whole))
    assert [(block.track, block.start) for block in every] == [(1, 500), (2, 700), (2, 1000), (2, 1500), (1, 2000)]
    for length in range(len(whole)):
        found = list(blocks(whole[:length]))
        assert found == every[: len(found)]
    assert list(blocks(b"\x00" * 100)) == []


def test_a_job_keeps_the_subtitles_of_its_film_and_names_them(
    films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    store = DirectoryStore(tmp_path / "bucket")
    engine = Capabilities(kinds=frozenset({"sound"}), max_batch=1, max_cost=1)
    cache = MediaCache(tmp_path / "cache", 10**9)
    source = MediaSource(store, cache, ffmpeg, cutting=Cutting(), video=Video(), engine=engine)
    job = job_on(films["srt.mkv"], source, "transcribe")
    windows = source.prepare(job)
    assert source.prepare(job) == windows
    assert windows.windows == (Window(index=0, start=0, end=None),)
    named = outputs(job.id, windows.media)
    assert cues(store.get(named["subtitles.0.eng.vtt"])) == SAID_ENGLISH
    assert cues(store.get(named["subtitles.1.fre.vtt"])) == SAID_FRENCH
    assert set(store.list(keys.job_prefix(job.id))) == {
        keys.subtitles(job.id, name) for name in ("subtitles.0.eng.vtt", "subtitles.1.fre.vtt")
    }
    assert "subtitles.0.eng.vtt" not in outputs(job.id, MediaInfo())


def test_subtitles_end_among_the_outputs_of_a_job_and_are_made_anew_with_it(
    films: dict[str, Path], tmp_path: Path, ffmpeg: Ffmpeg
) -> None:
    shop = Shop(tmp_path)
    engine = Capabilities(kinds=frozenset({"sound"}), max_batch=1, max_cost=1)
    cache = MediaCache(tmp_path / "cache", 10**9)
    shop.source = MediaSource(shop.store, cache, ffmpeg, cutting=Cutting(), video=Video(), engine=engine)  # type: ignore[assignment]
    shop.path = films["srt.mkv"]
    job = shop.submit()
    shop.work()
    result = shop.producer.result(job)
    assert result.status == "done"
    assert cues(shop.producer.read(result.outputs["subtitles.0.eng.vtt"])) == SAID_ENGLISH
    assert result.media.info is not None
    assert [stream.output for stream in result.media.info.subtitles] == ["subtitles.0.eng.vtt", "subtitles.1.fre.vtt"]
    shop.submit(force=True)
    assert not [key for key in shop.store.objects if "subtitles" in key]
    shop.work()
    assert shop.producer.result(job).outputs == result.outputs
    assert cues(shop.producer.read(result.outputs["subtitles.1.fre.vtt"])) == SAID_FRENCH
