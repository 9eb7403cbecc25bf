from pathlib import Path
from typing import cast

from pipeline import keys
from pipeline.cli.saving import file_stem, save
from pipeline.job import Provenance, Result, ResultMedia
from pipeline.producer import Producer
from tests.doubles import a_job

OUTPUTS = {"txt": keys.transcript("j1", "txt"), "subtitles.0.eng.vtt": keys.subtitles("j1", "subtitles.0.eng.vtt")}
RESULT = Result(
    job="j123456789",
    status="done",
    error=None,
    task="transcribe",
    media=ResultMedia(name="some/film.mkv", sha256="0" * 64, size=1, duration=1.0, info=None),
    language=None,
    text="",
    segments=(),
    outputs=OUTPUTS,
    asked=a_job(),
    provenance=Provenance(reelmill="0", engine_asked="fake", origins=(), input_sha256="0" * 64, attempts=1),
)


class Bucket:
    """Gives each object's own key back."""

    def read(self, key: str) -> bytes:
        return key.encode()


def test_what_came_with_the_media_is_saved_beside_its_transcript(tmp_path: Path) -> None:
    paths = save(cast(Producer, Bucket()), RESULT, tmp_path)
    stem = file_stem(RESULT)
    assert paths["subtitles.0.eng.vtt"] == str(tmp_path / f"{stem}.subtitles.0.eng.vtt")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{stem}.txt": "jobs/j1/transcript.txt",
        f"{stem}.subtitles.0.eng.vtt": "jobs/j1/subtitles.0.eng.vtt",
    }


def test_only_the_formats_that_were_asked_for_are_saved(tmp_path: Path) -> None:
    assert set(save(cast(Producer, Bucket()), RESULT, tmp_path, ("txt",))) == {"txt"}
