import pytest

from pipeline.errors import UsageError
from pipeline.local import refuse_other_engine
from pipeline.settings import Engine

TINY = Engine(name="gemma3n", model="tiny")


def test_work_for_another_engine_than_the_one_that_is_up_is_refused() -> None:
    with pytest.raises(UsageError, match="runs gemma3n:tiny, not whisper:small"):
        refuse_other_engine(Engine(model="small"), TINY)
    with pytest.raises(UsageError, match="not gemma3n:tiny:my-adapter"):
        refuse_other_engine(TINY.model_copy(update={"adapter": "my-adapter"}), TINY)


def test_work_for_the_engine_that_is_up_or_for_any_is_taken() -> None:
    refuse_other_engine(Engine(), TINY)
    refuse_other_engine(TINY.model_copy(update={"threads": 3}), TINY)
