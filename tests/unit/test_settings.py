import pytest

from pipeline import settings
from pipeline.errors import UsageError


def test_variables_set_nested_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELMILL_ENGINE__NAME", "echo")
    monkeypatch.setenv("REELMILL_STEWARD__MAX_ATTEMPTS", "5")
    loaded = settings.load()
    assert (loaded.engine.name, loaded.steward.max_attempts) == ("echo", 5)


@pytest.mark.parametrize("name", ["REELMILL_LEVLE", "REELMILL_ENGIEN__NAME", "REELMILL_ENGINE__NMAE", "reelmill_x"])
def test_an_unknown_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=name):
        settings.load()


def test_a_bad_value_is_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELMILL_ENGINE__MAX_BATCH", "none")
    with pytest.raises(UsageError, match="REELMILL_ENGINE__MAX_BATCH"):
        settings.load()


def test_a_child_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELMILL_REDIS__URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("REELMILL_S3__SECRET_KEY", "other secret")
    monkeypatch.setenv("REELMILL_ENGINE__NAME", "echo")
    loaded = settings.load()
    for name, value in settings.child_environment(loaded).items():
        if name.startswith("REELMILL_"):
            monkeypatch.setenv(name, value)
    assert settings.load() == loaded


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(settings.S3(secret_key="hunter2"))  # type: ignore[arg-type]
