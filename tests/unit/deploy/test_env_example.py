"""deploy/env.example has every setting, as it stands without it."""

from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from pipeline import settings
from pipeline.settings import PREFIX, Settings
from tests.deployment import DEPLOY, FILLED_IN, assignments, with_values

TEXT = (DEPLOY / "env.example").read_text()
COMMENTED = assignments(TEXT, commented=True)
SET = assignments(TEXT, commented=False)
#: Of Compose and of the Hugging Face hub, not of reelmill.
OF_OTHERS = {
    *("VALKEY_PASSWORD", "VALKEY_LISTEN", "S3_LISTEN", "INFER_GPU", "INFER_MEMORY", "PREPARE_MEMORY"),
    "HF_TOKEN",
}
#: What the default model is depends on the engine.
MODEL = "REELMILL_ENGINE__MODEL"


def defaults(group: BaseModel, prefix: str = PREFIX) -> dict[str, Any]:
    """Every setting by its variable."""
    found: dict[str, Any] = {}
    for name in type(group).model_fields:
        value = getattr(group, name)
        variable = f"{prefix}{name}".upper()
        found |= defaults(value, f"{variable}__") if isinstance(value, BaseModel) else {variable: value}
    return found


def test_it_has_every_setting_and_nothing_else() -> None:
    named = COMMENTED.keys() | SET.keys()
    assert named - OF_OTHERS == defaults(Settings()).keys()
    assert COMMENTED.keys().isdisjoint(SET.keys())
    assert len(COMMENTED) + len(SET) == sum(1 for line in TEXT.splitlines() if "=" in line and " " not in line)


@pytest.mark.parametrize("name", sorted(COMMENTED.keys() - OF_OTHERS - {MODEL}))
def test_what_is_commented_out_is_how_it_stands(name: str) -> None:
    value = defaults(Settings())[name]
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    assert COMMENTED[name] == ("" if value is None else str(value))


def test_it_is_read_once_the_secrets_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in assignments(with_values(TEXT, FILLED_IN), commented=False).items():
        monkeypatch.setenv(name, value)
    loaded = settings.load()
    assert loaded.s3.secret_key.get_secret_value() == FILLED_IN["REELMILL_S3__SECRET_KEY"]
    assert loaded.engine.name == SET["REELMILL_ENGINE__NAME"]


def test_every_setting_is_explained() -> None:
    """By a comment above it, or above those that stand together with it."""
    explained = False
    for line in TEXT.splitlines():
        is_setting = "=" in line and line.removeprefix("#").partition("=")[0].isidentifier()
        assert explained or not is_setting, line
        explained = explained if is_setting else line.startswith("# ") and not line.startswith("# ---")


def test_no_secret_is_in_it() -> None:
    assert [SET[name] for name in FILLED_IN] == ["", ""]
