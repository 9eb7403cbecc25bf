"""The command line. Exit status: 0 all done, 1 some failed, 2 wrong usage, 3 the world is broken."""

import logging
import sys

import typer

from pipeline.errors import PipelineError, UsageError, WorldError

#: What goes on when the same command is given again; a command that would begin anew says what does it (`Stopped`).
_GOES_ON = "stopped; the same command goes on where it was"

ALL_DONE, SOME_FAILED, WRONG_USAGE, BROKEN_WORLD, INTERRUPTED = 0, 1, 2, 3, 130


class Stopped(Exception):
    """Somebody pressed Ctrl-C; the message tells how to go on."""


def build() -> typer.Typer:
    """The application with all its commands."""
    from pipeline.cli import inspect, jobs, lists, mend, model, plan, quarantine, run, submit, webhooks

    app = typer.Typer(
        name="reelmill",
        help="Turn archives of audio, video and images into text. Exit status: 0 all done, 1 some failed, "
        "2 wrong usage, 3 the world is broken.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    run.add_to(app)
    submit.add_to(app)
    jobs.add_to(app)
    mend.add_to(app)
    quarantine.add_to(app)
    webhooks.add_to(app)
    inspect.add_to(app)
    plan.add_to(app)
    lists.add_to(app)
    model.add_to(app)
    return app


def main() -> None:
    """Run the command line and leave with a documented exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are no news
    try:
        status = build()(standalone_mode=False)
    except typer.Exit as leaving:
        status = leaving.exit_code
    except typer.TyperException as error:  # a wrong command line
        status = _say(f"{error} (see `reelmill --help`)", WRONG_USAGE)
    except Stopped as stopped:
        sys.exit(_say(stopped, INTERRUPTED))
    except UsageError as error:
        status = _say(error, WRONG_USAGE)
    except WorldError as error:
        status = _say(error, BROKEN_WORLD)
    except PipelineError as error:
        status = _say(f"{error} ({error.detail})" if error.detail else error, BROKEN_WORLD)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except SystemExit as leaving:  # Typer's own way to leave on Ctrl-C
        status = leaving.code
    if status == INTERRUPTED:
        _say(_GOES_ON, INTERRUPTED)
    sys.exit(status or ALL_DONE)


def _say(message: object, status: int) -> int:
    print(f"reelmill: {message}", file=sys.stderr)
    return status
