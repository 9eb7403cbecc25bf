import numpy as np
import pytest

from pipeline import tasks
from pipeline.engines import Image, Sound, Turn
from pipeline.errors import PermanentError, UsageError
from pipeline.job import AudioStream, MediaInfo, Options, PictureInfo, VideoStream
from pipeline.payload import Frame, Payload

SOUND = MediaInfo(kind="sound", audio=AudioStream(index=0, codec="mp3", sample_rate=44_100, channels=2))
SILENT = MediaInfo(kind="video", video=VideoStream(index=0, codec="h264", width=640, height=360))
VIDEO = SILENT.model_copy(update={"audio": SOUND.audio})
PICTURE = MediaInfo(kind="picture", picture=PictureInfo(format="jpeg", width=640, height=480))
TEXT = MediaInfo(kind="text", encoding="utf-8", characters=100)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
PCM = Payload(kind="sound", pcm=b"\x00\x40" * 1600)
FRAMES = Payload(kind="frames", frames=(Frame(0.0, b"one"), Frame(1.0, b"two")))


def words(turns: tuple[Turn, ...]) -> str:
    return " | ".join(part for turn in turns for part in turn.parts if isinstance(part, str))


def test_every_task_has_a_line_and_an_unknown_one_is_named() -> None:
    assert {"ask", "caption", "summarize", "transcribe", "translate"} <= set(tasks.names())
    assert all(tasks.named(name).line for name in tasks.names())
    with pytest.raises(UsageError, match=r"no task named 'dance'.*transcribe"):
        tasks.named("dance")


@pytest.mark.parametrize(
    ("task", "media", "kinds"),
    [
        ("transcribe", SOUND, ("sound",)),
        ("transcribe", VIDEO, ("sound",)),
        ("translate", TEXT, ("text",)),
        ("translate", VIDEO, ("sound",)),
        ("caption", PICTURE, ("picture",)),
        ("caption", VIDEO, ("frames",)),
        ("ask", SOUND, ("sound",)),
        ("ask", VIDEO, ("scene",)),
        ("ask", SILENT, ("frames",)),
        ("ask", TEXT, ("text",)),
        ("summarize", VIDEO, ("frames", "sound")),
        ("summarize", TEXT, ("text",)),
        ("summarize", PICTURE, ("picture",)),
    ],
)
def test_media_is_cut_into_what_the_task_is_about(task: str, media: MediaInfo, kinds: tuple[str, ...]) -> None:
    assert tasks.named(task).kinds(media, Options()) == kinds


def test_a_video_is_captioned_with_its_words_when_asked() -> None:
    assert tasks.named("caption").kinds(VIDEO, Options(speech=True)) == ("frames", "sound")
    assert tasks.named("caption").kinds(SILENT, Options(speech=True)) == ("frames",)


@pytest.mark.parametrize(("task", "media"), [("transcribe", SILENT), ("translate", PICTURE), ("caption", SOUND)])
def test_media_that_a_task_can_do_nothing_with_is_refused(task: str, media: MediaInfo) -> None:
    with pytest.raises(PermanentError, match="there is nothing to"):
        tasks.named(task).kinds(media, Options())


@pytest.mark.parametrize(
    ("task", "options", "reason"),
    [
        ("translate", Options(), "--to"),
        ("translate", Options(to="klingonese"), "klingonese"),
        ("transcribe", Options(language="xx"), "xx"),
        ("ask", Options(), "--question"),
        ("ask", Options(question="?", json_schema={"type": "nonsense"}), "JSON Schema is wrong"),
        ("ask", Options(question="?", json_schema={"$ref": "https://example.org/s"}), "another document"),
        ("transcribe", Options(to="de"), "transcribe does nothing with --to: leave it out"),
        ("translate", Options(to="de", json_schema={"type": "object"}), "translate does nothing with --schema"),
        ("caption", Options(question="?"), "caption does nothing with --question"),
    ],
)
def test_options_are_checked_before_a_job_is_accepted(task: str, options: Options, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        tasks.check(task, options)


def test_prompts_say_what_is_wanted() -> None:
    assert words(tasks.named("transcribe").turns(PCM, Options(language="de"))).endswith("It is in German.")
    assert "into French" in words(tasks.named("translate").turns(PCM, Options(to="fr")))
    assert "in order" in words(tasks.named("caption").turns(FRAMES, Options()))
    asked = tasks.named("ask").turns(FRAMES, Options(question="Who?", json_schema=SCHEMA))
    assert "Who?" in words(asked)
    assert '"integer"' in words(asked)
    text = Payload(kind="text", text="a long story")
    assert words(tasks.named("summarize").turns(text, Options())).endswith("a long story")


def test_a_prompt_holds_its_media_before_its_words() -> None:
    scene = Payload(kind="scene", frames=FRAMES.frames, pcm=PCM.pcm)
    system, user = tasks.named("ask").turns(scene, Options(question="What?"))
    assert (system.role, user.role) == ("system", "user")
    kinds = [type(part) for part in user.parts]
    assert kinds == [Image, Image, Sound, str]
    sound = user.parts[2]
    assert isinstance(sound, Sound)
    assert sound.clip.dtype == np.float32
    assert sound.clip[0] == 0.5


def test_the_fingerprint_tells_prompts_apart_but_not_media() -> None:
    task = tasks.named("translate")

    def of(text: str, to: str) -> str:
        return tasks.fingerprint(task.turns(Payload(kind="text", text=text), Options(to=to)), text)

    assert of("one", "de") == of("another", "de") != of("one", "fr")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [('{"n": 1}', None), ('```json\n{"n": 1}\n```', None), ('{"n": "one"}', "schema"), ("one", "no JSON")],
)
def test_answers_are_held_against_the_schema(answer: str, complaint: str | None) -> None:
    wrong = tasks.named("ask").wrong(answer, Options(question="?", json_schema=SCHEMA))
    assert (wrong is None) == (complaint is None)
    assert complaint is None or complaint in str(wrong)


def test_an_answer_that_fits_is_stored_as_bare_json() -> None:
    fenced = '```json\n{"n":   1}\n```'
    assert tasks.named("ask").final(fenced, Options(question="?", json_schema=SCHEMA)) == '{"n": 1}'


def test_long_media_is_folded_where_one_answer_is_wanted() -> None:
    assert tasks.named("transcribe").fold(SOUND) == "never"
    assert tasks.named("ask").fold(SOUND) == "several"
    assert tasks.named("summarize").fold(SOUND) == "always"
    assert tasks.named("summarize").fold(TEXT) == "several"
