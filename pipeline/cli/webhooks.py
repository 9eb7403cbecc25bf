"""webhooks: who is told how jobs ended, what is still owed, and the secret that messages are signed with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import typer

from pipeline import keys
from pipeline.cli import show
from pipeline.cli.connect import local_mode, mill
from pipeline.cli.options import DataDir, Json, load
from pipeline.errors import MissingObjectError, TransientError
from pipeline.ledger import Ledger
from pipeline.webhooks.debts import Debt, Debts, server_of
from pipeline.webhooks.delivering import note_name
from pipeline.webhooks.posting import new_secret


def add_to(app: typer.Typer) -> None:
    webhooks = typer.Typer(help="Who is told how jobs ended, and what is still owed.", no_args_is_help=True)
    webhooks.command("list")(webhooks_list)
    webhooks.command("redrive")(webhooks_redrive)
    webhooks.command("secret")(webhooks_secret)
    app.add_typer(webhooks, name="webhooks")


def webhooks_list(json: Json = False, data_dir: DataDir = None) -> None:
    """Servers: how many messages they are owed (also of jobs that have not ended), how many were put aside, and why."""
    with mill(load(data_dir), only_look=True) as reached:
        store = reached.ports.store
        debts = Debts(store)
        owed = Counter(server_of(key) for key in store.list(keys.WEBHOOKS_OWED))
        lost = dict[str, list[Debt]]()
        for key, debt in debts.given_up():
            lost.setdefault(server_of(key), []).append(debt)
        servers = sorted(owed.keys() | lost.keys())
        noted = _last_errors(reached.ports.ledger, servers)
        for server in servers:
            put_aside = lost.get(server, [])
            last_error = noted.get(server)
            row = {
                "server": put_aside[0].server if put_aside else _address(debts, server),
                "owed": owed[server],
                "given_up": len(put_aside),
                "last_error": put_aside[-1].error if last_error is None and put_aside else last_error,
            }
            if json:
                show.print_json(row)
            else:
                error = f"\tlast error {show.printable(str(row['last_error']))}" if row["last_error"] else ""
                print(f"{row['server']}\t{row['owed']:,} owed\t{row['given_up']:,} put aside{error}")


def _last_errors(ledger: Ledger, servers: Sequence[str]) -> Mapping[str, str | None]:
    """Why each was not told something the last time: a hint, which whoever cannot reach Redis does without."""
    try:
        return {server: ledger.noted(note_name(server)) for server in servers}
    except TransientError as error:
        typer.echo(f"What servers answered last is not known: {error}. What is owed is.", err=True)
        return {}


def _address(debts: Debts, server: str) -> str | None:
    """None: all of it has been told since it was counted."""
    with suppress(MissingObjectError):
        for key in debts.page(server, 1):
            return debts.read(key).server
    return None


def webhooks_redrive(json: Json = False, data_dir: DataDir = None) -> None:
    """Send again what was put aside because it could not be delivered."""
    with mill(load(data_dir)) as reached:
        debts = Debts(reached.ports.store)
        for key, debt in debts.given_up():
            debts.redrive(key, debt, datetime.now(UTC))
            show.print_told(debt.subject, "owed again", json=json)


def webhooks_secret(json: Json = False, data_dir: DataDir = None) -> None:
    """The secret of the mill in the data directory, for its receivers; where there is none, a new one to be set."""
    settings = load(data_dir)
    known = settings.webhooks.keys or (() if settings.s3.endpoint else local_mode().webhooks_of(settings).keys)
    secret = known[0] if known else new_secret()
    if json:
        show.print_json({"secret": secret, "is_new": not known})
        return
    print(secret)
    if not known:
        typer.echo("New: set it as REELMILL_WEBHOOKS__SECRETS where the steward runs.", err=True)
