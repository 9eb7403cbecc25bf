"""`webhooks list`, for who reaches the bucket alone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import webhooks as commands
from pipeline.cli.connect import Mill
from pipeline.errors import TransientError
from pipeline.ledger import MemoryLedger
from pipeline.producer import Producer
from pipeline.settings import Settings
from pipeline.stages import Ports
from pipeline.webhooks.debts import Debt, Debts, server_of
from pipeline.webhooks.delivering import note_name
from tests.doubles import MemoryStore

DEBT = Debt(url="https://example.com/hook?token=x", job="j1", since=datetime(2026, 1, 1, tzinfo=UTC))


class Away(MemoryLedger):
    def __init__(self) -> None:
        super().__init__()
        self.num_asked = 0

    def noted(self, name: str) -> str | None:
        self.num_asked += 1
        raise TransientError("Redis is away")


def listed(ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, object]], str]:
    ports = Ports(store=MemoryStore(), ledger=ledger, send=lambda work: None)
    for number in range(3):
        url = f"https://{number}.example.com/hook"
        Debts(ports.store).owe(DEBT.model_copy(update={"url": url}))
    Debts(ports.store).owe(DEBT)

    @contextmanager
    def mill(settings: Settings, *, only_look: bool) -> Iterator[Mill]:
        yield Mill(settings, ports, Producer(ports, settings))

    monkeypatch.setattr(commands, "mill", mill)
    app = typer.Typer()
    commands.add_to(app)
    done = CliRunner().invoke(app, ["webhooks", "list", "--json"])
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_what_is_owed_is_told_although_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Away()
    rows, said = listed(ledger, monkeypatch)
    assert {row["server"]: (row["owed"], row["last_error"]) for row in rows} == {
        "https://example.com": (1, None),
        **{f"https://{number}.example.com": (1, None) for number in range(3)},
    }
    assert said.count("Redis is away") == 1
    assert ledger.num_asked == 1, "each asking may take seconds"


def test_why_a_server_was_not_told_is_told_where_redis_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = MemoryLedger()
    ledger.note(note_name(server_of(DEBT.key)), "no answer")
    rows, said = listed(ledger, monkeypatch)
    assert {row["server"]: row["last_error"] for row in rows}["https://example.com"] == "no answer"
    assert said == ""
