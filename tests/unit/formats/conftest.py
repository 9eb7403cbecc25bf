"""A Result around any segments."""

from collections.abc import Callable

import pytest

from pipeline.job import Origin, Provenance, Result, ResultMedia, TextSegment
from tests.doubles import a_job


def _result(*segments: TextSegment, **changes: object) -> Result:
    result = Result(
        job="job-1",
        status="done",
        error=None,
        task="transcribe",
        media=ResultMedia(name="talk.wav", sha256="ab", size=1, duration=60.0, info=None),
        language="en",
        text=" ".join(segment.text for segment in segments),
        segments=segments,
        outputs={},
        asked=a_job(),
        provenance=Provenance(
            reelmill="1.2.3",
            engine_asked="whisper:tiny.en",
            origins=(Origin(engine="whisper", model="tiny.en", revision="abc123", versions={}),),
            input_sha256="ab",
            attempts=1,
        ),
    )
    return result.model_copy(update=changes)


@pytest.fixture(scope="session")
def result_of() -> Callable[..., Result]:
    return _result
