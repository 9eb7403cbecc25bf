"""webhooks: who is told how jobs ended, what is still owed, and the secret that messages are signed with."""

from collections import Counter
from datetime import UTC, datetime

import typer

from pipeline import keys
from pipeline.cli import show
from pipeline.cli.connect import local_mode, mill
from pipeline.cli.options import DataDir, Json, load
from pipeline.webhooks.debts import Debts
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
        owed = Counter(key.split("/")[-2] for key in store.list(keys.WEBHOOKS_OWED))
        given_up = Counter(key.split("/")[-2] for key in store.list(keys.WEBHOOKS_GIVEN_UP))
        for origin in debts.origins():
            row = {
                "server": origin.address,
                "owed": owed[origin.id],
                "given_up": given_up[origin.id],
                "last_error": reached.ports.ledger.noted(note_name(origin)),
            }
            if json:
                show.print_json(row)
            else:
                error = f"\tlast error {show.printable(str(row['last_error']))}" if row["last_error"] else ""
                print(f"{row['server']}\t{row['owed']:,} owed\t{row['given_up']:,} put aside{error}")


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
