"""Expressions over results, as people write them, and as they get them wrong."""

import pytest

from pipeline.errors import UsageError
from pipeline.job import Origin, Provenance, Result, ResultMedia, TextSegment
from pipeline.operating.where import Term, parse
from tests.doubles import a_job


def result(*models: str, flags: tuple[str, ...] = (), reelmill: str = "0.9.1", status: str = "done") -> Result:
    origins = tuple(Origin(engine="gemma3n", model=model, revision="r1", versions={}) for model in models)
    return Result(
        job="j1",
        status=status,  # type: ignore[arg-type]
        error=None,
        task="caption",
        media=ResultMedia(name="a b.mp4", sha256=None, size=1, duration=1.0, info=None),
        language="de",
        text="",
        segments=(TextSegment(start=0, end=1, text="", flags=flags),),
        outputs={},
        asked=a_job(),
        provenance=Provenance(
            reelmill=reelmill, engine_asked="gemma3n:e4b@main", origins=origins, input_sha256=None, attempts=1
        ),
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("model=new", True),
        ("model=other", False),
        ("model!=new", True),  # a part of it was made by the old one
        ("model<new-2", True),
        ("engine=gemma3n", True),
        ("engine=gemma3n:e4b@main", True),
        ("engine!=gemma3n", False),
        ("engine!=whisper", True),
        ("flag=suspect", True),
        ("flag!=suspect", False),
        ("flag!=quiet", True),
        ("status=done", True),
        ("task=transcribe", False),
        ("reelmill<0.10", True),  # numbers, not letters
        ("reelmill<0.9.1", False),
        ("reelmill<=0.9.1 and reelmill>=0.9.1", True),
        ("reelmill>0.9", True),
        ('language="de" and status!=failed', True),
        ("task=caption and status=failed", False),
        ("  model = new   and flag =suspect ", True),
        ("adapter!=x", False),  # there was none
    ],
)
def test_what_an_expression_means(text: str, holds: bool) -> None:
    assert parse(text).holds(result("new", "old", flags=("suspect", "clipped"))) is holds


def test_of_what_nobody_answered_no_model_is_another() -> None:
    assert not parse("model!=new").holds(result())
    assert parse("status=failed").holds(result(status="failed"))


def test_a_value_in_quotes_may_hold_spaces() -> None:
    assert parse('model="a and b"').terms == (Term("model", "=", "a and b"),)


@pytest.mark.parametrize(
    ("text", "why", "at"),
    [
        ("", "here should be", 0),
        ("model", "here should be", 0),
        ("modle=x", "no field 'modle'; there are adapter", 0),
        ("model=x or task=y", "joined by `and`", 8),
        ("model=x and", "here should be", 11),
        ("model=x and flag", "here should be", 11),
        ("model=x android=1", "joined by `and`", 8),
        ("model==x", "here should be", 0),
    ],
)
def test_what_is_wrong_is_shown(text: str, why: str, at: int) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    message, _, mark = str(caught.value).split("\n")
    assert why in message
    assert mark.index("^") - 2 == at
